// Addresses of pages and sockets, and what of them is nothing to show or to keep.

import {plain} from './guest.js';

const page = globalThis.document;  // a worker has none

export const SECRET = ['token', 'share_token', 'ws_token', 'redirects'];

export function forbidden(address, error) {
  if (page && location.protocol === 'https:' && address.protocol === 'ws:') {
    return {cause: 'forbidden', detail: 'from https it may use wss only, and not ws'};
  }
  // Firefox says of a policy that "The operation is insecure", Chromium nothing at all.
  const said = error?.name === 'SecurityError' && /insecure/.test(error.message) ? '' : error?.message;
  return {cause: 'forbidden', detail: said || 'its Content-Security-Policy forbids it'};
}

// The page's own address, without a token and without the Hub's own count of redirections.
export function pageAddress(hash = '') {
  const address = new URL(plain(location.href));
  address.hash = hash;
  for (const name of SECRET) {
    // Even what is not there to be deleted has the query spelled anew.
    if (address.searchParams.has(name)) address.searchParams.delete(name);
  }
  return address;
}
