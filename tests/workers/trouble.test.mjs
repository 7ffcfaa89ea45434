// What an object does when its machine breaks, and when its bucket takes no writes: nothing that was acked is lost, every
// request has an answer, clients are told to come again, and no other object notices.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as wait } from 'node:timers/promises';
import { start } from './host.mjs';
import { Source } from './source.mjs';

const HOUR = 3_600_000;
const ON_DEMAND = { flushThresholdEvents: 1e9, flushThresholdMs: HOUR, flushIntervalMs: HOUR };

const insert = (sequence) => ({
  sequence, timestamp: 1_700_000_000_000 + sequence, operation: 'INSERT', table: 'users', rowId: `row-${sequence}`,
  after: { id: sequence, name: `Zoë ${sequence}`, note: 'x'.repeat(50) },
});
const inserts = (first, count) => Array.from({ length: count }, (_, at) => insert(first + at));

async function running(t, config) {
  const host = await start({
    config,
    worker: await readFile(path.join(import.meta.dirname, 'troubled.mjs'), 'utf8'),
    options: {
      durableObjects: { DOLAKE: { className: 'DoLake', useSQLite: true }, OTHER: { className: 'Other', useSQLite: true } },
      r2Buckets: { LAKEHOUSE_BUCKET: 'my-lakehouse-data', OTHER_BUCKET: 'other-data' },
    },
  });
  t.after(() => host.stop());
  return host;
}

const json = async (answer) => (await answer).json();
const ask = (host, where) => json(host.fetch(`/lakehouse/${where}`));
const flush = (host, where = '') => host.fetch(`/lakehouse/flush${where}`, { method: 'POST' });

/** A source whose first batch is acked. */
async function speaking(host, name, where = '') {
  const source = new Source(host.url, name);
  source.url.search = where;
  await source.open();
  source.batch(1, inserts(1, 10));
  await source.until(() => source.acked.has(1));
  return source;
}

for (const how of ['panic', 'out-of-bounds']) {
  test(`a trap costs its object one life, and nothing that was acked (${how})`, async (t) => {
    const host = await running(t, ON_DEMAND);
    const source = await speaking(host, 'a');
    const other = await speaking(host, 'b', '?other');
    assert.equal((await ask(host, 'probe')).instances, 2);

    const answer = await host.fetch(`/lakehouse/${how}`);
    assert.equal(answer.status, 500);
    const { error } = await answer.json();
    assert.equal(error.code, 'internal_error');
    assert.match(error.message, how === 'panic' ? /DoLake broke: panicked at .*wasm\.rs/ : /DoLake broke: .*out of bounds/);
    assert.equal((await source.closed).code, 1011, 'a client that is told so comes again');
    const after = await ask(host, 'probe');
    assert.deepEqual([after.isAlive, after.traps, after.instances], [false, 1, 2]);
    assert.ok(after.alarm > Date.now(), 'it would look after itself though nobody came');

    // The other lake of the process is the one that it was: its socket, its instance, its data.
    other.batch(2, inserts(11, 10));
    await other.until(() => other.acked.has(2));
    assert.equal((await json(flush(host, '?other'))).eventsFlushed, 20);

    // The first that comes begins the next life.
    const again = await new Source(host.url, 'a').open();
    again.batch(2, inserts(11, 10));
    await again.until(() => again.acked.get(2) === 'buffered');
    again.batch(1, inserts(1, 10));
    await again.until(() => again.acked.get(1) === 'duplicate');
    assert.equal((await json(flush(host))).eventsFlushed, 20);
    assert.equal((await ask(host, 'status')).tables[0].rows, 20);
    const last = await host.rested();
    assert.deepEqual([last.traps, last.instances, last.alarm], [1, 3, null]);
  });
}

/** A WebSocket of a client that answers nothing, not even a close: the runtime's end of it stays half closed. */
async function mute(host) {
  const { hostname, port } = new URL(host.url);
  const socket = connect(Number(port), hostname);
  socket.write(`GET /lakehouse HTTP/1.1\r\nHost: ${hostname}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n`
    + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n');
  const came = [];
  socket.on('data', (data) => came.push(data));
  const bytes = () => Buffer.concat(came);
  const until = async (check) => {
    while (!check(bytes())) await wait(10);
  };
  await until((answer) => /^HTTP\/1.1 101 [^]*\r\n\r\n/.test(answer.toString('latin1')));
  return { socket, until };
}

test('a socket that is still closing from a former life has no part in the next', { timeout: 30_000 }, async (t) => {
  const host = await running(t, ON_DEMAND);
  const { socket, until } = await mute(host);
  assert.equal((await host.fetch('/lakehouse/panic')).status, 500);
  await until((answer) => answer.includes(Buffer.from([0x03, 0xf3])));
  const source = await speaking(host, 'a');
  await new Promise((gone) => socket.on('close', gone).destroy());
  await wait(200);
  source.batch(2, inserts(11, 10));
  await source.until(() => source.acked.has(2));
  assert.equal((await json(flush(host))).eventsFlushed, 20);
});

test('a fault that comes again with every life is tried once an alarm, and the data waits for its end', async (t) => {
  const host = await running(t, { flushThresholdMs: 1, flushIntervalMs: HOUR });
  await ask(host, 'trouble?work=true');
  const source = await speaking(host, 'a');
  assert.equal((await source.closed).code, 1011);
  for (let life = 1; life <= 3; life += 1) {
    // Nobody speaks to it: only its alarm begins the next life.
    const broken = await ask(host, `trapped?count=${life}`);
    assert.deepEqual([broken.isAlive, broken.traps, broken.instances], [false, life, life]);
    assert.ok(broken.alarm - Date.now() > 10_000, `the next life may begin in ${broken.alarm - Date.now()} ms`);
    if (life === 3) await ask(host, 'trouble?work=false');
    await ask(host, 'alarm');
  }
  assert.equal((await json(flush(host))).success, true);
  const { tables } = await ask(host, 'status');
  assert.equal(tables[0].rows, 10);
  const { traps, instances, alarm } = await host.rested();
  assert.deepEqual([traps, instances, alarm], [3, 4, null]);
});

test('a life that breaks while it begins leaves nobody without an answer', async (t) => {
  const host = await running(t, ON_DEMAND);
  await speaking(host, 'a');
  assert.equal((await host.fetch('/lakehouse/panic')).status, 500);
  await ask(host, 'trouble?load=true');
  for (let life = 1; life <= 2; life += 1) {
    const answer = await host.fetch('/lakehouse/health', { signal: AbortSignal.timeout(10_000) });
    assert.ok([500, 503].includes(answer.status), `${answer.status}`);
  }
  const broken = await ask(host, 'probe');
  assert.deepEqual([broken.isAlive, broken.alarm > Date.now()], [false, true]);
  await ask(host, 'trouble?load=false');
  assert.equal((await host.fetch('/lakehouse/health')).status, 200);
  assert.equal((await json(flush(host))).eventsFlushed, 10);
});

test('a life that could not begin at once is tried again', async (t) => {
  const host = await running(t, ON_DEMAND);
  await speaking(host, 'a');
  assert.equal((await host.fetch('/lakehouse/panic')).status, 500);
  await ask(host, 'trouble?start=true');
  assert.equal((await host.fetch('/lakehouse/health')).status, 503);
  await ask(host, 'trouble?start=false');
  await ask(host, 'later?ms=10000');
  assert.equal((await host.fetch('/lakehouse/health')).status, 200);
  assert.equal((await json(flush(host))).eventsFlushed, 10);
});

test('a socket too many is refused, and no other notices', async (t) => {
  const host = await running(t, ON_DEMAND);
  const source = await speaking(host, 'a');
  await ask(host, 'trouble?sockets=true');
  const answer = await host.miniflare.dispatchFetch(new URL('/lakehouse', host.url), { headers: { upgrade: 'websocket' } });
  assert.deepEqual([answer.status, answer.headers.get('retry-after')], [503, '30']);
  assert.match((await answer.json()).error.message, /only 32768 websockets/);
  await ask(host, 'trouble?sockets=false');
  source.batch(2, inserts(11, 10));
  await source.until(() => source.acked.has(2));
  assert.deepEqual((await ask(host, 'probe')).traps, 0);
});

test('a request whose body is being read already has an answer', async (t) => {
  const host = await running(t, ON_DEMAND);
  const answer = await host.fetch('/lakehouse/read', { signal: AbortSignal.timeout(10_000) });
  assert.equal(answer.status, 400);
  assert.match((await answer.json()).error.message, /^the body cannot be read: /);
});

test('sockets of the class around it are left alone', async (t) => {
  const host = await running(t, ON_DEMAND);
  const dashboard = new WebSocket(Object.assign(new URL('/lakehouse/dashboard', host.url), { protocol: 'ws:' }));
  let isClosed = false;
  dashboard.addEventListener('close', () => (isClosed = true));
  await new Promise((opened) => dashboard.addEventListener('open', opened));
  await host.evict('hibernate');
  const [a, b] = [await speaking(host, 'a'), await speaking(host, 'b')];
  assert.equal((await host.fetch('/lakehouse/panic')).status, 500);
  assert.deepEqual([(await a.closed).code, (await b.closed).code, isClosed], [1011, 1011, false]);
  dashboard.close();
});

/** What an event of 300 bytes holds: text, or what compression makes no smaller and is not all ASCII. */
const NOTES = {
  text: (n) => `${(n * 7919) % 100_003} `.repeat(40),
  noise: (n) => Array.from({ length: 40 }, (_, at) => (Math.imul(64 * n + at, 0x9e3779b1) >>> 0).toString(36)).join('é'),
};

for (const [kind, note] of Object.entries(NOTES)) {
  test(`128 MB of JSON (${kind}) are kept while R2 takes no writes, more is refused, and all of it is flushed once`, async (t) => {
    // Made first: while they are, nobody would look after a connection that the runtime closes.
    const messages = [];
    for (let bytes = 0, number = 1; bytes < 180 << 20; number += 1) {
      const events = inserts(number * 1_000, 1_000).map((event) => ({
        ...event, after: { ...event.after, note: note(event.sequence) },
      }));
      const text = JSON.stringify({
        type: 'cdc_batch', timestamp: 1, sourceDoId: 'a', events, sequenceNumber: number,
        firstEventSequence: events[0].sequence, lastEventSequence: events.at(-1).sequence, sizeBytes: 1, isRetry: false, retryCount: 0,
      });
      bytes += text.length;
      messages.push({ text, number });
    }
    const host = await running(t, {
      flushThresholdMs: 2_000, flushIntervalMs: 2_000, maxRetryDelayMs: 1_000, enableFallback: false,
    });
    await flush(host);
    await ask(host, 'trouble?bucket=true');
    const source = new Source(host.url, 'a');
    const isRefusal = (message) => message.type === 'nack';
    const refused = new Promise((resolve) => source.watchers.add(() => source.messages.some(isRefusal) && resolve()));
    const sent = source.send(messages);
    await Promise.race([sent, refused]);
    const { reason, shouldRetry, retryDelayMs } = source.messages.find(isRefusal);
    assert.deepEqual([reason, shouldRetry, retryDelayMs > 0], ['buffer_full', true, true]);
    const full = await ask(host, 'status');
    assert.equal(full.tables.length, 0, 'nothing came through');
    const taken = (full.parkedTables ?? []).reduce((sum, { bytes }) => sum + bytes, full.buffer.totalSizeBytes);
    assert.ok(taken >= 127 << 20, `${taken} bytes were taken; a batch that does not fit is refused whole`);
    const whileFull = (await ask(host, 'probe')).memoryBytes;

    await ask(host, 'trouble?bucket=false');
    await sent;
    assert.equal((await json(flush(host))).success, true);
    const { tables, buffer } = await ask(host, 'status');
    assert.deepEqual([tables[0].rows, buffer.eventCount], [messages.length * 1_000, 0]);
    const { memoryBytes, instances } = await ask(host, 'probe');
    assert.equal(instances, 1);
    t.diagnostic(`${taken >> 20} MB taken, ${whileFull >> 20} MB of linear memory while full, ${memoryBytes >> 20} MB at the end`);
    assert.ok(memoryBytes <= 100 << 20, `${memoryBytes} bytes`);
  });
}
