// The store: the R2 bucket. Every call ends, with what happened or with R2's own words; `outcome.rs` reads those.

import { STORE } from './machine.js';

/** After this long without an answer, nobody knows what became of a call. */
const PATIENCE_MS = 30_000;

const encoder = new TextEncoder();

/** @typedef {{ how: number, bytes?: Uint8Array }} End how: one of STORE */

export class Store {
  #bucket;
  /** Calls so far, by how R2 prices them. */
  classA = 0;
  classB = 0;

  /** @param {R2Bucket} bucket */
  constructor(bucket) {
    this.#bucket = bucket;
  }

  /** @param {string} key @param {Uint8Array} bytes @param {boolean} onlyIfAbsent @returns {Promise<End>} */
  put(key, bytes, onlyIfAbsent) {
    this.classA += 1;
    const options = onlyIfAbsent ? { onlyIf: { etagDoesNotMatch: '*' } } : {};
    return ended(async () => {
      const written = await this.#bucket.put(key, bytes, options);
      return { how: written === null ? STORE.CONFLICT : STORE.DONE };
    });
  }

  /** @param {string} key @param {{ offset: number, length: number } | null} range @returns {Promise<End>} */
  get(key, range) {
    this.classB += 1;
    return ended(async () => {
      const object = await this.#bucket.get(key, range === null ? {} : { range });
      if (object === null) return { how: STORE.ABSENT };
      return { how: STORE.GOT, bytes: new Uint8Array(await object.arrayBuffer()) };
    });
  }

  /** @param {string} key @returns {Promise<End>} */
  delete(key) {
    return ended(async () => {
      await this.#bucket.delete(key);
      return { how: STORE.DONE };
    });
  }
}

/** A call that ends in any case. @param {() => Promise<End>} call @param {number} [patienceMs] @returns {Promise<End>} */
export async function ended(call, patienceMs = PATIENCE_MS) {
  /** @type {ReturnType<typeof setTimeout> | null} */
  let timer = null;
  const patience = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${patienceMs} ms`)), patienceMs);
  });
  try {
    return /** @type {End} */ (await Promise.race([call(), patience]));
  } catch (error) {
    return { how: STORE.FAILED, bytes: encoder.encode(messageOf(error)) };
  } finally {
    clearTimeout(timer);
  }
}

/** @param {unknown} error */
export function messageOf(error) {
  return error instanceof Error ? error.message : String(error);
}
