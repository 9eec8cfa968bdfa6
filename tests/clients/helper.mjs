// `wshandler.js` as a client that `jupyter wshandler conformance` drives (see docs/protocol.md):
//
//   jupyter wshandler conformance -- node --experimental-websocket helper.mjs WSHANDLER.JS

import readline from 'node:readline';
import {pathToFileURL} from 'node:url';

const {connect} = await import(pathToFileURL(process.argv[2]).href);

const tell = (event, more = {}) => console.log(JSON.stringify({event, ...more}));
const said = (value) => {
  if (typeof value === 'string') return {text: value};
  if (value instanceof ArrayBuffer) return {hex: Buffer.from(value).toString('hex')};
  return {text: '', json: value};
};

const bot = connect(process.env.WSH_URL);
const answers = new Map();
const rooms = new Map();
let first = true;

bot.addEventListener('open', () => {
  // A new connection in place of another one is told of at `renewed`, with the reason.
  if (bot.speaks && first) tell('open', {id: bot.id, resumed: false});
  first = false;
});
bot.addEventListener('resumed', () => tell('open', {id: bot.id, resumed: true}));
bot.addEventListener('renewed', ({detail: {reason}}) => {
  tell('open', {id: bot.id, resumed: false, reason});
});
bot.addEventListener('message', ({data}) => tell('message', said(data)));

// Its own pauses grow to 30 s, and a page would have the person who waits press a button.
const longest = 1000 * Number(process.env.WSH_LONGEST_PAUSE);
const tries = () => ['away', 'waiting'].includes(bot.state);
bot.addEventListener('state', () => {
  if (tries()) setTimeout(() => { if (tries()) bot.connect(); }, longest * Math.random());
  if (bot.state !== 'closed') return;
  const code = {left: 1000}[bot.cause] ?? bot.cause;
  if (!Number.isInteger(code)) console.error(`closed, as it is ${code}: ${bot.words}`);
  tell('closed', {code});
  process.stdout.write('', () => process.exit());
});

async function follow(id, answer) {
  try {
    for await (const value of answer) tell('piece', {id, ...said(value)});
  } catch (error) {
    if (error.name !== 'AnswerFailed') throw error;
  }
  tell('end', {id, how: answer.how});
}

function join({room: name, since, presence}) {
  const room = bot.join(name, {since, presence});
  rooms.set(name, room);
  room.addEventListener('message', ({data, offset}) => {
    tell('message', {text: data, room: name, offset});
  });
  room.addEventListener('members', ({detail}) => {
    const more = {room: name, members: Object.values(room.members), ...detail};
    tell(detail.member ? 'member' : 'members', more);
  });
  room.addEventListener('state', () => {
    if (room.state === 'left') tell('left', {room: name});
  });
  room.joined.then(
    () => tell('joined', {room: name, recovered: room.recovered}),
    (error) => tell('refused', {room: name, detail: error.message}),
  );
}

const wishes = {
  send: ({text, hex}) => bot.send(hex === undefined ? text : new Uint8Array(Buffer.from(hex, 'hex'))),
  ask({id, text}) {
    answers.set(id, bot.stream(text));
    void follow(id, answers.get(id));
  },
  stop: ({id}) => answers.get(id).stop(),
  join,
  leave: ({room}) => rooms.get(room).leave(),
  close: () => bot.close(),
};
for await (const line of readline.createInterface({input: process.stdin})) {
  const wish = JSON.parse(line);
  wishes[wish.do](wish);
}
