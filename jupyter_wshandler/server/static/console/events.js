// What happens to connections, as it happens: the server answers as soon as there is something.

import {get} from './api.js';
import {el, lasting, time} from './parts.js';

const KEPT = 200;
const WAIT = 20;  // seconds that the server waits for something to happen

export class Events {
  name = 'events';
  title = 'Events';
  every = 200;  // it waits at the server
  #next = '';
  #list = el('ol', 'events');

  constructor(console_) {
    this.console = console_;
    this.empty = el('p', 'empty', 'Nothing has happened since this page looks.');
    this.#list.setAttribute('role', 'log');
    this.#list.setAttribute('aria-label', 'Events, the newest first');
    this.#list.tabIndex = 0;
    this.element = el('section', '', this.empty, this.#list);
  }

  async look(left) {
    const query = this.#next ? {since: this.#next, wait: WAIT} : {};
    const late = AbortSignal.timeout((WAIT + 20) * 1000);
    const found = await get('events', query, AbortSignal.any([left, late]));
    if (!found.complete && this.#next) this.#add(el('li', 'quiet', 'Some events were missed here.'));
    this.#next = found.next;
    for (const event of found.events.slice(-KEPT)) this.#add(this.#line(event));
    this.#list.hidden = this.#list.childElementCount === 0;
    this.empty.hidden = !this.#list.hidden;
  }

  #add(line) {
    this.#list.prepend(line);
    while (this.#list.childElementCount > KEPT) this.#list.lastChild.remove();
  }

  #line(event) {
    const whose = `${event.user ?? 'nobody'}, ${event.route}`;
    const words = {
      opened: () => `from ${event.address}`,
      closed: () => [`${event.code ?? 'without a code'}`, event.reason,
        event.seconds === null ? '' : `after ${lasting(event.seconds)}`].filter(Boolean).join(', '),
      failed: () => [`${event.exception} in ${event.callback}`, event.place,
        `id ${event.id}`].filter(Boolean).join(', '),
      refused: () => `${event.code}, ${event.reason}`,
    }[event.event]?.() ?? '';
    const line = el('li', '', time(event.at), el('strong', 'kind', event.event),
      el('span', '', whose), el('span', 'quiet', words));
    line.dataset.event = event.event;
    return line;
  }
}
