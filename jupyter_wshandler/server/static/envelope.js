// The browser's end of the subprotocol wsh.v1, by which a server says which message an answer is for,
// and where it ends. What travels is written down in docs/protocol.md.

export const PROTOCOL = 'wsh.v1';
export const CONFIRM = 3;  // seconds for the server's first frame, which says that all this holds

export const UNSPOKEN = 'This server does not say where an answer ends: it does not speak wsh.v1, or '
  + '`protocols` were given.';

const HOWS = ['done', 'stopped', 'failed', 'refused'];

// An answer that has not ended well. `how`: 'stopped', 'failed' (`id` names it in the server's log),
// 'refused' (over the route's ratelimit, for `retryAfter` seconds; or wrong at `path`), 'lost' (the
// connection has ended) or 'unspoken' (the server does not say where an answer ends).
export class AnswerFailed extends Error {
  name = 'AnswerFailed';

  constructor(words, how, {id = '', retryAfter = null, path = ''} = {}) {
    super(words);
    Object.assign(this, {how, id, retryAfter, path});
  }
}

function parsed(text) {
  let said = null;
  try { said = JSON.parse(text); } catch { /* it is no JSON */ }
  return said && typeof said === 'object' ? said : {};
}

// What a server's first frame says, where it says that it speaks wsh.v1, or null: a proxy may have
// agreed to it of itself.
export function confirmed(data) {
  const said = typeof data === 'string' ? parsed(data) : {};
  return said.wsh === 'v1' ? said : null;
}

// What a frame of the server's says; of bytes {bytes, of}. `n` is its number, where they are numbered.
export function unpacked(data, numbered) {
  if (typeof data === 'string') return parsed(data);
  const view = new DataView(data);
  const n = numbered ? view.getUint32(4) : undefined;
  return {bytes: data.slice(numbered ? 8 : 4), of: view.getInt32(0), n};
}

// What a socket takes: all but text and bytes becomes JSON.
export function sendable(data) {
  const raw = typeof data === 'string' || data instanceof Blob || data instanceof ArrayBuffer
    || ArrayBuffer.isView(data);
  return raw ? data : JSON.stringify(data);
}

// One question, and what has come of it.
class Asked {
  number = 0;  // until it is sent
  values = [];
  how = null;
  streamed = false;
  error = null;
  stopping = false;  // whether somebody wants it stopped
  #wake = null;

  constructor(data) { this.data = data; }

  put(value) {
    this.values.push(value);
    this.#wake?.();
  }

  end(how, error = null, streamed = false) {
    if (this.how) return;
    Object.assign(this, {how, error, streamed});
    this.#wake?.();
  }

  // Resolves with the next value that comes, or with the end.
  changed() { return new Promise((resolve) => { this.#wake = resolve; }); }
}

// An answer while it comes: for await (const piece of answer) ...; leaving the loop stops it.
class Answer {
  #asked;
  #stop;
  #stopped = false;

  constructor(asked, stop) {
    this.#asked = asked;
    this.#stop = stop;
  }

  get how() { return this.#asked.how; }

  get number() { return this.#asked.number; }

  get question() { return this.#asked.data; }

  stop() {
    this.#stopped = true;
    this.#stop(this.#asked);
  }

  [Symbol.asyncIterator]() { return this; }

  async next() {
    const asked = this.#asked;
    while (!asked.values.length && !asked.how) await asked.changed();
    if (asked.values.length) return {value: asked.values.shift(), done: false};
    const {error} = asked;
    asked.error = null;  // it is raised once
    if (error && !(this.#stopped && asked.how === 'stopped')) throw error;
    return {value: undefined, done: true};
  }

  async return(value) {
    this.stop();
    return {value, done: true};
  }
}

// The questions of one bot, and its end of each connection.
export class Questions {
  #open = new Map();  // number -> question, of this connection
  #last = 0;

  // Begin a connection anew: numbers count from 1 on each.
  begin() {
    this.#last = 0;
    this.#open.clear();
  }

  ask(data) { return new Asked(data); }

  answer(asked, stop) { return new Answer(asked, stop); }

  // The questions that a page leaves to the next one, and those that it has from the one before. What
  // a program has sent in bytes is not kept.
  saved() {
    const all = [...this.#open.values()].map(({number, data, stopping, streamed}) => (
      {number, stopping, streamed, data: typeof data === 'string' ? data : null}));
    return {last: this.#last, all};
  }

  restore({last, all}, stop) {
    this.#last = last;
    return all.map(({data, ...more}) => {
      const asked = Object.assign(new Asked(data), more);
      this.#open.set(asked.number, asked);
      return new Answer(asked, stop);
    });
  }

  // The frame for a message: a string, or bytes; with a question it has the question's number. `n` is
  // the frame's own number, where frames are numbered.
  frame(data, asked = null, n = 0) {
    if (asked) {
      asked.number = this.#last += 1;
      this.#open.set(asked.number, asked);
    }
    const number = asked?.number ?? 0;
    if (typeof data === 'string') {
      // As a socket does it with text: half a pair is no character.
      const message = data.replace(/\p{Surrogate}/gu, '\ufffd');
      return JSON.stringify({message, ...(number && {ask: number}), ...(n && {n})});
    }
    const header = new DataView(new ArrayBuffer(n ? 8 : 4));
    header.setInt32(0, number);
    if (n) header.setUint32(4, n);
    return new Blob([header, data]);
  }

  // Whether something comes of one that was asked here.
  get waits() { return this.#open.size > 0; }

  // The frames that stop one answer, or all that have not ended: the last one first, as otherwise
  // the bot would begin the next.
  stops(asked = null) {
    const all = [...this.#open.values()].reverse().filter((each) => !asked || each === asked);
    for (const each of all) each.stopping = true;
    return all.map((each) => JSON.stringify({stop: each.number}));
  }

  // The same again for those that were wanted stopped before a break: stops are not numbered.
  stopsAgain() {
    const all = [...this.#open.values()].reverse().filter((each) => each.stopping);
    return all.map((each) => JSON.stringify({stop: each.number}));
  }

  // Take one frame of the server's; return the data of a message that answers no question of ours.
  receive(said) {
    if (said.bytes) return this.#part(said.of, said.bytes, said.bytes);
    if (typeof said.message === 'string') return said.message;
    const text = said.piece ?? said.reply;
    if (typeof text === 'string') {
      return this.#part(said.of, text, said.json ? JSON.parse(text) : text);
    }
    if (HOWS.includes(said.how)) this.#end(said);
    return undefined;
  }

  #part(number, message, value) {
    this.#open.get(number)?.put(value);
    return number > 0 ? undefined : message;
  }

  #end({end, how, streamed = false, id = '', retry_after: retryAfter = null, path = '', expected,
    found, reason}) {
    const words = {
      stopped: 'The answer was stopped.',
      failed: `The bot has failed${id && ` (id ${id})`}.`,
      refused: path ? `The message was refused: ${path}: expected ${expected}, found ${found}.`
        : `The message was refused: ${reason ?? 'too many came'}.`,
    }[how];
    const error = words ? new AnswerFailed(words, how, {id, retryAfter, path}) : null;
    this.#open.get(end)?.end(how, error, streamed === true);
    this.#open.delete(end);
  }

  // Nothing more comes of the questions that are open.
  lose(words) {
    for (const asked of this.#open.values()) asked.end('lost', new AnswerFailed(words, 'lost'));
    this.#open.clear();
  }

  // What the bot has answered, at its end: the returned value, or a list of the yielded ones.
  // It is stopped after so many seconds, where that is given.
  async result(asked, timeout, stop) {
    const timer = timeout === undefined ? 0 : setTimeout(() => {
      const words = `The bot has not answered within ${timeout} s.`;
      asked.end('stopped', new DOMException(words, 'TimeoutError'));
      stop();
    }, timeout * 1000);
    while (!asked.how) await asked.changed();
    clearTimeout(timer);
    if (asked.error) throw asked.error;
    return asked.streamed ? asked.values : asked.values[0] ?? null;
  }
}
