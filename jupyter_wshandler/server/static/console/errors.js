// What callbacks have raised: the last of each route, with traceback and message for the owner.

import {get, send} from './api.js';
import {button, confirm, el, facts, field, make, Pager, place, select, time} from './parts.js';

const SIZE = 20;

export class Errors {
  name = 'errors';
  title = 'Errors';
  #shown = new Map();  // by id
  #list = el('ul', 'errors');
  #empty = el('p', 'empty', 'Nothing has failed.');

  constructor(console_) {
    this.console = console_;
    this.route = select([['', 'all routes']]);
    this.pager = new Pager(['error', 'errors'], () => this.console.lookNow());
    this.route.addEventListener('input', () => {
      this.pager.first();
      this.console.go(place(this.name, {route: this.route.value}));
    });
    this.forget = button('Forget these errors', () => this.#forget());
    this.forget.hidden = true;
    const filters = el('form', 'filters', field('Route', this.route));
    if (this.console.owner) filters.append(this.forget);
    filters.addEventListener('submit', (event) => event.preventDefault());
    this.element = el('section', '', filters, this.pager.element, this.#list, this.#empty,
      el('p', 'quiet', 'A bot in a notebook shows its errors at its cell, and not here.'));
  }

  shown(query) {
    this.console.offerRoutes(this.route, query.get('route') ?? '');
    this.pager.first();
  }

  async look() {
    this.console.offerRoutes(this.route);
    const found = await get('errors',
      {route: this.route.value, before: this.pager.after, limit: SIZE});
    const gone = new Set(this.#shown.keys());
    let before = null;
    for (const error of found.errors) {
      gone.delete(error.id);
      const kept = this.#shown.get(error.id) ?? this.#make(error);
      this.#shown.set(error.id, kept);
      // A traceback may still be being made.
      const text = kept.querySelector('pre.traceback');
      const traceback = error.traceback && unindented(error.traceback);
      if (text && text.textContent !== traceback) text.textContent = traceback;
      const wanted = before === null ? this.#list.firstChild : before.nextSibling;
      if (wanted !== kept) this.#list.insertBefore(kept, wanted);
      before = kept;
    }
    for (const id of gone) {
      this.#shown.get(id).remove();
      this.#shown.delete(id);
    }
    this.#list.hidden = found.errors.length === 0;
    this.#empty.hidden = found.errors.length > 0;
    this.forget.hidden = found.total === 0;
    this.pager.show(found.errors.length, found.total, found.next);
  }

  #make(error) {
    const summary = el('summary', '', el('strong', '', error.exception), ' in ',
      el('span', 'code', error.callback), el('span', 'quiet small',
        `${error.route}, ${error.user ?? 'nobody'}, `, time(error.at)));
    const inside = [facts([['Where', error.place && el('span', 'code', error.place)],
      ['Id', error.id], ['Connection', error.connection]])];
    if (this.console.owner) {
      inside.push(scrolled('Traceback', 'traceback', unindented(error.traceback ?? '')));
      const message = words(error.message);
      if (message) inside.push(scrolled('Message', 'message', message));
    }
    const details = make('details', {}, summary, ...inside);
    return make('li', {attributes: {'data-id': error.id}}, details);
  }

  async #forget() {
    const name = this.route.value;
    const those = name ? `the errors of ${name}` : 'all errors';
    if (!await confirm(`Forget ${those}?`, {yes: 'Forget them',
      body: [el('p', '', 'The log keeps its lines.')]})) return;
    const done = await this.console.trying(async () => {
      await send('DELETE', 'errors', {query: {route: name}});
      return true;
    });
    if (done) this.console.say(name ? `The errors of ${name} are forgotten.` : 'All are forgotten.');
    this.pager.first();
    this.console.lookNow();
  }
}

// A text that may be wide: it scrolls by itself, with the keyboard, too.
function scrolled(title, name, text) {
  return el('div', '', el('h4', '', title), make('pre', {className: `code ${name}`, tabIndex: 0,
    attributes: {role: 'region', 'aria-label': title}}, text));
}

// As the log has it, it is indented.
const unindented = (text) => text.replace(/^  /gm, '');

function words(message) {
  if (!message) return '';
  const text = message.text ?? `(binary) ${message.binary}`;
  const whole = message.binary ? Math.floor(message.binary.length * 0.75) : text.length;
  return message.size > whole + 2 ? `${text} … (${message.size} in all)` : text;
}
