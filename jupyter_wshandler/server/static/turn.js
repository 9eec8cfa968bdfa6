// One attempt to connect, and the socket that comes of it: a POST for a ticket (see tickets.js), the
// handshake, and the server's first frame.

import {forbidden} from './addresses.js';
import {CONFIRM, confirmed, PROTOCOL} from './envelope.js';
import {BREAKS, COMES_BACK} from './resume.js';
import {askForTicket, askWhetherThere, askWhyRefused} from './tickets.js';

const BRIEF = 2;          // seconds in which one ends that was refused behind a proxy's back
const PATIENCE = 20;      // seconds that a handshake may take; browsers wait for minutes
const SILENCE = 0.2;      // seconds after a socket's error in which its close comes, if it does

const BROWSER = globalThis.location !== undefined;  // a worker of one has a location, too

export class Turn {
  socket = null;
  openedAt = 0;    // when the socket has opened, or 0
  ready = false;   // whether messages can be sent
  speaks = false;  // whether that is in the envelopes of wsh.v1
  isLeft = false;  // whether the page goes elsewhere, as the server is about to stop
  #over = false;
  #doubt = 0;
  #late = 0;
  #moves = 0;
  #isDue = false;
  #on;

  // `on` has opened(first), where `first` is what the server's first frame says, or null without
  // wsh.v1; message(data); ended({cause, detail, anyway}), which comes once, if end() does not; and
  // isAnswering(), whether an answer is under way.
  constructor(on) { this.#on = on; }

  get isOpen() { return this.ready && this.socket.readyState === WebSocket.OPEN; }

  // The server is about to stop, and wants the page elsewhere in so many seconds.
  move(seconds) {
    this.#moves ||= setTimeout(() => { this.#isDue = true; this.leave(); }, 1000 * seconds);
  }

  // Leave it, when it is time for that and no answer is under way: what it says until it answers our
  // close frame still counts.
  leave() {
    if (!this.#isDue || this.isLeft || !this.isOpen || this.#on.isAnswering()) return;
    this.isLeft = true;
    this.socket.close(...COMES_BACK);
  }

  end(code, reason) {
    this.#over = true;
    clearTimeout(this.#moves);
    clearTimeout(this.#doubt);
    clearTimeout(this.#late);
    this.socket?.close(code, reason);
  }

  #ended(found) {
    if (this.#over) return;
    this.#over = true;
    clearTimeout(this.#moves);
    clearTimeout(this.#late);
    this.#on.ended(found);
  }

  #settle(first) {
    clearTimeout(this.#doubt);
    this.ready = true;
    this.speaks = first !== null;
    this.#on.opened(first);
  }

  async begin(bot, {ours, asks, plain, offers}) {
    // Whoever has just made the bot hears of what the browser says at once.
    const found = await (asks ? askForTicket(bot.url) : {});
    if (this.#over) return;
    if (found.cause && !(found.anyway && bot.cause !== 'renewed')) return void this.#ended(found);
    const address = new URL(bot.url);
    if (found.ticket) address.searchParams.set('ws_token', found.ticket);
    address.protocol = address.protocol.replace('http', 'ws');
    let socket;
    try {
      socket = this.socket = new WebSocket(address, offers);
    } catch (error) {
      return void this.#ended(forbidden(address, error));
    }
    socket.binaryType = 'arraybuffer';
    // A network that is gone says nothing, and nobody would try another way meanwhile.
    this.#late = setTimeout(() => {
      this.#ended({cause: 'unreachable'});
      socket.close();
    }, PATIENCE * 1000);
    const still = (act) => (event) => { if (!this.#over) act(event); };
    // Who may not ask for a ticket learns nothing by asking for more.
    const ask = ours && !found.cause ? askWhyRefused : askWhetherThere;
    // A browser that does not let the page connect has thrown, or it says so and never closes. So does
    // Node 20 with every socket that does not open, and forbids nothing.
    let silence = 0;
    socket.onerror = () => {
      clearTimeout(this.#late);
      if (this.openedAt) return;
      silence = setTimeout(async () => {
        this.#ended(BROWSER ? forbidden(address) : await ask(bot.url));
      }, SILENCE * 1000);
    };
    socket.onopen = still(() => {
      this.openedAt = performance.now();
      clearTimeout(this.#late);
      // A proxy may have agreed to what the server behind it does not speak.
      if (plain || socket.protocol !== PROTOCOL) this.#settle(null);
      else this.#doubt = setTimeout(still(() => this.#settle(null)), CONFIRM * 1000);
    });
    socket.onmessage = still(({data}) => {
      if (!this.ready) {
        const first = confirmed(data);
        this.#settle(first);
        if (first || this.#over) return;
      }
      this.#on.message(data);
    });
    socket.onclose = still(async ({code, reason}) => {
      clearTimeout(silence);
      clearTimeout(this.#doubt);
      clearTimeout(this.#late);
      // A proxy may open what the server has refused, and end it at once without a word.
      const stood = performance.now() - this.openedAt;
      const doubtful = this.openedAt && BREAKS.includes(code) && stood < BRIEF * 1000
        && bot.attempts > 0 && found.cause === 4401;
      if (this.openedAt && !doubtful) {
        this.#ended({cause: code === 1000 && reason === 'idle' ? 'idle' : code, detail: reason});
      } else if (found.cause && found.cause !== 'forbidden') {
        this.#ended(found);
      } else {
        this.#ended(await ask(bot.url));
      }
    });
  }
}
