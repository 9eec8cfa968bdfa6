// What ends a connection or an attempt, in words for a person.

import {GUEST} from './guest.js';

// What ended a connection or an attempt: close codes (RFC 6455 section 7.4.1; 44xx are the
// extension's own), and what the server says over HTTP. The state is 'waiting' where none is given.
export const MEANINGS = {
  1000: {words: 'The bot has ended the conversation', state: 'closed'},
  1001: {words: 'The server has stopped'},
  1002: {words: 'Browser and server did not understand each other', state: 'closed'},
  1003: {words: 'The bot does not take this kind of message', state: 'closed'},
  1005: {words: 'The connection was ended without a word'},
  1006: {words: 'The connection was lost'},
  1007: {words: 'The bot could not read the last message', state: 'closed'},
  1008: {words: 'The server does not allow this conversation', state: 'closed', detailed: true},
  1009: {words: 'The last message was too big for the bot', state: 'closed'},
  1011: {words: 'The bot has failed', detailed: true},
  1012: {words: 'The bot is being restarted'},
  1013: {words: 'The server is busy'},
  4401: {words: 'You are signed out', state: 'closed', link: 'Sign in'},
  4403: {words: 'You are not allowed to use this bot', state: 'closed', detailed: true},
  other: {words: 'The bot has closed the connection', detailed: true},
  idle: {words: 'Closed because nobody said anything for a while', state: 'idle'},
  moved: {words: 'The server is about to stop, and another one is looked for'},
  left: {words: 'This conversation was closed', state: 'closed'},
  away: {words: 'This page was left'},
  forbidden: {words: 'The browser does not let this page connect', state: 'closed',
    detailed: true},
  unreachable: {words: 'The server cannot be reached'},
  stopped: {words: 'The server is stopped', link: 'Start it at the Hub'},
  renewed: {words: 'The server was started again, and does not know this page yet', link: 'Sign in'},
  stale: {words: 'This page has to be loaded again', state: 'closed', link: 'Load it again'},
  unready: {words: 'The server is not ready', detailed: true},
  missing: {words: 'Nothing answers at this address'},
  limit: {words: 'The bot takes no more connections', detailed: true},
  origin: {words: 'The bot is not for pages of this address: this page is not among the allowed '
    + 'origins'},
  token: {words: 'The server does not know this token', state: 'closed'},
  refused: {words: 'The server answers, but the connection does not open: too many may be open, a '
    + 'proxy may not let it through, or this page is not among the allowed origins'},
  unopened: {words: 'The connection does not open: the bot may be down, the token may be wrong, '
    + 'too many may be open, or this page is not among the allowed origins'},
};

// What was said last is not said again in vaguer words by the attempts after it.
const COVERED = {
  1001: ['unreachable', 'unready'], 1012: ['missing', 'unready'], moved: ['unready'],
  stopped: ['unready'],
};
// A server that ends takes its logins along: who has to sign in to the next one has not signed out.
export const ENDS = [1001, 1012, 'moved', 'stopped', 'unreachable', 'unready', 'renewed'];
export const covers = (old, cause) => COVERED[old]?.includes(cause)
  || (['refused', 'unopened'].includes(cause) && Number.isInteger(old)
    && ![1005, 1006, 4401].includes(old));

// A server that was left as it was about to stop has stopped, where nobody answers in its place but
// itself as long as it does.
export const instead = (old, cause, detail) => (old === 'moved'
  && ['unreachable', 'unready'].includes(cause) && !/^the server is (drain|stopp)ing/.test(detail)
  ? 1001 : cause);

// What a cause means: {state, words, link}. `given` is what the page has of its own in place of it.
export function explained(cause, detail, given) {
  const {words, state, detailed, link} = {
    // A code of the bot's own is meant to end it; one that nobody knows is not.
    state: cause >= 3000 ? 'closed' : 'waiting', ...(MEANINGS[cause] ?? MEANINGS.other),
    ...(typeof given === 'object' ? given : given && {words: given})};
  let text = typeof words === 'function' ? words(detail) : words;
  if (detailed && Number.isInteger(cause)) text += `${detail && `: ${detail}`} (${cause})`;
  else if (detailed) text += ` (${detail})`;
  // Why a share has ended is a sentence of its own.
  if (GUEST && cause === 4403 && detail && !given) text = detail[0].toUpperCase() + detail.slice(1);
  return {state, words: /[.!?…]$/.test(text) ? text : `${text}.`, link};
}
