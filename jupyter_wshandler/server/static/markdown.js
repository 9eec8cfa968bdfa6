// A small, safe subset of Markdown, made to elements as it is being written.
//
//   const text = new Markdown(element);  text.append('Some **bo');  text.append('ld** words');
//
// Paragraphs (line breaks kept), headings, lists, quotes, fenced code, rules, tables; bold, italic,
// struck out, code, and links to http and https. No HTML and no pictures: what is no Markdown of
// these is shown as it stands. Everything goes in as text, nothing through innerHTML.

import {make} from './make.js';

const REACH = 1000;   // characters that a pair of marks spans at most: work stays linear
const DEEPEST = 6;    // quotes and lists in each other
const MOST_COLUMNS = 30;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#.-]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})[ \t]+(.*?)[ \t]*#*$/;
const RULE = /^ {0,3}([-*_])[ \t]*(?:\1[ \t]*){2,}$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])[ \t]+(?=\S)/;
const BELOW_HEAD = /^:?-+:?$/;  // a cell of the line between a table's head and its rows

export class Markdown {
  source = '';
  #shown = [];  // [{source, node}] of each block

  constructor(element) { this.element = element; }

  // Blocks that are finished stay the same elements: a selection in them lasts, nothing flickers.
  append(text) {
    this.source += text;
    const found = blocks(this.source);
    let same = 0;
    while (same < found.length && this.#shown[same]?.source === found[same].source) same += 1;
    for (const {node} of this.#shown.splice(same)) node.remove();
    for (const block of found.slice(same)) {
      const shown = {source: block.source, node: block.make(0)};
      this.#shown.push(shown);
      this.element.append(shown.node);
    }
  }
}

// ---- blocks ----------------------------------------------------------------------------------

function blocks(text) {
  const lines = text.replace(/\r\n?/g, '\n').split('\n');
  const found = [];
  let at = 0;
  const take = (wanted) => {
    const start = at;
    while (at < lines.length && wanted(lines[at], at - start)) at += 1;
    return lines.slice(start, at);
  };
  const add = (kind, taken, build) => found.push(
    {source: `${kind}\n${taken.join('\n')}`, make: build});
  while (at < lines.length) {
    const line = lines[at];
    const fence = FENCE.exec(line);
    if (!line.trim()) {
      at += 1;
    } else if (fence) {
      at += 1;
      const end = new RegExp(`^ {0,3}${fence[1][0]}{${fence[1].length},}\\s*$`);
      const code = take((each) => !end.test(each));
      at += 1;
      add(`fence ${fence[2]}`, code, () => make('pre', {className: 'code', tabIndex: 0},
        make('code', {attributes: fence[2] ? {'data-language': fence[2]} : {}}, code.join('\n'))));
    } else if (HEADING.test(line)) {
      const [, marks, words] = HEADING.exec(line);
      at += 1;
      // The page and the chat have headings of their own, above these.
      add('heading', [line], () => make(`h${Math.min(6, marks.length + 2)}`, {}, ...inline(words)));
    } else if (startsTable(lines, at)) {
      const rows = take((each, index) => index < 2 || each.includes('|'));
      add('table', rows, () => table(rows));
    } else if (RULE.test(line)) {
      at += 1;
      add('rule', [line], () => make('hr'));
    } else if (QUOTE.test(line)) {
      const quoted = take((each) => QUOTE.test(each));
      add('quote', quoted, (depth) => make('blockquote', {},
        ...inside(quoted.map((each) => each.replace(QUOTE, '')), depth)));
    } else if (ITEM.test(line)) {
      const ordered = /\d/.test(ITEM.exec(line)[2]);
      const listed = take((each, index) => (index === 0 || /^\s+\S/.test(each)
        || (ITEM.test(each) && /\d/.test(ITEM.exec(each)[2]) === ordered)));
      add('list', listed, (depth) => list(listed, ordered, depth));
    } else {
      const words = take((each, index) => each.trim() && (index === 0 || !(FENCE.test(each)
        || HEADING.test(each) || RULE.test(each) || QUOTE.test(each) || ITEM.test(each)
        || startsTable(lines, at))));
      add('text', words, () => make('p', {}, ...inline(words.join('\n'))));
    }
  }
  return found;
}

const inside = (lines, depth) => (depth >= DEEPEST ? [make('p', {}, lines.join('\n'))]
  : blocks(lines.join('\n')).map((block) => block.make(depth + 1)));

function list(lines, ordered, depth) {
  const items = [];
  let indent = 0;
  for (const line of lines) {
    const mark = ITEM.exec(line);
    if (mark && (!items.length || mark[1].length < 2)) {
      indent = mark[0].length;
      items.push([line.slice(indent)]);
    } else {
      items.at(-1).push(line.slice(Math.min(indent, line.search(/\S/))));
    }
  }
  const first = ordered ? parseInt(ITEM.exec(lines[0])[2], 10) : 1;
  return make(ordered ? 'ol' : 'ul', ordered ? {start: first} : {},
    ...items.map((item) => make('li', {}, ...inside(item, depth))));
}

// The cells of a line of a table; a "|" that belongs to a cell has a backslash before it.
const cellsOf = (line) => line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '')
  .split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));

function startsTable(lines, at) {
  const below = lines[at + 1] ?? '';
  if (![lines[at], below].every((line) => line.includes('|')) || /[^\s|:-]/.test(below)) return false;
  const marks = cellsOf(below);
  return marks.length <= MOST_COLUMNS && marks.every((mark) => BELOW_HEAD.test(mark))
    && cellsOf(lines[at]).length === marks.length;
}

function table([head, marks, ...rows]) {
  const right = cellsOf(marks).map((mark) => mark.endsWith(':') && !mark.startsWith(':'));
  const row = (tag, line) => make('tr', {}, ...cellsOf(line).slice(0, right.length).map(
    (cell, index) => make(tag, {className: right[index] ? 'number' : ''}, ...inline(cell))));
  return make('div', {className: 'wide', tabIndex: 0}, make('table', {},
    make('thead', {}, row('th', head)),
    make('tbody', {}, ...rows.map((line) => row('td', line)))));
}

// ---- words -----------------------------------------------------------------------------------

const SPAN = new RegExp([
  '\\\\([!-/:-@[-`{-~])',                                              // 1 escaped
  `(\`+)(?!\`)([^]{1,${REACH}}?)(?<!\`)\\2(?!\`)`,                     // 2 3 code
  `\\*\\*(?=\\S)([^]{0,${REACH}}?\\S)\\*\\*(?!\\*)`,                   // 4 bold
  `(?<![\\p{L}\\p{N}_])__(?=\\S)([^]{0,${REACH}}?\\S)__(?![\\p{L}\\p{N}_])`,  // 5 bold
  `(?<![\\p{L}\\p{N}*])\\*(?![\\s*])([^*]{0,${REACH}}?[^\\s*])\\*(?![\\p{L}\\p{N}*])`,  // 6 italic
  `(?<![\\p{L}\\p{N}_])_(?![\\s_])([^_]{0,${REACH}}?[^\\s_])_(?![\\p{L}\\p{N}_])`,      // 7 italic
  `~~(?=\\S)([^]{0,${REACH}}?\\S)~~`,                                  // 8 struck out
  `!?\\[([^\\[\\]]{1,${REACH}})\\]\\((https?://[^\\s()<>]{1,${REACH}})\\)`,  // 9 10 link
  `(?<![\\p{L}\\p{N}])(https?://[^\\s<>"']{1,${REACH}})`,              // 11 address
].join('|'), 'gu');

function inline(text, depth = 0) {
  const nodes = [];
  let at = 0;
  for (const found of text.matchAll(SPAN)) {
    const [whole, escaped, , code, ...rest] = found;
    const [bold, strong, italic, slanted, struck, words, href, address] = rest;
    if (found.index > at) nodes.push(text.slice(at, found.index));
    at = found.index + whole.length;
    const within = (part) => (depth < DEEPEST ? inline(part, depth + 1) : [part]);
    if (escaped) nodes.push(escaped);
    else if (code) nodes.push(make('code', {}, code));
    else if (bold ?? strong) nodes.push(make('strong', {}, ...within(bold ?? strong)));
    else if (italic ?? slanted) nodes.push(make('em', {}, ...within(italic ?? slanted)));
    else if (struck) nodes.push(make('del', {}, ...within(struck)));
    else if (href) nodes.push(link(href, words));
    else {
      // A sentence may end behind an address.
      const end = address.replace(/[.,;:!?)\]}*_~]+$/, '');
      nodes.push(link(end, end), address.slice(end.length));
    }
  }
  if (at < text.length) nodes.push(text.slice(at));
  return nodes;
}

function link(href, words) {
  if (!URL.canParse(href)) return words;
  return make('a', {href, target: '_blank', rel: 'noopener noreferrer'}, words);
}
