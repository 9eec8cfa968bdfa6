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
import {addressOf, AUTHORS, elsewhere, SERVER} from './chatplace.js';
import {forgotten} from './chatrecord.js';
import {
  ANEW, AWAY, BACK, KEPT, MEANINGS, MOVED, PAST, STATES, TRACEBACK, UNANSWERED, UNSENT, UNSTOPPED,
} from './chatwords.js';
import {ORIGIN} from './guest.js';
import {make} from './make.js';
import {connect} from './wshandler.js';

const AT_WORK = 300;      // milliseconds after which an answer can be stopped
const OUT_OF_PAGE = 30;  // seconds that a chat outside the document keeps its socket

// What the close says of a function that has raised.
const FAILURE = /^internal error, id (\w+)$/;

// Whether the bot itself was stopped: nothing comes back until somebody runs a cell.
const isGone = (bot) => bot?.cause === 1012 && /gone/.test(bot.detail);

// ---- the chats of this page ------------------------------------------------------------------

const chats = globalThis.__wshandlerChats ??= new Map();
const places = new WeakSet();  // where a chat has been
let patrol = 0;

// The page may be loaded anew, and go on with the same connection.
const keepAll = () => { for (const chat of chats.values()) chat.keep(); };
globalThis.addEventListener('pagehide', keepAll);
document.addEventListener('freeze', keepAll);
const forgetAll = () => { for (const chat of chats.values()) forgotten(chat.address); };
globalThis.addEventListener('pageshow', forgetAll);
document.addEventListener('resume', forgetAll);

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
  broken = '';     // 'lost' or 'left' while the connection may be come back to
  restored = false;  // whether the log is that of the page before this one, as yet
  open = new Set();  // the answers that have not come to their end
  current = null;  // the one that is being given
  stopping = null;  // the one that somebody wants stopped
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
    for (const type of ['open', 'message', 'state', 'frame', 'resumed', 'renewed']) {
      this.bot[`on${type}`] = null;
    }
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
    const before = forgotten(this.address);
    this.restored = before.length > 0;
    this.log.restore(before);
    this.bot = connect(this.address, {meanings: MEANINGS});
    this.bot.onopen = () => this.opened();
    this.bot.onframe = (said) => this.receive(said);
    this.bot.onmessage = ({data}) => { if (!this.bot.speaks) this.log.receive(data); };
    this.bot.onstate = () => this.changed();
    this.bot.onresumed = ({detail}) => this.resumed(detail);
    this.bot.onrenewed = () => this.renewed();
    this.show('connecting', this.reason);
  }

  // For a page that is loaded anew, where that may go on with the same connection.
  keep() {
    if (this.bot?.resumable) this.log.keep(this.address);
  }

  // Connect again what was closed because nobody said anything, for somebody who will.
  rouse() {
    if (this.bot?.state === 'idle') this.bot.connect();
  }

  opened() {
    this.stopping = null;
    if (this.restored) this.renewed();
    const {hurry} = this;
    if (this.reason && this.log.used) {
      this.log.notice(`${this.reason === this.told ? '' : `${this.past} `}Connected again.`);
    }
    this.reason = '';
    this.kept = this.hurry = this.tried = false;
    this.broken = '';
    this.show('open');
    if (hurry) this.submit();
  }

  // It goes on where it was; `answers` are those that the page before this one had begun.
  resumed({answers}) {
    if (this.broken === 'lost') this.log.line(BACK);
    for (const answer of answers) this.follow(answer);
    const {hurry} = this;
    this.kept = this.hurry = this.tried = this.restored = false;
    this.broken = this.reason = '';
    this.show('open');
    if (hurry) this.submit();
  }

  // A new connection, in place of one that was lost or that another page has had.
  renewed() {
    this.log.end();
    if (this.broken || this.restored) this.log.line(ANEW);
    this.restored = false;
    const lost = [...this.open].filter(({how}) => how);
    for (const answer of lost) this.done(answer);
    if (lost.length) this.log.notice(UNANSWERED);
  }

  changed() {
    const {state, cause, detail, words, attempts} = this.bot;
    if (state === 'open') return;
    let more = '';
    if (state === 'away' || (state === 'connecting' && this.broken)) {
      if (!this.broken && cause !== 'away') this.log.line(AWAY);
      this.broken ||= cause === 'away' ? 'left' : 'lost';
      this.show(state, attempts < 2 && !this.bot.link ? '' : words);
      return;
    }
    if ([...this.open].some(({number}) => !number) && state !== 'connecting') this.log.notice(UNSENT);
    this.broken = '';
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
    const sought = ['waiting', 'away', 'connecting'].includes(state);
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
    const open = ['open', 'idle'].includes(this.state) || this.broken !== '';
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
    if (this.bot?.state !== 'open' && !this.broken) return false;
    if (this.bot.speaks || this.broken) this.follow(this.bot.stream(text));
    else if (!this.bot.send(text)) return false;
    this.log.said(text);
    return true;
  }

  // Note that an answer is under way. Its pieces are shown as they come, and need not be kept.
  follow(answer) {
    this.open.add(answer);
    if (!this.current) this.answers(answer);
    this.log.work(true);
    (async () => { while (!(await answer.next()).done); })().catch(() => {});
  }

  // ---- what the bot says ---------------------------------------------------------------------

  // What the envelopes of docs/protocol.md say.
  receive({bytes, piece, of, json, reply, message = reply, end, how, error, id, ...more}) {
    if (bytes) this.log.receive(bytes, of);
    else if (piece !== undefined) this.log.receive(piece, of, json);
    else if (message !== undefined) this.log.receive(message);
    else if (end) {
      this.log.end(end, how);
      if (error) this.log.receive(JSON.stringify({error, id, ...more}));
      const answer = [...this.open].find(({number}) => number === end);
      if (answer && answer === this.stopping && how === 'done') this.log.notice(UNSTOPPED);
      this.done(answer);
    }
  }

  done(answer) {
    this.open.delete(answer);
    // Answers come in the order of their questions, and a set keeps it.
    if (answer === this.current) this.answers(this.open.values().next().value ?? null);
    this.log.work(this.open.size > 0);
  }

  // Note which answer is being given; null for none.
  answers(answer) {
    const $ = this.$;
    this.current = answer;
    clearTimeout(this.patience);
    if (answer) {
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
    if (!this.current) return;
    // A function in a thread cannot be interrupted: it may take until its next item.
    this.stopping = this.current;
    this.current.stop();
    this.$.stop.textContent = 'Stopping…';
  }

  idle() {
    this.open.clear();
    this.answers(null);
    this.log.work(false);
  }

  fit() {
    const text = this.$.text;
    text.style.height = 'auto';
    text.style.height = `${text.scrollHeight + 2}px`;
  }
}
