// What all parts of the console are made of: elements, words for times and numbers, dialogs, pages.
//
// All that comes from the server is text of other people's and becomes text: nothing of it is ever
// taken for HTML.

import {make} from '../make.js';

export {make};

// Make an element of a class, with what is inside.
export const el = (tag, className = '', ...inside) => make(tag, {className}, ...inside);

const DAY = 86400;

const UNITS = [[DAY, 'd'], [3600, 'h'], [60, 'min'], [1, 's']];

// A length of time in one or two units: "3 d 4 h", "12 s".
export function lasting(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [index, [size, unit]] of UNITS.entries()) {
    if (whole < size && size > 1) continue;
    const rest = Math.floor((whole % size) / (UNITS[index + 1]?.[0] ?? Infinity));
    return `${Math.floor(whole / size)} ${unit}${rest ? ` ${rest} ${UNITS[index + 1][1]}` : ''}`;
  }
  return '0 s';
}

export const now = () => Date.now() / 1000;

// A moment as a person says it: the time, and the day where it is not today.
export function moment(seconds) {
  const date = new Date(seconds * 1000);
  const time = {hour: '2-digit', minute: '2-digit', second: '2-digit'};
  if (date.toDateString() === new Date().toDateString()) return date.toLocaleTimeString([], time);
  return date.toLocaleString([], {day: 'numeric', month: 'short', ...time});
}

export function time(seconds) {
  const made = el('time', '', moment(seconds));
  made.dateTime = new Date(seconds * 1000).toISOString();
  return made;
}

export const number = (value) => value.toLocaleString();

// As many digits as say something: 0.25, 3.5, 42, 1,200.
function rough(value) {
  const digits = value >= 10 || value === 0 ? 0 : value >= 1 ? 1 : 2;
  return value.toLocaleString(undefined, {maximumFractionDigits: digits});
}

// How much in a second.
export const rate = (value) => (Number.isFinite(value ?? NaN) ? `${rough(value)}/s` : '–');

export function duration(seconds) {
  if (!Number.isFinite(seconds ?? NaN)) return '–';
  return seconds >= 1 ? `${rough(seconds)} s` : `${rough(seconds * 1000)} ms`;
}

// How many of something: counted(1, ['room', 'rooms']).
export const counted = (count, [one, many]) => `${number(count)} ${count === 1 ? one : many}`;

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ['KiB', 'MiB', 'GiB'];
  let value = count;
  let unit = -1;
  while (value >= 1024 && unit < 2) { value /= 1024; unit += 1; }
  return `${rough(value)} ${units[unit]}`;
}

export function button(words, act, {label, className = ''} = {}) {
  const made = make('button', {type: 'button', className: `button ${className}`}, words);
  if (label) made.setAttribute('aria-label', label);
  made.addEventListener('click', act);
  return made;
}

export function link(words, hash, label) {
  const made = make('a', {href: hash}, words);
  if (label) made.setAttribute('aria-label', label);
  return made;
}

// Where a part of the console is, with what narrows it: `#connections?route=chat`.
export function place(name, query = {}) {
  const said = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  return `#${name}${said.size ? `?${said}` : ''}`;
}

let ids = 0;

// A field with its label above it.
export function field(words, input, className = '') {
  input.id ||= `field-${ids += 1}`;
  const label = make('label', {htmlFor: input.id}, words);
  return el('div', `field ${className}`, label, input);
}

export function select(options, value = '') {
  const made = make('select');
  fill(made, options, value);
  return made;
}

// Give a select its options, [value, words] each, and keep what is chosen.
export function fill(chooser, options, value = chooser.value) {
  const text = JSON.stringify(options);
  if (chooser.dataset.options !== text) {
    chooser.dataset.options = text;
    chooser.replaceChildren(...options.map(([key, words]) => make('option', {value: key}, words)));
  }
  if (options.some(([key]) => key === value)) chooser.value = value;
}

// Ask something in a dialog of its own; Escape is a no. Returns what `read` says, or null.
export function confirm(title, {body = [], yes, read = () => true, className = 'danger'}) {
  const heading = make('h2', {id: `field-${ids += 1}`}, title);
  const no = make('button', {type: 'submit', value: 'no', className: 'button', autofocus: true},
    'Cancel');
  const sure = make('button', {type: 'submit', value: 'yes', className: `button ${className}`}, yes);
  const form = make('form', {method: 'dialog'}, heading, ...body, el('div', 'does', no, sure));
  const dialog = make('dialog', {attributes: {'aria-labelledby': heading.id}}, form);
  // Enter in a field must not mean the first button, which is "Cancel".
  form.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.target.tagName !== 'INPUT') return;
    event.preventDefault();
    dialog.close('yes');
  });
  open(dialog);
  return new Promise((resolve) => {
    dialog.addEventListener('close', () => {
      resolve(dialog.returnValue === 'yes' ? read() : null);
    });
  });
}

// Show something in a dialog that only closes.
export function inform(title, ...body) {
  const heading = make('h2', {id: `field-${ids += 1}`}, title);
  const close = make('button', {type: 'submit', className: 'button', autofocus: true}, 'Close');
  const dialog = make('dialog', {attributes: {'aria-labelledby': heading.id}},
    make('form', {method: 'dialog'}, heading, ...body, el('div', 'does', close)));
  open(dialog);
}

// Show a dialog from its beginning, until it is closed.
function open(dialog) {
  dialog.addEventListener('close', () => {
    dialog.remove();
    keepFocus();
  });
  document.body.append(dialog);
  dialog.showModal();
  dialog.scrollTop = 0;  // the button that has the focus may be far below
}

// Who works with the keyboard goes on at the part's heading where what had the focus is gone.
export function keepFocus() {
  if (document.activeElement === document.body) document.querySelector('main h2').focus();
}

// A list of names and values.
export function facts(pairs) {
  const list = el('dl', 'facts');
  for (const [name, value] of pairs) {
    if (value === null || value === undefined || value === '') continue;
    list.append(el('div', '', el('dt', '', name), el('dd', '', value)));
  }
  return list;
}

// The way through a list that comes in pages, each of which says where the next one begins.
export class Pager {
  after = '';  // where the page that is shown begins
  #before = [];
  #next = null;
  #where = el('span', 'quiet');

  // what: one and many of it, ['room', 'rooms'].
  constructor(what, turned) {
    this.what = what;
    this.back = button('Previous', () => {
      this.after = this.#before.pop() ?? '';
      turned();
    }, {label: `Previous ${what[1]}`});
    this.on = button('Next', () => {
      this.#before.push(this.after);
      this.after = this.#next;
      turned();
    }, {label: `Next ${what[1]}`});
    this.element = el('div', 'pager', this.#where, this.back, this.on);
  }

  first() {
    this.after = '';
    this.#before = [];
  }

  show(count, total, next) {
    this.#next = next;
    this.back.disabled = this.#before.length === 0;
    this.on.disabled = next === null;
    this.back.hidden = this.on.hidden = this.back.disabled && this.on.disabled;
    const all = counted(total, this.what);
    const words = count < total ? `${number(count)} of ${all}` : all;
    if (this.#where.textContent !== words) this.#where.textContent = words;
  }
}
