// A box to try a route with: it connects as who looks, sends what they type, and shows what comes.

import {connect} from '../wshandler.js';
import {get} from './api.js';
import {formOf} from './form.js';
import {button, duration, el, field, fill, make, place, select} from './parts.js';

const KEPT = 200;      // lines of the log
const SHOWN = 20_000;  // characters of a message

const WORDS = {connecting: 'Connecting…', open: 'Connected'};

export class TryIt {
  name = 'try';
  title = 'Try it';
  #bot = null;
  #known = '';    // the route whose types are shown
  #types = null;
  #groups = [];   // the fields for the parts of its path
  #form = null;
  #state = el('p', 'state', 'Not connected');
  #paths = el('div', 'filters');
  #typed = el('div', 'typed');
  #log = el('ol', 'talk');

  constructor(console_) {
    this.console = console_;
    this.route = select([]);
    this.route.addEventListener('input', () => (
      this.console.go(place(this.name, {route: this.route.value}))));
    this.kind = select([]);
    this.kind.addEventListener('input', () => this.#showForm());
    this.kindField = field('Kind of message', this.kind);
    this.message = make('textarea', {rows: 4, spellcheck: false, className: 'code'});
    this.message.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      this.#send();
    });
    this.connect = button('Connect', () => this.#switch(), {className: 'main'});
    this.clear = button('Clear', () => this.#log.replaceChildren(), {label: 'Clear the log'});
    this.send = make('button', {type: 'submit', className: 'button main'}, 'Send');
    this.#state.setAttribute('role', 'status');
    this.#state.dataset.state = 'closed';
    this.#log.setAttribute('role', 'log');
    this.#log.setAttribute('aria-label', 'What was sent and what has come');
    this.#log.tabIndex = 0;
    const where = el('form', 'filters', field('Route', this.route), this.#paths, this.connect,
      this.#state);
    where.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#switch();
    });
    const what = el('form', 'say', this.kindField, this.#typed,
      field('Message (Ctrl+Enter sends it)', this.message),
      el('div', 'does', this.clear, this.send));
    what.addEventListener('submit', (event) => {
      event.preventDefault();
      this.#send();
    });
    this.element = el('section', 'try', where, what, this.#log);
  }

  shown(query) {
    this.console.offerRoutes(this.route, query.get('route') ?? this.route.value, []);
  }

  async look() {
    this.console.offerRoutes(this.route, this.route.value, []);
    const name = this.route.value;
    if (!name || name === this.#known) return;
    this.#disconnect();
    this.#known = name;
    this.#types = await get('types', {route: name}).catch((error) => {
      const broken = this.console.routes.find((route) => route.name === name)?.error;
      this.#note('bad', broken ? `${name} is broken: ${broken}` : error.message);
      return null;
    });
    const pattern = this.#types?.address
      ?? this.console.routes.find((route) => route.name === name)?.pattern ?? '/';
    this.#askForPath(pattern);
    const takes = this.#types?.typed ? this.#types.takes.filter(({form}) => form === 'json') : [];
    fill(this.kind, takes.map((kind, index) => [String(index), kind.name]), '0');
    this.kindField.hidden = takes.length < 2;
    this.takes = takes;
    this.message.value = '';
    this.#showForm();
  }

  // Of `/chat/{room}` the room is asked for; an expression that is no address is written whole.
  #askForPath(pattern) {
    const isAddress = Boolean(this.#types?.address);
    const parts = isAddress ? pattern.split(/(\{\w+\})/) : [pattern];
    this.#groups = parts.map((part) => {
      const name = isAddress ? /^\{(\w+)\}$/.exec(part)?.[1] : 'path';
      if (!name) return {text: () => part};
      const input = make('input', {autocomplete: 'off', spellcheck: false, required: true,
        value: isAddress ? '' : part});
      return {element: field(isAddress ? name : 'Path', input),
        input,
        text: () => (isAddress ? encodeURIComponent(input.value) : input.value)};
    });
    this.#paths.replaceChildren(...this.#groups.map(({element}) => element).filter(Boolean));
  }

  #showForm() {
    const kind = this.takes?.[Number(this.kind.value) || 0];
    this.#form = kind
      ? formOf(kind.schema, this.#types.definitions, () => this.#write(), {label: kind.name}) : null;
    this.#typed.replaceChildren(...(this.#form?.element ? [this.#form.element] : []));
    if (this.#form) this.#write();
  }

  #write() { this.message.value = JSON.stringify(this.#form.value() ?? null, null, 2); }

  // ---- the connection ------------------------------------------------------------------------

  #switch() {
    if (this.#bot) {
      this.#disconnect();
      return;
    }
    const empty = this.#groups.find(({input}) => input && !input.value);
    if (empty) {
      empty.input.focus();
      empty.input.reportValidity();
      return;
    }
    const bot = connect(this.#groups.map(({text}) => text()).join(''),
      {reconnect: false, resume: false});
    this.#bot = bot;
    bot.onstate = () => this.#tell(bot);
    bot.onmessage = ({data, room}) => {
      if (bot === this.#bot) this.#note('came', shown(data), room ? `in ${room}` : 'came');
    };
    this.#tell(bot);
  }

  #tell(bot) {
    if (bot !== this.#bot) return;
    const words = bot.words || WORDS[bot.state];
    if (!(bot.state in WORDS)) {
      this.#note('bad', words);
      this.#disconnect(words);
      return;
    }
    this.#state.textContent = words;
    this.#state.dataset.state = bot.state;
    this.connect.textContent = 'Disconnect';
  }

  #disconnect(words = 'Not connected') {
    const bot = this.#bot;
    this.#bot = null;
    bot?.close();
    this.#state.textContent = words;
    this.#state.dataset.state = 'closed';
    this.connect.textContent = 'Connect';
  }

  async #send() {
    const text = this.message.value;
    if (!this.#bot) this.#switch();
    const bot = this.#bot;
    if (!bot) return;
    this.#note('sent', text, 'sent');
    const begun = performance.now();
    // Who does not say where an answer ends is sent the message, and what comes is shown as it is.
    await opened(bot);
    if (bot !== this.#bot) return;
    if (!bot.speaks) {
      bot.send(text);
      return;
    }
    const answer = bot.stream(text);
    let count = 0;
    try {
      for await (const value of answer) {
        count += 1;
        this.#note('answer', shown(value), `answer, ${since(begun)}`);
      }
      this.#note('end', count ? '' : 'Nothing was answered.', `done, ${since(begun)}`);
    } catch (failure) {
      this.#note('bad', failure.message, `${failure.how ?? 'failed'}, ${since(begun)}`);
    }
  }

  #note(kind, text, words = '') {
    const line = el('li', kind);
    if (words) line.append(el('span', 'quiet small', words));
    if (text) line.append(el('pre', 'code', text.slice(0, SHOWN)));
    this.#log.append(line);
    while (this.#log.childElementCount > KEPT) this.#log.firstChild.remove();
    line.scrollIntoView?.({block: 'nearest'});
  }
}

const since = (begun) => duration((performance.now() - begun) / 1000);

function shown(value) {
  if (typeof value === 'string') return value;
  if (value instanceof ArrayBuffer) return `(${value.byteLength} bytes)`;
  return JSON.stringify(value, null, 2);
}

// Wait until a connection is open, or is not to be had.
function opened(bot) {
  if (bot.state === 'open' || bot.state === 'closed') return Promise.resolve();
  return new Promise((resolve) => {
    const look = () => {
      if (bot.state !== 'open' && bot.state !== 'closed') return;
      bot.removeEventListener('state', look);
      resolve();
    };
    bot.addEventListener('state', look);
  });
}
