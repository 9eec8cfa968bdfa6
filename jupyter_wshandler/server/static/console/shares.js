// What is shared: who may come by a link, until when, and a button that revokes it.

import {get, segment, send} from './api.js';
import {button, confirm, el, lasting, moment, now, number, Pager} from './parts.js';
import {Table} from './table.js';

const SIZE = 50;

export class Shares {
  name = 'shares';
  title = 'Shares';

  constructor(console_) {
    this.console = console_;
    this.pager = new Pager(['share', 'shares'], () => this.console.lookNow());
    const columns = [
      {name: 'Label', text: (row) => row.label || '(none)'},
      {name: 'Route', text: (row) => row.route},
      {name: 'For', text: audience},
      {name: 'Made', className: 'number', text: (row) => moment(row.created)},
      {name: 'Ends', className: 'number', text: (row) => (
        row.expires === null ? 'never' : `in ${lasting(row.expires - now())}`)},
      {name: 'Used', className: 'number', text: (row) => (
        row.uses === null ? number(row.used) : `${number(row.used)} of ${number(row.uses)}`)},
      {name: 'Inside', className: 'number', text: (row) => number(row.connections)},
      {name: 'Actions', unseen: true, className: 'does', fill: (cell, row, isNew, kept) => {
        if (isNew) cell.append(button('Revoke', () => this.#revoke(kept.row),
          {label: `Revoke the share ${row.label || row.id} of ${row.route}`}));
      }},
    ];
    this.table = new Table('Shares', this.console.owner ? columns : columns.slice(0, -1),
      {key: (row) => row.id, empty: 'Nothing is shared.'});
    this.element = el('section', '', this.pager.element, this.table.element);
  }

  async look() {
    const found = await get('shares', {after: this.pager.after, limit: SIZE});
    this.table.show(found.shares);
    this.pager.show(found.shares.length, found.total, found.next);
  }

  async #revoke(row) {
    const name = row.label || row.id;
    const inside = row.connections ? ` ${number(row.connections)} connections end at once.` : '';
    if (!await confirm(`Revoke “${name}”?`, {yes: 'Revoke it',
      body: [el('p', '', `Its link opens nothing any more.${inside}`)]})) return;
    const done = await this.console.trying(async () => {
      await send('DELETE', `shares/${segment(row.id)}`);
      return true;
    });
    if (done) this.console.say(`“${name}” is revoked.`);
    this.console.lookNow();
  }
}

function audience({users, groups}) {
  const named = [...users, ...groups.map((group) => `@${group}`)];
  return named.length ? named.join(', ') : 'whoever has the link';
}
