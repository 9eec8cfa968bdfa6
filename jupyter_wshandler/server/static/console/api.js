// What the console asks its server: the REST API below `wshandler/api/`, with the page's own login.

import {ask, BASE} from '../tickets.js';

export {BASE};

const API = new URL('wshandler/api/', BASE);

// What the server has refused, or nobody has answered: its message is for a person.
export class Problem extends Error {
  constructor(words, status = 0) {
    super(words);
    this.status = status;
  }
}

const SIGNED_OUT = 'You are not signed in any more. Reload the page.';

export const segment = (name) => encodeURIComponent(name);

export async function send(method, path, {query = {}, body, signal} = {}) {
  const url = new URL(path, API);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') url.searchParams.set(name, value);
  }
  let answer;
  try {
    answer = await ask(url, {method, ...(body !== undefined && {body: JSON.stringify(body)}),
      ...(signal && {signal})});
  } catch {
    throw new Problem('The server does not answer. This page goes on trying.');
  }
  const {status, redirected, json, said} = answer;
  if (redirected || status === 401) throw new Problem(SIGNED_OUT, 401);
  if (status >= 400) {
    // 503 of `health` is an answer like any other.
    if (status === 503 && json.status) return json;
    const words = said ? `${said[0].toUpperCase()}${said.slice(1)}.` : '';
    throw new Problem(words || `The server has answered ${status}.`, status);
  }
  return json;
}

// With a signal the caller says itself when it has waited for long enough.
export const get = (path, query, signal) => send('GET', path, {query, signal});
