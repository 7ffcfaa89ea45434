// Runs seeds of the simulation in WebAssembly and holds their hashes against those of the native build, which come as
// lines of `SEED HASH` on the standard input.
//
//   dolake-sim hash --seeds 0..100 | node .ci/wasm.mjs MODULE [PROFILE]
//   node .ci/wasm.mjs MODULE PROFILE SEED    prints each event and command of one seed, as `dolake-sim hash --lines` does
import { readFileSync } from 'node:fs';

const PROFILES = ['short', 'deep', 'liveness'];
const [path, profile = 'short', only] = process.argv.slice(2);
const number = PROFILES.indexOf(profile);
if (!path || number < 0) {
  console.error(`usage: node .ci/wasm.mjs MODULE [${PROFILES.join('|')}] [SEED]`);
  process.exit(2);
}
const module = new WebAssembly.Module(readFileSync(path));
// No imports: there is no clock, no chance and no system that a run could ask.
let { exports } = new WebAssembly.Instance(module, {});

const text = () => new TextDecoder().decode(new Uint8Array(exports.memory.buffer, exports.text(), exports.text_len()));

/** The hash of a seed and what was said, by one of the module's two entries. */
function run(entry, seed) {
  try {
    const hash = BigInt.asUintN(64, exports[entry](BigInt(seed), number)).toString(16).padStart(16, '0');
    return { hash, said: text() };
  } catch (trap) {
    const said = `${text() || 'no word of why'} (${trap})`;
    // After a trap nothing in it can be trusted.
    ({ exports } = new WebAssembly.Instance(module, {}));
    return { hash: 'trap', said };
  }
}

if (only !== undefined) {
  const { hash, said } = run('lines', only);
  console.log(`${only} ${hash}\n${said}`);
  process.exit(hash === 'trap' ? 1 : 0);
}
const lines = readFileSync(0, 'utf8').split('\n').filter((line) => line);
let failed = 0;
for (const line of lines) {
  const [seed, native] = line.split(' ');
  const { hash, said } = run('hash', seed);
  if (hash !== native || said) {
    failed += 1;
    console.error(`seed ${seed}, profile ${profile}: native ${native}, wasm32 ${hash} ${said}`);
  }
}
if (lines.length === 0 || failed > 0) {
  console.error(`${failed} of ${lines.length} seeds differ; both builds print the lines of a run: see docs/SIMULATION.md`);
  process.exit(1);
}
console.log(`${lines.length} seeds of profile ${profile}: the same hashes natively and in wasm32`);
