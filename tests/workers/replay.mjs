// A worker that does again what `dolake-trace` wrote down: gives the package's own module the same calls, through the
// package's own side of them, and compares all that the machine then says, byte for byte. Loaded into workerd, not by Node.

import { Machine } from '/dolake/machine.js';

let now = 0;
/** The machine's only clock. */
Date.now = () => now;

const DIGITS = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const hex = (bytes) => {
  let text = '';
  for (const byte of bytes) text += DIGITS[byte];
  return text;
};
const bytes = (text) => Uint8Array.from({ length: text.length / 2 }, (_, at) => Number.parseInt(text.slice(2 * at, 2 * at + 2), 16));
const entries = (pairs) => pairs.map(([key, value]) => ({ key: bytes(key), value: bytes(value) }));

/** Keeps what the machine says, in the words of the lines. */
class Shell {
  said = [];
  send(...call) { this.said.push(['send', ...call]); }
  close(...call) { this.said.push(['close', ...call]); }
  attach(conn, left) { this.said.push(['attach', conn, hex(left)]); }
  save(number, writes) { this.said.push(['save', number, writes.map(({ key, value }) => [hex(key), value && hex(value)])]); }
  load(number, { from, until }, ...more) { this.said.push(['load', number, hex(from), hex(until), ...more]); }
  put(number, key, object, onlyIfAbsent) { this.said.push(['put', number, key, hex(object), onlyIfAbsent]); }
  get(number, key, range, forClient) { this.said.push(['get', number, key, range && [range.offset, range.offset + range.length], forClient]); }
  delete(...call) { this.said.push(['delete', ...call]); }
  readMore(...call) { this.said.push(['readMore', ...call]); }
  accept(...call) { this.said.push(['accept', ...call]); }
  respond(call, status, headers, body) { this.said.push(['respond', call, status, headers, hex(body)]); }
  halt(...call) { this.said.push(['halt', ...call]); }
  turned() {}
  broke(error) { this.said.push(['broke', String(error)]); }
}

/** How each call of a line is made; `begin` has made the machine. */
const CALLS = {
  opened: (machine, conn, peer, attachment) => machine.opened(conn, peer, attachment === null ? undefined : bytes(attachment)),
  received: (machine, conn, kind, what) => machine.received(conn, kind === 'text' ? what : bytes(what).buffer),
  closed: (machine, conn) => machine.closed(conn),
  requested: (machine, call, head) => machine.requested(call, head),
  body: (machine, call, piece, last) => machine.body(call, bytes(piece), last),
  callGone: (machine, call) => machine.callGone(call),
  wake: (machine) => machine.wake(),
  work: (machine) => machine.work(),
  saved: (machine, number, how, message) => machine.saved(number, how, message),
  loaded: (machine, number, found) => machine.loaded(number, entries(found)),
  stored: (machine, number, how, what) => machine.stored(number, how, bytes(what)),
};

/** Does the lines again; the first that comes out differently, and how much was the same. */
function replayed(lines) {
  const same = { calls: 0, lives: 0, said: 0, sent: 0, saves: 0, puts: 0, parquet: 0 };
  let machine;
  let shell;
  for (const [at, line] of lines.entries()) {
    const { call: [name, time, ...given], hands, deadline } = JSON.parse(line);
    now = time;
    if (name === 'begin') {
      const [hasSmallRows, seed, config, control, batches] = given;
      shell = new Shell();
      machine = new Machine(shell);
      const saved = { hasSmallRows, seed: bytes(seed), config, control: entries(control), batches: entries(batches) };
      const refusal = machine.begin(saved);
      if (refusal !== '') return { at, name, refusal };
      same.lives += 1;
    } else {
      CALLS[name](machine, ...given);
    }
    const [expected, got] = [{ hands, deadline }, { hands: shell.said, deadline: machine.deadlineMs }].map((all) => JSON.stringify(all));
    if (got !== expected) return { at, name, expected: expected.slice(0, 2_000), got: got.slice(0, 2_000) };
    same.calls += 1;
    for (const [what, , key] of shell.said) {
      same.said += 1;
      if (what === 'send') same.sent += 1;
      if (what === 'save') same.saves += 1;
      if (what === 'put') same.puts += 1;
      if (what === 'put' && key.endsWith('.parquet')) same.parquet += 1;
    }
    shell.said = [];
  }
  return { same };
}

export default {
  async fetch(request) {
    return Response.json(replayed((await request.text()).trimEnd().split('\n')));
  },
};
