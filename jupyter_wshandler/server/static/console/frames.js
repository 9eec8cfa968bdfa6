// The messages of a route or of a connection as they travel: off until its owner says so.

import {get} from './api.js';
import {bytes, button, el, field, place, select, time} from './parts.js';

const KEPT = 300;
const WAIT = 15;       // seconds that the server waits for a message
const TOGETHER = 200;  // milliseconds in which messages come in one piece

const WAYS = {in: ['→', 'from the client'], out: ['←', 'to the client']};

export class Frames {
  name = 'messages';
  title = 'Messages';
  #connection = '';  // the one that is watched, in place of a route
  #on = false;
  #next = '';
  #stop = new AbortController();
  #list = el('ol', 'frames');
  #state = el('p', 'state', 'Off');

  constructor(console_) {
    this.console = console_;
    this.route = select([]);
    this.route.addEventListener('input', () => (
      this.console.go(place(this.name, {route: this.route.value}))));
    this.routeField = field('Route', this.route);
    this.only = el('p', 'quiet');
    this.watch = button('Watch', () => this.#switch(), {className: 'main'});
    this.clear = button('Clear', () => this.#list.replaceChildren());
    this.#state.setAttribute('role', 'status');
    this.#state.dataset.state = 'closed';
    this.#list.setAttribute('role', 'log');
    this.#list.setAttribute('aria-live', 'off');  // there may be hundreds in a second
    this.#list.setAttribute('aria-label', 'Messages, the newest first');
    this.#list.tabIndex = 0;
    const filters = el('form', 'filters', this.routeField, this.only, this.watch, this.clear,
      this.#state);
    filters.addEventListener('submit', (event) => event.preventDefault());
    this.element = el('section', '', el('p', 'quiet', 'What people say to bots is theirs: the log '
      + 'of the server says who watches. Of each message the first 500 characters are shown.'),
    filters, this.#list);
  }

  get every() { return this.#on ? TOGETHER : undefined; }

  shown(query) {
    const before = `${this.#connection} ${this.route.value}`;
    this.#connection = query.get('connection') ?? '';
    this.console.offerRoutes(this.route, query.get('route') ?? this.route.value, []);
    this.routeField.hidden = Boolean(this.#connection);
    this.only.textContent = this.#connection ? `Connection ${this.#connection}` : '';
    if (before !== `${this.#connection} ${this.route.value}`) this.#turnOff();
  }

  left() { this.#turnOff(); }

  #switch() {
    if (this.#on) {
      this.#turnOff();
      return;
    }
    this.#on = true;
    this.#next = '';
    this.#stop = new AbortController();
    this.#tell('Watching', 'open');
    this.console.lookNow();
  }

  #turnOff(words = 'Off') {
    this.#on = false;
    this.#stop.abort();
    this.#tell(words, 'closed');
  }

  #tell(words, state) {
    this.#state.textContent = words;
    this.#state.dataset.state = state;
    this.watch.textContent = this.#on ? 'Stop' : 'Watch';
  }

  async look(left) {
    this.console.offerRoutes(this.route, this.route.value, []);
    const stop = this.#stop;
    if (!this.#on) return;
    const late = AbortSignal.timeout((WAIT + 20) * 1000);
    const whose = this.#connection ? {connection: this.#connection} : {route: this.route.value};
    let found;
    try {
      found = await get('frames', {...whose, since: this.#next, wait: WAIT},
        AbortSignal.any([left, late, stop.signal]));
    } catch (error) {
      if (stop.signal.aborted) return;
      this.#turnOff(error.status === 404 ? 'It has ended' : 'Off');
      throw error;
    }
    if (stop.signal.aborted) return;
    if (!found.complete) this.#add([el('li', 'quiet', 'Some messages are missing here.')]);
    this.#next = found.next;
    this.#add(found.frames.slice(-KEPT).map(line));
  }

  #add(lines) {
    this.#list.prepend(...lines.reverse());
    while (this.#list.childElementCount > KEPT) this.#list.lastChild.remove();
  }
}

function line(frame) {
  const [arrow, words] = WAYS[frame.way];
  const way = el('span', 'way', arrow);
  way.setAttribute('aria-hidden', 'true');
  const text = frame.text ?? `(binary) ${frame.binary}`;
  const isWhole = frame.text === undefined ? frame.size <= 500 : frame.text.length === frame.size;
  const size = frame.text === undefined ? bytes(frame.size) : `${frame.size} characters`;
  const made = el('li', frame.way, way, el('span', 'unseen', words), time(frame.at),
    el('strong', '', frame.user ?? 'nobody'),
    el('span', 'quiet small', isWhole ? frame.connection : `${frame.connection}, ${size}`),
    el('pre', 'code', isWhole ? text : `${text}…`));
  return made;
}
