// What was said in a chat: a scrolling log that stays bounded and quick, however fast a bot talks.

const MOST_MESSAGES = 500;   // in the log
const LONGEST_TEXT = 20000;  // characters of one message that are shown
const NEAR = 40;             // pixels from the end that count as the end

// Make an element; text comes in as text and never as markup.
export function make(tag, {attributes = {}, ...properties} = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export class Log {
  #queue = [];        // what the next frame will show
  #frame = 0;
  #count = 0;         // messages and notices in the log
  #turn = null;       // the messages in a row of one speaker
  #streamed = null;   // the message that is being written word by word
  #pinned = true;     // whether the reader is at the end
  #scrolled = 0;

  title = '';

  constructor() {
    this.older = make('p', {className: 'older', hidden: true}, 'older messages are not shown');
    this.hello = make('strong');
    this.empty = make('p', {className: 'empty'},
      this.hello, 'Enter sends. Shift+Enter starts a new line.');
    this.element = make('div', {className: 'log', tabIndex: 0, attributes: {
      role: 'log', 'aria-live': 'polite', 'aria-label': 'Conversation'}}, this.older, this.empty);
    this.below = make('button', {type: 'button', className: 'below button', hidden: true},
      'New messages below');
    this.below.addEventListener('click', () => this.#follow());
    this.element.addEventListener('scroll', () => this.#look());
    // Also comes when the log is back from a hidden tab or from outside the document.
    new ResizeObserver(() => this.settle()).observe(this.element);
  }

  get used() { return this.#count > 0; }

  // A frame is one message, but for three JSON objects, the same as on the example's page:
  // {"token": "..."} goes on writing the bot's current message, {"done": true} ends it,
  // {"error": "...", "id": "..."} is a failure.
  receive(data) {
    if (typeof data !== 'string') {
      const size = data.byteLength;
      this.#add({who: 'bot', kind: 'code', text: `binary, ${size} byte${size === 1 ? '' : 's'}`});
      return;
    }
    let value = null;
    if (/^\s*[{[]/.test(data) && data.length <= LONGEST_TEXT) {
      try { value = JSON.parse(data); } catch { /* it only looks like JSON */ }
    }
    if (typeof value?.token === 'string') {
      this.#add({who: 'bot', kind: 'token', text: value.token});
    } else if (value?.done === true) {
      this.end();
    } else if (typeof value?.error === 'string') {
      const id = value.id ? ` (error id ${value.id})` : '';
      this.notice(`The bot reports: ${value.error}${id}`, true);
    } else {
      const text = value ? JSON.stringify(value, null, 2) : data;
      this.#add({who: 'bot', kind: value ? 'code' : '', text});
    }
  }

  said(text) {
    this.end();
    this.#follow();
    this.#add({who: 'you', text});
  }

  notice(text, bad = false) { this.#add({kind: bad ? 'notice bad' : 'notice', text}); }

  // End the message that is being streamed.
  end() { this.#add({kind: 'done'}); }

  // Put the reader back where they were; a browser forgets it with what it does not show.
  settle() {
    if (this.element.clientHeight === 0) return;
    this.element.scrollTop = this.#pinned ? this.element.scrollHeight : this.#scrolled;
    this.#scrolled = this.element.scrollTop;
  }

  #follow() {
    this.#pinned = true;
    this.below.hidden = true;
    this.settle();
  }

  #look() {
    const {scrollTop, scrollHeight, clientHeight} = this.element;
    if (clientHeight === 0) return;  // out of sight, where every log is at its start
    // Only a reader moves upwards; the end itself moves when a line is shown below the log.
    if (scrollHeight - scrollTop - clientHeight < NEAR) this.#pinned = true;
    else if (scrollTop < this.#scrolled) this.#pinned = false;
    this.#scrolled = scrollTop;
    if (this.#pinned) this.below.hidden = true;
  }

  // The page is touched once a frame, and what would leave the log at once is never put there. A
  // hidden tab has no frames: the queue waits, and is bounded like the log.
  #add(entry) {
    const last = this.#queue.at(-1);
    if (entry.kind === 'token' && last?.kind === 'token') {
      if (last.text.length < LONGEST_TEXT) last.text += entry.text;
    } else if (entry.kind !== 'done' || last?.kind !== 'done') {
      this.#queue.push(entry);
    }
    if (this.#queue.length > MOST_MESSAGES) {
      this.#queue.shift();
      this.older.hidden = false;
    }
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

  #flush() {
    this.#frame = 0;
    const before = this.#count;
    for (const entry of this.#queue.splice(0)) this.#append(entry);
    const grown = this.#count > before || this.#streamed;
    while (this.#count > MOST_MESSAGES) this.#drop();
    if (this.#pinned) this.settle();
    else if (grown) this.below.hidden = false;
  }

  #append({who, kind = '', text}) {
    if (kind === 'token' && this.#streamed) {
      if (this.#streamed.textContent.length < LONGEST_TEXT) this.#streamed.append(text);
      return;
    }
    this.#streamed?.setAttribute('aria-busy', 'false');
    this.#streamed = null;
    if (kind === 'done') return;
    this.empty.remove();
    this.#count += 1;
    const shown = text.length <= LONGEST_TEXT ? text
      : `${text.slice(0, LONGEST_TEXT)} … (${text.length - LONGEST_TEXT} more characters)`;
    if (!who) {
      this.#turn = null;
      this.element.append(make('p', {className: kind}, shown));
      return;
    }
    if (!this.#turn?.classList.contains(who)) this.#begin(who);
    const bubble = make('p', {className: `bubble ${kind}`.trim()}, shown);
    this.#turn.append(bubble);
    if (kind !== 'token') return;
    this.#streamed = bubble;
    bubble.setAttribute('aria-busy', 'true');
  }

  #begin(who) {
    const now = new Date();
    const time = make('time', {dateTime: now.toISOString()},
      now.toLocaleTimeString([], {timeStyle: 'short'}));
    this.#turn = make('div', {className: `turn ${who}`},
      make('p', {className: 'byline'}, who === 'you' ? 'You' : this.title, ' · ', time));
    this.element.append(this.#turn);
  }

  // Drop the oldest message, and its byline with the last one of a turn. The newest turn is never
  // emptied: the log has room for more than one message.
  #drop() {
    const oldest = this.older.nextElementSibling;
    oldest.querySelector('.bubble')?.remove();
    if (!oldest.querySelector('.bubble')) oldest.remove();
    this.#count -= 1;
    this.older.hidden = false;
  }
}
