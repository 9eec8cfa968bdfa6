// What a chat is made of.

import {SHEET} from './chatstyle.js';
import {make} from './make.js';

// Build a chat with its log in the shadow tree of `host`, and return its parts by name.
export function build(host, log, full) {
  const $ = {};
  const part = (name, tag, {style = '', ...properties} = {}, ...children) => (
    $[name] = make(tag, {...properties, className: `${name} ${style}`.trim()}, ...children));
  part('frame', 'section', {},
    make('header', {},
      part('avatar', 'div', {attributes: {'aria-hidden': 'true'}}),
      make('div', {className: 'who'},
        part('title', full ? 'h1' : 'strong'),
        make('div', {className: 'state'},
          make('span', {className: 'dot', attributes: {'aria-hidden': 'true'}}),
          part('words', 'span', {attributes: {role: 'status'}}))),
      part('address', 'a', {
        target: '_blank', rel: 'noopener', title: 'Opens the chat page in a new tab'})),
    log.element,
    make('div', {className: 'river'}, log.below),
    part('trouble', 'div', {hidden: true},
      part('why', 'p', {id: 'why', attributes: {'aria-live': 'polite'}}),
      part('mend', 'a', {style: 'button', hidden: true, rel: 'noopener'}),
      part('again', 'button', {style: 'button plain', type: 'button'})),
    part('form', 'form', {},
      make('label', {className: 'unseen', htmlFor: 'text'}, 'Your message'),
      part('text', 'textarea', {id: 'text', rows: 1, placeholder: 'Write a message',
        enterKeyHint: 'send', autocomplete: 'off', attributes: {'aria-describedby': 'why'}}),
      part('stop', 'button', {style: 'button plain', type: 'button', hidden: true}, 'Stop'),
      part('send', 'button', {
        style: 'button', attributes: {'aria-describedby': 'why'}}, 'Send')));
  // Open, so that JupyterLab sees that one may write in here.
  const shadow = host.attachShadow({mode: 'open'});
  shadow.adoptedStyleSheets = [SHEET];
  shadow.append($.frame);
  if (!full) keepInView(shadow, $);
  return $;
}

// Whoever writes sees where they write, also when an answer makes the chat grow.
function keepInView(shadow, {text, form, frame}) {
  let seen = false;  // when the page was drawn last
  new IntersectionObserver((entries) => { seen = entries.at(-1).intersectionRatio >= 0.5; },
    {threshold: [0, 0.5, 1]}).observe(text);
  new ResizeObserver(() => {
    if (seen && shadow.activeElement) form.scrollIntoView({block: 'nearest'});
  }).observe(frame);
}
