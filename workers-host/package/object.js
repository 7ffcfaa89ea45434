// The Durable Object's class. It keeps a life of the machine going and hands it what happens.

import { DurableObject } from 'cloudflare:workers';
import { Life, closeQuietly, failed } from './life.js';
import { messageOf } from './store.js';

/** A life that could not begin, or could not go on, is tried again after so long. */
const RETRY_MS = 10_000;

/** An object that has no life looks after so long whether it can begin one, though nobody speaks to it. */
const LOOK_AGAIN_MS = 30_000;

const CLOSE_TRY_AGAIN = 1013;

/** @typedef {import('./index.js').DoLakeEnv} DoLakeEnv */

/** A lake: takes change events over WebSockets, journals them in the object's storage, writes Iceberg tables to R2. */
export class DoLake extends DurableObject {
  #ctx;
  #env;
  /** @type {Life | null} */
  #life = null;
  /** @type {Promise<void> | null} */
  #beginning = null;
  /** Why there is no life. */
  #refusal = '';
  #refusedAt = 0;

  /** @param {DurableObjectState} ctx @param {DoLakeEnv} env */
  constructor(ctx, env) {
    super(ctx, env);
    this.#ctx = ctx;
    this.#env = env;
    ctx.blockConcurrencyWhile(() => this.#begin());
  }

  /** @param {Request} request @returns {Promise<Response>} */
  async fetch(request) {
    const life = this.#life ?? (await this.#revived());
    if (life === null) return failed(503, 'unavailable', this.#refusal, RETRY_MS / 1_000);
    return life.fetch(request);
  }

  /** @param {WebSocket} socket @param {string | ArrayBuffer} message */
  async webSocketMessage(socket, message) {
    const life = this.#life ?? (await this.#revived());
    if (life === null) {
      closeQuietly(socket, CLOSE_TRY_AGAIN, this.#refusal);
    } else if (socket.readyState === WebSocket.OPEN) {
      life.received(socket, message);
    }
  }

  /** @param {WebSocket} socket @param {number} code */
  async webSocketClose(socket, code) {
    closeQuietly(socket, code === 1005 || code === 1006 ? 1000 : code, '');
    this.#life?.closed(socket);
  }

  /** @param {WebSocket} socket */
  async webSocketError(socket) {
    this.#life?.closed(socket);
  }

  async alarm() {
    const life = this.#life ?? (await this.#revived());
    life?.alarm();
  }

  /** What this life of the object has cost so far, and the memory that it takes; null when it is not alive. */
  get figures() {
    return this.#life?.figures ?? null;
  }

  /** @returns {Promise<Life | null>} */
  async #revived() {
    if (Date.now() - this.#refusedAt >= RETRY_MS || this.#beginning !== null) {
      // Not within `#begin`: one that fails at once would be over before it stands here.
      this.#beginning ??= this.#begin().finally(() => (this.#beginning = null));
      await this.#beginning;
    }
    return this.#life;
  }

  async #begin() {
    try {
      const bucket = this.#env.LAKEHOUSE_BUCKET;
      if (!bucket) throw new Error('expected an R2 bucket that is bound as LAKEHOUSE_BUCKET');
      const life = new Life(this.#ctx, bucket, this.#env.LAKEHOUSE_KV, (reason, broke) => this.#ended(reason, broke));
      const refusal = await life.begin(settings(this.#env.DOLAKE_CONFIG));
      if (refusal !== '') throw new Error(refusal);
      // It may have broken meanwhile, and told so.
      if (!life.isOver) this.#life = life;
    } catch (error) {
      this.#ended(messageOf(error), false);
    }
  }

  /** @param {string} reason @param {boolean} broke the next event begins another life; else the operator must act */
  #ended(reason, broke) {
    console.error(`DoLake cannot go on: ${reason}`);
    this.#life = null;
    this.#refusal = reason;
    this.#refusedAt = broke ? 0 : Date.now();
    this.#ctx.storage.setAlarm(Date.now() + LOOK_AGAIN_MS);
  }
}

/** The variable, as JSON or as text that is JSON. @param {unknown} value */
function settings(value) {
  if (value === undefined || value === null) return '';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
