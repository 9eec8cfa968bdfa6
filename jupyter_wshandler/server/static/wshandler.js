// The browser's side of a bot: opens its WebSocket, keeps it open, and says what is wrong in words.
//
//   import {connect} from './static/wshandler/wshandler.js';
//   const bot = connect();                          // the bot at this page's own address
//   bot.onmessage = ({data}) => show(data);         // a string, or an ArrayBuffer
//   bot.onstate = () => { line.textContent = bot.words; };
//   bot.send('hello');
//
// What it offers is in docs/pages.md, and in wshandler.d.ts with its types.

import {pageAddress, SECRET} from './addresses.js';
import {AnswerFailed, PROTOCOL, Questions, sendable, unpacked, UNSPOKEN} from './envelope.js';
import {GUEST, loadAgain} from './guest.js';
import {covers, ENDS, explained, instead, MEANINGS} from './meanings.js';
import {keep, live, page, take, takeBack, waiting} from './pagelife.js';
import {BREAKS, COMES_BACK, Life, RESUME, Waiting} from './resume.js';
import {Rooms} from './rooms.js';
import {askForTicket, BASE} from './tickets.js';
import {Turn} from './turn.js';

export {AnswerFailed, MEANINGS};

const OPTIONS = ['meanings', 'protocols', 'queue', 'queueBytes', 'reconnect', 'resume'];
const EVENTS = ['open', 'message', 'state', 'unsent', 'unsure', 'away', 'resumed', 'renewed'];
const FIRST_WAIT = 0.25;  // seconds before the second attempt, at most; doubles each time
const LONGEST_WAIT = 30;  // seconds
const SLOW = 2;           // seconds before a login is asked about again; doubles without an end
const STABLE = 10;        // seconds after which a connection counts as good again
const QUEUE = 1000;       // messages that wait for a connection
const QUEUE_BYTES = 2 ** 22;
const TRIES = ['waiting', 'away'];

export const connect = (where, options) => (
  where?.constructor === Object ? new Bot(undefined, where)
    : new Bot(where?.toString(), options));

class Bot extends EventTarget {
  state = 'connecting';
  cause = null;
  words = '';
  detail = '';
  link = null;
  attempts = 0;
  id = '';       // the connection's, as the server's log has it
  // The attempt that is being made, or the open connection
  #turn = null;
  #held;         // what to send as soon as it is open: {data, asked}, or {leave}
  #life = null;  // what can be come back to after a break
  #broken = '';  // why the connection before this attempt has ended, where it did not end for good
  #unsure = [];  // what was sent on it, and may not have arrived
  #stored = false; // whether the next page may have that
  #loaded = null;  // the answers that the page before this one has left
  #questions = new Questions();
  #rooms = new Rooms((frame) => this.#tell(frame));
  #timer = 0;
  #due = 0;
  #options;
  #ours;         // whether the server can be asked over HTTP
  #asks;         // whether it is asked for a ticket
  #used = false; // whether it has been open

  constructor(where, options = {}) {
    super();
    for (const name of Object.keys(options)) {
      if (OPTIONS.includes(name)) continue;
      console.warn(`connect(): there is no option '${name}'; there are ${OPTIONS.join(', ')}`);
    }
    this.#options = options;
    if (where === undefined && !page) throw new TypeError("connect('/path'): say which bot");
    if (where === undefined) this.url = pageAddress();
    else if (/^(https?|wss?):\/\//.test(where)) this.url = new URL(where.replace(/^ws/, 'http'));
    else this.url = new URL(`./${where.replace(/^\/+/, '')}`, BASE);
    // Another server than the helper's has tickets of its own, and who sends a token needs none, be
    // it a login's or a link's.
    const sent = this.url.searchParams;
    this.#ours = this.url.href.startsWith(BASE.href);
    this.#asks = this.#ours && !sent.has('token') && !sent.has('share_token');
    for (const type of EVENTS) this.addEventListener(type, (event) => this[`on${type}`]?.(event));
    this.#held = new Waiting(options.queue ?? QUEUE, options.queueBytes ?? QUEUE_BYTES);
    if (this.#resumes) this.#restore(take(this.url));
    this.#attempt();
  }

  get #resumes() { return this.#options.protocols === undefined && this.#options.resume !== false; }

  // Whether the server says where an answer ends.
  get speaks() { return this.#turn?.speaks ?? false; }

  // Whether the connection can be come back to after a break, as its server and route allow.
  get resumable() { return this.#life !== null; }

  get protocol() { return this.#turn?.socket?.protocol ?? ''; }

  get retryIn() { return Math.max(0, (this.#due - performance.now()) / 1000); }

  send(data) { return this.#put(sendable(data)); }

  ask(data, {timeout} = {}) {
    const asked = this.#asked(data);
    return this.#questions.result(asked, timeout, () => this.#stop(asked));
  }

  stream(data) {
    return this.#questions.answer(this.#asked(data), (asked) => this.#stop(asked));
  }

  stop() { this.#stop(null); }

  #asked(data) {
    const asked = this.#questions.ask(sendable(data));
    if (!this.#put(asked.data, asked)) {
      const words = this.state === 'closed' ? this.words : 'Too much waits for the connection.';
      asked.end('lost', new AnswerFailed(words, 'lost'));
    }
    return asked;
  }

  join(room, options) { return this.#rooms.join(room, options); }

  #stop(asked) {
    // What is not sent yet need not be.
    const unwanted = ({asked: each}) => each && (!asked || each === asked);
    for (const {asked: each} of this.#held.take(unwanted)) {
      each.end('stopped', new AnswerFailed('The answer was stopped.', 'stopped'));
    }
    const frames = this.#questions.stops(asked);
    if (this.#isOpen) for (const frame of frames) this.#turn.socket.send(frame);
  }

  get #isOpen() { return this.#turn?.isOpen ?? false; }

  #put(data, asked = null) {
    if (this.state === 'idle') this.connect();
    if (this.#isOpen) this.#write({data, asked});
    else return this.state !== 'closed' && this.#held.put({data, asked});
    return true;
  }

  #write({data, asked}) {
    const {socket, speaks} = this.#turn;
    if (speaks) {
      this.#emit((n) => this.#questions.frame(data, asked, n), {data, asked});
    } else if (asked) {
      asked.end('unspoken', new AnswerFailed(UNSPOKEN, 'unspoken'));
    } else {
      socket.send(data);
    }
  }

  #emit(make, item) {
    if (this.#life) this.#life.send(make, item);
    else this.#turn.socket.send(make(0));
  }

  // Send a frame of a room's; a room that is left in a break is left after it.
  #tell(frame) {
    if (this.#isOpen && this.speaks) this.#emit((n) => JSON.stringify({...frame, ...(n && {n})}));
    else if (frame.leave && this.#life) this.#held.put({leave: frame, data: frame.leave});
    else return false;
    return true;
  }

  connect() {
    if (this.#turn) return;  // it is open, or on its way
    this.attempts = 0;
    this.#show('connecting');
    this.#attempt();
  }

  close(code = 1000, reason = '') {
    if (this.#isOpen) this.#life?.acknowledged(Infinity);  // what was sent leaves before the close
    this.#turn?.end(code, reason);
    this.#turn = null;
    this.#rest();
    live.delete(this);
    this.#show(this.#because('left', ''));
  }

  // ---- what happens to the page ----------------------------------------------------------------

  #about(what) {
    if (this.#life && ['left', 'gone'].includes(what)) {
      this.#stored = keep(this.url, this.#saved());
    }
    if (what === 'left') this.#letGo();
    if (what === 'shown' && !this.#isMine() && this.#isOpen) this.#comeBack();
    if (what === 'doubt' && this.#life && this.#isOpen) this.#comeBack();
  }

  #saved() {
    const queue = [...this.#held].filter(({data, leave}) => typeof data === 'string' && !leave);
    return {...this.#life.saved(), asked: this.#questions.saved(),
      queue: queue.map(({data, asked}) => [data, Boolean(asked)])};
  }

  #restore(entry) {
    if (!entry) return;
    const stop = (asked) => this.#stop(asked);
    this.#life = Life.restored(entry, () => this.#comeBack());
    this.#loaded = this.#questions.restore(entry.asked, stop);
    for (const [data, isAsked] of entry.queue) {
      const asked = isAsked ? this.#questions.ask(data) : null;
      this.#held.put({data, asked});
      if (asked) this.#loaded.push(this.#questions.answer(asked, stop));
    }
    this.#broken = 'unknown';
  }

  // Whether no other page has come back as this connection: they would take it from each other.
  #isMine() {
    const mine = !this.#stored || takeBack(this.url, this.#life?.id);
    this.#stored = false;
    if (!mine) this.#lose('unknown');
    return mine;
  }

  #letGo() {
    this.#turn?.end(...this.#life ? COMES_BACK : [1000, 'away']);
    this.#turn = null;
    this.#rest();
    this.#life?.pause();
    if (this.state === 'open') this.#broken = this.#life ? 'unknown' : 'off';
    // What it waits for already stays true.
    const state = TRIES.includes(this.state) ? this.state : this.#because('away', '');
    if (TRIES.includes(state)) waiting.set(this, () => this.#attempt());
    else live.delete(this);
    if (state !== this.state) this.#show(state);
  }

  // End a socket that is not to be trusted, and go on over another one.
  #comeBack() {
    const turn = this.#turn;
    turn.end(...COMES_BACK);
    this.#ended({cause: 1006}, turn);
  }

  // The connection has ended: what was asked is not answered, and what was sent may be lost.
  #lose(why) {
    this.#broken = why;
    this.#life?.pause();
    this.#unsure.push(...this.#life?.unsure ?? []);
    this.#life = null;
    this.#questions.lose(this.words || 'The connection was lost, and the answer with it.');
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    waiting.delete(this);
    this.#due = 0;
  }

  #attempt() {
    this.#rest();
    this.#isMine();
    live.set(this, (what) => this.#about(what));
    const {protocols} = this.#options;
    const offers = protocols ?? [PROTOCOL];
    if (this.#resumes) offers.push(this.#life?.offer ?? RESUME);
    const turn = this.#turn = new Turn({
      opened: (first) => this.#opened(turn, first),
      message: (data) => {
        if (turn.speaks) this.#receive(unpacked(data, Boolean(this.#life)));
        else this.dispatchEvent(new MessageEvent('message', {data}));
      },
      ended: (found) => this.#ended(found, turn),
      isAnswering: () => this.#questions.waits,
    });
    void turn.begin(this, {ours: this.#ours, asks: this.#asks, plain: protocols !== undefined, offers});
  }

  #receive(said) {
    if (Number.isInteger(said.ack)) return void this.#life?.acknowledged(said.ack);
    if (this.#life && said.n !== undefined) {
      const how = this.#life.take(said.n);
      // A page that was frozen may have swallowed some.
      if (how === 'gap') this.#comeBack();
      if (how !== 'new') return;
    }
    if (typeof said.move === 'number') this.#turn.move(said.move);
    this.onframe?.(said);
    if (this.#rooms.receive(said)) return;
    const data = this.#questions.receive(said);
    this.#turn?.leave();
    if (data === undefined) return;
    const event = new MessageEvent('message', {data});
    this.dispatchEvent(Object.assign(event, {room: said.room ?? null, offset: said.offset ?? null}));
  }

  // The server's first frame has come, or none comes that says so: then it is null.
  #opened({socket}, said) {
    const first = said ?? {};
    const resumed = this.#life !== null && first.resumed === true;
    const reason = first.reason ?? this.#broken;
    this.#used = true;
    this.id = first.id ?? '';
    if (resumed) {
      this.#life.resume(socket, first.received);
      for (const frame of this.#questions.stopsAgain()) socket.send(frame);
    } else {
      if (this.#life) this.#lose(reason);
      this.#questions.begin();
      this.#rooms.begin();
      const lasts = this.#resumes && typeof first.resume?.secret === 'string';
      this.#life = lasts ? new Life(first, () => this.#comeBack()) : null;
      this.#life?.begin(socket);
    }
    const about = {reason, unsure: this.#unsure.splice(0), answers: this.#loaded ?? []};
    const renewed = this.#broken && !resumed;
    const held = this.#held.take(({leave}) => !leave || resumed);
    this.#held.take();
    this.#broken = '';
    this.#loaded = null;
    Object.assign(this, {cause: null, words: '', detail: '', link: null});
    if (!this.speaks) this.#rooms.refuse(new Error(UNSPOKEN));
    this.#rooms.ask();
    for (const {leave, ...item} of held) {
      if (leave) this.#tell(leave);
      else this.#write(item);
    }
    this.#show('open');
    if (renewed) this.dispatchEvent(new CustomEvent('renewed', {detail: about}));
    const {answers} = about;
    if (resumed) this.dispatchEvent(new CustomEvent('resumed', {detail: {answers}}));
    else this.dispatchEvent(new Event('open'));
  }

  // An attempt has come to its end, or a connection, which was opened then.
  #ended({cause, detail = '', anyway = false}, turn) {
    const {openedAt, ready, isLeft} = turn;
    if (isLeft && !BREAKS.includes(cause)) cause = 'moved';
    if (isLeft) this.attempts = 0;
    this.#turn = null;
    this.#life?.pause();
    if (openedAt && performance.now() - openedAt > STABLE * 1000) this.attempts = 0;
    if (cause === 4401 && anyway && ENDS.includes(this.cause)) cause = 'renewed';
    if (cause === 'renewed' && this.cause !== cause) this.attempts = 0;
    // What is on the page would be lost, where there has been a conversation.
    if (cause === 'stale' && !this.#used) loadAgain();
    // Nobody in a hidden tab waits for a bot that does not open, and asking keeps servers alive.
    const quiet = ['limit', 'missing', 'origin', 'refused', 'unopened', 'unready', 'renewed']
      .includes(cause);
    const told = instead(this.cause, cause, detail);
    const state = covers(this.cause, told) ? this.#because(this.cause, this.detail)
      : this.#because(told, detail, ready);
    if (TRIES.includes(state)) {
      // Spread over time, so that the pages of a restarted server do not all come back at once.
      const longest = 1000 * (cause === 'renewed' ? SLOW * 2 ** this.attempts
        : Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.attempts));
      const wait = longest * Math.random();
      this.attempts += 1;
      this.#due = performance.now() + wait;
      waiting.set(this, () => this.#attempt());
      this.#timer = setTimeout(() => { if (!quiet || !page?.hidden) this.#attempt(); }, wait);
    } else if (cause === 4401) {
      // Who comes back to this tab may have signed in in another.
      waiting.set(this, (type) => { if (type !== 'online') this.#attempt(); });
      if (this.#asks) this.#linger(SLOW, anyway);
    }
    if (!TRIES.includes(state)) live.delete(this);
    // It connects again at once, and then the page shows nothing of it any more.
    if (cause === 1011) console.warn(this.words);
    this.#show(state);
  }

  // Ask less and less often whether somebody is signed in again: one who was seen not to be.
  #linger(wait, missed) {
    const timer = this.#timer = setTimeout(async () => {
      if (page?.hidden) return;  // it is asked when the tab is shown
      const {cause} = await askForTicket(this.url);
      if (this.#timer !== timer) return;
      if (cause) this.#linger(2 * wait, true);
      else if (missed) this.#attempt();
    }, wait * 1000);
  }

  // Note why it is not open, and what an open connection has ended with; return what comes next.
  #because(cause, detail, stood = false) {
    const {state, words, link} = explained(cause, detail, this.#options.meanings?.[cause]);
    // The page's own address leads through the login, or to the Hub's button that starts the
    // server, and back; without a token, and without the Hub's own count of redirections.
    const href = page && location.origin === BASE.origin
      ? pageAddress(GUEST ? '' : location.hash) : new URL(this.url);
    for (const name of SECRET) href.searchParams.delete(name);
    const mends = link && page ? {href: href.href, text: link} : null;
    Object.assign(this, {cause, detail, words, link: mends});
    if (stood && !BREAKS.includes(cause)) this.#lose(cause === 'moved' ? cause : 'ended');
    else if (stood) this.#broken = this.#life ? 'unknown' : 'off';
    if (state !== 'waiting') return state;
    if (this.#options.reconnect === false) return 'closed';
    return this.#life ? 'away' : 'waiting';
  }

  #show(state) {
    const began = state === 'away' && this.state !== 'away';
    this.state = state;
    this.dispatchEvent(new Event('state'));
    if (began) this.dispatchEvent(new Event('away'));
    if (['connecting', 'open', 'away'].includes(state)) return;
    if (this.#life) this.#lose('ended');
    this.#questions.lose(this.words);
    if (state === 'waiting') return;
    this.#broken = '';
    for (const data of this.#unsure.splice(0)) {
      this.dispatchEvent(new CustomEvent('unsure', {detail: data}));
    }
    for (const {data, asked, leave} of this.#held.take()) {
      if (asked) asked.end('lost', new AnswerFailed(this.words, 'lost'));
      else if (!leave) this.dispatchEvent(new CustomEvent('unsent', {detail: data}));
    }
  }
}
