// What happens to a page while its bots live: it is left, frozen, shown again, loaded anew.

import {SECRET} from './addresses.js';

export const page = globalThis.document;  // a worker has none

export const waiting = new Map();  // bots that would connect again -> how
export const live = new Map();     // bots that are connected, or will be by themselves -> what to tell

function wake({type, persisted = true}) {
  if (page?.hidden) return;
  if (persisted && type === 'pageshow') tell('shown');
  for (const [bot, again] of [...waiting]) if (persisted || bot.cause === 'away') again(type);
  // Sockets of the network that was there before say nothing, and do not end for minutes.
  if (type === 'online') tell('doubt');
}
// A browser may keep a page that is left for minutes, with its sockets, and nobody would see what
// they bring. Where it keeps none it closes them itself, with 1001, which no page can say.
function tell(what) { for (const about of [...live.values()]) about(what); }

// Where pages are rendered in advance there are no events at all.
for (const type of ['online', 'pageshow']) globalThis.addEventListener?.(type, wake);
globalThis.addEventListener?.('pagehide', ({persisted = true}) => tell(persisted ? 'left' : 'gone'));
page?.addEventListener('visibilitychange', wake);
// A tab that is frozen may be thrown away without another word, and loaded again when it is shown.
page?.addEventListener('freeze', () => tell('gone'));
page?.addEventListener('resume', () => tell('shown'));

// ---- what outlives a page that is loaded anew ------------------------------------------------

// A tab that is duplicated has a copy of its storage. So an entry is there only from when a page is
// left until the next one takes it: two pages never come back as the same connection.
function keyOf(url) {
  const plain = new URL(url);
  for (const name of SECRET) plain.searchParams.delete(name);
  return `wshandler ${plain}`;
}

function entries(url, change) {
  try {  // the sandbox of a guest's page has no storage, and any storage may be full
    const key = keyOf(url);
    const all = JSON.parse(sessionStorage.getItem(key) ?? '[]');
    const changed = change(all);
    if (changed.length) sessionStorage.setItem(key, JSON.stringify(changed));
    else sessionStorage.removeItem(key);
    return all;
  } catch {
    return null;
  }
}

// Whether it could be kept.
export function keep(url, entry) {
  return entries(url, (all) => [...all.filter((each) => each.id !== entry.id), entry]) !== null;
}

// Take the first entry of an address that is still of use; undefined where there is none.
export function take(url) {
  const fresh = (each) => Date.now() < each.until;
  return entries(url, (all) => all.filter(fresh).slice(1))?.find(fresh);
}

// Take back an entry of one's own; false where another page has it.
export function takeBack(url, id) {
  const all = entries(url, (found) => found.filter((each) => each.id !== id));
  return all === null || all.some((each) => each.id === id);
}
