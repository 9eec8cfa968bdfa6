// Numbers that are pulled again and again, and small pictures of them.

const SVG = 'http://www.w3.org/2000/svg';

export const KEPT = 60;  // numbers of a line: two minutes

const WIDTH = 120;
const HEIGHT = 28;

// The last numbers of something; null where there is none for a moment.
export class Series {
  values = [];

  add(value) {
    this.values.push(value);
    if (this.values.length > KEPT) this.values.shift();
  }

  get last() { return this.values.at(-1) ?? null; }

  get most() { return Math.max(0, ...this.values.filter((value) => value !== null)); }
}

function svg(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// A line of the last numbers, the newest at the right; what it says in words is beside it.
export class Sparkline {
  #area = svg('path', {class: 'area'});
  #line = svg('path', {class: 'line'});

  constructor() {
    this.element = svg('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', class: 'spark',
      'aria-hidden': 'true', focusable: 'false'});
    this.element.append(this.#area, this.#line);
  }

  show(series) {
    const top = series.most || 1;
    const step = WIDTH / (KEPT - 1);
    const first = KEPT - series.values.length;
    let path = '';
    let area = '';
    let begun = null;
    for (const [index, value] of series.values.entries()) {
      if (value === null) {
        begun = null;
        continue;
      }
      const x = ((first + index) * step).toFixed(1);
      const y = (HEIGHT - 1.5 - (value / top) * (HEIGHT - 3)).toFixed(1);
      path += `${begun === null ? 'M' : 'L'}${x} ${y}`;
      area += begun === null ? `M${x} ${HEIGHT}L${x} ${y}` : `L${x} ${y}`;
      begun = x;
      const next = series.values[index + 1];
      if (next === null || next === undefined) area += `L${x} ${HEIGHT}Z`;
    }
    this.#line.setAttribute('d', path);
    this.#area.setAttribute('d', area);
  }
}

// How long something takes, of which the counts by bounds have grown between two looks: the value
// below which that part of it lies, in between two bounds by a straight line; null for nothing.
export function quantile(part, bounds, counts, before = []) {
  const grown = counts.map((count, index) => count - (before[index] ?? 0));
  const all = grown.reduce((sum, count) => sum + count, 0);
  if (all <= 0) return null;
  let left = part * all;
  for (const [index, count] of grown.entries()) {
    if (left <= count && count > 0) {
      const low = index ? bounds[index - 1] : 0;
      const high = bounds[index] ?? bounds.at(-1) * 2;
      return low + (high - low) * (left / count);
    }
    left -= count;
  }
  return bounds.at(-1);
}

// What `api/traffic` says again and again, as rates.
export class Traffic {
  routes = new Map();  // by name: {messages, took, failed}, a Series each
  all = {connections: new Series(), messages: new Series(), took: new Series(), lag: new Series(),
    failed: new Series()};
  #before = null;

  take(found) {
    const before = this.#before?.life === found.life ? this.#before : null;
    const seconds = before ? found.at - before.at : 0;
    const sum = {messages: 0, failed: 0, took: [], tookBefore: []};
    for (const [name, now] of Object.entries(found.routes)) {
      const was = before?.routes[name];
      const kept = this.routes.get(name)
        ?? {messages: new Series(), took: new Series(), failed: new Series()};
      this.routes.set(name, kept);
      if (!was || seconds <= 0) continue;
      const messages = Math.max(0, now.messages - was.messages);
      const failed = Math.max(0, now.failed - was.failed);
      kept.messages.add(messages / seconds);
      kept.failed.add(failed / seconds);
      kept.took.add(quantile(0.95, found.bounds, now.took, was.took));
      sum.messages += messages;
      sum.failed += failed;
      now.took.forEach((count, index) => { sum.took[index] = (sum.took[index] ?? 0) + count; });
      was.took.forEach((count, index) => {
        sum.tookBefore[index] = (sum.tookBefore[index] ?? 0) + count;
      });
    }
    for (const name of this.routes.keys()) {
      if (!(name in found.routes)) this.routes.delete(name);
    }
    this.all.connections.add(found.connections);
    if (before && seconds > 0) {
      this.all.messages.add(sum.messages / seconds);
      this.all.failed.add(sum.failed / seconds);
      this.all.took.add(quantile(0.95, found.bounds, sum.took, sum.tookBefore));
      this.all.lag.add(quantile(0.95, found.bounds, found.lag, before.lag));
    }
    this.#before = found;
  }
}
