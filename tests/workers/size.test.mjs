// What the package weighs and what it takes to start: bundle, CPU time of a start, memory at rest.
//
// Cloudflare compiles a worker's modules where it is deployed, so the CPU time of a start is that of an instance, its first
// life and its first answer; that is measured here, in Node, whose engine is workerd's. What workerd itself uses for its
// first object is printed beside it: with the compilation, which the local runtime does in the same process.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { PACKAGE, start } from './host.mjs';

const BUNDLE_BYTES_MAX = 3 << 20;
const START_CPU_MS_MAX = 100;

/** CPU time of all of this process's threads, in milliseconds. */
function cpuMs() {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1_000;
}

/** CPU time of the runtimes that this process has started and not ended. */
async function runtimeCpuMs() {
  let ticks = 0;
  for (const id of execFileSync('pgrep', ['-P', String(process.pid), 'workerd'], { encoding: 'utf8' }).trim().split('\n')) {
    const stat = await readFile(`/proc/${id}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return 10 * ticks;
}

/** A life begins in an instance of the module, and answers that it is well. */
function firstLife(module) {
  let status = 0;
  const imports = Object.fromEntries(WebAssembly.Module.imports(module).map(({ name }) => [name, () => {}]));
  imports.respond = (_, code) => { status = code; };
  const wasm = new WebAssembly.Instance(module, { shell: imports }).exports;
  const give = (text) => {
    const bytes = new TextEncoder().encode(text);
    const place = wasm.allocate(bytes.length);
    new Uint8Array(wasm.memory.buffer, place, bytes.length).set(bytes);
    return [place, bytes.length];
  };
  const [seed] = give('0123456789abcdef');
  assert.equal(wasm.begin(Date.now(), 0, seed, ...give('{}'), ...give(''), ...give('')), 1);
  wasm.requested(Date.now(), 1, ...give('{"method":"GET","path":"/health","query":null,"headers":[]}'));
  assert.equal(status, 200);
  return wasm.memory.buffer.byteLength;
}

test('the bundle is small', async (t) => {
  const raw = await readFile(path.join(PACKAGE, 'dolake.wasm'));
  const packed = gzipSync(raw, { level: 9 }).length;
  t.diagnostic(`dolake.wasm: ${raw.length} bytes, ${packed} with gzip (limit ${BUNDLE_BYTES_MAX})`);
  assert.ok(packed <= BUNDLE_BYTES_MAX);
});

test('a start takes little CPU time', async (t) => {
  const code = await readFile(path.join(PACKAGE, 'dolake.wasm'));
  const before = cpuMs();
  const module = new WebAssembly.Module(code);
  const compiled = cpuMs();
  const memoryBytes = firstLife(module);
  const first = cpuMs() - compiled;
  const again = cpuMs();
  firstLife(module);
  const second = cpuMs() - again;
  t.diagnostic(
    `instance, first life and first answer: ${first.toFixed(1)} ms of CPU, the next ${second.toFixed(1)} ms ` +
      `(limit ${START_CPU_MS_MAX}); compilation before it: ${(compiled - before).toFixed(1)} ms; ` +
      `memory at rest: ${(memoryBytes / 1048576).toFixed(1)} MB`,
  );
  assert.ok(first <= START_CPU_MS_MAX);
  assert.ok(memoryBytes <= 4 << 20);

  const host = await start();
  t.after(() => host.stop());
  const started = await runtimeCpuMs();
  assert.equal((await host.fetch('/health')).status, 200);
  t.diagnostic(`workerd until its first object has answered, with compilation: ${(await runtimeCpuMs()) - started} ms of CPU`);
});
