// A small chat with one bot: under the cell that serves it, and as the page of its address.
//
//   mount(place, {path, title, key, full}) -> {host, send(text), close()}, or null without a place
//
// place  an element, or an id: then the newest element with it, as a notebook may show one output
//        in several views
// path   the route's URL path, base_url included: "/user/ada/pingbot"
// title  the bot's name
// key    names the chat: mount() with a known key moves the open chat, socket and all, to the new
//        place, so a cell may be run again while somebody is talking. Unset, it is the path.
// full   true where the chat is the whole page

import {build} from './chatframe.js';
import {isForNotebook, SUPPRESS} from './chatkeys.js';
import {Log} from './chatlog.js';
import {CONFIRM, confirms, PROTOCOL} from './envelope.js';
import {ORIGIN} from './guest.js';
import {make} from './make.js';
import {connect} from './wshandler.js';

// The server that this module came from is the server of the bot, at any base_url.
const SERVER = new URL(import.meta.url).origin;

const AT_WORK = 300;      // milliseconds after which an answer can be stopped
const OUT_OF_PAGE = 30;  // seconds that a chat outside the document keeps its socket

const STATES = {
  connecting: 'connecting…', open: 'connected', waiting: 'reconnecting…', idle: 'paused',
  closed: 'closed', stopped: 'stopped',
};
const MOVED = 'This chat has moved to its newest output';
const KEPT = 'Your text is kept.';
const TRACEBACK = ' The traceback is below the cell that serves it.';
const UNSTOPPED = 'It could not be stopped, and ran to its end.';

// What a bot that lives in a kernel may be missing for.
const MEANINGS = {
  // A route that is gone, while the kernel is there, has been stopped or taken over.
  1012: (detail) => (/route/.test(detail)
    ? 'This bot is not served any more; run its cell to start it again'
    : 'The notebook\'s kernel has restarted; run the cell again'),
  missing: 'Nothing answers at this address. If its kernel has restarted, run the cell again.',
};

// What was said of how things are, once they are so no more.
const PAST = {
  4401: 'You were signed out.', unreachable: 'The server could not be reached.',
  missing: 'Nothing answered at this address.', unready: 'The server was not ready.',
};

// Only where output that comes later appears below its cell. What Voila and nbconvert show has the
// same cells, but not what JupyterLab and Notebook have around them.
const AUTHORS = '.jp-NotebookPanel, .jp-CodeConsole, .jp-LinkedOutputView';

// What the close says of a function that has raised.
const FAILURE = /^internal error, id (\w+)$/;

// Whether the bot itself was stopped: nothing comes back until somebody runs a cell.
const isGone = (bot) => bot?.cause === 1012 && /gone/.test(bot.detail);

// ---- the chats of this page ------------------------------------------------------------------

const chats = globalThis.__wshandlerChats ??= new Map();
const places = new WeakSet();  // where a chat has been
let patrol = 0;

export function mount(where, options) {
  const place = typeof where === 'string' ? find(where) : where;
  if (!place) return null;  // its output was replaced while this module was on its way
  places.add(place);
  if (SERVER !== ORIGIN) return elsewhere(place, options);
  const key = options.key ?? options.path;
  const chat = chats.get(key) ?? new Chat(key, Boolean(options.full));
  chat.moveTo(place, options);
  return {host: chat.host, send: (text) => chat.send(text), close: () => chat.leave()};
}

function find(id) {
  const views = [...document.querySelectorAll(`#${CSS.escape(id)}`)];
  return views.find((view) => !places.has(view)) ?? views.at(-1);
}

// One patrol for all chats, and none without a chat. Being out of the document for a moment is
// what every new run of a cell does; being out for long is a deleted cell or a closed notebook.
function register(chat) {
  chats.set(chat.key, chat);
  chat.seen = performance.now();
  patrol ||= setInterval(() => {
    const now = performance.now();
    for (const each of [...chats.values()]) {
      if (each.host.isConnected) {
        each.seen = now;
      } else if (now - each.seen > OUT_OF_PAGE * 1000) {
        each.leave();
        wakeWhenShown(each);
      }
    }
    if (chats.size > 0) return;
    clearInterval(patrol);
    patrol = 0;
  }, 2000);
}

// JupyterLab may take cells that are scrolled away out of the document, and bring them back. The
// forgotten chat is held by nobody but its own element, so that it can be collected.
function wakeWhenShown(chat) {
  const weak = new WeakRef(chat);
  const observer = new IntersectionObserver((entries) => {
    if (!entries.some((entry) => entry.isIntersecting)) return;
    observer.disconnect();
    const returned = weak.deref();
    if (returned?.state === 'closed') returned.connect();
  });
  observer.observe(chat.host);
}

// A page of another site (VS Code's webview) has neither the server's login nor its origin.
function elsewhere(place, {path, title}) {
  const href = addressOf(path);
  const host = make('div', {className: 'wshandler-chat'}, make('p', {}, `${title} answers at `,
    make('a', {href, target: '_blank', rel: 'noopener'}, href),
    '. Its chat works in JupyterLab, in Notebook and in a browser at that address.'));
  place.replaceChildren(host);
  return {host, send: () => false, close: () => host.remove()};
}

const addressOf = (path) => `${SERVER}/${path.replace(/^\/+/, '')}`;

// ---- one chat --------------------------------------------------------------------------------

class Chat {
  log = new Log();
  bot = null;      // the connection
  state = '';
  label = '';      // the state as it is shown
  reason = '';     // why it is not connected
  failure = '';    // the id of the last failure that has closed the connection
  told = '';       // the reason that the log has said already
  kept = false;    // whether somebody has tried to send what is in the text field
  hurry = false;   // whether that is sent as soon as the chat is connected
  tried = false;   // whether somebody has asked for one more attempt
  speaks = null;   // whether the server says where an answer ends; null until that is known
  doubt = 0;
  asked = 0;       // messages that were sent on this connection
  open = new Set();  // those that are not answered to the end
  current = 0;     // the one that is being answered
  stopping = 0;    // the one that somebody wants stopped
  patience = 0;
  place = null;
  address = '';
  focused = null;  // which part of the chat has the focus, or had it when it left the document

  constructor(key, full) {
    this.key = key;
    this.host = make('div', {className: 'wshandler-chat', attributes: {
      [SUPPRESS]: 'true', ...(full && {'data-full': ''})}});
    this.$ = build(this.host, this.log, full);
    this.listen();
    this.show('connecting');
  }

  name(path, title = 'bot') {
    const $ = this.$;
    this.address = addressOf(path);
    this.log.title = $.title.textContent = title;
    this.log.hello.textContent = `Say hello to ${title}`;
    $.frame.setAttribute('aria-label', `Chat with ${title}`);
    $.avatar.textContent = [...title][0] ?? '';
    $.address.textContent = $.address.href = this.address;
  }

  listen() {
    const $ = this.$;
    $.form.addEventListener('submit', (event) => { event.preventDefault(); this.submit(); });
    $.text.addEventListener('input', () => {
      this.hurry = false;
      this.fit();
      this.ready();
      this.rouse();
    });
    $.text.addEventListener('focus', () => this.rouse());
    $.stop.addEventListener('click', () => this.stop());
    this.host.addEventListener('keydown', (event) => {
      if (event.key === 'Escape' && !$.stop.hidden) this.stop();
    });
    $.text.addEventListener('keydown', (event) => {
      if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.submit();
    });
    // A "d" that is meant for the bot must not delete the reader's cells.
    for (const kind of ['keydown', 'keypress', 'keyup']) {
      this.host.addEventListener(kind, (event) => {
        if (!isForNotebook(event)) event.stopPropagation();
      });
    }
    $.again.addEventListener('click', () => {
      this.tried = true;
      this.connect();
    });
    this.log.below.addEventListener('click', () => $.text.focus());
    this.host.addEventListener('focusin', () => { this.focused = this.focus; });
    this.host.addEventListener('focusout', () => queueMicrotask(() => {
      // Whoever loses the focus with the document it was in has not given it away.
      if (this.host.isConnected && !this.focus) this.focused = null;
    }));
  }

  // The part of the chat that has the focus now.
  get focus() { return this.host.shadowRoot.activeElement; }

  // ---- where it is ---------------------------------------------------------------------------

  moveTo(place, {path, title}) {
    const old = this.place;
    if (this.address && this.address !== addressOf(path)) {
      this.drop();
      this.log.notice(`Now at ${addressOf(path)}`);
    }
    this.name(path, title);
    this.place = place;
    // Nobody who has begun to write elsewhere loses the focus to a chat that moves.
    const idle = [this.host, document.body, null].includes(document.activeElement);
    const focused = idle ? this.focused : null;
    const {selectionStart, selectionEnd} = this.$.text;
    place.replaceChildren(this.host);
    this.log.traceback = place.closest(AUTHORS) ? TRACEBACK : '';
    if (focused) {
      focused.focus({preventScroll: true});
      this.$.text.setSelectionRange(selectionStart, selectionEnd);
    }
    this.log.settle();
    if (old && old !== place) {
      const back = make('button', {type: 'button'}, 'Show it here');
      back.addEventListener('click', () => mount(old, {path, title, key: this.key}));
      old.replaceChildren(make('p', {}, `${MOVED} `, back));
    }
    register(this);
    // Whoever runs the cell again wants the bot now, whatever ended the last connection.
    this.connect();
  }

  drop() {
    if (!this.bot) return;
    this.bot.onopen = this.bot.onmessage = this.bot.onstate = null;
    this.bot.close();
    this.bot = null;
  }

  leave() {
    this.drop();
    this.log.end();
    this.show('closed', 'This chat was closed.');
    if (chats.get(this.key) === this) chats.delete(this.key);
  }

  // ---- the connection ------------------------------------------------------------------------

  connect() {
    if ((chats.get(this.key) ?? this) !== this) {
      this.host.replaceWith(make('p', {}, MOVED));  // forgotten, and opened again elsewhere
      return;
    }
    register(this);
    if (this.bot) {
      this.bot.connect();
      return;
    }
    this.bot = connect(this.address, {meanings: MEANINGS, protocols: [PROTOCOL]});
    this.bot.onopen = () => this.begun();
    this.bot.onmessage = ({data}) => this.receive(data);
    this.bot.onstate = () => this.changed();
    this.show('connecting', this.reason);
  }

  // Connect again what was closed because nobody said anything, for somebody who will.
  rouse() {
    if (this.bot?.state === 'idle') this.bot.connect();
  }

  // The first frame says whether wsh.v1 is spoken: a proxy may have agreed to it of itself.
  begun() {
    clearTimeout(this.doubt);
    this.speaks = this.bot.protocol === PROTOCOL ? null : false;
    if (this.speaks === false) this.opened();
    else this.doubt = setTimeout(() => this.settle(false), CONFIRM * 1000);
  }

  settle(speaks) {
    clearTimeout(this.doubt);
    this.speaks = speaks;
    if (this.bot?.state === 'open') this.opened();
  }

  opened() {
    this.asked = this.stopping = 0;
    this.idle();
    const {hurry} = this;
    if (this.reason && this.log.used) {
      this.log.notice(`${this.reason === this.told ? '' : `${this.past} `}Connected again.`);
    }
    this.reason = '';
    this.kept = this.hurry = this.tried = false;
    this.show('open');
    if (hurry) this.submit();
  }

  changed() {
    const {state, cause, detail, words, attempts} = this.bot;
    if (state === 'open') return;
    let more = '';
    this.idle();
    const failure = cause === 1011 && FAILURE.exec(detail)?.[1];
    if (failure && failure !== this.failure) {
      Object.assign(this, {failure, told: words});
      this.log.failed(failure);
    }
    if (state !== 'connecting') {
      this.log.end();
      this.hurry = false;
      if (this.tried && state === 'closed' && words === this.reason) {
        more = ' Trying again did not help.';
      }
      this.tried = false;
    }
    // The first attempt of a cell may come before the server has heard of its bot.
    this.reason = cause === 'missing' && attempts < 2 ? '' : words;
    this.past = PAST[cause] ?? words;
    this.show(state, (attempts < 2 && this.reason === this.told ? '' : this.reason) + more);
  }

  show(state, why = '') {
    const $ = this.$;
    const link = this.bot?.link;
    this.state = state;
    // It is looked for now and then, and the label does not change for that.
    const sought = ['waiting', 'connecting'].includes(state);
    this.label = $.frame.dataset.state = sought && isGone(this.bot) ? 'stopped' : state;
    if (this.kept && $.text.value.trim()) why = `${why || 'Not connected yet.'} ${KEPT}`;
    // A live region that is written again is read out again.
    if ($.words.textContent !== STATES[this.label]) $.words.textContent = STATES[this.label];
    if ($.why.textContent !== why) $.why.textContent = why;
    const leftAlone = this.focus === $.again && !why;
    $.trouble.hidden = !why;
    $.again.textContent = state === 'idle' ? 'Connect again' : 'Try again';
    $.mend.hidden = !link;
    // In this tab one way back stays open: a page of its own that has lost its login.
    $.mend.target = this.host.dataset.full === '' && [4401, 'stale'].includes(this.bot?.cause) ? '' : '_blank';
    if (link) Object.assign($.mend, {href: link.href, textContent: link.text});
    if (leftAlone) $.text.focus();
    this.ready();
  }

  ready() {
    const open = ['open', 'idle'].includes(this.state);
    this.$.send.setAttribute('aria-disabled', String(!open || !this.$.text.value.trim()));
    this.$.send.title = open ? '' : `${STATES[this.label]} ${KEPT}`;
  }

  // ---- what a person says --------------------------------------------------------------------

  submit() {
    const text = this.$.text.value;
    if (!text.trim()) return;
    if (!this.send(text)) {
      this.kept = true;
      this.hurry = ['idle', 'connecting'].includes(this.state);
      this.rouse();
      this.show(this.state, this.reason);
      return;
    }
    this.$.text.value = '';
    this.fit();
    this.ready();
  }

  send(text) {
    const numbered = this.speaks;
    const message = text.replace(/\p{Surrogate}/gu, '\ufffd');
    const frame = numbered ? JSON.stringify({message, ask: this.asked + 1}) : text;
    if (numbered === null || this.bot?.state !== 'open' || !this.bot.send(frame)) return false;
    this.log.said(text);
    if (numbered) {
      this.asked += 1;
      this.open.add(this.asked);
      if (!this.current) this.answers(this.asked);
      this.log.work(true);
    }
    return true;
  }

  // ---- what the bot says ---------------------------------------------------------------------

  // The envelopes are those of docs/protocol.md.
  receive(data) {
    if (this.speaks === null) {
      this.settle(confirms(data));
      if (this.speaks) return;
    }
    if (!this.speaks) return void this.log.receive(data);
    if (typeof data !== 'string') {
      return void this.log.receive(data.slice(4), new DataView(data).getInt32(0));
    }
    const {piece, of, json, reply, message = reply, end, how, error, id} = JSON.parse(data);
    if (piece !== undefined) this.log.receive(piece, of, json);
    else if (message !== undefined) this.log.receive(message);
    else if (end) {
      this.log.end(end, how);
      if (error) this.log.receive(JSON.stringify({error, id}));
      if (end === this.stopping && how === 'done') this.log.notice(UNSTOPPED);
      this.open.delete(end);
      // Answers come in the order of their questions, and a set keeps it.
      if (end === this.current) this.answers(this.open.values().next().value ?? 0);
      this.log.work(this.open.size > 0);
    }
  }

  // Note which message is being answered; 0 for none.
  answers(number) {
    const $ = this.$;
    this.current = number;
    clearTimeout(this.patience);
    if (number) {
      this.patience = setTimeout(() => {
        $.stop.disabled = false;
        $.stop.textContent = 'Stop';
        $.stop.hidden = false;
      }, AT_WORK);
    } else {
      if (this.focus === $.stop) $.text.focus();
      $.stop.hidden = true;
    }
  }

  stop() {
    if (!this.current || !this.bot?.send(JSON.stringify({stop: this.current}))) return;
    // A function in a thread cannot be interrupted: it may take until its next item.
    this.stopping = this.current;
    this.$.stop.textContent = 'Stopping…';
  }

  idle() {
    this.open.clear();
    this.answers(0);
    this.log.work(false);
  }

  fit() {
    const text = this.$.text;
    text.style.height = 'auto';
    text.style.height = `${text.scrollHeight + 2}px`;
  }
}
