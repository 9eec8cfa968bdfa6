// Where a chat is shown, and which server its bot is at.

import {make} from './make.js';

// The server that this module came from is the server of the bot, at any base_url.
export const SERVER = new URL(import.meta.url).origin;

export const addressOf = (path) => `${SERVER}/${path.replace(/^\/+/, '')}`;

// Only where output that comes later appears below its cell. What Voila and nbconvert show has the
// same cells, but not what JupyterLab and Notebook have around them.
export const AUTHORS = '.jp-NotebookPanel, .jp-CodeConsole, .jp-LinkedOutputView';

// A page of another site (VS Code's webview) has neither the server's login nor its origin.
export function elsewhere(place, {path, title}) {
  const href = addressOf(path);
  const host = make('div', {className: 'wshandler-chat'}, make('p', {}, `${title} answers at `,
    make('a', {href, target: '_blank', rel: 'noopener'}, href),
    '. Its chat works in JupyterLab, in Notebook and in a browser at that address.'));
  place.replaceChildren(host);
  return {host, send: () => false, close: () => host.remove()};
}
