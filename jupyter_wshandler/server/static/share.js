// A share of a bot below the cell that has made it: its link, who is in, what is left, and its end.
//
//   mount(place, state) -> {host}, or null where the words that stand there are all there can be
//
// place  an element, or its id: see chat.js
// state  {key, id, bot, label, state, reason, url, expires, uses, usesLeft, people, count, for}
// key    names the card: mount() with a known key moves it, so that a button stays what it was
//        while the kernel says anew who is in

import {isForNotebook, SUPPRESS} from './chatkeys.js';
import {SHEET} from './chatstyle.js';
import {make} from './make.js';
import {ask, BASE} from './tickets.js';

const SECOND = 1000;
const SAID = 2500;  // milliseconds for which a button says what it has done

const LOOPBACK = ['127.0.0.1', 'localhost', '[::1]'];

const UNITS = [[86400, 'day'], [3600, 'h'], [60, 'min']];

const STYLE = new CSSStyleSheet();
STYLE.replaceSync(`
  .left { margin-inline-start: auto; color: var(--quiet); font-variant-numeric: tabular-nums; }
  .row { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem; padding: .5rem var(--gap) 0; }
  .row:last-child { padding-bottom: .5rem; }
  .link {
    flex: 1 1 16rem; min-width: 0; height: var(--tall); padding: 0 .65rem;
    border: 1px solid var(--field-line); border-radius: var(--round); background: var(--raised);
    color: inherit; font: .94em var(--jp-code-font-family, ui-monospace, "DejaVu Sans Mono", Menlo,
      monospace); text-overflow: ellipsis;
  }
  .note { flex: 1 1 12rem; min-width: 0; overflow-wrap: anywhere; }
  .note + .button { margin-inline-start: auto; }
  .copy { min-width: 5.5rem; }
  .quiet { color: var(--quiet); }
  .bad { color: color-mix(in srgb, var(--bad) 60%, var(--text)); }
`);

// Each card is held by the page it is in, and by nobody else.
const cards = globalThis.__wshandlerShares ??= new Map();

export function mount(where, state) {
  const views = typeof where === 'string'
    ? [...document.querySelectorAll(`#${CSS.escape(where)}`)] : [where];
  const place = views.find((view) => !view.querySelector('.wshandler-share')) ?? views.at(-1);
  // A page of another origin (VS Code's webview) has not the server's login.
  if (!place || BASE.origin !== globalThis.origin) return null;
  let card = cards.get(state.key)?.deref();
  if (!card) {
    card = new Card();
    cards.set(state.key, new WeakRef(card));
    gone.register(card, state.key);
  }
  card.moveTo(place, state);
  return {host: card.host};
}

// Where nobody has told the server by which address people reach it, a link that a kernel has asked
// for begins with the one of its own machine. This page came by a better one, such as the Hub's.
function reachable(url) {
  const link = url ? new URL(url) : null;
  return link && LOOPBACK.includes(link.hostname) ? BASE.origin + link.pathname + link.search : url;
}

const gone = new FinalizationRegistry((key) => {
  if (!cards.get(key)?.deref()) cards.delete(key);
});

class Card {
  state = {};
  failure = '';    // why the last revocation has failed
  focused = null;  // the part that has the focus, or had it when it left the document

  constructor() {
    this.host = make('div', {className: 'wshandler-share', attributes: {[SUPPRESS]: 'true'}});
    this.host.card = this;  // it lives as long as what shows it
    const $ = this.$ = {};
    const part = (name, tag, {style = '', ...rest} = {}, ...children) => (
      $[name] = make(tag, {...rest, className: `${name} ${style}`.trim()}, ...children));
    part('frame', 'section', {},
      make('header', {},
        make('div', {className: 'who'},
          part('title', 'strong'),
          make('div', {className: 'state'},
            make('span', {className: 'dot', attributes: {'aria-hidden': 'true'}}),
            part('words', 'span', {attributes: {role: 'status'}}))),
        part('left', 'span')),
      part('give', 'div', {style: 'row'},
        part('link', 'input', {readOnly: true, attributes: {'aria-label': 'Link to the bot'}}),
        part('copy', 'button', {style: 'button', type: 'button'}, 'Copy')),
      part('about', 'div', {style: 'row'},
        part('note', 'p', {attributes: {'aria-live': 'polite'}}),
        part('revoke', 'button', {style: 'button plain', type: 'button'}, 'Revoke')));
    const shadow = this.host.attachShadow({mode: 'open'});
    shadow.adoptedStyleSheets = [SHEET, STYLE];
    shadow.append($.frame);
    this.listen();
  }

  listen() {
    const $ = this.$;
    $.copy.addEventListener('click', () => this.copy());
    $.revoke.addEventListener('click', () => this.revoke());
    $.link.addEventListener('focus', () => $.link.select());
    // What is pressed in here is not a command of the notebook's.
    for (const kind of ['keydown', 'keypress', 'keyup']) {
      this.host.addEventListener(kind, (event) => {
        if (!isForNotebook(event)) event.stopPropagation();
      });
    }
    this.host.addEventListener('focusin', () => {
      this.focused = this.host.shadowRoot.activeElement;
    });
    this.host.addEventListener('focusout', () => queueMicrotask(() => {
      if (this.host.isConnected && !this.host.shadowRoot.activeElement) this.focused = null;
    }));
    const weak = new WeakRef(this);
    const clock = setInterval(() => {
      const card = weak.deref();
      if (card) card.tick();
      else clearInterval(clock);
    }, SECOND);
  }

  moveTo(place, state) {
    this.state = state;
    if (this.host.parentElement !== place) {
      const focused = this.focused;
      place.replaceChildren(this.host);
      if (focused && document.activeElement === document.body) focused.focus({preventScroll: true});
    }
    this.show();
  }

  get isOpen() {
    const {state, expires} = this.state;
    return state === 'open' && (expires === null || expires * SECOND > Date.now());
  }

  tick() {
    const {state, expires} = this.state;
    if (state === 'open' && expires !== null) this.show();
  }

  show() {
    const $ = this.$;
    const {bot, label, state, reason, expires, uses, usesLeft, people, count} = this.state;
    const url = reachable(this.state.url);
    const open = this.isOpen;
    put($.title, label || bot);
    $.frame.setAttribute('aria-label', `Share of ${bot}`);
    $.frame.dataset.state = {open: 'open', waiting: 'waiting'}[open ? 'open' : state] ?? 'closed';
    put($.words, open ? `shared${label ? ` (${bot})` : ''}`
      : {waiting: 'waiting for the server…', open: 'expired'}[state] ?? 'shared no longer');
    put($.left, !open ? '' : expires === null ? 'no end' : `${span(expires)} left`);
    $.give.hidden = !open || !url;
    if ($.link.value !== url) $.link.value = url;
    $.revoke.hidden = !open;
    const named = people.join(', ');
    const more = count > people.length ? ` and ${count - people.length} more` : '';
    const parts = [count ? `${count} in: ${named}${more}` : 'nobody is in'];
    if (uses !== null) parts.push(`${usesLeft} of ${uses} uses left`);
    if (this.state.for.length) parts.unshift(`for ${this.state.for.join(', ')}`);
    else if (!url) parts.unshift('its link was shown when it was made');
    put($.note, this.failure || (open ? parts.join(' · ') : sentence(state, reason)));
    $.note.classList.toggle('bad', Boolean(this.failure));
    $.note.classList.toggle('quiet', !this.failure && (!open || !count));
    $.about.hidden = !$.note.textContent;
  }

  async copy() {
    const $ = this.$;
    try {
      await navigator.clipboard.writeText($.link.value);
    } catch {
      // Only a page that came over TLS, or from this machine, may use the clipboard.
      $.link.focus();
      $.link.select();
      if (!document.execCommand('copy')) return void this.say($.copy, 'Press Ctrl+C', 'Copy');
    }
    this.say($.copy, 'Copied', 'Copy');
  }

  say(button, words, then) {
    put(button, words);
    setTimeout(() => put(button, then), SAID);
  }

  async revoke() {
    const $ = this.$;
    $.revoke.disabled = true;
    const answer = await ask(new URL(`wshandler/api/shares/${this.state.id}`, BASE),
      {method: 'DELETE'}).catch(() => ({status: 0}));
    $.revoke.disabled = false;
    // What is gone already is what was wanted.
    const done = answer.status === 204 || answer.status === 404;
    this.failure = done ? '' : answer.said
      || (answer.status ? `The server has answered ${answer.status}; it may be shared still.`
        : 'The server does not answer; it may be shared still.');
    if (done) this.state = {...this.state, state: 'ended', reason: 'it has been revoked'};
    this.show();
  }
}

// What is not touched keeps its selection, and is not read out again.
function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function sentence(state, reason) {
  if (state === 'open') return 'It has expired.';
  return reason ? `${reason[0].toUpperCase()}${reason.slice(1)}.` : '';
}

// A time until `expires`, as people say it: in one or two units, and never too much.
function span(expires) {
  const seconds = Math.max(0, Math.floor(expires - Date.now() / SECOND));
  const number = UNITS.findIndex(([size]) => seconds >= size);
  if (number < 0) return `${seconds} s`;
  const [size, unit] = UNITS[number];
  const whole = Math.floor(seconds / size);
  const [smaller, name] = UNITS[number + 1] ?? [Infinity];
  const rest = Math.floor((seconds % size) / smaller);
  return `${whole} ${unit}${unit === 'day' && whole > 1 ? 's' : ''}${rest ? ` ${rest} ${name}` : ''}`;
}
