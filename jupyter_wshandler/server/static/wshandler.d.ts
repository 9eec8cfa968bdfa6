// What wshandler.js offers, for TypeScript and for editors. The words are explained there.

/** Why a bot is not connected: a close code (RFC 6455 section 7.4), or a word of the helper's. */
export type Cause = number | 'away' | 'forbidden' | 'idle' | 'left' | 'limit' | 'missing' | 'moved'
  | 'origin' | 'refused' | 'renewed' | 'stale' | 'stopped' | 'token' | 'unopened' | 'unreachable' | 'unready'
  | (string & {});

/**
 * 'away': in a break, from which it comes back as the same connection; 'waiting': closed, or not to be
 * had, and it tries again.
 */
export type State = 'connecting' | 'open' | 'away' | 'waiting' | 'idle' | 'closed';

/** What a cause means to a person, and what comes next; the state is 'waiting' by default. */
export interface Meaning {
  words: string | ((detail: string) => string);
  state?: 'waiting' | 'idle' | 'closed';
  /**
   * Whether the words go on with what the server has said, and with the code: 'The table is full: no
   * seat (4001).' false: the words alone. As in MEANINGS by default, and true for a bot's own codes.
   */
  detailed?: boolean;
  /** The text of a link to the page's own address. */
  link?: string;
}

export interface Options {
  /** Words, or words and a state, in place of those in MEANINGS. */
  meanings?: Record<string | number, string | ((detail: string) => string) | Partial<Meaning>>;
  /**
   * The subprotocols to offer, the preferred one first; their frames are the page's own to write and
   * to read. By default wsh.v1 is offered, and spoken; an empty list offers none.
   */
  protocols?: string | string[];
  /** Whether to come back as the same connection after a break, where the route has `resume`; true. */
  resume?: boolean;
  /** Whether to connect again by itself; true. */
  reconnect?: boolean;
  /** How many messages may wait for a connection; 1000. */
  queue?: number;
  /** How many bytes they may have together; 4 MiB. */
  queueBytes?: number;
}

/** What can be sent as it is; all else is sent as JSON. */
export type Raw = string | Blob | ArrayBuffer | ArrayBufferView;

/** What a bot has answered: text, bytes, or what the JSON of anything else holds. */
export type Value = unknown;

/** How an answer has ended; 'lost': with the connection, 'unspoken': nobody says where it ends. */
export type How = 'done' | 'stopped' | 'failed' | 'refused' | 'lost' | 'unspoken';

/** An answer that has not ended well. */
export class AnswerFailed extends Error {
  readonly how: Exclude<How, 'done'>;
  /** Names a failure in the server's log, or ''. */
  readonly id: string;
  /** Seconds until a refused message might pass, or null. */
  readonly retryAfter: number | null;
  /** Where a refused message is not what its function takes, as in '$.text', or ''. */
  readonly path: string;
}

/** An answer while it comes. To leave a loop over it has the bot stop. */
export interface Answer extends AsyncIterableIterator<Value> {
  /** null while it has not ended. */
  readonly how: How | null;
  /** What was asked; null for bytes that the page before this one has sent. */
  readonly question: Raw | null;
  /** Have the bot stop; what has come so far can still be taken. */
  stop(): void;
}

/**
 * Why a connection could not be gone on with; 'elsewhere': it was on another of several servers, 'moved':
 * its server is about to stop.
 */
export type Reason = 'unknown' | 'user' | 'lost' | 'ended' | 'elsewhere' | 'off' | 'moved';

/** A new connection is there, in place of one that was lost. */
export interface Renewed {
  /**
   * 'unknown': the server does not know the old one (any more); 'user': somebody else is signed in;
   * 'lost': what was missed is not kept any more; 'ended': it was ended; 'off': the route has no `resume`;
   * 'moved': the server was about to stop, and has sent it to another one.
   */
  reason: Reason;
  /** What send() has sent and what may not have arrived. What had waited is sent. */
  unsure: Raw[];
  /** The answers that the page before this one has asked for and that do not come any more. */
  answers: Answer[];
}

export interface BotEvents {
  /** A connection is there that the bot calls a new one. */
  open: Event;
  message: MessageEvent<string | ArrayBuffer> & {
    /** The room in which it was said, or null. */
    readonly room: string | null;
    /** Where it is in the room's history, or null. */
    readonly offset: number | null;
  };
  state: Event;
  /** A message that send() has taken could not be sent. */
  unsent: CustomEvent<Raw>;
  /** It has ended for good, and a message that was sent may not have arrived. */
  unsure: CustomEvent<Raw>;
  /** The connection is lost, and is tried to be come back to. */
  away: Event;
  /** It has come back: nothing was lost. `answers` are those that the page before this one has begun. */
  resumed: CustomEvent<{answers: Answer[]}>;
  renewed: CustomEvent<Renewed>;
}

/** Somebody who is in a room. */
export interface Member {
  id: string;
  card: unknown;
  /** How many connections they have to it. */
  connections: number;
  /** Since when they are there, in seconds since 1970. */
  since: number;
}

export interface RoomEvents {
  message: MessageEvent<string> & {readonly offset: number | null};
  /** Somebody has come, changed or left; without `member` the whole list is new. */
  members: CustomEvent<{member?: Member; change?: 'joined' | 'changed' | 'left'}>;
  state: Event;
}

/** A room that the bot's connection is in. On a new connection it is joined again, by itself. */
export interface Room extends EventTarget {
  readonly name: string;
  readonly state: 'joining' | 'joined' | 'refused' | 'left';
  /** Resolves as soon as it is joined; rejects with why it is not. */
  readonly joined: Promise<Room>;
  /** Where its history is, for `since`; null where it keeps none. */
  readonly epoch: string | null;
  readonly offset: number | null;
  /** Whether all that was said meanwhile has come; null where nobody knows. */
  readonly recovered: boolean | null;
  /** Who is there, by id; null until it is known, and without `presence`. */
  readonly members: Record<string, Member> | null;
  leave(): void;

  onmessage?: ((event: RoomEvents['message']) => unknown) | null;
  onmembers?: ((event: RoomEvents['members']) => unknown) | null;
  onstate?: ((event: RoomEvents['state']) => unknown) | null;

  addEventListener<Name extends keyof RoomEvents>(
    type: Name,
    listener: (this: Room, event: RoomEvents[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

export interface Bot extends EventTarget {
  readonly state: State;
  readonly cause: Cause | null;
  /** The cause as a sentence for a person; '' while it is open. */
  readonly words: string;
  /** What the server has said itself. */
  readonly detail: string;
  /** Where a person can mend it. */
  readonly link: {href: string; text: string} | null;
  /** The subprotocol that the server has chosen, or ''. */
  readonly protocol: string;
  /** The connection's name, in the bot and in the server's log; '' where the server does not say it. */
  readonly id: string;
  /** Whether the connection can be come back to after a break. */
  readonly resumable: boolean;
  /** Whether the server speaks wsh.v1: it says where an answer ends, and has rooms. */
  readonly speaks: boolean;
  /** How many attempts have failed in a row. */
  readonly attempts: number;
  /** Seconds until the next attempt; 0 where none is planned. */
  readonly retryIn: number;
  /** The socket's address, with http or https. */
  readonly url: URL;

  onopen?: ((event: BotEvents['open']) => unknown) | null;
  onmessage?: ((event: BotEvents['message']) => unknown) | null;
  onstate?: ((event: BotEvents['state']) => unknown) | null;
  onunsent?: ((event: BotEvents['unsent']) => unknown) | null;
  onunsure?: ((event: BotEvents['unsure']) => unknown) | null;
  onaway?: ((event: BotEvents['away']) => unknown) | null;
  onresumed?: ((event: BotEvents['resumed']) => unknown) | null;
  onrenewed?: ((event: BotEvents['renewed']) => unknown) | null;

  /**
   * Send text, bytes, or as JSON what JSON can hold. true: it is sent, or will be as soon as there is a
   * connection; false: it is closed, or as much waits as `queue` allows, and nothing was sent.
   */
  send(data: unknown): boolean;
  /**
   * Send, and return what the bot answers to exactly that message: what its function returns (null for
   * nothing), or the list of what it yields. It is stopped after so many seconds, where that is given.
   */
  ask(data: unknown, options?: {timeout?: number}): Promise<Value>;
  /** Send, and return the answer while it comes: what is returned, or each that is yielded. */
  stream(data: unknown): Answer;
  /** Have the bot stop all answers that were asked for and have not ended. */
  stop(): void;
  /**
   * Join a room. `since` is where to go on: the room's `epoch` and `offset` of before. With `presence`
   * it has `members`.
   */
  join(room: string, options?: {since?: {epoch: string; offset: number}; presence?: boolean}): Room;
  /** Connect now, whatever has happened. */
  connect(): void;
  /** Close, and stay closed until connect(); the code is 1000 or 3000 to 4999. */
  close(code?: number, reason?: string): void;

  addEventListener<Name extends keyof BotEvents>(
    type: Name,
    listener: (this: Bot, event: BotEvents[Name]) => unknown,
    options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: boolean | AddEventListenerOptions,
  ): void;
}

/**
 * Connect to a bot: a path below the server's base_url, as in `pattern:`, a whole URL, or a link that
 * somebody has shared.
 */
export function connect(where: string | URL | undefined, options?: Options): Bot;
/** Connect to the bot at the page's own address. */
export function connect(options?: Options): Bot;

/** What each cause means. */
export const MEANINGS: Record<string | number, Meaning>;
