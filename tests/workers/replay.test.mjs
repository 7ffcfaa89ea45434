// The module that is deployed, in workerd, does what the same host does natively: what the simulator's runs brought to the
// machine is brought to both, and every message, journal row, object and answer must be the same, byte for byte.
//
// A journal and a store in maps answer the host, with failures (`dolake-trace`); so this holds the machine and the host in
// WebAssembly, and the package's side of its calls, against native code. Sockets, storage, alarms and R2 are other tests'.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { start } from './host.mjs';

const TARGET = process.env.CARGO_TARGET_DIR ?? path.resolve(import.meta.dirname, '../../target');
const TRACE = path.join(TARGET, 'release/dolake-trace');

/** As many as take a few seconds. */
const SEEDS = Number(process.env.DOLAKE_TRACE_SEEDS ?? 12);

const run = promisify(execFile);

async function replaying(t) {
  const worker = await readFile(path.join(import.meta.dirname, 'replay.mjs'), 'utf8');
  const host = await start({ worker, options: { durableObjects: {} } });
  t.after(() => host.stop());
  return host;
}

test('the module in workerd decides as native code does, to the byte', async (t) => {
  const host = await replaying(t);
  const all = {};
  for (let seed = 0; seed < SEEDS; seed += 1) {
    const { stdout } = await run(TRACE, [String(seed)], { maxBuffer: 1 << 30 });
    const { same, ...different } = await (await host.fetch('/', { method: 'POST', body: stdout })).json();
    assert.deepEqual(different, {}, `seed ${seed}`);
    for (const [what, count] of Object.entries(same)) all[what] = (all[what] ?? 0) + count;
  }
  t.diagnostic(`${SEEDS} seeds: ${JSON.stringify(all)}`);
  assert.ok(all.lives > SEEDS && all.sent > 10 * SEEDS && all.saves > 10 * SEEDS && all.parquet > SEEDS, 'it was worth it');
});

test('a byte that differs is seen', async (t) => {
  const host = await replaying(t);
  const { stdout } = await run(TRACE, ['0'], { maxBuffer: 1 << 30 });
  const lines = stdout.trimEnd().split('\n');
  const at = lines.findIndex((line) => /"put",\d+,"[^"]*parquet"/.test(line));
  lines[at] = lines[at].replace(/(parquet","[0-9a-f]*)[0-9a-f]"/, (_, before) => `${before}${before.endsWith('0') ? 2 : 9}"`);
  const told = await (await host.fetch('/', { method: 'POST', body: lines.join('\n') })).json();
  assert.equal(told.at, at);
});
