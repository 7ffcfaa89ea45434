// What the object costs in local workerd, everything on: journal, R2, commits. One line of JSON comes out.
//
//   node bench.mjs FILE [--key-value] [--config JSON]
//
// FILE has a cdc_batch message a line (tests/bench/generate.py makes one). Eight sockets send what each source has, at
// most sixteen batches ahead of their acks. CPU time is that of workerd alone, with the local R2 and SQLite in it.

import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { start } from './host.mjs';
import { Source } from './source.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'key-value': { type: 'boolean', default: false }, config: { type: 'string', default: '{}' } },
});
const lines = (await readFile(positionals[0], 'utf8')).trimEnd().split('\n');
const messages = lines.map((text) => {
  const { sourceDoId, sequenceNumber, events } = JSON.parse(text);
  return { text, source: sourceDoId, number: sequenceNumber, events: events.length };
});
const storage = await mkdtemp(path.join(os.tmpdir(), 'dolake-bench-'));
const host = await start({ storage, config: JSON.parse(values.config), keyValue: values['key-value'] });

/** The runtime's processes, which are children of this one. */
const processes = execFileSync('pgrep', ['-P', String(process.pid), 'workerd'], { encoding: 'utf8' }).trim().split('\n');
async function sum(file, pattern) {
  let total = 0;
  for (const id of processes) total += pattern(await readFile(`/proc/${id}/${file}`, 'utf8'));
  return total;
}
const cpuSeconds = () =>
  sum('stat', (text) => {
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return (Number(fields[11]) + Number(fields[12])) / 100;
  });
const residentPeakMb = () => sum('status', (text) => Math.round(Number(/VmHWM:\s+(\d+)/.exec(text)[1]) / 1024));

const probe = async () => (await fetch(new URL('/lakehouse/probe', host.url))).json();
await probe();
const [cpuBefore, from] = [await cpuSeconds(), performance.now()];
const bySource = Map.groupBy(messages, (message) => message.source);
await Promise.all([...bySource].map(([name, its]) => new Source(host.url, name).send(its)));
const flushed = await (await fetch(new URL('/flush', host.url), { method: 'POST' })).json();
const seconds = (performance.now() - from) / 1000;
const cpu = (await cpuSeconds()) - cpuBefore;
const events = messages.reduce((all, message) => all + message.events, 0);
const { memoryBytes, rowsWritten, alarmsSet, classA, classB } = await probe();
console.log(
  JSON.stringify({
    events,
    batches: messages.length,
    seconds: Number(seconds.toFixed(2)),
    cpuSeconds: Number(cpu.toFixed(2)),
    eventsPerCpuSecond: Math.round(events / cpu),
    linearMemoryMb: Number((memoryBytes / 1048576).toFixed(1)),
    residentPeakMb: await residentPeakMb(),
    rowsWrittenPerBatch: Number(((rowsWritten + alarmsSet) / messages.length).toFixed(3)),
    classA,
    classB,
    flushed: flushed.success,
  }),
);
await host.stop();
await rm(storage, { recursive: true });
process.exit(0);
