// The console: what this server does, for those who may look.
//
// It is made of the REST API alone. Only the part that is shown asks for anything, a page of a list
// at a time, and only while somebody can see it.

import {get, Problem} from './api.js';
import {Traffic} from './charts.js';
import {Connections} from './connections.js';
import {Errors} from './errors.js';
import {Events} from './events.js';
import {Frames} from './frames.js';
import {el, fill, make} from './parts.js';
import {Rooms} from './rooms.js';
import {Routes} from './routes.js';
import {Setup} from './setup.js';
import {Shares} from './shares.js';
import {TryIt} from './tryit.js';

const EVERY = 2000;         // milliseconds between two looks
const HEALTH_EVERY = 8000;
const NEWS_STAYS = 8000;

const STATES = {ok: 'All is well', degraded: 'Something is broken', draining: 'Is being emptied'};

const SHOWN_WITH = 'token';  // it belongs to no address bar

class Console {
  owner = document.body.dataset.owner === 'true';
  traffic = new Traffic();
  routes = [];
  #main = document.querySelector('main');
  #news = document.querySelector('.news');
  #health = document.querySelector('.health');
  #trouble = make('p', {className: 'notice bad', hidden: true, attributes: {role: 'alert'}});
  #heading = make('h2', {tabIndex: -1});
  #parts;
  #part = null;
  #timer = 0;
  #busy = false;
  #again = false;
  #healthAt = 0;
  #trafficAt = -EVERY;
  #waiting = new AbortController();  // ends what a part waits for that is left

  constructor() {
    const kinds = [Routes, Connections, Rooms, Shares, Errors, Events, TryIt];
    if (this.owner) kinds.push(Frames, Setup);
    this.#parts = kinds.map((Kind) => new Kind(this));
    const nav = document.querySelector('nav');
    nav.append(el('ul', '', ...this.#parts.map((part) => {
      part.link = make('a', {href: `#${part.name}`}, part.title);
      return el('li', '', part.link);
    })));
    this.#main.append(this.#trouble, this.#heading);
    addEventListener('hashchange', () => this.#turn(true));
    document.addEventListener('visibilitychange', () => this.lookNow());
    addEventListener('pageshow', () => this.lookNow());
    this.#turn(false);
  }

  // Show the part that the address names.
  #turn(byPerson) {
    const [name, query] = location.hash.slice(1).split('?');
    if (name === 'main') return;  // the link that skips the navigation
    document.querySelector('dialog')?.close();
    const part = this.#parts.find((each) => each.name === name) ?? this.#parts[0];
    const isOther = part !== this.#part;
    if (isOther) {
      this.#part?.element.remove();
      this.#part?.left?.();
      this.#waiting.abort();
      this.#waiting = new AbortController();
      this.#part = part;
      this.#heading.textContent = part.title;
      this.#main.append(part.element);
      document.title = `${part.title} – Console`;
      for (const {link} of this.#parts) link.removeAttribute('aria-current');
      part.link.setAttribute('aria-current', 'page');
      scrollTo(0, 0);
      if (byPerson) this.#heading.focus({preventScroll: true});
    }
    part.shown?.(new URLSearchParams(query));
    this.lookNow();
  }

  // Go to another part, or narrow this one; `history` gets an entry only for another part.
  go(hash) {
    if (hash === location.hash) return;
    history.replaceState(null, '', hash);
    this.#turn(false);
  }

  // Say something that has happened, for all to hear.
  say(words, kind = 'good') {
    const line = el('p', `notice ${kind}`, words);
    this.#news.append(line);
    setTimeout(() => line.remove(), NEWS_STAYS);
  }

  #complain(words) {
    if (this.#trouble.textContent !== words) this.#trouble.textContent = words;
    this.#trouble.hidden = !words;
  }

  // Do something for a person; what goes wrong with it is said. Returns what it does, or undefined.
  async trying(act) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.say(error.message, 'bad');
      return undefined;
    }
  }

  // Offer the routes that there are in a select; one that is gone stays where it is asked for.
  offerRoutes(chooser, wanted = chooser.value, everywhere = [['', 'all routes']]) {
    const names = this.routes.map(({name}) => [name, name]);
    if (wanted && !names.some(([name]) => name === wanted)) names.push([wanted, wanted]);
    fill(chooser, [...everywhere, ...names], wanted);
  }

  lookNow() {
    if (this.#busy) {
      this.#again = true;
      return;
    }
    clearTimeout(this.#timer);
    if (document.visibilityState === 'visible') this.#look();
  }

  async #look() {
    this.#busy = true;
    this.#again = false;
    const part = this.#part;
    let every = EVERY;
    try {
      await this.#lookAround();
      await part.look(this.#waiting.signal);
      every = part.every ?? EVERY;
      this.#complain('');
    } catch (error) {
      if (part !== this.#part) return;  // nobody looks at it any more
      if (!(error instanceof Problem)) {
        this.#complain('Something in this page has failed. Reload it.');
        throw error;
      }
      this.#complain(error.message);
    } finally {
      this.#busy = false;
      this.#main.dataset.looked = this.#part.name;
      if (this.#again) this.lookNow();
      else this.#timer = setTimeout(() => this.lookNow(), every);
    }
  }

  // What all parts show: how the server is, which routes there are, how much is said.
  async #lookAround() {
    const now = performance.now();
    if (now - this.#healthAt > HEALTH_EVERY || !this.#healthAt) {
      this.#healthAt = now;
      const [health, {routes}] = await Promise.all([get('health'), get('routes')]);
      this.routes = routes;
      this.#health.dataset.state = health.status;
      const {state} = health.backplane;
      const words = `${STATES[health.status] ?? health.status}${
        state === 'single' ? '' : `, backplane ${state}`}`;
      if (this.#health.textContent !== words) this.#health.textContent = words;
    }
    if (now - this.#trafficAt < EVERY / 2) return;
    this.#trafficAt = now;
    this.traffic.take(await get('traffic'));
  }
}

const address = new URL(location.href);
if (address.searchParams.has(SHOWN_WITH)) {
  address.searchParams.delete(SHOWN_WITH);
  history.replaceState(null, '', address);
}

new Console();
