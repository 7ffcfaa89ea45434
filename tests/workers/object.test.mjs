// The Durable Object in real workerd, seen by a plain client: the quick start, what it costs, what it does when it rests.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { QUICKSTART, start, transpiled } from './host.mjs';
import { Source } from './source.mjs';

const HOUR = 3_600_000;
const ON_DEMAND = { flushThresholdEvents: 1e9, flushThresholdMs: HOUR, flushIntervalMs: HOUR };

const insert = (sequence, table = 'users') => ({
  sequence, timestamp: 1_700_000_000_000 + sequence, operation: 'INSERT', table, rowId: `row-${sequence}`,
  after: { id: sequence, name: `Zoë ${sequence}`, note: 'x'.repeat(50) },
});
const inserts = (first, count, table) => Array.from({ length: count }, (_, at) => insert(first + at, table));

async function running(t, options) {
  const host = await start(options);
  t.after(() => host.stop());
  return host;
}

async function flush(host) {
  const answer = await (await host.fetch('/flush', { method: 'POST' })).json();
  assert.equal(answer.success, true, JSON.stringify(answer));
  return answer;
}

test('types need no configuration, and say what the wire says', () => {
  const done = spawnSync(process.execPath, ['node_modules/typescript/bin/tsc', '-p', 'tsconfig.json'], {
    cwd: import.meta.dirname, encoding: 'utf8',
  });
  assert.equal(done.status, 0, done.stdout);
});

test('the quick start works word for word', async (t) => {
  const config = await readFile(path.join(QUICKSTART, 'wrangler.jsonc'), 'utf8');
  const keyValue = /"new_classes": \["DoLake"\]/.test(config);
  assert.ok(keyValue, 'the quick start binds the class as the contract has it');
  const worker = await transpiled(path.join(QUICKSTART, 'src/worker.ts'));
  const host = await running(t, { worker, keyValue });
  assert.equal((await host.fetch('/elsewhere')).status, 404);
  assert.equal(await (await host.fetch('/lakehouse/health')).text(), 'OK');
  const { warnings } = await (await host.fetch('/lakehouse/status')).json();
  assert.match(warnings[0], /r2BucketName is not set, .*s3:\/\/lakehouse-data/, 'a binding does not tell its bucket');
  assert.equal(warnings.length, 1);
  const source = await new Source(host.url, 'dosql-shard-1').open();
  source.batch(1, [insert(1)]);
  await source.until(() => source.acked.get(1) === 'buffered');
  source.say({ type: 'flush_request', timestamp: 1, sourceDoId: 'dosql-shard-1', reason: 'manual' });
  await source.until(() => source.persisted === 1);
  const table = await (await host.fetch('/lakehouse/v1/namespaces/default/tables/users')).json();
  assert.match(table['metadata-location'], /^s3:\/\/lakehouse-data\/warehouse\/default\/users\/metadata\//);
});

for (const keyValue of [false, true]) {
  const kind = keyValue ? 'key-value' : 'sqlite';

  test(`a batch costs two rows and a flush five writes (${kind})`, async (t) => {
    const host = await running(t, { config: ON_DEMAND, keyValue });
    const source = await new Source(host.url, 'a').open();
    source.batch(1, [insert(1)]);
    await source.until(() => source.acked.has(1));
    await flush(host);
    const before = await host.probe();
    const batches = 60;
    for (let number = 2; number < 2 + batches; number += 1) {
      source.batch(number, inserts(number * 100, 100));
      await source.until(() => source.acked.has(number));
    }
    await flush(host);
    const after = await host.probe();
    const rows = (after.rowsWritten - before.rowsWritten + after.alarmsSet - before.alarmsSet) / batches;
    const classA = after.classA - before.classA;
    t.diagnostic(`${rows.toFixed(3)} rows written a batch, ${classA} class A operations a flush`);
    assert.ok(rows <= 2.2, `${rows} rows written a batch`);
    assert.ok(classA <= 5, `${classA} class A operations`);
  });

  test(`an object with nothing to do has no alarm, and one with something has (${kind})`, async (t) => {
    const host = await running(t, { config: { flushThresholdMs: 60_000, flushIntervalMs: 60_000 }, keyValue });
    // The answer comes when the store is known to be its own, which is the first thing that an object finds out.
    await flush(host);
    await host.rested();
    const source = await new Source(host.url, 'a').open();
    await host.rested(); // a client alone is nothing to do
    source.batch(1, [insert(1)]);
    await source.until(() => source.acked.has(1));
    const due = (await host.probe()).alarm - Date.now();
    assert.ok(due > 0 && due <= 60_000, `the flush is due in ${due} ms`);
    await flush(host);
    await source.until(() => source.persisted === 1);
    await host.rested();
  });

  test(`a batch of many megabytes goes through the journal and back (${kind})`, async (t) => {
    const host = await running(t, { config: { ...ON_DEMAND, maxPayloadSize: 12 << 20, memoryBudgetBytes: 48 << 20 }, keyValue });
    const source = await new Source(host.url, 'a').open();
    const noise = () => Array.from({ length: 64 }, () => Math.random().toString(36)).join('');
    const events = inserts(1, 9_000).map((event) => ({ ...event, after: { id: event.sequence, noise: noise() } }));
    source.batch(1, events);
    await source.until(() => source.acked.has(1));
    await source.socket.close();
    await source.closed;
    // Its next life knows it from the journal alone.
    await host.evict('close');
    const flushed = await flush(host);
    assert.equal(flushed.eventsFlushed, events.length);
  });
}

test('a thousand sockets outlive their object', async (t) => {
  const host = await running(t, { config: ON_DEMAND });
  const sources = [];
  for (let n = 0; n < 1_000; n += 1) sources.push(await new Source(host.url, `shard-${n}`).open());
  assert.equal((await host.probe()).sockets, 1_000);
  await host.evict('hibernate');
  for (const source of sources) {
    source.say({ type: 'heartbeat', timestamp: 7, sourceDoId: source.name, lastAckSequence: 0, pendingEvents: 0 });
    await source.until(() => source.messages.some((message) => message.type === 'pong'));
  }
  const probed = await host.rested();
  assert.equal(probed.sockets, 1_000);
  // What a connection said before its object slept is still known: a batch needs no second `connect`.
  sources[500].batch(1, [insert(1)]);
  await sources[500].until(() => sources[500].acked.get(1) === 'buffered');
  for (const source of sources) source.socket.close();
});

test('two lakes in one worker keep to themselves', async (t) => {
  const worker = await transpiled(path.join(QUICKSTART, 'src/two.ts'));
  const host = await running(t, {
    worker,
    options: {
      durableObjects: { SHOP: { className: 'ShopLake', useSQLite: true }, GAME: { className: 'GameLake', useSQLite: true } },
      r2Buckets: { SHOP_BUCKET: 'shop-data', GAME_BUCKET: 'game-data' },
    },
  });
  for (const which of ['shop', 'game']) {
    const body = JSON.stringify({ events: [insert(1, `${which}_table`)], sequenceNumber: 1 });
    const headers = { 'content-type': 'application/json', 'x-client-id': 'a' };
    assert.equal((await host.fetch(`/${which}/cdc`, { method: 'POST', headers, body })).status, 200);
    assert.equal((await host.fetch(`/${which}/flush`, { method: 'POST' })).status, 200);
  }
  for (const [which, other] of [['shop', 'game'], ['game', 'shop']]) {
    const keys = await host.keys(`${which.toUpperCase()}_BUCKET`);
    assert.ok(keys.some((key) => key.startsWith(`warehouse/default/${which}_table/data/`)), keys.join());
    assert.ok(!keys.some((key) => key.includes(other)), keys.join());
  }
});

test('a status warns of nothing when all is set', async (t) => {
  const host = await running(t, { config: { r2BucketName: 'my-lakehouse-data' } });
  assert.equal((await (await host.fetch('/status')).json()).warnings, undefined);
});

test('clients of the catalog read metadata from KV, a flush does not, and never the metadata of before', async (t) => {
  const host = await running(t, { config: ON_DEMAND, options: { kvNamespaces: ['LAKEHOUSE_KV'] } });
  const source = await new Source(host.url, 'a').open();
  const load = async () => (await host.fetch('/v1/namespaces/default/tables/users')).json();
  const kv = await host.miniflare.getKVNamespace('LAKEHOUSE_KV');
  const read = async () => {
    const { classB, kvHits } = await host.rested();
    return { classB, kvHits };
  };
  for (const number of [1, 2, 3]) {
    source.batch(number, [insert(number)]);
    await source.until(() => source.acked.has(number));
    await flush(host);
    const before = await read();
    const loaded = await load();
    assert.equal(loaded.metadata.snapshots.length, number);
    // What the bucket gave is copied after the answer.
    const name = loaded['metadata-location'].replace(/^s3:\/\/[^/]*/, 'dolake');
    for (const until = performance.now() + 20_000; (await kv.get(name)) === null; await wait(20)) {
      assert.ok(performance.now() < until, `no copy of ${name}`);
    }
    assert.deepEqual(await load(), loaded);
    const { keys } = await kv.list();
    assert.equal(keys.length, number);
    assert.deepEqual(await read(), { classB: before.classB + 1, kvHits: before.kvHits + 1 });
  }
});

test('what the bucket failed to give is not kept in KV', async (t) => {
  const worker = `
import { DoLake as Product } from '/dolake/index.js';
let fails = true;
const fragile = (bucket) => new Proxy(bucket, {
  get(target, name) {
    const value = target[name];
    if (name !== 'get') return typeof value === 'function' ? value.bind(target) : value;
    return async (...given) => {
      if (fails && given[0].endsWith('.metadata.json')) throw new Error('get: internal error. (10001)');
      return target.get(...given);
    };
  },
});
export class DoLake extends Product {
  constructor(ctx, env) { super(ctx, { ...env, LAKEHOUSE_BUCKET: fragile(env.LAKEHOUSE_BUCKET) }); }
  async fetch(request) {
    if (!request.url.endsWith('/heal')) return super.fetch(request);
    fails = false;
    return new Response();
  }
}
export default { fetch: (request, env) => env.DOLAKE.get(env.DOLAKE.idFromName('default')).fetch(request) };`;
  const host = await running(t, { config: ON_DEMAND, worker, options: { kvNamespaces: ['LAKEHOUSE_KV'] } });
  const source = await new Source(host.url, 'a').open();
  source.batch(1, [insert(1)]);
  await source.until(() => source.acked.has(1));
  await flush(host);
  assert.equal((await host.fetch('/v1/namespaces/default/tables/users')).status, 503);
  await host.fetch('/heal');
  for (let n = 0; n < 2; n += 1) {
    const loaded = await (await host.fetch('/v1/namespaces/default/tables/users')).json();
    assert.equal(loaded.metadata?.snapshots.length, 1, JSON.stringify(loaded).slice(0, 200));
  }
});

for (const [how, call] of [['fails', "async () => { throw new Error('KV is away'); }"], ['hangs', '() => new Promise(() => {})']]) {
  test(`a KV that ${how} costs a client no answer`, async (t) => {
    const worker = `
import { DoLake as Product } from '/dolake/index.js';
const call = ${call};
export class DoLake extends Product {
  constructor(ctx, env) { super(ctx, { ...env, LAKEHOUSE_KV: { get: call, put: call } }); }
}
export default { fetch: (request, env) => env.DOLAKE.get(env.DOLAKE.idFromName('default')).fetch(request) };`;
    const host = await running(t, { config: ON_DEMAND, worker });
    const source = await new Source(host.url, 'a').open();
    source.batch(1, [insert(1)]);
    await source.until(() => source.acked.has(1));
    await flush(host);
    const answer = await host.fetch('/v1/namespaces/default/tables/users', { signal: AbortSignal.timeout(15_000) });
    assert.equal(answer.status, 200);
    assert.equal((await answer.json()).metadata.snapshots.length, 1);
  });
}

test('settings that cannot be are told to everybody who asks', async (t) => {
  const host = await running(t, { config: { flushIntervalMs: 0 } });
  for (const where of ['/health', '/status', '/lakehouse/v1/config']) {
    const answer = await host.fetch(where);
    assert.equal(answer.status, 503);
    assert.equal((await answer.json()).error.message, 'DOLAKE_CONFIG: flushIntervalMs: expected a number above 0, got 0');
  }
});

test('a bucket that got another name, or another path in it, is refused, and nothing is lost by it', async (t) => {
  const storage = await mkdtemp(path.join(os.tmpdir(), 'dolake-'));
  t.after(() => rm(storage, { recursive: true }));
  const post = (host, number) =>
    host.fetch('/cdc', {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-client-id': 'a' },
      body: JSON.stringify({ events: [insert(number)], sequenceNumber: number }),
    });
  const one = { r2BucketName: 'one' };
  for (const [place, number] of [[one, 1], [{ r2BucketName: 'two' }, 2], [{ ...one, r2BasePath: 'other' }, 2], [one, 2]]) {
    const host = await start({ storage, config: { ...ON_DEMAND, ...place } });
    const answer = await post(host, number);
    if (place !== one) {
      assert.equal(answer.status, 503);
      assert.match((await answer.json()).error.message, /r2BucketName and r2BasePath: expected those .*s3:\/\/one\/warehouse\//);
    } else {
      assert.equal(answer.status, 200);
      assert.equal((await flush(host)).eventsFlushed, 1);
    }
    await host.stop();
  }
});

test('a bucket that belongs to another lake is not touched', async (t) => {
  const host = await running(t, { config: ON_DEMAND });
  assert.equal((await host.fetch('/health')).status, 200);
  const before = await host.keys();
  // Another object of the same class has the same bucket: the marker names the first.
  let answer;
  do {
    answer = await host.fetch('/health?object=other');
  } while (answer.status === 200);
  assert.match((await answer.json()).error.message, /lake/);
  assert.deepEqual(await host.keys(), before);
});

test('what an endpoint cannot do is answered, not left open', async (t) => {
  const host = await running(t, { config: ON_DEMAND });
  assert.equal((await host.fetch('/v1/compaction/run', { method: 'POST' })).status, 501);
  assert.equal((await host.fetch('/nowhere')).status, 404);
  const cut = await host.fetch('/cdc', { method: 'POST', headers: { 'content-type': 'application/json', 'x-client-id': 'a' }, body: '{"events":[' });
  assert.equal(cut.status, 400);
  assert.equal((await host.fetch('/health')).status, 200);
});

test('a buffer of 128 MB of JSON is taken and flushed within 100 MB of memory', async (t) => {
  const host = await running(t, { config: { flushThresholdMs: 2_000, flushIntervalMs: 2_000 } });
  const messages = [];
  let bytes = 0;
  for (let number = 1; bytes < 128 << 20; number += 1) {
    const events = inserts(number * 1_000, 1_000).map((event) => ({
      ...event, after: { ...event.after, who: `${(event.sequence * 7919) % 100_003}`, sum: event.sequence * 1.25, at: { x: event.sequence % 97 } },
    }));
    const text = JSON.stringify({
      type: 'cdc_batch', timestamp: 1, sourceDoId: 'a', events, sequenceNumber: number,
      firstEventSequence: events[0].sequence, lastEventSequence: events.at(-1).sequence, sizeBytes: 1, isRetry: false, retryCount: 0,
    });
    bytes += text.length;
    messages.push({ text, number });
  }
  await new Source(host.url, 'a').send(messages);
  await flush(host);
  const { memoryBytes } = await host.probe();
  t.diagnostic(`${(bytes / 1048576).toFixed(0)} MB of JSON, ${(memoryBytes / 1048576).toFixed(1)} MB of linear memory`);
  assert.ok(memoryBytes <= 100 << 20, `${memoryBytes} bytes`);
});
