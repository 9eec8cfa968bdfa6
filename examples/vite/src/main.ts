import './style.css';
import type {Options} from './wshandler';

const status = document.querySelector<HTMLElement>('[role=status]')!;

// The server has the helper, one folder above the page's own address: Vite is not to bundle it.
const helper = new URL('../static/wshandler/wshandler.js', document.baseURI).href;
// A browser may not load a module again that it could not load: ask first whether it is there.
while (!(await fetch(helper, {method: 'HEAD'}).catch(() => null))?.ok) {
  status.textContent = 'The server does not answer. Trying again…';
  await new Promise((done) => setTimeout(done, 2000));
}
status.textContent = '';
const {connect} = await import(/* @vite-ignore */ helper) as typeof import('./wshandler');

const options: Options = {meanings: {1011: 'The bot has stumbled; go on'}};
const bot = connect(options);

const list = document.querySelector('ul')!;
const form = document.querySelector('form')!;
const field = form.querySelector('input')!;
const link = document.querySelector('a')!;

function show(text: string, mine = false) {
  const item = document.createElement('li');
  item.textContent = text;
  item.className = mine ? 'mine' : '';
  list.append(item);
}

bot.onmessage = ({data}) => {
  show(typeof data === 'string' ? data : `${data.byteLength} bytes`);
};
bot.onstate = () => {
  status.textContent = bot.state === 'open' ? 'Connected.' : bot.words;
  // It connects again at once, and then the words are gone: a failure stays in the list.
  if (bot.cause === 1011) show(bot.words);
  link.hidden = !bot.link;
  if (bot.link) Object.assign(link, {href: bot.link.href, textContent: bot.link.text});
};
form.onsubmit = (event) => {
  event.preventDefault();
  if (!bot.send(field.value)) return;
  show(field.value, true);
  form.reset();
};
