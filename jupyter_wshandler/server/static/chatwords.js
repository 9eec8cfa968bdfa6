// What a chat says of its connection.

export const STATES = {
  connecting: 'connecting…', open: 'connected', away: 'reconnecting…', waiting: 'reconnecting…',
  idle: 'paused', closed: 'closed', stopped: 'stopped',
};
export const MOVED = 'This chat has moved to its newest output';
export const KEPT = 'Your text is kept.';
export const TRACEBACK = ' The traceback is below the cell that serves it.';
export const UNSTOPPED = 'It could not be stopped, and ran to its end.';
export const AWAY = 'Connection lost, trying again…';
export const BACK = 'The connection was lost and is back; nothing is missing.';
export const ANEW = 'The connection was lost. The conversation has begun anew.';
export const UNANSWERED = 'What you wrote last may not have arrived; no answer to it will come.';
export const UNSENT = 'What you wrote last was not sent.';

// What a bot that lives in a kernel may be missing for.
export const MEANINGS = {
  // A route that is gone, while the kernel is there, has been stopped or taken over.
  1012: (detail) => (/route/.test(detail)
    ? 'This bot is not served any more; run its cell to start it again'
    : 'The notebook\'s kernel has restarted; run the cell again'),
  missing: 'Nothing answers at this address. If its kernel has restarted, run the cell again.',
};

// What was said of how things are, once they are so no more.
export const PAST = {
  4401: 'You were signed out.', unreachable: 'The server could not be reached.',
  missing: 'Nothing answered at this address.', unready: 'The server was not ready.',
  moved: 'The server was about to stop.',
};
