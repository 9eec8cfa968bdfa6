// The page of the directory: the bots of its own service that who is logged in may use, what is
// shared with them, and what they share.
//
// It asks its own server every few seconds while somebody looks at it. All that comes is text of
// other people's and becomes text: nothing of it is ever taken for HTML.

const EVERY = 5000;  // milliseconds between two looks
const PATIENCE = 20_000;  // milliseconds that the server has for an answer

const main = document.querySelector('main');
const notice = main.querySelector('.notice');
const lists = {
  here: main.querySelector('.here'),
  with_me: main.querySelector('.with-me'),
  by_me: main.querySelector('.by-me'),
};
const API = new URL('api/directory', new URL(main.dataset.home, location.href));

const EMPTY = {
  with_me: ['Nobody has shared a bot with you yet.'],
  by_me: ['You share no bot by name. In a notebook: ', 'bot.share(users=["bob"])'],
};

let shown = {};  // what each list shows, as JSON: what has not changed is left alone

function make(kind, name, ...inside) {
  const element = document.createElement(kind);
  if (name) element.className = name;
  element.append(...inside);
  return element;
}

function say(text, link = '') {
  const parts = [text];
  if (link) {
    const again = make('a', '', link);
    again.href = location.href;
    parts.push(' ', again);
  }
  notice.replaceChildren(...parts);
  notice.hidden = !text;
}

// A page sees the values of all `_xsrf` cookies of its host, without their paths: one is ours. The
// Hub's servers want it of a script's GET, too.
function xsrfValues() {
  const pairs = document.cookie.split(/; */).filter((pair) => pair.startsWith('_xsrf='));
  return pairs.length ? new Set(pairs.map((pair) => pair.slice(6))) : [''];
}

async function ask(url, method = 'GET') {
  let answer;
  for (const value of xsrfValues()) {
    const headers = {Accept: 'application/json'};
    if (value) headers['X-XSRFToken'] = value;
    const signal = AbortSignal.timeout(PATIENCE);
    answer = await fetch(url, {method, headers, signal, redirect: 'manual', cache: 'no-store'});
    if (answer.status !== 403) break;
  }
  return answer;
}

function when(seconds) {
  const date = new Date(seconds * 1000);
  const today = date.toDateString() === new Date().toDateString();
  const time = {hour: '2-digit', minute: '2-digit'};
  return today ? date.toLocaleTimeString([], time)
    : date.toLocaleString([], {day: 'numeric', month: 'short', ...time});
}

const STATES = {
  running: () => 'ready',
  stopped: (share) => `${whose(share)} is stopped`,
  unknown: () => 'nobody can say whether its server runs',
  broken: () => 'out of order',
};

function whose({owner, server}) {
  const user = `${owner}’s server`;
  return server ? `${user} “${server}”` : user;
}

function people({users, groups}) {
  const names = [...users, ...groups.map((group) => `the group ${group}`)];
  return `With ${names.join(', ')}`;
}

function card(share, list) {
  const name = share.label || share.route;
  const what = make('div', 'what', make('h3', '', name));
  if (list !== 'here') {
    const from = list === 'by_me' ? people(share) : `From ${share.owner}`;
    const until = share.expires === null ? '' : `, until ${when(share.expires)}`;
    what.append(make('p', '', `${from}${until}`));
  }
  if (list === 'by_me' && share.server) what.append(make('p', '', `On your server “${share.server}”`));
  if (list !== 'here' || share.state !== 'running') {  // where this page is, its service runs
    const state = make('p', 'state', STATES[share.state](share));
    state.dataset.state = share.state;
    what.append(state);
  }
  const does = make('div', 'does');
  if (['running', 'unknown'].includes(share.state) && (share.page || list === 'here')) {
    const open = make('a', 'button main', 'Open');
    open.href = share.open;
    open.setAttribute('aria-label', `Open ${name}`);
    does.append(open);
  }
  if (list === 'by_me') {
    const stop = make('button', 'button', 'Stop sharing');
    stop.type = 'button';
    stop.setAttribute('aria-label', `Stop sharing ${name}`);
    stop.addEventListener('click', () => stopSharing(share, stop));
    does.append(stop);
  }
  const item = make('li', 'card', what);
  if (does.childElementCount) item.append(does);
  if (share.id) item.dataset.id = share.id;
  return item;
}

async function stopSharing(share, button) {
  const name = share.label || share.route;
  if (!confirm(`Stop sharing “${name}”? Everybody who is in it now is put out.`)) return;
  button.disabled = true;
  try {
    const answer = await ask(`${API}/${share.id}`, 'DELETE');
    if (answer.status !== 204 && answer.status !== 404) {
      say(`“${name}” is still shared: the server has answered ${answer.status}.`, 'Reload');
    }
  } catch {
    say(`Nobody can say whether “${name}” is still shared: the server does not answer.`);
  }
  button.disabled = false;
  await look();
}

function show(key, shares) {
  const list = lists[key];
  list.setAttribute('aria-busy', 'false');
  const text = JSON.stringify(shares);
  if (shown[key] === text) return;
  shown[key] = text;
  if (key === 'here') list.parentElement.hidden = !shares.length;
  if (shares.length) {
    list.replaceChildren(...shares.map((share) => card(share, key)));
    return;
  }
  if (key === 'here') return;  // there is nothing that one could do about it
  const [words, code] = EMPTY[key];
  const empty = make('li', 'empty', words);
  if (code) empty.append(make('code', '', code));
  list.replaceChildren(empty);
}

async function look() {
  let answer;
  try {
    answer = await ask(API);
  } catch {
    say('The server does not answer. This page goes on trying.');
    return;
  }
  if (answer.type === 'opaqueredirect' || answer.status === 401 || answer.status === 403) {
    say('You are not signed in any more.', 'Sign in');
    return;
  }
  if (!answer.ok) {
    say(`The server has answered ${answer.status}. This page goes on trying.`);
    return;
  }
  const found = await answer.json();
  say('');
  for (const key of Object.keys(lists)) show(key, found[key]);
}

async function run() {
  if (document.visibilityState === 'visible') await look();
  setTimeout(run, EVERY);
}

document.addEventListener('visibilitychange', () => {
  if (document.visibilityState === 'visible') look();
});
await run();
