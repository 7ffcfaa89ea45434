// The object's journal in real storage: entries of any length, of both kinds of storage.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { start } from './host.mjs';

/** Writes and reads entries of the lengths that the query names, each with bytes of its own. */
const WORKER = `
import { KeyValueJournal, openJournal } from '/dolake/journal.js';
const encoder = new TextEncoder();
const valueOf = (length) => Uint8Array.from({ length }, (_, at) => (at * 31 + length) % 251);
export class DoLake {
  constructor(ctx) {
    this.storage = ctx.storage;
    this.journal = openJournal(ctx.storage);
  }
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === '/write') {
      const write = ([name, length], at) => ({
        ordinal: name.startsWith('batch') ? at : null, key: encoder.encode('s/' + name),
        value: length === '' ? null : valueOf(Number(length)),
      });
      this.journal.save([...searchParams].map(write));
      await this.journal.sync();
      return new Response();
    }
    if (pathname === '/half') {
      // The second copy does not fit into memory.
      const value = { length: 200_000, slice: (from) => { if (from > 0) throw new RangeError('no memory'); return valueOf(3); } };
      try {
        this.journal.save([{ ordinal: null, key: encoder.encode('s/a'), value: valueOf(3) }, { ordinal: null, key: encoder.encode('s/b'), value }]);
      } catch (error) {
        await this.journal.sync();
        return new Response(error.message);
      }
    }
    if (pathname === '/failed') {
      // A long value whose transaction fails, and a short one after it.
      const key = encoder.encode('s/a');
      try {
        this.journal.save([{ ordinal: null, key, value: valueOf(1_600_000) }, { ordinal: null, key: null, value: valueOf(1) }]);
      } catch (error) {
        this.journal.save([{ ordinal: null, key, value: valueOf(3) }]);
        await this.journal.sync();
        return new Response(error.message);
      }
    }
    if (pathname === '/turned-down') {
      const journal = new KeyValueJournal({
        put: async () => { throw new RangeError('no such value'); }, delete: async () => {}, sync: async () => {},
      });
      journal.save([{ ordinal: null, key: encoder.encode('s/a'), value: valueOf(3) }]);
      const sync = () => journal.sync().then(() => 'durable', (error) => error.message);
      return Response.json([await sync(), await sync()]);
    }
    const range = { from: encoder.encode('s/'), until: encoder.encode('s0'), ordinals: null };
    const found = {};
    for (const { key, value } of await this.journal.load(range, false, null)) {
      const whole = valueOf(value.length).every((byte, at) => byte === value[at]);
      found[new TextDecoder().decode(key).slice(2)] = whole ? value.length : 'damaged';
    }
    return Response.json(found);
  }
}
export default { fetch: (request, env) => env.DOLAKE.get(env.DOLAKE.idFromName('default')).fetch(request) };`;

for (const keyValue of [false, true]) {
  test(`an entry may be longer than a row (${keyValue ? 'key-value' : 'sqlite'})`, async (t) => {
    const host = await start({ worker: WORKER, keyValue });
    t.after(() => host.stop());
    const there = {};
    for (const changes of [
      { a: 10, b: 5_000_000, c: 1_500_000, d: 0 },
      { b: 3_000_001, c: 1_500_001 },
      { a: 2_000_000, b: 7 },
      { a: '', b: 4_000_000, c: '' },
      { b: '', d: 1 },
    ]) {
      await host.fetch(`/write?${new URLSearchParams(changes)}`);
      Object.assign(there, changes);
      for (const name of Object.keys(there)) if (there[name] === '') delete there[name];
      for (const evicted of [false, true]) {
        if (evicted) await host.evict('close');
        assert.deepEqual(await (await host.fetch('/read')).json(), there);
      }
    }
  });
}

test('a call that key-value storage turns down is no durable save', async (t) => {
  const host = await start({ worker: WORKER, keyValue: true });
  t.after(() => host.stop());
  assert.deepEqual(await (await host.fetch('/turned-down')).json(), ['no such value', 'durable']);
});

test('a key that key-value storage could not hold keeps its whole save away', async (t) => {
  const host = await start({ worker: WORKER, keyValue: true });
  t.after(() => host.stop());
  const answer = await host.fetch(`/write?${new URLSearchParams({ a: 1, ['x'.repeat(1_100)]: 2 })}`);
  assert.equal(answer.status, 500);
  assert.deepEqual(await (await host.fetch('/read')).json(), {});
});

test('a batch may have a longer key than key-value storage can hold', async (t) => {
  const host = await start({ worker: WORKER, keyValue: true });
  t.after(() => host.stop());
  const [one, two] = ['1', '2'].map((number) => `batch${number}${'x'.repeat(2_000)}`);
  const there = { a: 1, [one]: 300_000, [two]: 5 };
  await host.fetch(`/write?${new URLSearchParams(there)}`);
  for (const evicted of [false, true]) {
    if (evicted) await host.evict('close');
    assert.deepEqual(await (await host.fetch('/read')).json(), there);
  }
  await host.fetch(`/write?${new URLSearchParams({ [one]: '' })}`);
  assert.deepEqual(await (await host.fetch('/read')).json(), { a: 1, [two]: 5 });
});

test('a save for which there is no memory has no effect', async (t) => {
  const host = await start({ worker: WORKER, keyValue: true });
  t.after(() => host.stop());
  assert.equal(await (await host.fetch('/half')).text(), 'no memory');
  assert.deepEqual(await (await host.fetch('/read')).json(), {});
});

test('a short value comes after a long one whose transaction failed', async (t) => {
  const host = await start({ worker: WORKER });
  t.after(() => host.stop());
  assert.notEqual(await (await host.fetch('/failed')).text(), '');
  assert.deepEqual(await (await host.fetch('/read')).json(), { a: 3 });
});

test('thousands of small entries, and long ones among them, are all found', async (t) => {
  const host = await start({ worker: WORKER, keyValue: true });
  t.after(() => host.stop());
  const lengths = Object.fromEntries(Array.from({ length: 900 }, (_, at) => [`k${1_000 + at}`, at % 300 === 7 ? 700_000 : at]));
  for (let at = 0; at < 900; at += 100) {
    await host.fetch(`/write?${new URLSearchParams(Object.entries(lengths).slice(at, at + 100))}`);
  }
  assert.deepEqual(await (await host.fetch('/read')).json(), lengths);
});
