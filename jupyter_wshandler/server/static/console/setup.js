// How the server is set up, for its owner: versions, settings, files, and mistakes in them.

import {get} from './api.js';
import {el, facts, make} from './parts.js';

export class Setup {
  name = 'setup';
  title = 'Setup';
  every = 10_000;
  #shown = '';

  constructor() {
    this.element = el('section');
  }

  async look() {
    const found = await get('config');
    const text = JSON.stringify(found);
    if (text === this.#shown) return;
    this.#shown = text;
    const inside = [];
    if (found.problems.length) {
      inside.push(el('div', 'notice bad', el('h3', '', 'Mistakes'),
        ...found.problems.map((problem) => el('pre', 'code', problem))));
    }
    inside.push(el('h3', '', 'Versions'), facts(Object.entries(found.versions)),
      el('h3', '', 'Files'), found.files.length
        ? el('ul', 'plain code', ...found.files.map((file) => el('li', '', file)))
        : el('p', 'empty', 'No file names routes.'),
      el('h3', '', 'Settings that are not as by default'), settings(found.settings),
      el('h3', '', 'Routes'), ...Object.entries(found.routes).map(route));
    this.element.replaceChildren(...inside);
  }
}

function said(value) {
  return el('span', 'code', typeof value === 'string' ? value : JSON.stringify(value));
}

function settings(all) {
  const names = Object.keys(all);
  if (!names.length) return el('p', 'empty', 'All are.');
  return facts(names.map((name) => [name, said(all[name])]));
}

function route([name, {pattern, place, functions, options}]) {
  return make('details', {}, el('summary', '', el('strong', '', name), ' ', el('span', 'code', pattern)),
    facts([['Where', said(place)],
      ...Object.entries(functions).map(([event, by]) => [event, said(by)]),
      ...Object.entries(options).map(([key, value]) => [key, said(value)])]));
}
