// A client of wsh.v1 that was written from docs/protocol.md alone, with nothing but Node's own WebSocket.
//
//   WSH_URL=ws://127.0.0.1:8888/bot node --experimental-websocket stranger.mjs
//
// It reads what it is to do as lines of JSON, and writes what happens as lines of JSON.
import { createInterface } from "node:readline";

const HELLO_SECONDS = 3; // so long the server has for its first frame
const OPEN_SECONDS = 10; // and so long a socket may take to open, or a last one to say what waits
const ACK_FRAMES = 64;
const ACK_SECONDS = 5;
const SILENCE_SECONDS = 20; // without an acknowledgement for so long a socket is dead
const COMES_BACK = [4900, "wsh.v1: comes back"];
const RETRY_SECONDS = [0.1, +(process.env.WSH_LONGEST_PAUSE ?? 5)];
const AWAY = new Set([1001, 1005, 1006, 1011, 1012, 1013, 4900]); // after these a client tries again

const hex = (bytes) => Buffer.from(bytes).toString("hex");

/** What is numbered, and what one knows of the server, for as long as one connection lives. */
class Session {
  constructor(hello = {}) {
    this.id = hello.id;
    this.secret = hello.resume?.secret;
    this.numbered = hello.resume !== undefined;
    this.sent = 0; // the number of the last frame that was sent
    this.got = 0; // that of the last one that was received, in order
    this.acked = 0; // that of the last one of which the server was told so
    this.kept = []; // what was sent, and may have to be sent again: {n, frame}
    this.asked = new Set(); // the numbers of questions that were sent and have no end
    this.waiting = []; // joins and leaves that have no answer
  }

  forget(received) {
    while (this.kept.length && this.kept[0].n <= received) this.kept.shift();
  }
}

class Client {
  constructor(url, say) {
    this.url = url;
    this.say = say;
    this.queue = []; // what was never sent
    this.ids = new Map(); // the number of a question -> its name
    this.pieces = new Set(); // questions that are answered piece by piece
    this.stopping = new Set(); // questions that are to be stopped and have no end
    this.rooms = new Map(); // name -> {since, presence, epoch}, of those the client wants to be in
    this.lastAsk = 0;
    this.session = null;
    this.rejoins = false;
    this.mode = null; // "wsh" or "plain" as soon as it is known
    this.failures = 0;
    this.closing = false;
    this.connect();
  }

  // ---- the connection

  connect() {
    const session = this.session;
    const back = session?.secret ? `wsh.resume.${session.id}.${session.secret}.${session.got}` : "wsh.resume";
    const socket = new WebSocket(this.url, ["wsh.v1", back]);
    socket.binaryType = "arraybuffer";
    this.socket = socket;
    this.mode = null;
    this.helloTimer = setTimeout(() => this.breaks(), OPEN_SECONDS * 1000);
    let opened = false;
    const mine = (act) => (event) => socket === this.socket && act(event);
    socket.onopen = mine(() => {
      opened = true;
      clearTimeout(this.helloTimer);
      if (socket.protocol !== "wsh.v1") return this.plain();
      this.helloTimer = setTimeout(() => this.late(), HELLO_SECONDS * 1000);
    });
    socket.onmessage = mine((event) => this.receive(event.data));
    socket.onclose = mine((event) => this.closed(event.code, event.reason));
    socket.onerror = mine(() => {
      if (opened) return; // a close follows
      this.socket = null; // of one that never opened Node says no more than this
      this.closed(1006);
    });
  }

  late() {
    if (!this.session) return this.plain();
    this.breaks(); // it has spoken wsh.v1 before
  }

  plain() {
    clearTimeout(this.helloTimer);
    if (this.session) this.lose();
    this.session = null;
    this.mode = "plain";
    this.failures = 0;
    this.say({ event: "open", resumed: false });
    this.flush();
  }

  hello(frame) {
    clearTimeout(this.helloTimer);
    this.mode = "wsh";
    this.failures = 0;
    if (frame.resumed && this.session) {
      this.session.secret = frame.resume.secret;
      this.session.acked = this.session.got; // the offer has told the server
      this.session.forget(frame.received);
    } else {
      if (this.session) this.lose();
      this.session = new Session(frame);
      const again = [...this.rooms].map(([join, { since, presence }]) => ({ join, since, presence }));
      this.queue = this.queue.filter((frame) => !this.rooms.has(frame.join));
      this.queue.unshift(...again);
      this.rejoins = again.length > 0; // what is to be said in rooms waits until it is in them
    }
    const { id, resumed = false, reason } = frame;
    this.say({ event: "open", id, resumed, reason });
    for (const { n, frame } of this.session.kept) this.socket.send(this.encode(frame, n));
    for (const ask of [...this.stopping].sort((a, b) => b - a))
      if (this.session.asked.has(ask)) this.transmit({ stop: ask });
    this.flush();
  }

  /** The connection of before is over: nobody will know what became of what was asked on it. */
  lose() {
    for (const ask of this.session.asked) this.end(ask, { how: "unknown" });
  }

  /** Gives this socket up, whatever it thinks itself, and comes back. */
  breaks() {
    const socket = this.socket;
    this.socket = null;
    socket.close(...COMES_BACK);
    this.closed(COMES_BACK[0]);
  }

  closed(code, reason) {
    clearTimeout(this.helloTimer);
    clearTimeout(this.ackTimer);
    clearTimeout(this.silence);
    this.ackTimer = this.silence = this.mode = null;
    if (this.closing || !AWAY.has(code))
      return this.say({ event: "closed", code: this.closing ? 1000 : code, reason }, true);
    const [first, most] = RETRY_SECONDS;
    const wait = Math.min(most, first * 2 ** this.failures++) * (0.5 + Math.random() / 2);
    setTimeout(() => this.connect(), wait * 1000);
  }

  close() {
    this.closing = true;
    if (this.mode === null) return; // it comes back once more, to say what it has to say
    this.acknowledge();
    this.socket.close(1000);
    setTimeout(() => this.closed(1000), OPEN_SECONDS * 1000);
  }

  // ---- what is sent

  send(frame) {
    if (this.closing) return;
    this.queue.push(frame);
    this.flush();
  }

  ask(id, message) {
    this.ids.set(++this.lastAsk, id);
    this.send({ ...message, ask: this.lastAsk });
  }

  stop(id) {
    for (const [ask, name] of this.ids) {
      if (name !== id) continue;
      const kept = this.queue.length;
      this.queue = this.queue.filter((frame) => frame.ask !== ask);
      if (this.queue.length < kept) return this.end(ask, { how: "stopped" }); // nobody has heard of it
      this.stopping.add(ask);
      if (this.mode === "wsh" && this.session.asked.has(ask)) this.transmit({ stop: ask });
    }
  }

  join(room, since, presence) {
    const known = this.rooms.get(room);
    this.rooms.set(room, { since: since ?? known?.since, presence: presence ?? known?.presence });
    this.send({ join: room, since, presence });
  }

  leave(room) {
    this.rooms.delete(room);
    this.send({ leave: room });
  }

  flush() {
    while (this.mode && this.queue.length) {
      if (this.rejoins && this.queue[0].join === undefined) {
        if (this.session?.waiting.length) break; // each answer looks again
        this.rejoins = false;
      }
      const frame = this.queue.shift();
      if (this.mode === "plain") {
        const data = frame.bytes ?? frame.message;
        if (data !== undefined) this.socket.send(data);
        continue;
      }
      const { session } = this;
      const n = session.numbered ? ++session.sent : undefined;
      if (n) session.kept.push({ n, frame });
      if (frame.ask) session.asked.add(frame.ask);
      if (frame.join ?? frame.leave) session.waiting.push(frame);
      this.socket.send(this.encode(frame, n));
    }
    if (!this.silence) this.watch();
    if (this.mode && this.closing && !this.queue.length) this.close();
  }

  /** Nobody tells a program whose WebSocket cannot ping that the line is dead. */
  watch() {
    clearTimeout(this.silence);
    this.silence = null;
    if (this.mode === "wsh" && this.session.kept.length)
      this.silence = setTimeout(() => this.breaks(), SILENCE_SECONDS * 1000);
  }

  /** What is neither numbered nor kept. */
  transmit(frame) {
    this.socket.send(JSON.stringify(frame));
  }

  encode(frame, n) {
    if (!frame.bytes) return JSON.stringify({ ...frame, n });
    const head = Buffer.alloc(n ? 8 : 4);
    head.writeInt32BE(frame.ask ?? 0, 0);
    if (n) head.writeUInt32BE(n, 4);
    return Buffer.concat([head, frame.bytes]);
  }

  acknowledge() {
    clearTimeout(this.ackTimer);
    this.ackTimer = null;
    const { session } = this;
    if (!session?.numbered || session.acked === session.got) return;
    session.acked = session.got;
    this.transmit({ ack: session.got });
  }

  // ---- what is received

  receive(data) {
    if (this.mode === null) {
      const frame = parsed(data);
      if (frame?.wsh === "v1") return this.hello(frame);
      this.plain();
    }
    if (this.mode === "plain") return this.message(data);
    if (typeof data !== "string") return this.binary(Buffer.from(data));
    const frame = parsed(data);
    if (frame && this.counted(frame.n)) this.take(frame);
  }

  /** Is this frame the next one? */
  counted(n) {
    const { session } = this;
    if (!session.numbered || n === undefined) return true;
    if (n <= session.got) {
      session.acked = -1; // a repetition: the server does not know that it is here
      this.acknowledge();
      return false;
    }
    if (n > session.got + 1) {
      this.breaks();
      return false;
    }
    session.got = n;
    if (n - session.acked >= ACK_FRAMES) this.acknowledge();
    else this.ackTimer ??= setTimeout(() => this.acknowledge(), ACK_SECONDS * 1000);
    return true;
  }

  binary(frame) {
    const { numbered } = this.session;
    if (!this.counted(numbered ? frame.readUInt32BE(4) : undefined)) return;
    const of = frame.readInt32BE(0);
    const bytes = frame.subarray(numbered ? 8 : 4);
    if (of <= 0) return this.message(bytes);
    if (this.ids.has(of))
      this.say({ event: this.pieces.has(of) ? "piece" : "reply", id: this.ids.get(of), hex: hex(bytes) });
  }

  message(data, more) {
    const said = typeof data === "string" ? { text: data } : { hex: hex(data) };
    this.say({ event: "message", ...said, ...more });
  }

  take(frame) {
    const { of, json } = frame;
    if (frame.message !== undefined) this.roomMessage(frame);
    else if (frame.ack !== undefined) {
      this.session.forget(frame.ack);
      this.watch();
    } else if (frame.end !== undefined) this.end(frame.end, frame);
    else if (frame.reply !== undefined || frame.piece !== undefined) {
      const event = frame.piece === undefined ? "reply" : "piece";
      const text = frame[event];
      if (event === "piece") this.pieces.add(of);
      if (of < 0) this.message(text);
      else if (this.ids.has(of)) this.say({ event, id: this.ids.get(of), text, json });
    } else if (frame.joined !== undefined) this.joined(frame);
    else if (frame.refused !== undefined) this.roomAnswer("refused", frame);
    else if (frame.left !== undefined) this.left(frame);
    else if (frame.members) this.say({ event: "members", ...frame, n: undefined });
    else if (frame.member) this.say({ event: "member", ...frame, n: undefined });
  }

  end(ask, frame) {
    if (!this.ids.has(ask)) return;
    const { end, n, id: log, ...more } = frame;
    this.say({ event: "end", id: this.ids.get(ask), log, ...more });
    this.ids.delete(ask);
    this.pieces.delete(ask);
    this.stopping.delete(ask);
    this.session?.asked.delete(ask);
  }

  // ---- rooms

  roomMessage({ message, room, offset, epoch }) {
    if (room === undefined) return this.message(message);
    if (this.session.waiting.some((frame) => frame.join === room && frame.since)) return; // comes again
    const known = this.rooms.get(room);
    if (known && offset !== undefined) {
      known.epoch = epoch ?? known.epoch;
      known.since = { epoch: known.epoch ?? "", offset };
    }
    this.message(message, { room, offset });
  }

  joined(frame) {
    this.roomAnswer("joined", frame);
    const known = this.rooms.get(frame.joined);
    if (!known || frame.epoch === undefined) return;
    known.epoch = frame.epoch; // of the messages that follow
    // What was missed comes behind this: a break before it has come must not skip it.
    if (!frame.recovered) known.since = { epoch: frame.epoch, offset: frame.offset };
  }

  roomAnswer(event, { n, ...frame }) {
    const room = frame[event];
    const { waiting } = this.session;
    const at = waiting.findIndex((one) => one.join === room);
    if (at >= 0) waiting.splice(at, 1);
    if (event === "refused") this.rooms.delete(room);
    this.say({ event, room, ...frame });
    this.flush();
  }

  left({ n, ...frame }) {
    const { session } = this;
    const here = (one) => (one.join ?? one.leave) === frame.left;
    const leave = session.waiting.findIndex((one) => one.leave === frame.left);
    session.waiting = session.waiting.filter((one, at) => at > leave || !here(one));
    if (!session.waiting.some(here) && leave < 0) this.rooms.delete(frame.left); // the bot has taken it out
    this.say({ event: "left", room: frame.left, ...frame });
    this.flush();
  }
}

function parsed(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

function say(event, last = false) {
  process.stdout.write(JSON.stringify(event) + "\n", () => last && process.exit(0));
}

const client = new Client(process.env.WSH_URL, say);
for await (const line of createInterface({ input: process.stdin })) {
  const { do: what, id, text, hex: digits, room, since, presence } = JSON.parse(line);
  const message = digits === undefined ? { message: text } : { bytes: Buffer.from(digits, "hex") };
  if (what === "send") client.send(message);
  else if (what === "ask") client.ask(id, message);
  else if (what === "stop") client.stop(id);
  else if (what === "join") client.join(room, since, presence);
  else if (what === "leave") client.leave(room);
  else if (what === "close") client.close();
}
