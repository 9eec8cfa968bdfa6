// What wshandler.js offers, for TypeScript and for editors. The words are explained there.

/** Why a bot is not connected: a close code (RFC 6455 section 7.4), or a word of the helper's. */
export type Cause = number | 'away' | 'forbidden' | 'idle' | 'left' | 'limit' | 'missing' | 'origin'
  | 'refused' | 'renewed' | 'stale' | 'stopped' | 'token' | 'unopened' | 'unreachable' | 'unready'
  | (string & {});

export type State = 'connecting' | 'open' | 'waiting' | 'idle' | 'closed';

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
}

/** An answer while it comes. To leave a loop over it has the bot stop. */
export interface Answer extends AsyncIterableIterator<Value> {
  /** null while it has not ended. */
  readonly how: How | null;
  /** Have the bot stop; what has come so far can still be taken. */
  stop(): void;
}

export interface BotEvents {
  open: Event;
  message: MessageEvent<string | ArrayBuffer>;
  state: Event;
  /** A message that send() has taken could not be sent. */
  unsent: CustomEvent<Raw>;
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

  /**
   * Send text, bytes, or as JSON what JSON can hold. true: it is sent, or will be as soon as what is
   * being opened is open; false: there is no connection, and nothing was sent.
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
