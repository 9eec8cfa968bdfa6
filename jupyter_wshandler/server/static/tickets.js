// What a server says over HTTP about its WebSockets: tickets for them, and why one does not open.
//
// A route with `xsrf: ticket` lets a login cookie in only with `?ws_token=<ticket>`, which is good
// once, for one path and user, for 30 s. It comes from a POST that Jupyter's XSRF rule checks, and
// is null for a route that needs none, so that a page need not know. What else is answered is the
// diagnosis that a browser withholds of a failed handshake: a cause, a key of MEANINGS in
// wshandler.js.
//
// A guest's page has neither cookies nor an origin: it asks with the ticket that stands in it.

import {GUEST, ORIGIN, plain} from './guest.js';

export const BASE = new URL(plain(new URL('../../', import.meta.url).href));  // the server's base_url

const SAME = ORIGIN === BASE.origin;  // whether this page is of the server's origin

const PATIENCE = 20;  // seconds that the server has for an answer

let hub = false;  // whether this is a server of JupyterHub's: they say so in every answer

// Servers of one host may each have set `_xsrf` for their own path, and a page sees the values
// without the paths. JupyterHub's servers look for one that they have signed, Tornado takes the
// last: in this order the first is almost always right, and 403 leads to the next.
function xsrfValues() {
  const pairs = (globalThis.document?.cookie ?? '').split(/; */);
  const found = pairs.filter((pair) => /^_xsrf=[!-~]+$/.test(pair));
  const values = found.map((pair) => pair.slice(6));
  const plain = values.filter((value) => value.startsWith('2|')).reverse();
  const signed = values.filter((value) => !value.startsWith('2|'));
  return values.length ? new Set([...signed, ...plain]) : [''];
}

// Return {status, redirected, json, said} of a request with the page's login and what Jupyter's XSRF
// rule wants to see.
export async function ask(url, init, token) {
  let answer;
  const alone = token || GUEST;  // without a cookie
  for (const value of alone ? [''] : xsrfValues()) {
    const headers = {Accept: 'application/json'};
    // With this one a browser would ask first whether a guest's page may send it.
    if (!GUEST) headers['Content-Type'] = 'application/json';
    if (value) headers['X-XSRFToken'] = value;
    if (token) headers.Authorization = `token ${token}`;
    const signal = AbortSignal.timeout(PATIENCE * 1000);
    // From another origin the login goes along as well; the server names those that may ask so.
    const credentials = alone ? 'omit' : 'include';
    answer = await fetch(
      url, {headers, credentials, signal, redirect: 'manual', cache: 'no-store', ...init});
    if (answer.status !== 403) break;
  }
  hub ||= answer.headers.has('X-JupyterHub-Version');
  const text = await answer.text();
  let json = {};
  try { json = JSON.parse(text) ?? {}; } catch { /* a page, or one line of text */ }
  const said = json.message ?? /^\d{3}: (.+)\n$/.exec(text)?.[1] ?? '';
  const redirected = answer.type === 'opaqueredirect';
  return {status: answer.status, redirected, json, said: said === answer.statusText ? '' : said};
}

// `fetch` fails where nobody answers; where a page of another origin may not read the answer; and
// where the page's Content-Security-Policy forbids it, which need not forbid the socket.
let violations = 0;
(globalThis.document ?? globalThis).addEventListener?.('securitypolicyviolation', (event) => {
  const {disposition, effectiveDirective} = event;
  if (disposition === 'enforce' && effectiveDirective === 'connect-src') violations += 1;
});

const asking = (question, forbidden, failed) => async (url) => {
  const before = violations;
  try {
    return await question(url);
  } catch {
    // The page is told of it in a task of its own.
    const {port1, port2} = new MessageChannel();
    await new Promise((done) => { port1.onmessage = done; port2.postMessage(null); });
    port1.close();
    return violations === before ? failed : forbidden;
  }
};

// Return {ticket} for the socket at `url`, null where it needs none; or {cause, detail}, and with
// `anyway` the socket may be tried all the same.
export const askForTicket = asking(forTicket, {cause: 'forbidden', anyway: true},
  SAME ? {cause: 'unreachable'} : {cause: 'refused', anyway: true});

// Return {cause, detail} for a socket that was refused: a browser does not tell a page why a
// handshake failed, and a GET of the same address may.
export const askWhyRefused = asking(whyRefused, {cause: 'refused'},
  {cause: SAME ? 'unreachable' : 'refused'});

// Return {cause, detail} for a socket that does not open and is of another server, so that nobody
// can say what became of it.
export const askWhetherThere = asking(whetherThere, {cause: 'unopened'}, {cause: 'unreachable'});

async function forTicket(url) {
  if (GUEST) return asGuest();
  // Behind a proxy that strips a prefix the server has another base_url than the browser.
  const body = JSON.stringify({path: url.pathname, base: BASE.pathname});
  const answer = await ask(new URL('wshandler/api/tickets', BASE), {method: 'POST', body});
  const {status, said} = answer;
  if (status === 200) return {ticket: answer.json.ticket};
  if (status === 404) return {cause: 'missing'};
  if (!SAME && [401, 403].includes(status)) return {...(notYou(said) ?? {cause: 4401}), anyway: true};
  // In place of a server that is stopped the Hub answers, and refuses a POST that is not its own.
  // A Jupyter server never redirects api/me; the Hub does, and so does a login in front of it.
  const me = [401, 403].includes(status) || hub ? await whoIsLoggedIn() : answer;
  if (status === 424 || (hub && (me.redirected || me.status === 424))) return {cause: 'stopped'};
  // Whoever is signed out may still use a public route.
  if (me.redirected || [401, 403].includes(me.status)) return {cause: 4401, anyway: true};
  // A worker cannot read the _xsrf cookie that a ticket is asked for with; most routes need none.
  if (status === 403 && me.status < 500) {
    return globalThis.document ? {cause: 4403, detail: said, anyway: true} : {};
  }
  // The proxy answers for a server that has died, until the Hub has noticed.
  if (hub && status >= 502 && me.status >= 502 && !said) return {cause: 'stopped'};
  return {cause: 'unready', detail: said || String(status)};
}

// The answer to a question that only who is logged in may ask. A server with bots only has no
// api/me; there it is a GET where tickets are, which is for POST: 405, or 403 for a stranger.
async function whoIsLoggedIn() {
  const answer = await ask(new URL('api/me', BASE));
  if (answer.status !== 404) return answer;
  const other = await ask(new URL('wshandler/api/tickets', BASE));
  return notYou(other.said) ? {...other, status: 405} : other;
}

// What the server says to a guest's page: a ticket for its socket, or why the last one was refused.
async function asGuest(refused = false) {
  const address = new URL(`wshandler/guest/${GUEST}/ticket${refused ? '?refused=1' : ''}`, BASE);
  const {status, json, said} = await ask(address, {method: 'POST'});
  if (status === 404) return {cause: 'stale'};
  if (status === 403) return {cause: 4403, detail: said};
  if (status !== 200) return {cause: 'unready', detail: said || String(status)};
  return refused ? causeOf(json.refused) : {ticket: json.ticket};
}

// Who is known, and refused by a rule, is told so; a login or token that is not good gets no words.
function notYou(said) {
  if (said.startsWith('this origin ')) return {cause: 'origin', detail: said};
  return said.startsWith('this user ') ? {cause: 4403, detail: said} : null;
}

// What the server has answered to the handshake of this page, of which a browser tells nothing. It
// is kept for whoever is logged in, and for this page's origin.
async function whatWasSaid(url) {
  const token = url.searchParams.get('token');
  const body = JSON.stringify({path: url.pathname, base: BASE.pathname, refused: true});
  const address = new URL('wshandler/api/tickets', BASE);
  const {status, json, said: words} = await ask(address, {method: 'POST', body}, token);
  if (token && [401, 403].includes(status)) return notYou(words) ?? {cause: 'token'};
  if (token && status === 404) return {cause: 'missing'};
  const said = json.refused;
  if (status !== 200) return null;
  // Where nobody else can be asked, that the server answers is all there is to say.
  if (!said) return token || !SAME ? {cause: 'refused'} : null;
  return causeOf(said);
}

function causeOf(said) {
  if (!said) return {cause: 'refused'};
  const detail = said.reason;
  if (said.status === 429) return {cause: 'limit', detail};
  // The ticket was there a moment ago: the next POST will tell.
  if (said.status === 403) return {cause: {origin: 'origin', login: 1006}[said.cause] ?? 4403, detail};
  if (said.status >= 500) return {cause: 'unready', detail};
  return {cause: 'refused', detail};
}

// A link is nobody's login: what the server says of it stands in its answer to the link itself. A
// GET of one that is good would be one of its uses, and a HEAD is none.
async function whyLinkRefused(url) {
  if (!SAME) return whetherThere(url);
  const as = {credentials: 'omit'};
  if ((await ask(url, {method: 'HEAD', ...as})).redirected) return {cause: 'refused'};
  const {status, said} = await ask(url, as);
  if (status === 404) return {cause: 'missing'};
  if (status >= 500) return {cause: 'unready', detail: said || String(status)};
  const hasEnded = status === 403 && !said.startsWith('this link opens a WebSocket');
  return hasEnded ? {cause: 4403, detail: said} : {cause: 'refused'};
}

async function whyRefused(url) {
  if (url.searchParams.has('share_token')) return whyLinkRefused(url);
  if (GUEST) return asGuest(true);
  const told = await whatWasSaid(url);
  if (told) return told;
  if (!SAME || url.searchParams.has('token')) return whetherThere(url);
  const {status, redirected, said} = await ask(url);
  if (redirected) return {cause: 1006};
  if (status === 424) return {cause: 'stopped'};
  // Between ticket and socket one server may have ended, and the next one knows nobody yet.
  if (status === 403) {
    const {cause, ...more} = await forTicket(url);
    return cause && cause !== 4403 ? {cause, ...more} : {cause: 4403, detail: said};
  }
  if (status === 404) return {cause: 'missing'};
  return status >= 500 ? {cause: 'unready', detail: said || String(status)} : {cause: 'refused'};
}

async function whetherThere(url) {
  if (SAME && url.href.startsWith(BASE.href)) {
    // Whether a token is good is not known of a page without a login.
    const found = await forTicket(url);
    return ['missing', 'stopped', 'unready'].includes(found.cause) ? found : {cause: 'unopened'};
  }
  const address = new URL(url.pathname, url);
  const signal = AbortSignal.timeout(PATIENCE * 1000);
  // What is answered may be anybody's, as of a proxy before a server that is down.
  await fetch(address, {mode: 'no-cors', credentials: 'omit', cache: 'no-store', signal});
  return {cause: 'unopened'};
}
