// The rooms that have members on this server, and who is in one of them.

import {get, segment} from './api.js';
import {el, field, fill, lasting, link, now, number, Pager, place, select} from './parts.js';
import {Table} from './table.js';

const SIZE = 50;

export class Rooms {
  name = 'rooms';
  title = 'Rooms';
  #room = '';
  #keepsPresence = new Map();

  constructor(console_) {
    this.console = console_;
    this.space = select([]);
    this.space.addEventListener('input', () => (
      this.console.go(place(this.name, {space: this.space.value}))));
    this.pager = new Pager(['room', 'rooms'], () => this.console.lookNow());
    this.table = new Table('Rooms', [
      {name: 'Room', fill: (cell, row, isNew) => isNew && cell.append(
        link(row.room, place(this.name, {space: this.space.value, room: row.room})))},
      {name: 'Connections', className: 'number', text: (row) => number(row.connections)},
    ], {key: (row) => row.room, empty: 'No room of this space has members on this server.'});
    this.people = new Pager(['person', 'people'], () => this.console.lookNow());
    this.members = new Table('Who is in', [
      {name: 'Who', text: (row) => row.id},
      {name: 'Card', className: 'code', text: (row) => card(row.card)},
      {name: 'Connections', className: 'number', text: (row) => number(row.connections)},
      {name: 'Since', className: 'number', text: (row) => lasting(now() - row.since)},
    ], {key: (row) => row.id, empty: 'Nobody is in.'});
    this.heading = el('h3');
    this.none = el('p', 'quiet', 'Its routes keep no presence, so that nobody knows who is in.');
    this.inside = el('div', 'inside', this.heading, this.people.element, this.members.element,
      this.none);
    const filters = el('form', 'filters', field('Space', this.space));
    filters.addEventListener('submit', (event) => event.preventDefault());
    this.element = el('section', '', filters, this.pager.element, this.table.element, this.inside);
  }

  shown(query) {
    const space = query.get('space') ?? '';
    if (space && space !== this.space.value) {
      this.pager.first();
      if (![...this.space.options].some(({value}) => value === space)) {
        fill(this.space, [[space, space]]);
      }
      this.space.value = space;
    }
    if (this.#room !== (query.get('room') ?? '')) this.people.first();
    this.#room = query.get('room') ?? '';
  }

  async look() {
    const {spaces} = await get('spaces');
    this.#keepsPresence = new Map(spaces.map(({space, presence}) => [space, presence]));
    const busy = [...spaces].sort((one, other) => other.rooms - one.rooms);
    fill(this.space, busy.map(({space, rooms}) => [space, `${space} (${number(rooms)})`]));
    const space = this.space.value;
    if (!space) {
      this.table.show([]);
      this.inside.hidden = true;
      return;
    }
    const found = await get(`spaces/${segment(space)}/rooms`, {after: this.pager.after, limit: SIZE});
    this.table.show(found.rooms);
    this.pager.show(found.rooms.length, found.total, found.next);
    await this.#lookInside(space);
  }

  async #lookInside(space) {
    const room = this.#room;
    this.inside.hidden = !room;
    if (!room) return;
    const title = `Who is in ${room}`;
    if (this.heading.textContent !== title) this.heading.textContent = title;
    const knows = this.#keepsPresence.get(space) ?? false;
    this.none.hidden = knows;
    this.members.element.hidden = this.people.element.hidden = !knows;
    if (!knows) return;
    const start = Number(this.people.after) || 0;
    const {members} = await get(`spaces/${segment(space)}/rooms/${segment(room)}`,
      {only: 'members', limit: SIZE, start});
    this.members.show(members.members);
    const end = start + members.members.length;
    this.people.show(members.members.length, members.total, end < members.total ? end : null);
  }
}

function card(value) {
  const text = typeof value === 'string' ? value : JSON.stringify(value) ?? '';
  return text.length > 200 ? `${text.slice(0, 200)}…` : text;
}
