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
  #presence = 0;     // the offset that `members` is of
  #returns = false;  // whether it was said where to go on, and the answer has not come
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

  // The frame that asks for it.
  asking() {
    this.#returns = this.epoch !== null;
    return {
      join: this.name, ...(this.#returns && {since: {epoch: this.epoch, offset: this.offset}}),
      ...(this.presence && {presence: true}),
    };
  }

  entered({epoch = null, offset = null, recovered = null}) {
    this.#returns = false;
    // What was missed follows, each with its own offset.
    Object.assign(this, {epoch, recovered}, recovered ? {} : {offset});
    this.show('joined');
  }

  show(state, error = null) {
    Object.assign(this, {state, error});
    if (state === 'joined') this.#settle.resolve(this);
    else if (error) this.#settle.reject(error);
    this.dispatchEvent(new Event('state'));
  }

  receive(said) {
    const {message, offset, epoch, members, member, change, presence_offset: at, more} = said;
    if (message !== undefined) {
      // On a new connection it comes again, behind the answer to where we were.
      if (this.#returns) return;
      if (offset !== undefined) Object.assign(this, {offset}, epoch !== undefined && {epoch});
      const event = new MessageEvent('message', {data: message});
      this.dispatchEvent(Object.assign(event, {offset: offset ?? null}));
    } else if (members) {
      this.#coming.push(...members);
      if (more) return;
      // Without a prototype: a person may have any name.
      const all = Object.fromEntries(this.#coming.splice(0).map((each) => [each.id, each]));
      this.members = Object.assign(Object.create(null), all);
      this.#presence = at;
      this.dispatchEvent(new CustomEvent('members', {detail: {}}));
    } else if (member && this.members && at > this.#presence) {
      this.#presence = at;
      if (change === 'left') delete this.members[member.id];
      else this.members[member.id] = member;
      this.dispatchEvent(new CustomEvent('members', {detail: {member, change}}));
    }
  }
}

export class Rooms {
  #all = new Map();
  #asked = new Set();   // those whose join was sent on this connection
  #leaving = new Set(); // those that were left, and of which something may still come
  #waits = 0;
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
    if (this.#asked.delete(name) && this.#send({leave: name})) this.#leaving.add(name);
  }

  // It is a new connection, which is in no room.
  begin() {
    this.#asked.clear();
    this.#leaving.clear();
  }

  // Ask for those that were not asked for yet.
  ask() {
    for (const [name, room] of this.#all) {
      if (this.#asked.has(name)) continue;
      if (this.#send(room.asking())) this.#asked.add(name);
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
    if (typeof name !== 'string') return false;
    if (said.left !== undefined && this.#leaving.delete(name)) return true;
    const room = this.#all.get(name);
    if (!room) return this.#leaving.has(name);
    if (said.joined !== undefined) room.entered(said);
    else if (said.refused !== undefined) this.#refused(room, said);
    else if (said.left === undefined) room.receive(said);
    else this.#drop(room, 'left');
    return true;
  }

  #refused(room, {error, detail = 'You may not join this room.', retry_after: wait}) {
    if (error !== 'ratelimit' || !wait) return void this.#drop(room, 'refused', new Error(detail));
    // Many rooms may be joined again at once.
    this.#asked.delete(room.name);
    this.#waits ||= setTimeout(() => { this.#waits = 0; this.ask(); }, wait * 1000);
  }

  #drop(room, state, error = null) {
    this.#all.delete(room.name);
    this.#asked.delete(room.name);
    room.show(state, error);
  }
}
