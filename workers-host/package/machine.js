// The other side of `wasm.rs`: the machine's WebAssembly instance, function by function. Turns JavaScript's values into
// numbers and pieces of the instance's memory and back; knows nothing of what they mean.
//
// A trap (a panic, memory that ends) kills this instance and is told once; after that, calls do nothing.

import code from './dolake.wasm';

/** How a save ended: `saved` in `wasm.rs`. */
export const SAVE = Object.freeze({ DURABLE: 0, ROLLED_BACK: 1, UNKNOWN: 2 });

/** How a store command ended: `stored` in `wasm.rs`. */
export const STORE = Object.freeze({ DONE: 0, GOT: 1, ABSENT: 2, CONFLICT: 3, FAILED: 4 });

/** `ORDINALS` in core's journal: one more than the highest. */
const ORDINALS = 2 ** 53;

const NOTHING = new Uint8Array(0);
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/**
 * What the machine tells its shell to do. None of these may call the machine back before it has returned.
 * @typedef {object} Shell
 * @property {(conn: number, text: string) => void} send
 * @property {(conn: number, code: number, reason: string) => void} close
 * @property {(conn: number, bytes: Uint8Array) => void} attach
 * @property {(number: number, writes: Write[]) => void} save its pieces are views of memory that changes afterwards
 * @property {(number: number, range: Range, keysOnly: boolean, limit: number | null) => void} load
 * @property {(number: number, key: string, bytes: Uint8Array, onlyIfAbsent: boolean) => void} put
 * @property {(number: number, key: string, range: { offset: number, length: number } | null, forClient: boolean) => void} get
 * @property {(number: number, key: string) => void} delete
 * @property {(call: number) => void} readMore
 * @property {(call: number) => void} accept
 * @property {(call: number, status: number, headers: [string, string][], body: Uint8Array) => void} respond
 * @property {(reason: string) => void} halt an operator must act
 * @property {() => void} turned the machine has done a step
 * @property {(error: Error) => void} broke this instance is dead
 */

/** @typedef {{ ordinal: number | null, key: Uint8Array, value: Uint8Array | null }} Write a value of null deletes */

/**
 * From a key to before another. Where keys have ordinals (`ordinal` in core's journal), so has the range.
 * @typedef {{ from: Uint8Array, until: Uint8Array, ordinals: { first: number, end: number } | null }} Range
 */

/** @typedef {{ key: Uint8Array, value: Uint8Array }} Entry */

/** One instance of the machine, with a memory of its own. */
export class Machine {
  /** @type {any} */
  #wasm;
  /** @type {Shell} */
  #shell;
  /** @type {Write[]} */
  #writes = [];
  #refusal = '';
  #panic = '';
  #isDead = false;

  /** @param {Shell} shell */
  constructor(shell) {
    this.#shell = shell;
    this.#wasm = new WebAssembly.Instance(code, { shell: this.#imports() }).exports;
  }

  #imports() {
    const view = (/** @type {number} */ pointer, /** @type {number} */ length) =>
      new Uint8Array(this.#wasm.memory.buffer, pointer, length);
    const copy = (/** @type {number} */ pointer, /** @type {number} */ length) => view(pointer, length).slice();
    const text = (/** @type {number} */ pointer, /** @type {number} */ length) => decoder.decode(view(pointer, length));
    const shell = this.#shell;
    return {
      /** @type {(conn: number, frame: number, length: number) => void} */
      send: (conn, frame, length) => shell.send(conn, text(frame, length)),
      /** @type {(conn: number, code: number, reason: number, length: number) => void} */
      close: (conn, code, reason, length) => shell.close(conn, code, text(reason, length)),
      /** @type {(conn: number, bytes: number, length: number) => void} */
      attach: (conn, bytes, length) => shell.attach(conn, copy(bytes, length)),
      /** @type {(ordinal: number, key: number, keyLength: number, value: number, valueLength: number) => void} */
      save_put: (ordinal, key, keyLength, value, valueLength) => {
        this.#writes.push({ ordinal: numberOf(ordinal), key: view(key, keyLength), value: view(value, valueLength) });
      },
      /** @type {(ordinal: number, key: number, keyLength: number) => void} */
      save_delete: (ordinal, key, keyLength) => {
        this.#writes.push({ ordinal: numberOf(ordinal), key: view(key, keyLength), value: null });
      },
      /** @type {(number: number) => void} */
      save: (number) => {
        const writes = this.#writes;
        this.#writes = [];
        shell.save(number, writes);
      },
      /** @type {(n: number, first: number, from: number, fromLength: number, end: number, until: number, untilLength: number, keysOnly: number, limit: number) => void} */
      load: (number, first, from, fromLength, end, until, untilLength, keysOnly, limit) => {
        const ordinals = first < 0 || end < 0 ? null : { first, end };
        const range = { from: copy(from, fromLength), until: copy(until, untilLength), ordinals };
        shell.load(number, range, keysOnly !== 0, numberOf(limit));
      },
      /** @type {(n: number, key: number, keyLength: number, bytes: number, length: number, onlyIfAbsent: number) => void} */
      put: (number, key, keyLength, bytes, length, onlyIfAbsent) =>
        shell.put(number, text(key, keyLength), copy(bytes, length), onlyIfAbsent !== 0),
      /** @type {(number: number, key: number, keyLength: number, from: number, until: number, forClient: number) => void} */
      get: (number, key, keyLength, from, until, forClient) =>
        shell.get(number, text(key, keyLength), from < 0 ? null : { offset: from, length: until - from }, forClient !== 0),
      /** @type {(number: number, key: number, keyLength: number) => void} */
      delete: (number, key, keyLength) => shell.delete(number, text(key, keyLength)),
      /** @type {(call: number) => void} */
      read_more: (call) => shell.readMore(call),
      /** @type {(call: number) => void} */
      accept: (call) => shell.accept(call),
      /** @type {(call: number, status: number, headers: number, headersLength: number, body: number, length: number) => void} */
      respond: (call, status, headers, headersLength, body, length) =>
        shell.respond(call, status, JSON.parse(text(headers, headersLength)), copy(body, length)),
      /** @type {(reason: number, length: number) => void} */
      halt: (reason, length) => shell.halt(text(reason, length)),
      /** @type {(reason: number, length: number) => void} */
      refuse: (reason, length) => {
        this.#refusal = text(reason, length);
      },
      /** @type {(message: number, length: number) => void} */
      panicked: (message, length) => {
        this.#panic = text(message, length);
      },
    };
  }

  /** Size of the instance's memory. It never shrinks. */
  get memoryBytes() {
    return this.#wasm.memory.buffer.byteLength;
  }

  /** Ranges of the journal that a life starts from. @returns {{ control: Range, batches: Range }} */
  get savedRanges() {
    const packed = this.#wasm.saved_ranges();
    const bound = (/** @type {number} */ at) => new Uint8Array([(packed >>> (8 * at)) & 0xff]);
    return {
      control: { from: bound(0), until: bound(1), ordinals: null },
      batches: { from: bound(2), until: bound(3), ordinals: { first: 0, end: ORDINALS } },
    };
  }

  /**
   * Begins the machine's life.
   * @param {{ hasSmallRows: boolean, seed: Uint8Array, config: string, control: Entry[], batches: Entry[] }} from
   * @returns {string} why it cannot begin; empty if it has
   */
  begin({ hasSmallRows, seed, config, control, batches }) {
    let begun = 0;
    this.#enter((wasm) => {
      const pieces = [this.#entries(control), this.#entries(batches)];
      const settings = this.#give(encoder.encode(config));
      begun = wasm.begin(Date.now(), hasSmallRows ? 1 : 0, this.#give(seed)[0], ...settings, ...pieces[0], ...pieces[1]);
    });
    return begun === 1 ? '' : this.#refusal || this.#panic || 'the machine could not begin';
  }

  /** It is not to do anything any more. */
  end() {
    this.#isDead = true;
  }

  /** Milliseconds until it wants to be woken, or null. */
  get deadlineMs() {
    const after = this.#isDead ? -1 : this.#wasm.deadline_ms();
    return after < 0 ? null : after;
  }

  /** Whether it waits for something that it began, and whether that includes work of its own. */
  get business() {
    const business = this.#isDead ? 0 : this.#wasm.business();
    return { isBusy: business > 0, hasWork: business > 1 };
  }

  /** @param {number} conn @param {object} peer @param {Uint8Array | undefined} attachment */
  opened(conn, peer, attachment) {
    this.#enter((wasm) => {
      const about = this.#give(encoder.encode(JSON.stringify(peer)));
      wasm.opened(Date.now(), conn, ...about, ...this.#give(attachment ?? NOTHING));
    });
  }

  /** @param {number} conn @param {string | ArrayBuffer} message */
  received(conn, message) {
    this.#enter((wasm) => {
      if (typeof message === 'string') {
        wasm.received(Date.now(), conn, 1, ...this.#giveText(message));
      } else {
        const [pointer, length] = this.#give(new Uint8Array(message));
        wasm.received(Date.now(), conn, 0, pointer, length, length);
      }
    });
  }

  /** @param {number} conn */
  closed(conn) {
    this.#enter((wasm) => wasm.closed(Date.now(), conn));
  }

  /** @param {number} call @param {object} head */
  requested(call, head) {
    this.#enter((wasm) => wasm.requested(Date.now(), call, ...this.#give(encoder.encode(JSON.stringify(head)))));
  }

  /** @param {number} call @param {Uint8Array} bytes @param {boolean} last */
  body(call, bytes, last) {
    this.#enter((wasm) => wasm.body(Date.now(), call, ...this.#give(bytes), last ? 1 : 0));
  }

  /** @param {number} call */
  callGone(call) {
    this.#enter((wasm) => wasm.call_gone(Date.now(), call));
  }

  wake() {
    this.#enter((wasm) => wasm.wake(Date.now()));
  }

  work() {
    this.#enter((wasm) => wasm.work(Date.now()));
  }

  /** @param {number} number @param {number} how one of SAVE @param {string} message */
  saved(number, how, message) {
    this.#enter((wasm) => wasm.saved(Date.now(), number, how, ...this.#give(encoder.encode(message))));
  }

  /** @param {number} number @param {Entry[]} entries */
  loaded(number, entries) {
    this.#enter((wasm) => wasm.loaded(Date.now(), number, 1, ...this.#entries(entries)));
  }

  /** @param {number} number @param {string} message */
  loadFailed(number, message) {
    this.#enter((wasm) => wasm.loaded(Date.now(), number, 0, ...this.#give(encoder.encode(message))));
  }

  /** @param {number} number @param {number} how one of STORE @param {Uint8Array} bytes what was got, or a message */
  stored(number, how, bytes = NOTHING) {
    this.#enter((wasm) => wasm.stored(Date.now(), number, how, ...this.#give(bytes)));
  }

  /** @param {(wasm: any) => void} act */
  #enter(act) {
    if (this.#isDead) return;
    try {
      act(this.#wasm);
      this.#shell.turned();
    } catch (error) {
      this.#isDead = true;
      this.#shell.broke(this.#panic ? new Error(this.#panic, { cause: error }) : /** @type {Error} */ (error));
    }
  }

  /** @param {Uint8Array} bytes @returns {[number, number]} their place in the machine's memory, which is its own now */
  #give(bytes) {
    const pointer = this.#wasm.allocate(bytes.length);
    new Uint8Array(this.#wasm.memory.buffer, pointer, bytes.length).set(bytes);
    return [pointer, bytes.length];
  }

  /** @param {string} text @returns {[number, number, number]} place, length, and the room that it was given */
  #giveText(text) {
    const memory = (/** @type {number} */ start, /** @type {number} */ length) =>
      new Uint8Array(this.#wasm.memory.buffer, start, length);
    let room = text.length;
    let pointer = this.#wasm.allocate(room);
    let { read, written } = encoder.encodeInto(text, memory(pointer, room));
    if (read < text.length) {
      // It is not all ASCII: a character of a string takes at most three bytes.
      const wanted = written + 3 * (text.length - read);
      pointer = this.#wasm.reallocate(pointer, written, room, wanted);
      room = wanted;
      written += encoder.encodeInto(text.slice(read), memory(pointer + written, room - written)).written;
    }
    return [pointer, written, room];
  }

  /** @param {Entry[]} entries @returns {[number, number]} as `rows.rs` has them */
  #entries(entries) {
    let length = 0;
    for (const { key, value } of entries) length += 8 + key.length + value.length;
    const pointer = this.#wasm.allocate(length);
    const bytes = new Uint8Array(this.#wasm.memory.buffer, pointer, length);
    const lengths = new DataView(bytes.buffer, pointer, length);
    let at = 0;
    for (const { key, value } of entries) {
      lengths.setUint32(at, key.length, true);
      lengths.setUint32(at + 4, value.length, true);
      bytes.set(key, at + 8);
      bytes.set(value, at + 8 + key.length);
      at += 8 + key.length + value.length;
    }
    return [pointer, length];
  }
}

/** What the machine says with a number that is below zero if there is none. @param {number} number */
function numberOf(number) {
  return number < 0 ? null : number;
}
