// The rooms that a bot's page is in, over the bot's one connection. See docs/protocol.md.

// A room: what is said in it, and who is there.
//   state    'joining', 'joined', 'refused' or 'left'
//   joined   a promise of the room, as soon as it is joined; rejects with why it is not
//   epoch, offset   where its history is, for `since`; null where it keeps none
//   recovered   whether what was said meanwhile is there without a gap; null where nobody knows
//   members  {id: {id, card, connections, since}}, where `presence` was asked for; null until known
// and the events message (data, with `offset`), members (detail: {member, change}, or {} for all of
// them) and state.
export class Room extends EventTarget {
  state = 'joining';
  epoch = null;
  offset = null;
  recovered = null;
  members = null;
  error = null;
  #coming = [];      // members of a list whose last page has not come
  #later = [];       // changes that came among its pages
  #presence = 0;     // the offset that `members` is of
  #settle;

  constructor(name, {since = null, presence = false}, leave) {
    super();
    Object.assign(this, {name, presence, leave});
    if (since) Object.assign(this, {epoch: since.epoch, offset: since.offset});
    this.joined = new Promise((resolve, reject) => { this.#settle = {resolve, reject}; });
    this.joined.catch(() => { /* who does not ask is told by the state */ });
    for (const type of ['message', 'members', 'state']) {
      this.addEventListener(type, (event) => this[`on${type}`]?.(event));
    }
  }

  // Where to go on after a break; undefined where the room keeps no history.
  get since() {
    return this.epoch === null ? undefined : {epoch: this.epoch, offset: this.offset};
  }

  show(state, error = null) {
    Object.assign(this, {state, error});
    if (state === 'joined') this.#settle.resolve(this);
    else if (error) this.#settle.reject(error);
    this.dispatchEvent(new Event('state'));
  }

  receive(said) {
    const {message, offset, members, presence_offset: at, more} = said;
    if (message !== undefined) {
      if (offset !== undefined) this.offset = offset;
      const event = new MessageEvent('message', {data: message});
      this.dispatchEvent(Object.assign(event, {offset: offset ?? null}));
    } else if (members) {
      this.#coming.push(...members);
      if (more) return;
      this.members = Object.fromEntries(this.#coming.splice(0).map((each) => [each.id, each]));
      this.#presence = at;
      this.dispatchEvent(new CustomEvent('members', {detail: {}}));
      for (const each of this.#later.splice(0)) this.#changed(each);
    } else if (this.#coming.length) {
      this.#later.push(said);
    } else if (this.members) {
      this.#changed(said);
    }
  }

  #changed({member, change, presence_offset: at}) {
    if (!member || at <= this.#presence) return;
    this.#presence = at;
    if (change === 'left') delete this.members[member.id];
    else this.members[member.id] = {...this.members[member.id], ...member};
    this.dispatchEvent(new CustomEvent('members', {detail: {member, change}}));
  }
}

export class Rooms {
  #all = new Map();
  #asked = new Set();   // those whose join was sent on this connection
  #send;                // sends a frame, or returns false where there is no connection

  constructor(send) { this.#send = send; }

  join(name, options = {}) {
    let room = this.#all.get(name);
    if (room && (!options.presence || room.presence)) return room;
    if (room) {
      room.presence = true;
      this.#asked.delete(name);
    } else {
      room = new Room(name, options, () => this.#leave(name, room));
      this.#all.set(name, room);
    }
    this.ask();
    return room;
  }

  #leave(name, room) {
    if (this.#all.get(name) !== room) return;
    this.#all.delete(name);
    room.show('left');
    if (this.#asked.delete(name)) this.#send({leave: name});
  }

  // It is a new connection, which is in no room.
  begin() { this.#asked.clear(); }

  // Ask for those that were not asked for yet.
  ask() {
    for (const [name, room] of this.#all) {
      if (this.#asked.has(name)) continue;
      const {since, presence} = room;
      if (this.#send({join: name, since, ...(presence && {presence})})) this.#asked.add(name);
    }
  }

  // The server speaks no wsh.v1: nobody gets into any room.
  refuse(error) {
    for (const room of this.#all.values()) room.show('refused', error);
    this.#all.clear();
  }

  // Take a frame that is a room's; whether it is one.
  receive(said) {
    const name = said.joined ?? said.left ?? said.refused ?? said.room;
    const room = typeof name === 'string' && this.#all.get(name);
    if (!room) return false;
    if (said.joined !== undefined) {
      const {epoch = null, offset = null, recovered = null} = said;
      // What follows an offset of before comes as messages of their own.
      Object.assign(room, {epoch, recovered}, recovered ? {} : {offset});
      room.show('joined');
    } else if (said.refused !== undefined || said.left !== undefined) {
      this.#all.delete(name);
      this.#asked.delete(name);
      const words = said.detail ?? 'You may not join this room.';
      if (said.left === undefined) room.show('refused', new Error(words));
      else room.show('left');
    } else {
      room.receive(said);
    }
    return true;
  }
}
