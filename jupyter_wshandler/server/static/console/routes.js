// The routes: what is served, why one is broken, how much is said, and how long callbacks take.

import {BASE, get} from './api.js';
import {Sparkline} from './charts.js';
import {counted, duration, el, field, link, make, number, place, rate} from './parts.js';
import {Table} from './table.js';

const SESSIONS_EVERY = 10_000;  // milliseconds between two looks for the notebooks of bots
const FEW = 20;    // routes that need no field to find one
const MOST = 200;  // rows of the table

const TILES = [
  ['connections', 'Connections', number],
  ['messages', 'Messages', rate],
  ['took', 'Latency, p95', duration],
  ['lag', 'Event loop lag, p95', duration],
  ['failed', 'Errors', rate],
];

class Tile {
  #value = el('p', 'value', '–');
  #line = new Sparkline();

  constructor(name, words) {
    this.element = el('div', 'tile', el('p', 'name', words), this.#value, this.#line.element);
    this.element.dataset.name = name;
  }

  show(series, say) {
    const words = series.last === null ? '–' : say(series.last);
    if (this.#value.textContent !== words) this.#value.textContent = words;
    this.#line.show(series);
  }
}

export class Routes {
  name = 'routes';
  title = 'Routes';
  #tiles = TILES.map(([name, words, say]) => [name, new Tile(name, words), say]);
  #broken = el('div', 'broken');
  #failed = new Map();
  #routes = [];
  #notebooks = new Map();  // by the kernel's id: {path, state}
  #looked = 0;

  constructor(console_) {
    this.console = console_;
    this.table = new Table('Routes', [
      {name: 'Route', fill: (cell, row, isNew) => this.#name(cell, row, isNew)},
      {name: 'Path', text: (row) => row.pattern, className: 'code'},
      {name: 'Served by', text: (row) => this.#server(row)},
      {name: 'State', className: 'short', fill: (cell, row) => state(cell, row)},
      {name: 'Connections', className: 'number', fill: (cell, row) => people(cell, row)},
      {name: 'Messages', className: 'number', fill: (cell, row, isNew, kept) => (
        this.#line(cell, row, isNew, kept, 'messages', rate))},
      {name: 'Latency, p95', className: 'number', fill: (cell, row, isNew, kept) => (
        this.#line(cell, row, isNew, kept, 'took', duration))},
      {name: 'Try it', unseen: true, className: 'does', fill: (cell, row, isNew) => {
        if (!isNew) return;
        cell.append(link('Try it', place('try', {route: row.name}), `Try it: ${row.name}`));
      }},
    ], {key: (row) => row.name, empty: 'There are no routes.'});
    this.wanted = make('input', {type: 'search', autocomplete: 'off', spellcheck: false});
    this.wanted.addEventListener('input', () => this.#list());
    this.count = el('p', 'quiet');
    this.find = el('form', 'filters', field('Find a route', this.wanted), this.count);
    this.find.addEventListener('submit', (event) => event.preventDefault());
    this.element = el('section', '',
      el('div', 'tiles', ...this.#tiles.map(([, tile]) => tile.element)),
      this.#broken, this.find, this.table.element);
  }

  #name(cell, row, isNew) {
    const key = row.page ?? '';
    if (!isNew && cell.dataset.page === key) return;
    cell.dataset.page = key;
    if (!row.page) {
      cell.textContent = row.name;
      return;
    }
    const to = make('a', {href: new URL(`.${row.page}`, BASE).href, target: '_blank',
      rel: 'noopener', title: 'Open its page'}, row.name);
    cell.replaceChildren(to);
  }

  #server(row) {
    if (row.host === 'module') return 'a file';
    const notebook = this.#notebooks.get(row.kernel);
    if (notebook) return `${notebook.path} (kernel ${notebook.state})`;
    return row.kernel ? `kernel ${row.kernel.slice(0, 8)}` : 'a kernel';
  }

  #line(cell, row, isNew, kept, what, say) {
    kept[what] ??= new Sparkline();
    const series = this.console.traffic.routes.get(row.name)?.[what];
    const words = series?.last === null || series === undefined ? '–' : say(series.last);
    if (isNew) cell.append(el('span', 'trend', el('span', 'words'), kept[what].element));
    const shown = cell.firstChild.firstChild;
    if (shown.textContent !== words) shown.textContent = words;
    if (series) kept[what].show(series);
  }

  async look() {
    const {routes} = await get('routes');
    if (routes.some((route) => route.host === 'kernel')) await this.#findNotebooks();
    this.show(routes);
  }

  // Jupyter knows which notebook a kernel belongs to; who may not ask it sees the kernel's id.
  async #findNotebooks() {
    if (performance.now() - this.#looked < SESSIONS_EVERY) return;
    this.#looked = performance.now();
    try {
      const found = await get(new URL('api/sessions', BASE));
      this.#notebooks = new Map(found.map(({path, kernel}) => (
        [kernel.id, {path, state: kernel.execution_state}])));
    } catch { /* it is said without */ }
  }

  show(routes) {
    for (const [name, tile, say] of this.#tiles) tile.show(this.console.traffic.all[name], say);
    const broken = routes.filter((route) => route.error);
    const known = new Set();
    for (const route of broken) {
      known.add(route.name);
      let shown = this.#failed.get(route.name);
      if (!shown) {
        shown = el('div', 'notice bad', el('h3', '', `${route.name} is broken`), el('pre', 'code'));
        this.#failed.set(route.name, shown);
        this.#broken.append(shown);
      }
      const text = shown.lastChild;
      if (text.textContent !== route.error) text.textContent = route.error;
    }
    for (const [name, shown] of this.#failed) {
      if (known.has(name)) continue;
      shown.remove();
      this.#failed.delete(name);
      const isThere = routes.some((route) => route.name === name);
      this.console.say(isThere ? `${name} is served again.` : `${name} is served no longer.`);
    }
    this.#routes = routes;
    this.#list();
  }

  #list() {
    const words = this.wanted.value.trim().toLowerCase();
    const found = this.#routes.filter(({name, pattern}) => (
      name.toLowerCase().includes(words) || pattern.toLowerCase().includes(words)));
    this.find.hidden = this.#routes.length <= FEW;
    const count = Math.min(found.length, MOST);
    this.count.textContent = `${number(count)} of ${number(this.#routes.length)}`;
    this.table.show(found.slice(0, MOST));
  }
}

function state(cell, row) {
  if (cell.dataset.state === row.state) return;
  cell.dataset.state = row.state;
  cell.replaceChildren(el('span', 'state', row.state));
}

function people(cell, row) {
  const words = number(row.connections);
  if (cell.textContent === words) return;
  cell.replaceChildren(link(words, place('connections', {route: row.name}),
    `${counted(row.connections, ['connection', 'connections'])} to ${row.name}`));
}
