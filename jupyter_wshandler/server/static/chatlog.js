// What was said in a chat: a scrolling log that stays bounded and quick, however fast a bot talks.

const MOST_MESSAGES = 500;   // in the log
const LONGEST_TEXT = 20000;  // characters of one message that are shown
const LONGEST_JSON = 4000000;  // characters of JSON, which may hold a picture
const INTERNAL = 'internal error';  // all that a client hears of what a function has raised
const WRONG = 'message';  // that one is not what the bot takes
const TOKENS = 'tokens';     // the stream of a bot that says itself where it ends
const NEAR = 40;             // pixels from the end that count as the end
const TOUCH = matchMedia('(pointer: coarse)').matches;  // a phone's keyboard has no Shift+Enter

import {bytesPart, forget, jsonPart} from './chatparts.js';
import {Record} from './chatrecord.js';
import {make} from './make.js';
import {Markdown} from './markdown.js';

const wrong = ({path, expected, found, reason}) => (reason ? `The message was refused: ${reason}.`
  : `The bot does not take this message: ${path}: expected ${expected}, found ${found}.`);
const shortened = (text) => (text.length <= LONGEST_TEXT ? text
  : `${text.slice(0, LONGEST_TEXT)} … (${text.length - LONGEST_TEXT} more characters)`);

// What a bot has said: text as Markdown, and whatever else stands between.
class Bubble {
  #text = null;
  #length = 0;

  constructor() { this.element = make('div', {className: 'bubble'}); }

  write(text, part) {
    if (part) {
      this.#text = null;
      this.element.append(part());
      return;
    }
    if (this.#length >= LONGEST_TEXT) return;
    this.#length += text.length;
    if (!this.#text) {
      this.#text = new Markdown(make('div', {className: 'text'}));
      this.element.append(this.#text.element);
    }
    this.#text.append(shortened(text));
  }
}

export class Log {
  #queue = [];        // what the next frame will show
  #frame = 0;
  #count = 0;         // messages and notices in the log
  #turn = null;       // the messages in a row of one speaker
  #streams = new Map();  // answer -> the bubble that is being written
  #record = new Record();
  #line = null;       // the last line about a break
  #working = false;   // whether the bot is at work, and nothing of it is to be seen yet
  #pinned = true;     // whether the reader is at the end
  #scrolled = 0;
  // A picture has its size when it has come: until then the end is not where it will be.
  #pictures = new ResizeObserver(() => { if (this.#pinned) this.settle(); });

  title = '';
  traceback = '';     // where whoever reads this finds the traceback of a failure

  constructor() {
    this.older = make('p', {className: 'older', hidden: true}, 'older messages are not shown');
    this.hello = make('strong');
    this.empty = make('p', {className: 'empty'},
      this.hello, TOUCH ? 'Write below, and tap Send.'
        : 'Enter sends. Shift+Enter starts a new line.');
    this.element = make('div', {className: 'log', tabIndex: 0, attributes: {
      role: 'log', 'aria-live': 'polite', 'aria-label': 'Conversation'}}, this.older, this.empty);
    this.typing = make('p', {className: 'typing', hidden: true}, make('i'), make('i'), make('i'),
      make('span', {className: 'unseen'}, 'The bot is at work'));
    this.element.append(this.typing);
    this.below = make('button', {type: 'button', className: 'below button', hidden: true},
      'New messages below');
    this.below.addEventListener('click', () => this.#follow());
    this.element.addEventListener('scroll', () => this.#look());
    // Also comes when the log is back from a hidden tab or from outside the document.
    new ResizeObserver(() => this.settle()).observe(this.element);
  }

  get used() { return this.#count > 0; }

  // A message of its own, but for three JSON objects, the same as on the example's page:
  // {"token": "..."} goes on writing the bot's current message, {"done": true} ends it,
  // {"error": "...", "id": "..."} is a failure. `of` is the answer that yielded it: all that one
  // answer yields stands in one bubble.
  receive(data, of = 0, json = false) {
    if (typeof data !== 'string') {
      this.#add({who: 'bot', kind: of ? 'piece' : '', of, part: () => bytesPart(data)});
      return;
    }
    let value = null;
    if (/^\s*[{[]/.test(data) && data.length <= LONGEST_JSON) {
      try { value = JSON.parse(data); } catch { /* it only looks like JSON */ }
    }
    if (typeof value?.token === 'string') {
      this.#add({who: 'bot', kind: 'piece', of: of || TOKENS, text: value.token});
    } else if (value?.done === true && Object.keys(value).length === 1) {
      if (!of) this.end();
    } else if (typeof value?.error === 'string') {
      const id = value.id ? ` (error id ${value.id})` : '';
      if (value.error === INTERNAL && id) this.failed(value.id);
      else if (value.error === WRONG && value.path) this.notice(wrong(value), true);
      else this.notice(`The bot reports: ${value.error}${id}`, true);
    } else if (value && (json || !of)) {
      this.#add({who: 'bot', kind: of ? 'piece' : '', of, part: () => jsonPart(value), json: data});
    } else {
      this.#add({who: 'bot', kind: of ? 'piece' : '', of, text: data});
    }
  }

  said(text) {
    this.end(TOKENS);
    this.#follow();
    this.#add({who: 'you', text});
  }

  // A function of the bot's has raised, whether that has closed the connection or not.
  failed(id) {
    this.notice(`The bot has failed: ${INTERNAL}, id ${id}.${this.traceback}`, true);
  }

  notice(text, bad = false) { this.#add({kind: bad ? 'notice bad' : 'notice', text}); }

  // A thin line about a break, in place of the one before it, where nothing was said between them.
  line(text) { this.#add({kind: 'notice line', text}); }

  // Keep what stands here for the page that comes next; a hidden page may have shown nothing of it yet.
  keep(address) {
    this.#flush();
    this.#record.keep(address);
  }

  // Show what stood in the page before this one.
  restore(messages) {
    for (const {parts, open, ...message} of messages) {
      for (const {text, json} of parts) {
        const part = json && (() => jsonPart(JSON.parse(json)));
        this.#append({...message, text, json, part});
      }
      if (!open) this.#finish(message.of);
    }
    this.#flush();
  }

  // End what is being streamed: one answer, or all.
  end(of = 0, how = 'done') { this.#add({kind: 'done', of, how}); }

  // Show that the bot is at work, as long as nothing of its answer is to be seen.
  work(on) {
    this.#working = on;
    this.#frame ||= requestAnimationFrame(() => this.#flush());
  }

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
    if (entry.kind === 'piece' && entry.text !== undefined && last?.kind === 'piece'
        && last.of === entry.of && last.text !== undefined) {
      if (last.text.length < LONGEST_TEXT) last.text += entry.text;
    } else if (entry.kind !== 'done' || entry.of || last?.kind !== 'done') {
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
    const grown = this.#count > before || this.#streams.size > 0;
    while (this.#count > MOST_MESSAGES) this.#drop();
    this.typing.hidden = !this.#working || this.#streams.size > 0;
    if (this.element.lastElementChild !== this.typing) this.element.append(this.typing);
    if (this.#pinned) this.settle();
    else if (grown) this.below.hidden = false;
  }

  #append(entry) {
    const {who, kind = '', text, of, part, how} = entry;
    if (kind === 'done') {
      for (const each of of ? [of] : [...this.#streams.keys()]) this.#finish(each);
      if (how === 'stopped') this.#append({kind: 'notice', text: 'Stopped.'});
      return;
    }
    if (kind === 'piece' && this.#streams.has(of)) {
      this.#record.go(entry);
      this.#write(this.#streams.get(of), text, part);
      return;
    }
    if (kind === 'notice line') {
      this.#mark(text);
      return;
    }
    if (kind !== 'piece' || of === TOKENS) this.#finish(TOKENS);
    this.empty.remove();
    this.#count += 1;
    this.#record.add(entry);
    if (!who) {
      this.#turn = null;
      this.element.append(make('p', {className: kind}, shortened(text)));
      return;
    }
    if (!this.#turn?.classList.contains(who)) this.#begin(who, entry.at);
    if (who === 'you') {
      this.#turn.append(make('p', {className: 'bubble'}, shortened(text)));
      return;
    }
    const bubble = new Bubble();
    this.#write(bubble, text, part);
    this.#turn.append(bubble.element);
    if (kind !== 'piece') return;
    this.#streams.set(of, bubble);
    bubble.element.setAttribute('aria-busy', 'true');
  }

  // What is being written goes on above it.
  #mark(text) {
    let last = this.element.lastElementChild;
    if (last === this.typing) last = last.previousElementSibling;
    if (this.#line && last === this.#line) {
      last.textContent = text;
      return;
    }
    this.empty.remove();
    this.#count += 1;
    this.#turn = null;
    this.#line = make('p', {className: 'notice line'}, text);
    this.element.append(this.#line);
  }

  #write(bubble, text, part) {
    bubble.write(text, part);
    if (!part) return;
    for (const image of bubble.element.lastElementChild.querySelectorAll('img')) {
      this.#pictures.observe(image);
    }
  }

  #finish(of) {
    this.#streams.get(of)?.element.setAttribute('aria-busy', 'false');
    this.#streams.delete(of);
    this.#record.finish(of);
  }

  #begin(who, at = Date.now()) {
    const now = new Date(at);
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
    const bubble = oldest.querySelector('.bubble');
    if (bubble) forget(bubble);
    bubble?.remove();
    if (!oldest.querySelector('.bubble')) oldest.remove();
    this.#count -= 1;
    this.older.hidden = false;
  }
}
