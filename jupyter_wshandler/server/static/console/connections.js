// Who is connected: a page of them at a time, and for the owner a button that closes one.

import {get, segment, send} from './api.js';
import {
  button, bytes, confirm, el, facts, field, fill, inform, lasting, link, make, moment, now, number,
  Pager, place, rate, select,
} from './parts.js';
import {Table} from './table.js';

const SIZE = 50;

export class Connections {
  name = 'connections';
  title = 'Connections';
  #before = new Map();  // by id: how many messages had come when it was last looked at
  #at = 0;

  constructor(console_) {
    this.console = console_;
    this.route = select([['', 'all routes']]);
    this.user = make('input', {type: 'search', autocomplete: 'off', spellcheck: false});
    this.state = select([['', 'any state'], ['open', 'open'], ['away', 'away'],
      ['closing', 'closing']]);
    this.pager = new Pager(['connection', 'connections'], () => this.console.lookNow());
    const columns = [
      {name: 'User', fill: (cell, row, isNew) => isNew && cell.append(who(row))},
      {name: 'Route', text: (row) => row.route},
      {name: 'Since', className: 'number', text: (row) => lasting(now() - row.opened)},
      {name: 'State', className: 'short', fill: (cell, row) => {
        if (cell.dataset.state === row.state) return;
        cell.dataset.state = row.state;
        cell.replaceChildren(el('span', 'state', row.state));
      }},
      {name: 'Messages', className: 'number', text: (row) => rate(row.rate)},
      {name: 'Waiting', className: 'number', text: (row) => number(row.waiting)},
      {name: 'Queued', className: 'number', text: (row) => queued(row)},
      {name: 'Actions', unseen: true, className: 'does', fill: (cell, row, isNew, kept) => {
        if (isNew) cell.append(...this.#actions(kept));
      }},
    ];
    this.table = new Table('Connections', columns, {
      key: (row) => row.id, empty: 'Nobody is connected here.'});
    const filters = el('form', 'filters', field('Route', this.route), field('User', this.user),
      field('State', this.state));
    filters.addEventListener('submit', (event) => event.preventDefault());
    filters.addEventListener('input', () => this.#narrow());
    this.element = el('section', '', filters, this.pager.element, this.table.element);
  }

  #actions(kept) {
    const {row} = kept;
    const whose = row.user ?? 'nobody';
    const more = button('Details', () => this.#tell(kept.row),
      {label: `Details of the connection of ${whose} to ${row.route}`});
    if (!this.console.owner) return [more];
    const close = button('Close', () => this.#close(kept.row),
      {label: `Close the connection of ${whose} to ${row.route}`});
    return [more, close];
  }

  #narrow() {
    this.pager.first();
    const {route, user, state} = this;
    this.console.go(place(this.name,
      {route: route.value, user: user.value.trim(), state: state.value}));
  }

  // Take what the address says.
  shown(query) {
    const wanted = query.get('route') ?? '';
    this.console.offerRoutes(this.route, wanted);
    if (document.activeElement !== this.user) this.user.value = query.get('user') ?? '';
    this.state.value = query.get('state') ?? '';
    this.pager.first();
  }

  async look() {
    this.console.offerRoutes(this.route);
    const found = await get('connections', {route: this.route.value, user: this.user.value.trim(),
      state: this.state.value, after: this.pager.after, limit: SIZE});
    const at = performance.now() / 1000;
    const known = new Map();
    for (const row of found.connections) {
      const before = this.#before.get(row.id);
      const grown = row.received === null || before === undefined || row.received < before
        ? null : row.received - before;
      row.rate = grown === null || at <= this.#at ? null : grown / (at - this.#at);
      if (row.received !== null) known.set(row.id, row.received);
    }
    this.#before = known;
    this.#at = at;
    this.table.show(found.connections);
    this.pager.show(found.connections.length, found.total, found.next);
  }

  async #tell(row) {
    const one = await this.console.trying(() => get(`connections/${segment(row.id)}`));
    if (!one) return;
    const names = one.rooms ?? [];  // null: they are not for whoever looks
    const rooms = el('ul', 'plain', ...names.map((room) => el('li', '', room)));
    inform(`The connection of ${one.user ?? 'nobody'} to ${one.route}`, facts([
      ['Id', one.id],
      ['Path', one.path],
      ['Kind', one.kind],
      ['Share', one.share],
      ['From', one.address],
      ['Page of', one.origin],
      ['Client', one.agent],
      ['Opened', moment(one.opened)],
      ['State', one.state],
      ['Protocol', one.protocol],
      ['Waiting', number(one.waiting)],
      ['Queued', queued(one)],
      ['Dropped', one.dropped && number(one.dropped)],
      ['Over the rate limit', one.rate_limited && number(one.rate_limited)],
      ['Rooms', names.length ? rooms : null],
    ]), ...(this.console.owner
      ? [link('Watch its messages', place('messages', {connection: one.id}))] : []));
  }

  async #close(row) {
    const whose = row.user ?? 'nobody';
    const away = choice('1000', 'Its client stays away (1000)', true);
    const back = choice('1012', 'Its client comes back (1012)');
    const reason = make('input', {maxLength: 100, autocomplete: 'off',
      value: 'closed by an operator'});
    const said = await confirm(`Close the connection of ${whose} to ${row.route}?`, {
      body: [el('fieldset', '', el('legend', '', 'What then'), away, back),
        field('The reason that it is told', reason)],
      yes: 'Close it',
      read: () => ({code: back.firstChild.checked ? 1012 : 1000, reason: reason.value.trim()}),
    });
    if (!said) return;
    const done = await this.console.trying(async () => {
      await send('DELETE', `connections/${segment(row.id)}`, {query: said});
      return true;
    });
    if (done) this.console.say(`The connection of ${whose} to ${row.route} is closed.`);
    this.console.lookNow();
  }
}

function choice(value, words, checked = false) {
  return el('label', 'choice', make('input', {type: 'radio', name: 'then', value, checked}), words);
}

function who(row) {
  const name = row.user ?? 'nobody';
  const known = el('span', 'name', name);
  const kind = row.kind && row.kind !== 'user' ? el('span', 'badge', row.kind) : '';
  return el('span', 'person', known, kind, el('span', 'quiet small', row.path));
}

function queued({queued: {messages, bytes: size}}) {
  return messages ? `${number(messages)} (${bytes(size)})` : '0';
}

