// A connection that outlives its socket: both ends number what they send and keep it until the other
// one has it, so that nothing is lost in a break and nothing comes twice. See docs/protocol.md.

export const RESUME = 'wsh.resume';
export const COMES_BACK = [4900, 'wsh.v1: comes back'];
export const BREAKS = [1005, 1006];  // what ends a socket, and not the connection

const EACH = 64;     // frames after which they are acknowledged
const WITHIN = 5;    // seconds after which they are
const SILENCE = 20;  // seconds without an acknowledgement after which a socket counts as dead

export class Life {
  received = 0;      // the number of the last frame of the server's
  #sent = 0;         // the number of the last frame of ours
  #kept = [];        // those that the server has not acknowledged: {n, frame, data, asked}
  #owed = 0;         // frames of the server's that are not acknowledged
  #acking = 0;
  #watch = 0;
  #socket = null;    // null in a break

  // `dead` is called where the server does not acknowledge what was sent.
  constructor({id, resume: {secret, window}}, dead) {
    Object.assign(this, {id, secret, window, dead});
  }

  // The life of a connection that the page before this one had.
  static restored({received, sent, frames, ...first}, dead) {
    const life = new Life(first, dead);
    life.received = received;
    life.#sent = sent + frames.length;
    life.#kept = frames.map(([frame, data], at) => ({n: sent + 1 + at, frame, data, asked: null}));
    return life;
  }

  // What a page that is left keeps of it. Bytes cannot be kept: what follows them is given up as well.
  saved() {
    const first = this.#kept.findIndex(({frame}) => typeof frame !== 'string');
    const frames = this.#kept.slice(0, first < 0 ? undefined : first);
    return {
      id: this.id, resume: {secret: this.secret, window: this.window}, received: this.received,
      sent: this.#sent - this.#kept.length,
      frames: frames.map(({frame, data, asked}) => [frame, asked ? null : data ?? null]),
      until: Date.now() + this.window * 1000,
    };
  }

  get offer() { return `${RESUME}.${this.id}.${this.secret}.${this.received}`; }

  // The messages that were sent and that the server may not have.
  get unsure() {
    return this.#kept.filter(({data, asked}) => !asked && data != null).map(({data}) => data);
  }

  begin(socket) { this.#socket = socket; }

  // Go on over a new socket; `received` is the number of the last frame that the server has.
  resume(socket, received) {
    this.#socket = socket;
    this.#sent = Math.max(this.#sent, received || 0);
    this.acknowledged(received);
    for (const {frame} of this.#kept) socket.send(frame);
  }

  // The socket has ended.
  pause() {
    this.#socket = null;
    clearTimeout(this.#acking);
    clearTimeout(this.#watch);
    this.#acking = this.#watch = this.#owed = 0;
  }

  // `make` gives the frame of a number; `data` and `asked` are what it was made of.
  send(make, {data = null, asked = null} = {}) {
    const n = this.#sent += 1;
    const frame = make(n);
    this.#kept.push({n, frame, data, asked});
    this.#socket.send(frame);
    if (!this.#watch) this.#look();
  }

  #look() {
    clearTimeout(this.#watch);
    this.#watch = this.#kept.length && this.#socket ? setTimeout(this.dead, SILENCE * 1000) : 0;
  }

  acknowledged(number) {
    this.#kept = this.#kept.filter(({n}) => n > number);
    this.#look();
  }

  // Whether a frame of this number is 'new', there 'again', or behind a 'gap'.
  take(number) {
    if (number <= this.received) return 'again';
    if (number > this.received + 1) return 'gap';
    this.received = number;
    this.#owed += 1;
    if (this.#owed >= EACH) this.#acknowledge();
    else this.#acking ||= setTimeout(() => this.#acknowledge(), WITHIN * 1000);
    return 'new';
  }

  #acknowledge() {
    clearTimeout(this.#acking);
    this.#acking = this.#owed = 0;
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(JSON.stringify({ack: this.received}));
    }
  }
}

// What was given to send() and waits for a connection: at most so many messages and bytes.
export class Waiting {
  #all = [];
  #size = 0;

  constructor(most, bytes) { Object.assign(this, {most, bytes}); }

  [Symbol.iterator]() { return this.#all.values(); }

  // Whether there was room for it.
  put(item) {
    const size = sizeOf(item.data);
    // Nobody would hear that a room was not left.
    if (!item.leave && (this.#all.length >= this.most || this.#size + size > this.bytes)) return false;
    this.#all.push(item);
    this.#size += size;
    return true;
  }

  // Take all, or those that `wanted` says.
  take(wanted = () => true) {
    const taken = this.#all.filter(wanted);
    this.#all = this.#all.filter((each) => !taken.includes(each));
    this.#size = this.#all.reduce((sum, {data}) => sum + sizeOf(data), 0);
    return taken;
  }
}

const sizeOf = (data) => data.length ?? data.byteLength ?? data.size;
