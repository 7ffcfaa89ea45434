// Copies of table metadata in Workers KV, where they are read faster than in a bucket far away. Only what clients of the
// catalog ask for comes from here: a flush builds on nothing but the bucket. A copy is never stale, because no metadata file
// is written twice: its name has a UUID, and names without one are left alone. KV that fails or hangs costs a read of
// the bucket.

import { STORE } from './machine.js';
import { ended } from './store.js';

/** Iceberg's name of a metadata file that is written once. */
const WRITTEN_ONCE = /\/\d{5,}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.metadata\.json$/;

/** A table has new metadata soon, so nobody asks for the old for long. */
const KEPT_SECONDS = 86_400;

/** The bucket answers sooner than a KV that took so long. */
const PATIENCE_MS = 1_000;

/** KV's limits. */
const KEY_BYTES_MAX = 512;
const VALUE_BYTES_MAX = 25 << 20;

const PREFIX = 'dolake/';
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** @typedef {import('./store.js').End} End */

export class MetadataCache {
  #kv;
  #waitUntil;
  /** Reads that KV answered. */
  hits = 0;

  /** @param {KVNamespace | undefined} kv @param {(task: Promise<unknown>) => void} waitUntil what is to end before the object sleeps */
  constructor(kv, waitUntil) {
    this.#kv = kv;
    this.#waitUntil = waitUntil;
  }

  /** @param {string} key @param {() => Promise<End>} fromStore reads it from the bucket @returns {Promise<End>} */
  async get(key, fromStore) {
    const kv = this.#kv;
    const name = PREFIX + key;
    if (!kv || !WRITTEN_ONCE.test(key) || encoder.encode(name).length > KEY_BYTES_MAX) return fromStore();
    const copy = await ended(async () => {
      const value = await kv.get(name, 'arrayBuffer');
      return value === null ? { how: STORE.ABSENT } : { how: STORE.GOT, bytes: new Uint8Array(value) };
    }, PATIENCE_MS);
    if (copy.how === STORE.GOT) {
      this.hits += 1;
      return copy;
    }
    if (copy.how === STORE.FAILED) console.warn(`LAKEHOUSE_KV is not read: ${decoder.decode(copy.bytes)}`);
    const end = await fromStore();
    if (copy.how === STORE.ABSENT && end.how === STORE.GOT && end.bytes && end.bytes.length <= VALUE_BYTES_MAX) {
      this.#waitUntil(this.#keep(kv, name, end.bytes));
    }
    return end;
  }

  /** @param {KVNamespace} kv @param {string} name @param {Uint8Array} bytes */
  async #keep(kv, name, bytes) {
    const end = await ended(async () => {
      await kv.put(name, bytes, { expirationTtl: KEPT_SECONDS });
      return { how: STORE.DONE };
    });
    if (end.how === STORE.FAILED) console.warn(`LAKEHOUSE_KV is not written: ${decoder.decode(end.bytes)}`);
  }
}
