// One life of the machine in this object: its hands are sockets, the journal, the store, requests and the alarm. It ends
// when the object is evicted, when the machine says that it cannot go on, or when it breaks; what was acked is in the
// journal, and the next life goes on from there.

import { openJournal } from './journal.js';
import { Machine, SAVE } from './machine.js';
import { MetadataCache } from './metadata.js';
import { Store, messageOf } from './store.js';
import { Wakeup } from './wakeup.js';

/** WebSocket close code for a server that cannot go on; clients come again. */
const CLOSE_BROKEN = 1011;

/** A close reason has at most 123 bytes; a character has up to three. */
const REASON_CHARACTERS_MAX = 40;

/** Marks a socket as the machine's, before its number: a class that extends this one may have others. */
const SOCKET_TAG = /^dolake:(\d+)$/;

/** Whoever found no socket free may try again after so long. */
const SOCKET_RETRY_SECONDS = 30;

/** @typedef {{ request: Request, answer: (response: Response) => void, reader: ReadableStreamDefaultReader<Uint8Array> | null }} Call */

/** @typedef {import('./machine.js').Shell} Shell */

/** @implements {Shell} */
export class Life {
  #ctx;
  #journal;
  #store;
  #metadata;
  #wakeup;
  #machine;
  #onEnd;
  /** @type {Map<number, WebSocket>} */
  #sockets = new Map();
  /** @type {Map<WebSocket, number>} */
  #names = new Map();
  #lastConn = 0;
  /** @type {Map<number, Call>} */
  #calls = new Map();
  #lastCall = 0;
  /** @type {number[]} */
  #unsynced = [];
  #isSyncing = false;
  #isWorking = false;
  /** @type {(() => void) | null} */
  #rest = null;
  /** Why it is over. */
  #reason = '';

  /**
   * @param {DurableObjectState} ctx
   * @param {R2Bucket} bucket
   * @param {KVNamespace | undefined} kv
   * @param {(reason: string, broke: boolean) => void} onEnd told once, when this life cannot go on
   */
  constructor(ctx, bucket, kv, onEnd) {
    this.#ctx = ctx;
    this.#onEnd = onEnd;
    this.#journal = openJournal(ctx.storage);
    this.#store = new Store(bucket);
    this.#metadata = new MetadataCache(kv, (task) => ctx.waitUntil(task));
    this.#wakeup = new Wakeup(ctx.storage, () => this.#machine.wake());
    this.#machine = new Machine(this);
  }

  /**
   * @param {string} config JSON, or nothing
   * @returns {Promise<string>} why it cannot begin; empty if it has
   */
  async begin(config) {
    const { control, batches } = this.#machine.savedRanges;
    // What a former life wrote last is not to be taken for durable before it is.
    await this.#journal.sync();
    const saved = {
      hasSmallRows: this.#journal.hasSmallRows,
      seed: crypto.getRandomValues(new Uint8Array(16)),
      config,
      control: await this.#journal.load(control, false, null),
      batches: await this.#journal.load(batches, true, null),
    };
    await this.#wakeup.begin();
    const refusal = this.#machine.begin(saved);
    if (refusal !== '') return refusal;
    for (const [socket, conn] of this.#allSockets()) this.#outlived(socket, conn);
    this.#machine.wake();
    await null;
    return this.#reason;
  }

  /** Whether it ended: whoever speaks to it has no answer. */
  get isOver() {
    return this.#reason !== '';
  }

  /** What this life has cost so far, and the memory that it takes. */
  get figures() {
    return {
      memoryBytes: this.#machine.memoryBytes,
      rowsWritten: this.#journal.rowsWritten,
      alarmsSet: this.#wakeup.alarmsSet,
      classA: this.#store.classA,
      classB: this.#store.classB,
      kvHits: this.#metadata.hits,
    };
  }

  // What happens to the object.

  /** @param {Request} request @returns {Promise<Response>} */
  fetch(request) {
    if (this.isOver) return Promise.resolve(failed(500, 'internal_error', this.#reason));
    return new Promise((answer) => {
      const call = (this.#lastCall += 1);
      this.#calls.set(call, { request, answer, reader: null });
      const url = new URL(request.url);
      this.#machine.requested(call, {
        method: request.method,
        path: url.pathname,
        query: url.search === '' ? null : url.search.slice(1),
        headers: [...request.headers],
      });
    });
  }

  /** @param {WebSocket} socket @param {string | ArrayBuffer} message */
  received(socket, message) {
    const conn = this.#names.get(socket);
    if (conn === undefined) return;
    this.#machine.received(conn, message);
    // Else a stream of messages would leave no turn to the work, and the buffer would fill up.
    if (this.#isWorking) this.#machine.work();
  }

  /** @param {WebSocket} socket */
  closed(socket) {
    const conn = this.#names.get(socket);
    // One that a former life closed is nothing to this one.
    if (conn === undefined) return;
    this.#sockets.delete(conn);
    this.#names.delete(socket);
    this.#machine.closed(conn);
  }

  /** The alarm came. */
  alarm() {
    this.#wakeup.came();
    this.#machine.wake();
  }

  // What the machine wants done. None of this calls the machine before it has returned.

  /** @param {number} conn @param {string} text */
  send(conn, text) {
    try {
      this.#sockets.get(conn)?.send(text);
    } catch {
      // It has gone, and its closing is on its way.
    }
  }

  /** @param {number} conn @param {number} code @param {string} reason */
  close(conn, code, reason) {
    const socket = this.#sockets.get(conn);
    if (socket) closeQuietly(socket, code, reason);
  }

  /** @param {number} conn @param {Uint8Array} bytes */
  attach(conn, bytes) {
    this.#sockets.get(conn)?.serializeAttachment({ bytes });
  }

  /** @param {number} number @param {import('./machine.js').Write[]} writes */
  save(number, writes) {
    try {
      this.#journal.save(writes);
    } catch (error) {
      queueMicrotask(() => this.#machine.saved(number, SAVE.ROLLED_BACK, messageOf(error)));
      return;
    }
    this.#unsynced.push(number);
    if (!this.#isSyncing) this.#sync();
  }

  /** One sync for all saves that came while the last was under way. */
  async #sync() {
    this.#isSyncing = true;
    await null;
    while (this.#unsynced.length > 0) {
      const numbers = this.#unsynced;
      this.#unsynced = [];
      let failure = null;
      try {
        await this.#journal.sync();
      } catch (error) {
        failure = messageOf(error);
      }
      for (const number of numbers) {
        this.#machine.saved(number, failure === null ? SAVE.DURABLE : SAVE.UNKNOWN, failure ?? '');
      }
    }
    this.#isSyncing = false;
  }

  /** @type {Shell['load']} */
  async load(number, range, keysOnly, limit) {
    await null;
    let entries;
    try {
      entries = await this.#journal.load(range, keysOnly, limit);
    } catch (error) {
      this.#machine.loadFailed(number, messageOf(error));
      return;
    }
    this.#machine.loaded(number, entries);
  }

  /** @type {Shell['put']} */
  async put(number, key, bytes, onlyIfAbsent) {
    const end = await this.#store.put(key, bytes, onlyIfAbsent);
    this.#machine.stored(number, end.how, end.bytes);
  }

  /** @type {Shell['get']} */
  async get(number, key, range, forClient) {
    const fromStore = () => this.#store.get(key, range);
    const end = await (forClient && range === null ? this.#metadata.get(key, fromStore) : fromStore());
    this.#machine.stored(number, end.how, end.bytes);
  }

  /** @type {Shell['delete']} */
  async delete(number, key) {
    const end = await this.#store.delete(key);
    this.#machine.stored(number, end.how, end.bytes);
  }

  /** @param {number} id */
  async readMore(id) {
    await null;
    const call = this.#calls.get(id);
    if (!call) return;
    if (call.request.body === null) {
      this.#machine.body(id, new Uint8Array(0), true);
      return;
    }
    let piece;
    try {
      call.reader ??= call.request.body.getReader();
      piece = await call.reader.read();
    } catch (error) {
      this.#calls.delete(id);
      call.answer(failed(400, 'invalid_request', `the body cannot be read: ${messageOf(error)}`));
      this.#machine.callGone(id);
      return;
    }
    this.#machine.body(id, piece.value ?? new Uint8Array(0), piece.done);
  }

  /** @param {number} id */
  accept(id) {
    const call = this.#calls.get(id);
    if (!call) return;
    this.#calls.delete(id);
    const { 0: client, 1: server } = new WebSocketPair();
    const conn = (this.#lastConn += 1);
    const header = (/** @type {string} */ name) => call.request.headers.get(name);
    const peer = {
      address: header('cf-connecting-ip'),
      client_id: header('x-client-id'),
      shard_name: header('x-shard-name'),
    };
    try {
      this.#ctx.acceptWebSocket(server, [`dolake:${conn}`]);
    } catch (error) {
      // An object may have so many sockets, and no more.
      call.answer(failed(503, 'unavailable', messageOf(error), SOCKET_RETRY_SECONDS));
      return;
    }
    this.#keep(conn, server);
    call.answer(new Response(null, { status: 101, webSocket: client }));
    queueMicrotask(() => this.#machine.opened(conn, peer, undefined));
  }

  /** @type {Shell['respond']} */
  respond(id, status, pairs, body) {
    const call = this.#calls.get(id);
    if (!call) return;
    this.#calls.delete(id);
    const headers = new Headers();
    for (const [name, value] of pairs) {
      try {
        headers.append(name, value);
      } catch {
        // A value may quote what the client sent; what no header can hold is left out.
      }
    }
    const isEmpty = status === 204 || status === 304;
    call.answer(new Response(isEmpty ? null : body, { status, headers }));
  }

  /** @param {string} reason */
  halt(reason) {
    queueMicrotask(() => this.#end(reason, false));
  }

  turned() {
    const { isBusy, hasWork } = this.#machine.business;
    if (hasWork && !this.#isWorking) {
      this.#isWorking = true;
      setTimeout(() => {
        this.#isWorking = false;
        this.#machine.work();
      }, 0);
    }
    this.#wakeup.want(this.#machine.deadlineMs, isBusy);
    const isRestless = isBusy || this.#wakeup.hasTimer;
    if (isRestless && this.#rest === null) {
      // Without an event that is not over yet the object may be put away, and I/O is refused.
      this.#ctx.waitUntil(new Promise((rest) => (this.#rest = () => rest(undefined))));
    } else if (!isRestless && this.#rest !== null) {
      this.#rest();
      this.#rest = null;
    }
  }

  /** @param {Error} error */
  broke(error) {
    console.error('DoLake broke and begins anew from its journal:', error);
    this.#end(`DoLake broke: ${error.message}`, true);
  }

  // Within a life.

  /** Nobody is left without an answer. @param {string} reason @param {boolean} broke */
  #end(reason, broke) {
    if (this.#reason !== '') return;
    this.#reason = reason;
    this.#machine.end();
    this.#wakeup.end();
    for (const call of this.#calls.values()) call.answer(failed(500, 'internal_error', reason));
    this.#calls.clear();
    for (const [socket] of this.#allSockets()) closeQuietly(socket, CLOSE_BROKEN, reason);
    this.#rest?.();
    this.#rest = null;
    this.#onEnd(reason, broke);
  }

  /** The object's sockets that are the machine's, those of former lives too. @returns {[WebSocket, number][]} */
  #allSockets() {
    return this.#ctx.getWebSockets().flatMap((socket) => {
      const number = SOCKET_TAG.exec(this.#ctx.getTags(socket)[0] ?? '')?.[1];
      return number === undefined ? [] : [[socket, Number(number)]];
    });
  }

  /**
   * A socket of a former life. Whether it goes on or is closing, its number is its own.
   * @param {WebSocket} socket @param {number} conn
   */
  #outlived(socket, conn) {
    this.#lastConn = Math.max(this.#lastConn, conn);
    if (socket.readyState !== WebSocket.OPEN) return;
    this.#keep(conn, socket);
    this.#machine.opened(conn, {}, socket.deserializeAttachment()?.bytes);
  }

  /** @param {number} conn @param {WebSocket} socket */
  #keep(conn, socket) {
    this.#sockets.set(conn, socket);
    this.#names.set(socket, conn);
  }
}

/** @param {WebSocket} socket @param {number} code @param {string} reason */
export function closeQuietly(socket, code, reason) {
  try {
    socket.close(code, reason.slice(0, REASON_CHARACTERS_MAX));
  } catch {
    // It is closed already.
  }
}

/**
 * An error as every other of DoLake's is shaped.
 * @param {number} status @param {string} code @param {string} message @param {number} [retryAfterSeconds]
 */
export function failed(status, code, message, retryAfterSeconds) {
  const headers = retryAfterSeconds === undefined ? undefined : { 'retry-after': String(retryAfterSeconds) };
  return Response.json({ error: { code, message, retryable: status >= 500 } }, { status, headers });
}
