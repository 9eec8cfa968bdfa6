// The browser's side of a bot: opens its WebSocket, keeps it open, and says what is wrong in words.
//
//   import {connect} from './static/wshandler/wshandler.js';
//   const bot = connect();                          // the bot at this page's own address
//   bot.onmessage = ({data}) => show(data);         // a string, or an ArrayBuffer
//   bot.onstate = () => { line.textContent = bot.words; };
//   bot.send('hello');
//
// connect(where, {meanings, protocols}), or connect({...}) for the page's own address: `where` is a
// path below the server's base_url, as in `pattern:`, or a whole URL, which a worker has to say, or
// a link that somebody has shared, as it is;
// `meanings` are {cause: words}
// or {cause: {words, state, detailed, link}} in place of those in MEANINGS, where `detailed: false`
// leaves out what the server has said; `protocols` are the subprotocols to offer, whose frames are the
// page's own to write and to read: by default wsh.v1 is offered, and spoken. The bot has
//   send(data)   string, bytes, or what JSON can hold. true: sent, or will be as soon as what is
//                being opened is open; false: not connected, and nothing was sent
//   ask(data, {timeout})   send, and have a promise of what the bot answers to exactly that message: of
//                what its function returns, or the list of what it yields; after `timeout` seconds,
//                where one is given, it is stopped. It rejects with an AnswerFailed
//   stream(data) send, and have the answer while it comes: for await (const piece of bot.stream(data))
//                ...; leaving the loop, or stop() of what it returns, has the bot stop
//   stop()       have the bot stop all answers that were asked for and have not ended
//   connect()    connect now, whatever has happened;  close(code, reason)  leave, and stay away
//   state        'connecting', 'open', 'waiting' (tries again by itself), 'idle' (closed for want
//                of messages; send() and connect() open it again), 'closed' (until connect())
//   cause        why it is not open: a close code or another key of MEANINGS;  words  the same as
//                a sentence;  detail  what the server said;  link  {href, text} that mends it
//   protocol     the subprotocol that the server has chosen, or ''
//   attempts     how many have failed in a row;  retryIn  seconds until the next, or 0
// and the events open, message (data), state, and unsent (detail: a message that send() took and
// that could not be sent), for addEventListener or as bot.onopen and so on.
//
// A page that is left lets its connections go, and has them again when somebody comes back to it.
//
// Each attempt begins with a POST for a ticket; see tickets.js.

import {forbidden, pageAddress, SECRET} from './addresses.js';
import {AnswerFailed, CONFIRM, confirms, PROTOCOL, Questions, sendable, UNSPOKEN} from './envelope.js';
import {GUEST, loadAgain} from './guest.js';
import {covers, ENDS, MEANINGS} from './meanings.js';
import {askForTicket, askWhetherThere, askWhyRefused, BASE} from './tickets.js';

export {AnswerFailed, MEANINGS};

const OPTIONS = ['meanings', 'protocols'];
const FIRST_WAIT = 0.5;   // seconds before the second attempt; doubles each time
const LONGEST_WAIT = 15;  // seconds
const SLOW = 2;           // seconds before a login is asked about again; doubles without an end
const STABLE = 5;         // seconds after which a connection counts as good again
const BRIEF = 2;          // seconds in which one ends that was refused behind a proxy's back
const SILENCE = 0.2;      // seconds after a socket's error in which its close comes, if it does

export const connect = (where, options) => (
  where?.constructor === Object ? new Bot(undefined, where)
    : new Bot(where?.toString(), options));

// ---- the bots of this page -------------------------------------------------------------------

const waiting = new Map();  // those that would connect again -> how
const live = new Map();     // those that are connected, or will be by themselves -> how to leave
const page = globalThis.document;  // a worker has none

function wake({type, persisted = true}) {
  if (page?.hidden) return;
  for (const [bot, again] of [...waiting]) if (persisted || bot.cause === 'away') again(type);
}
// A browser may keep a page that is left for minutes, with its sockets, and nobody would see what
// they bring. Where it keeps none it closes them itself, with 1001, which no page can say.
function leave({persisted = true}) {
  if (persisted) for (const letGo of [...live.values()]) letGo();
}
// Where pages are rendered in advance there are no events at all.
for (const type of ['online', 'pageshow']) globalThis.addEventListener?.(type, wake);
globalThis.addEventListener?.('pagehide', leave);
page?.addEventListener('visibilitychange', wake);

class Bot extends EventTarget {
  state = 'connecting';
  cause = null;
  words = '';
  detail = '';
  link = null;
  attempts = 0;
  // The attempt that is being made, or the open connection: {socket, openedAt, ready, speaks}
  #turn = null;
  #held = [];    // what to send as soon as it is open: {data, asked}
  #questions = new Questions();
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
      console.warn(`connect(): there is no option '${name}'; there are ${OPTIONS.join(' and ')}`);
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
    for (const type of ['open', 'message', 'state', 'unsent']) {
      this.addEventListener(type, (event) => this[`on${type}`]?.(event));
    }
    this.#attempt();
  }

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
      asked.end('lost', new AnswerFailed(this.words || 'There is no connection.', 'lost'));
    }
    return asked;
  }

  #stop(asked) {
    // What is not sent yet need not be.
    for (const {asked: each} of this.#held) {
      if (each && (!asked || each === asked)) {
        each.end('stopped', new AnswerFailed('The answer was stopped.', 'stopped'));
      }
    }
    this.#held = this.#held.filter((each) => !each.asked?.how);
    const socket = this.#turn?.socket;
    if (socket?.readyState !== WebSocket.OPEN) return;
    for (const frame of this.#questions.stops(asked)) socket.send(frame);
  }

  #put(data, asked = null) {
    if (this.state === 'idle') this.connect();
    const turn = this.#turn;
    if (turn?.ready && turn.socket.readyState === WebSocket.OPEN) this.#write(turn, data, asked);
    else if (this.state === 'connecting') this.#held.push({data, asked});
    else return false;
    return true;
  }

  #write({socket, speaks}, data, asked) {
    if (speaks) {
      socket.send(this.#questions.frame(data, asked));
    } else if (asked) {
      asked.end('unspoken', new AnswerFailed(UNSPOKEN, 'unspoken'));
    } else {
      socket.send(data);
    }
  }

  connect() {
    if (this.#turn) return;  // it is open, or on its way
    this.attempts = 0;
    this.#show('connecting');
    this.#attempt();
  }

  close(code = 1000, reason = '') {
    this.#turn?.socket?.close(code, reason);
    this.#turn = null;
    this.#rest();
    live.delete(this);
    this.#show(this.#because('left', ''));
  }

  #letGo() {
    const turn = this.#turn;
    this.#turn = null;
    this.#rest();
    turn?.socket?.close(1000, 'away');
    // What it waits for already stays true.
    const state = this.state === 'waiting' ? this.state : this.#because('away', '');
    if (state === 'waiting') waiting.set(this, () => this.#attempt());
    else live.delete(this);
    if (state !== this.state) this.#show(state);
  }

  #rest() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    waiting.delete(this);
    this.#due = 0;
  }

  async #attempt() {
    this.#rest();
    live.set(this, () => this.#letGo());
    const turn = this.#turn = {socket: null, openedAt: 0};
    // Whoever has just made the bot hears of what the browser says at once.
    const found = await (this.#asks ? askForTicket(this.url) : {});
    if (this.#turn !== turn) return;
    if (found.cause && !(found.anyway && this.cause !== 'renewed')) return void this.#ended(found);
    const address = new URL(this.url);
    if (found.ticket) address.searchParams.set('ws_token', found.ticket);
    address.protocol = address.protocol.replace('http', 'ws');
    let socket;
    try {
      socket = turn.socket = new WebSocket(address, this.#options.protocols ?? [PROTOCOL]);
    } catch (error) {
      return void this.#ended(forbidden(address, error));
    }
    const ours = (act) => (event) => { if (this.#turn === turn) act(event); };
    // A browser that does not let the page connect has thrown, or it says so and never closes.
    let silence = 0;
    socket.onerror = () => {
      if (turn.openedAt) return;
      silence = setTimeout(ours(() => this.#ended(forbidden(address))), SILENCE * 1000);
    };
    socket.binaryType = 'arraybuffer';
    let doubt = 0;
    const settle = (speaks) => {
      clearTimeout(doubt);
      Object.assign(turn, {ready: true, speaks});
      this.#opened(turn);
    };
    socket.onmessage = ours(({data}) => {
      if (!turn.ready) {
        const speaks = confirms(data);
        settle(speaks);
        if (speaks || this.#turn !== turn) return;
      }
      const message = turn.speaks ? this.#questions.receive(data) : data;
      if (message !== undefined) this.dispatchEvent(new MessageEvent('message', {data: message}));
    });
    socket.onopen = ours(() => {
      turn.openedAt = performance.now();
      // A proxy may have agreed to what the server behind it does not speak.
      if (this.#options.protocols !== undefined || socket.protocol !== PROTOCOL) settle(false);
      else doubt = setTimeout(ours(() => settle(false)), CONFIRM * 1000);
    });
    socket.onclose = ours(async ({code, reason}) => {
      clearTimeout(silence);
      clearTimeout(doubt);
      // A proxy may open what the server has refused, and end it at once without a word.
      const stood = performance.now() - turn.openedAt;
      const doubtful = turn.openedAt && [1005, 1006].includes(code) && stood < BRIEF * 1000
        && this.attempts > 0 && found.cause === 4401;
      if (turn.openedAt && !doubtful) {
        if (stood > STABLE * 1000) this.attempts = 0;
        this.#ended({cause: code === 1000 && reason === 'idle' ? 'idle' : code, detail: reason});
      } else if (found.cause && found.cause !== 'forbidden') {
        this.#ended(found);
      } else {
        // Who may not ask for a ticket learns nothing by asking for more.
        const ask = this.#ours && !found.cause ? askWhyRefused : askWhetherThere;
        const why = await ask(this.url);
        if (this.#turn === turn) this.#ended(why);
      }
    });
  }

  #opened(turn) {
    this.#used = true;
    this.#questions.begin();
    Object.assign(this, {cause: null, words: '', detail: '', link: null});
    for (const {data, asked} of this.#held.splice(0)) this.#write(turn, data, asked);
    this.#show('open');
    this.dispatchEvent(new Event('open'));
  }

  #ended({cause, detail = '', anyway = false}) {
    this.#turn = null;
    if (cause === 4401 && anyway && ENDS.includes(this.cause)) cause = 'renewed';
    if (cause === 'renewed' && this.cause !== cause) this.attempts = 0;
    // What is on the page would be lost, where there has been a conversation.
    if (cause === 'stale' && !this.#used) loadAgain();
    // Nobody in a hidden tab waits for a bot that does not open, and asking keeps servers alive.
    const quiet = ['limit', 'missing', 'origin', 'refused', 'unopened', 'unready', 'renewed']
      .includes(cause);
    const state = covers(this.cause, cause) ? this.#because(this.cause, this.detail)
      : this.#because(cause, detail);
    if (state === 'waiting') {
      // Spread over time, so that the pages of a restarted server do not all come back at once.
      const longest = 1000 * (cause === 'renewed' ? SLOW * 2 ** this.attempts
        : Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** this.attempts));
      const wait = longest * (0.5 + Math.random() / 2);
      this.attempts += 1;
      this.#due = performance.now() + wait;
      waiting.set(this, () => this.#attempt());
      this.#timer = setTimeout(() => { if (!quiet || !page?.hidden) this.#attempt(); }, wait);
    } else if (cause === 4401) {
      // Who comes back to this tab may have signed in in another.
      waiting.set(this, (type) => { if (type !== 'online') this.#attempt(); });
      if (this.#asks) this.#linger(SLOW, anyway);
    }
    if (state !== 'waiting') live.delete(this);
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

  #because(cause, detail) {
    const given = this.#options.meanings?.[cause];
    const {words, state, detailed, link} = {
      // A code of the bot's own is meant to end it; one that nobody knows is not.
      state: cause >= 3000 ? 'closed' : 'waiting', ...(MEANINGS[cause] ?? MEANINGS.other),
      ...(typeof given === 'object' ? given : given && {words: given})};
    let text = typeof words === 'function' ? words(detail) : words;
    if (detailed && Number.isInteger(cause)) text += `${detail && `: ${detail}`} (${cause})`;
    else if (detailed) text += ` (${detail})`;
    // Why a share has ended is a sentence of its own.
    if (GUEST && cause === 4403 && detail && !given) text = detail[0].toUpperCase() + detail.slice(1);
    // The page's own address leads through the login, or to the Hub's button that starts the
    // server, and back; without a token, and without the Hub's own count of redirections.
    const href = page && location.origin === BASE.origin
      ? pageAddress(GUEST ? '' : location.hash) : new URL(this.url);
    for (const name of SECRET) href.searchParams.delete(name);
    const mends = link && page ? {href: href.href, text: link} : null;
    Object.assign(this, {cause, detail, link: mends});
    this.words = /[.!?…]$/.test(text) ? text : `${text}.`;
    return state;
  }

  #show(state) {
    this.state = state;
    this.dispatchEvent(new Event('state'));
    if (state === 'connecting' || state === 'open') return;
    this.#questions.lose(this.words);
    for (const {data, asked} of this.#held.splice(0)) {
      if (asked) asked.end('lost', new AnswerFailed(this.words, 'lost'));
      else this.dispatchEvent(new CustomEvent('unsent', {detail: data}));
    }
  }
}
