// A table that is shown again and again: rows keep their place, and cells that have not changed are
// left alone, so that nobody loses the focus or a selection.
//
// Its parts say their roles themselves: on a narrow screen each row is laid out as a card, and a
// browser takes what is no table in its layout for none.

import {el, keepFocus, make} from './parts.js';

const role = (name) => ({attributes: {role: name}});

export class Table {
  #rows = new Map();  // by key: {line, cells}

  // columns: {name, text: (row) => string} or {name, fill: (cell, row, isNew) => void}
  constructor(caption, columns, {key, empty = 'None.'}) {
    this.columns = columns;
    this.key = key;
    this.head = make('tr', role('row'), ...columns.map(({name, className = '', unseen}) => make('th',
      {scope: 'col', className, attributes: {role: 'columnheader'}},
      unseen ? el('span', 'unseen', name) : name)));
    this.body = make('tbody', role('rowgroup'));
    this.table = make('table', role('table'), make('caption', {className: 'unseen'}, caption),
      make('thead', role('rowgroup'), this.head), this.body);
    this.empty = el('p', 'empty', empty);
    this.empty.hidden = true;
    this.element = el('div', 'listed', this.table, this.empty);
  }

  show(rows) {
    const gone = new Set(this.#rows.keys());
    let before = null;
    for (const row of rows) {
      const name = this.key(row);
      gone.delete(name);
      const isNew = !this.#rows.has(name);
      const kept = isNew ? this.#make() : this.#rows.get(name);
      this.#rows.set(name, kept);
      kept.row = row;
      for (const [index, column] of this.columns.entries()) {
        const cell = kept.cells[index];
        if (column.fill) column.fill(cell, row, isNew, kept);
        else this.#write(cell, column.text(row));
      }
      const wanted = before === null ? this.body.firstChild : before.nextSibling;
      if (wanted !== kept.line) this.body.insertBefore(kept.line, wanted);
      before = kept.line;
    }
    for (const name of gone) {
      const {line} = this.#rows.get(name);
      const hadFocus = line.contains(document.activeElement);
      line.remove();
      this.#rows.delete(name);
      if (hadFocus) keepFocus();
    }
    this.table.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
  }

  #write(cell, words) {
    const text = String(words ?? '');
    if (cell.textContent !== text) cell.textContent = text;
  }

  #make() {
    const cells = this.columns.map(({name, className = '', unseen}, index) => {
      const tag = index ? 'td' : 'th';
      const made = make(tag, {className, ...role(index ? 'cell' : 'rowheader')});
      if (!index) made.scope = 'row';
      if (index && !unseen) made.dataset.label = name;
      return made;
    });
    return {line: make('tr', role('row'), ...cells), cells, row: null};
  }
}
