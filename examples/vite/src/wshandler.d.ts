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
  /** The subprotocols to offer, the preferred one first. */
  protocols?: string | string[];
}

/** What can be sent as it is; all else is sent as JSON. */
export type Raw = string | Blob | ArrayBuffer | ArrayBufferView;

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
