// What an object left behind, as a file: the rows of its storage, its alarm, its bucket, and what its sources were told. A
// release makes such files once, in a folder for each journal format; every later one must go on from them. They hold rows
// and objects, not files of the local runtime, so that another version of it can read them.
//
//   node saved.mjs make FOLDER            a file for each kind of storage, by the package in workers-host/dist
//   node saved.mjs restore FILE STORAGE   a folder of the local runtime, for host.mjs --storage

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { start } from './host.mjs';
import { Source } from './source.mjs';

/** A class that only reads and writes the storage that the object of the same name has. */
const KEEPER = `
const text = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
export class DoLake {
  constructor(ctx) { this.storage = ctx.storage; }
  alarm() {}
  async fetch(request) {
    if (request.method === 'PUT') {
      const { tables, entries, alarm } = await request.json();
      for (const { create, name, rows } of tables ?? []) {
        this.storage.sql.exec(create);
        for (const row of rows) this.storage.sql.exec('INSERT INTO ' + name + ' VALUES (' + row.map(() => '?').join() + ')', ...row.map((field) => typeof field === 'string' ? bytes(field) : field));
      }
      for (const [name, value] of entries ?? []) await this.storage.put(name, bytes(value));
      if (alarm) await this.storage.setAlarm(Date.now() + 3_600_000);
      await this.storage.sync();
      return new Response();
    }
    const alarm = (await this.storage.getAlarm()) !== null;
    if (!new URL(request.url).searchParams.has('sql')) {
      return Response.json({ alarm, entries: [...await this.storage.list()].map(([name, value]) => [name, text(value)]) });
    }
    const found = this.storage.sql.exec("SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name LIKE 'dolake%'").toArray();
    const tables = found.map(({ name, sql }) => ({ name, create: sql, rows: [...this.storage.sql.exec('SELECT * FROM ' + name).raw()].map((row) => row.map((field) => typeof field === 'number' ? field : text(field))) }));
    return Response.json({ alarm, tables });
  }
}
export default {
  fetch: (request, env) => env.DOLAKE.get(env.DOLAKE.idFromName('default')).fetch(request),
};`;

/** What lies in a folder of the local runtime: what the object left, and its bucket. */
export async function left(storage, keyValue) {
  const host = await start({ storage, keyValue, worker: KEEPER });
  const object = await (await host.fetch(keyValue ? '/' : '/?sql')).json();
  const bucket = await host.bucket();
  const objects = [];
  for (const key of await host.keys()) {
    objects.push([key, Buffer.from(await (await bucket.get(key)).arrayBuffer()).toString('base64')]);
  }
  await host.stop();
  return { keyValue, ...object, objects };
}

/** Makes a folder of the local runtime in which this lies. */
export async function restore(storage, state) {
  const host = await start({ storage, keyValue: state.keyValue, worker: KEEPER });
  const answer = await host.fetch('/', { method: 'PUT', body: JSON.stringify(state) });
  if (!answer.ok) throw new Error(await answer.text());
  const bucket = await host.bucket();
  for (const [key, bytes] of state.objects) await bucket.put(key, Buffer.from(bytes, 'base64'));
  await host.stop();
}

/** A folder that is gone after what is done with it. */
export async function inFolder(act) {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'dolake-'));
  try {
    return await act(folder);
  } finally {
    await rm(folder, { recursive: true });
  }
}

export const CONFIG = { flushThresholdEvents: 1e9, flushThresholdMs: 3_600_000, flushIntervalMs: 3_600_000, r2BucketName: 'lake' };

const event = (sequence, table) => ({
  sequence, timestamp: 1_700_000_000_000 + sequence, operation: 'INSERT', table, rowId: `row-${sequence}`,
  after: { id: sequence, name: `Zoë ${sequence}`, amount: sequence / 4 },
});

/** Batches of ten events each, of one table in turn. */
const batches = (first, count) =>
  Array.from({ length: count }, (_, batch) =>
    Array.from({ length: 10 }, (_, at) => event(first + 10 * batch + at, ['users', 'orders'][batch % 2])));

/** Two sources, both with batches in tables and batches that wait; and settings that were changed at run time. */
async function make(keyValue) {
  const sources = { a: { batches: batches(1, 6), flushed: 4 }, b: { batches: batches(1, 5), flushed: 2 } };
  return inFolder(async (storage) => {
    const host = await start({ storage, keyValue, config: CONFIG });
    const open = {};
    for (const name of Object.keys(sources)) open[name] = await new Source(host.url, name).open();
    const send = async (from, until) => {
      for (const [name, { batches }] of Object.entries(sources)) {
        for (let number = from(name) + 1; number <= until(name); number += 1) {
          open[name].batch(number, batches[number - 1]);
          await open[name].until(() => open[name].acked.has(number));
        }
      }
    };
    const flushed = (name) => sources[name].flushed;
    await send(() => 0, flushed);
    const answer = await (await host.fetch('/flush', { method: 'POST' })).json();
    if (!answer.success) throw new Error(JSON.stringify(answer));
    await host.fetch('/v1/config', { method: 'PATCH', headers: { 'content-type': 'application/json' }, body: '{"maxSnapshots":777}' });
    await send(flushed, (name) => sources[name].batches.length);
    await host.stop();
    return { config: CONFIG, sources, ...(await left(storage, keyValue)) };
  });
}

async function main([what, ...given]) {
  switch (what) {
    case 'make':
      await mkdir(given[0], { recursive: true });
      for (const [name, keyValue] of [['sqlite', false], ['key-value', true]]) {
        await writeFile(path.join(given[0], `${name}.json`), `${JSON.stringify(await make(keyValue))}\n`);
      }
      break;
    case 'restore':
      await restore(given[1], JSON.parse(await readFile(given[0], 'utf8')));
      break;
    default:
      throw new Error('expected make FOLDER, or restore FILE STORAGE');
  }
  process.exit(0);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main(process.argv.slice(2));
