// What a bot sends that is no text: pictures, files, JSON and tables.

import {make} from './make.js';

const MOST_ROWS = 200;
const MOST_COLUMNS = 30;

// What the first bytes say; a name or a type that somebody writes beside them is not asked.
const PICTURES = [
  ['image/png', [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]],
  ['image/jpeg', [0xff, 0xd8, 0xff]],
  ['image/gif', [0x47, 0x49, 0x46, 0x38]],
];
const WEBP = [0x52, 0x49, 0x46, 0x46];  // and "WEBP" four bytes later

function pictureType(bytes) {
  const begins = (magic, at = 0) => magic.every((byte, index) => bytes[at + index] === byte);
  if (begins(WEBP) && begins([0x57, 0x45, 0x42, 0x50], 8)) return 'image/webp';
  return PICTURES.find(([, magic]) => begins(magic))?.[0];
}

export function sizeOf(size) {
  if (size < 1024) return `${size} byte${size === 1 ? '' : 's'}`;
  const unit = size < 1024 ** 2 ? ['KiB', 1024] : ['MiB', 1024 ** 2];
  return `${(size / unit[1]).toFixed(1)} ${unit[0]}`;
}

// A picture, or a link to save the bytes; `forget` of an element frees what it holds.
export function bytesPart(buffer) {
  const type = pictureType(new Uint8Array(buffer, 0, Math.min(16, buffer.byteLength)));
  const href = URL.createObjectURL(new Blob([buffer], {type: type ?? 'application/octet-stream'}));
  const size = sizeOf(buffer.byteLength);
  const name = `file.${type?.slice(6) ?? 'bin'}`;
  const save = (words) => make('a', {href, download: name, className: 'file'}, words);
  if (!type) return save(`Save binary, ${size}`);
  return picture(href, `Picture, ${size}`, () => save(`Save a picture that cannot be shown, ${size}`));
}

function picture(src, alt, instead) {
  const image = make('img', {src, alt, decoding: 'async'});
  image.addEventListener('error', () => image.replaceWith(instead()), {once: true});
  return make('a', {href: src, target: '_blank', rel: 'noopener', download: '', className: 'picture',
    title: 'Save the picture'}, image);
}

export function forget(element) {
  for (const {href} of element.querySelectorAll('a[href^="blob:"]')) URL.revokeObjectURL(href);
}

// A value of JSON; pictures in it are shown above it.
export function jsonPart(value) {
  const found = [];
  const text = JSON.stringify(value, (key, each) => {
    const data = typeof each === 'string'
      && /^data:(image\/(?:png|jpeg|gif|webp));base64,[A-Za-z0-9+/]+=*$/.test(each);
    if (!data) return each;
    if (found.length < 8) {
      found.push(picture(each, key || 'Picture', () => make('span', {}, 'This picture is broken.')));
    }
    return `${each.slice(0, 40)}… (${sizeOf(each.length)})`;
  }, 2);
  const only = found.length === 1 && Object.keys(value).length === 1;
  const count = Object.keys(value).length;
  const what = Array.isArray(value) ? `${count} item${count === 1 ? '' : 's'}`
    : `${count} key${count === 1 ? '' : 's'}`;
  const rows = tableOf(value);
  const shown = rows ?? make('pre', {className: 'code', tabIndex: 0}, text);
  return make('div', {className: 'json'}, ...found,
    ...(only ? [] : [make('details', {open: text.length < 4000 || Boolean(rows)},
      make('summary', {}, rows ? `Table, ${what}` : `JSON, ${what}`), shown)]));
}

// A list of flat objects is a table.
function tableOf(value) {
  const flat = (each) => each?.constructor === Object && Object.values(each).every(
    (cell) => cell === null || (typeof cell !== 'object' && String(cell).length < 500));
  if (!Array.isArray(value) || !value.length || value.length > MOST_ROWS) return null;
  if (!value.every(flat)) return null;
  const columns = [...new Set(value.flatMap(Object.keys))];
  if (!columns.length || columns.length > MOST_COLUMNS) return null;
  const row = (tag, cells) => make('tr', {}, ...cells.map((cell) => make(tag, {
    className: typeof cell === 'number' ? 'number' : ''}, String(cell ?? ''))));
  return make('div', {className: 'wide', tabIndex: 0}, make('table', {},
    make('thead', {}, row('th', columns)),
    make('tbody', {}, ...value.map((each) => row('td', columns.map((name) => each[name]))))));
}
