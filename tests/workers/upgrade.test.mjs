// A release that is deployed over an older one: it goes on from what that left in its objects' storage and buckets
// (`saved`, see saved.mjs). What a later release left, it refuses and leaves alone.

import assert from 'node:assert/strict';
import { readFile, readdir } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { start } from './host.mjs';
import { inFolder, left, restore } from './saved.mjs';
import { Source } from './source.mjs';

const SAVED = path.join(import.meta.dirname, 'saved');
const files = (await readdir(SAVED, { recursive: true })).filter((file) => file.endsWith('.json')).sort();

const LAKE = Buffer.from('c/lake');
assert.ok(files.length >= 2, 'a file for each kind of storage');

const sum = (numbers) => numbers.reduce((all, number) => all + number, 0);
const json = async (answer) => (await answer).json();

for (const file of files) {
  const saved = async () => JSON.parse(await readFile(path.join(SAVED, file), 'utf8'));

  test(`what a release left is gone on from (${file})`, () => inFolder(async (storage) => {
    const state = await saved();
    const { sources, keyValue, config } = state;
    await restore(storage, state);
    const host = await start({ storage, keyValue, config });
    try {
      const expected = {};
      for (const [name, { batches, flushed }] of Object.entries(sources)) {
        const source = await new Source(host.url, name).open();
        const told = source.messages.find((message) => message.type === 'ack');
        assert.equal(told.sequenceNumber, batches.length, 'the last that was acked');
        const { sourceStates } = await json(host.fetch('/status'));
        assert.equal(sourceStates.find(({ id }) => id === name).lastPersistedSequence, flushed, 'its mark');
        // What was acked is known, whether it is in a table or waits; what comes next is new.
        for (const number of [1, flushed, flushed + 1, batches.length]) source.batch(number, batches[number - 1]);
        const next = batches.length + 1;
        const last = batches.at(-1).at(-1);
        const more = [{ ...last, sequence: last.sequence + 1 }, { ...last, sequence: last.sequence + 2 }];
        source.batch(next, more);
        await source.until(() => source.acked.has(next));
        for (const number of [1, flushed, flushed + 1, batches.length]) assert.equal(source.acked.get(number), 'duplicate');
        assert.equal(source.acked.get(next), 'buffered');
        for (const { table } of [...batches.flat(), ...more]) expected[table] = (expected[table] ?? 0) + 1;
      }
      const waiting = sum(Object.values(sources).map(({ batches, flushed }) => 10 * (batches.length - flushed) + 2));
      const flushed = await json(host.fetch('/flush', { method: 'POST' }));
      assert.deepEqual([flushed.success, flushed.eventsFlushed], [true, waiting]);
      const { tables } = await json(host.fetch('/status'));
      assert.deepEqual(Object.fromEntries(tables.map(({ name, rows }) => [name.replace('default.', ''), rows])), expected);
      assert.equal((await json(host.fetch('/v1/settings'))).maxSnapshots, 777, 'settings changed at run time are kept');
    } finally {
      await host.stop();
    }
    assert.equal((await left(storage, keyValue)).alarm, false, 'nothing is left to be done');
  }));

  test(`what a later release left is refused and not touched (${file})`, () => inFolder(async (storage) => {
    const state = await saved();
    const { keyValue, config } = state;
    // The row of the lake, which begins with the version behind a byte of the packing; all else may mean anything then.
    const rows = keyValue ? state.entries : state.tables.flatMap((table) => table.rows);
    const named = (key) => (keyValue ? Buffer.from(Array.from(key.split('!')[0], (c) => c.codePointAt(0) - 0x30)) : Buffer.from(key, 'base64'));
    const lake = rows.find(([key]) => named(key).equals(LAKE));
    lake[1] = Buffer.from([0, 9, 0xff]).toString('base64');
    await restore(storage, state);
    const before = await left(storage, keyValue);
    const host = await start({ storage, keyValue, config });
    try {
      const body = JSON.stringify({ events: state.sources.a.batches[0], sequenceNumber: 1 });
      const headers = { 'content-type': 'application/json', 'x-client-id': 'a' };
      for (const [where, init] of [['/health'], ['/status'], ['/cdc', { method: 'POST', headers, body }]]) {
        const answer = await host.fetch(where, init);
        assert.equal(answer.status, 503);
        const { error } = await answer.json();
        assert.match(error.message, /the object's journal: the journal has format version 9, this release reads up to \d+/);
      }
    } finally {
      await host.stop();
    }
    const { alarm: _, ...after } = await left(storage, keyValue);
    delete before.alarm;
    assert.deepEqual(after, before);
  }));
}
