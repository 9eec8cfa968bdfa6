// What stands in a chat's log, kept so that a page that is loaded anew shows it again.

const MOST = 500;        // messages
const LONGEST = 20000;   // characters of one of them
const GONE = '*A picture or a file was here; it is not kept when the page is loaded again.*';

const keyOf = (address) => `wshandler-chat ${address}`;

export class Record {
  #all = [];              // {who, kind, of, at, parts: [{text} or {json}], open}
  #streams = new Map();   // answer -> its message, while it is written

  add({who, kind, of, at = Date.now(), text, json}) {
    const message = {who, kind, of, at, parts: [], open: kind === 'piece'};
    this.#all.push(message);
    if (this.#all.length > MOST) this.#all.shift();
    if (message.open) this.#streams.set(of, message);
    this.#write(message, text, json);
  }

  go({of, text, json}) { this.#write(this.#streams.get(of), text, json); }

  finish(of) {
    const message = this.#streams.get(of);
    if (message) message.open = false;
    this.#streams.delete(of);
  }

  #write({parts}, text, json) {
    const last = parts.at(-1);
    if (text !== undefined && last?.text !== undefined) {
      if (last.text.length < LONGEST) last.text += text;
    } else if (text !== undefined) {
      parts.push({text: text.slice(0, LONGEST)});
    } else {
      parts.push(json?.length < LONGEST ? {json} : {text: GONE});
    }
  }

  // Keep it for the page that comes next at this address, as far as there is room for it.
  keep(address) {
    for (let most = MOST; most > 1; most = Math.floor(most / 4)) {
      try {
        sessionStorage.setItem(keyOf(address), JSON.stringify(this.#all.slice(-most)));
        return;
      } catch { /* the sandbox of a guest's page has no storage, and any storage may be full */ }
    }
  }
}

export function forgotten(address) {
  try {
    const text = sessionStorage.getItem(keyOf(address));
    sessionStorage.removeItem(keyOf(address));
    return JSON.parse(text) ?? [];
  } catch {
    return [];
  }
}
