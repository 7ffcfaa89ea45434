// Writes the package's types and defaults, so that they stand nowhere twice: types from the Rust sources of the messages
// and settings (each field with its comment), defaults from the built machine itself.
//
//   node types.mjs DIST

import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const CORE = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../core/src');

/** Sources of public shapes, and what of them is public. Names on the right are the package's. */
const SOURCES = {
  'config.rs': { Compression: 'ParquetCompression', Config: 'DoLakeConfig' },
  'wire/client.rs': {
    Connect: 'ConnectMessage', Capabilities: 'Capabilities', Heartbeat: 'HeartbeatMessage',
    FlushRequest: 'FlushRequestMessage', FlushReason: 'FlushReason', Disconnect: 'DisconnectMessage',
    BatchHeader: 'BatchHeader',
  },
  'wire/error.rs': { NackReason: 'NackReason' },
  'wire/server.rs': {
    AckStatus: 'AckStatus', Ack: 'Ack', AckDetails: 'AckDetails', CircuitBreakerState: 'CircuitBreakerState',
    RateLimit: 'RateLimit', Nack: 'Nack', Status: 'Status', LakeState: 'DoLakeState', BufferStats: 'BufferStats',
    Pong: 'Pong', FlushResponse: 'FlushResponse', FlushResult: 'FlushResult',
  },
  'http/status.rs': {
    StatusAnswer: 'StatusAnswer', LoadLevel: 'LoadLevel', SourceState: 'SourceState', HoleState: 'HoleState',
    DedupStats: 'DedupStats', TableState: 'TableState', ParkedTable: 'ParkedTable', LastFlush: 'LastFlush',
    CdcAnswer: 'CdcAnswer', SettingsAnswer: 'SettingsAnswer', WaitAnswer: 'WaitAnswer',
  },
};

const NAMES = Object.assign({}, ...Object.values(SOURCES));

/** What has no struct of its own in Rust, because events are read where they stand in a frame. */
const REST = `
/** One change of one row. */
export interface CDCEvent<Row = unknown> {
  /** Rises strictly within a batch, and over all batches of a source. */
  sequence: number;
  /** Event time: milliseconds since the Unix epoch. */
  timestamp: number;
  /** What happened. */
  operation: 'INSERT' | 'UPDATE' | 'DELETE';
  /** The table; \`namespace.table\`, or a table of the namespace \`default\`. */
  table: string;
  /** The row's key. */
  rowId: string;
  /** The row before the change. */
  before?: Row | null;
  /** The row after the change. */
  after?: Row | null;
  /** Anything else. */
  metadata?: Record<string, unknown> | null;
}

/** Brings events: answered by an ack or a nack. */
export interface CDCBatchMessage extends BatchHeader {
  type: 'cdc_batch';
  /** At least one. */
  events: CDCEvent[];
}

/** A message to DoLake. */
export type ClientMessage = ConnectMessage | CDCBatchMessage | HeartbeatMessage | FlushRequestMessage | DisconnectMessage;

/** Something was taken, or is in the lake. */
export interface AckMessage extends Ack { type: 'ack' }

/** Something was not taken. */
export interface NackMessage extends Nack { type: 'nack' }

/** How DoLake is. */
export interface StatusMessage extends Status { type: 'status' }

/** The answer to a heartbeat. */
export interface PongMessage extends Pong { type: 'pong' }

/** The answer to a flush request. */
export interface FlushResponseMessage extends FlushResponse { type: 'flush_response' }

/** A message of DoLake. */
export type ServerMessage = AckMessage | NackMessage | StatusMessage | PongMessage | FlushResponseMessage;

/** The bindings and variables that a DoLake object needs. */
export interface DoLakeEnv {
  /** Where the lake lies. */
  LAKEHOUSE_BUCKET: R2Bucket;
  /** Keeps copies of table metadata for clients of the catalog. */
  LAKEHOUSE_KV?: KVNamespace;
  /** Settings, as JSON or as text that is JSON; what it leaves out has its default. */
  DOLAKE_CONFIG?: Partial<DoLakeConfig> | string;
}

/** What this life of an object has cost so far, and the memory that it takes. */
export interface Figures {
  /** The machine's linear memory. It never shrinks while the object lives. */
  memoryBytes: number;
  /** Rows that were written to the object's storage. */
  rowsWritten: number;
  /** How often the alarm was set or removed: each is billed as a row written. */
  alarmsSet: number;
  /** Calls of R2's class A. */
  classA: number;
  /** Calls of R2's class B. */
  classB: number;
  /** Reads of table metadata that KV answered. */
  kvHits: number;
}

/** A lake: takes change events over WebSockets, journals them in the object's storage, writes Iceberg tables to R2. */
export declare class DoLake extends DurableObject<DoLakeEnv> {
  constructor(ctx: DurableObjectState, env: DoLakeEnv);
  fetch(request: Request): Promise<Response>;
  webSocketMessage(socket: WebSocket, message: string | ArrayBuffer): Promise<void>;
  webSocketClose(socket: WebSocket, code: number): Promise<void>;
  webSocketError(socket: WebSocket): Promise<void>;
  alarm(): Promise<void>;
  /** Null while the object has no life, because what the operator must mend keeps it from one. */
  get figures(): Figures | null;
}

/** What a setting is that nobody sets. */
export declare const DEFAULT_DOLAKE_CONFIG: Readonly<DoLakeConfig>;
`;

const SPELLINGS = {
  camelCase: (words) => words.map((word, at) => (at === 0 ? word : word[0].toUpperCase() + word.slice(1))).join(''),
  snake_case: (words) => words.join('_'),
  'kebab-case': (words) => words.join('-'),
  lowercase: (words) => words.join(''),
};

function spelled(name, rule) {
  const words = name.includes('_') ? name.split('_') : name.split(/(?=[A-Z])/);
  return SPELLINGS[rule ?? 'snake_case'](words.map((word) => word.toLowerCase()));
}

function typeOf(rust) {
  const inner = /^(Option|Vec)<(.*)>$/.exec(rust);
  if (inner) return inner[1] === 'Vec' ? `${typeOf(inner[2])}[]` : `${typeOf(inner[2])} | null`;
  if (/^([ui](8|16|32|64)|f64|usize)$/.test(rust)) return 'number';
  if (rust === 'bool') return 'boolean';
  if (rust === 'String' || /^&('\w+ )?str$/.test(rust)) return 'string';
  if (NAMES[rust]) return NAMES[rust];
  throw new Error(`no TypeScript is known for the Rust type ${rust}`);
}

/** A comment, with `promises` and links left as the words they are. */
const comment = (docs, indent) => {
  const text = docs.join(' ').replaceAll(/\[`([^`\]]+)`\](\([^)]*\))?/g, '$1');
  return text === '' ? '' : `${indent}/** ${text} */\n`;
};

/** The TypeScript of one item, from its lines in rustfmt's layout. */
function translated(lines, start, rust, name, docs, attributes) {
  const rule = /rename_all = "(\w[\w-]*)"/.exec(attributes)?.[1];
  const tag = /tag = "type", rename = "(\w+)"/.exec(attributes)?.[1];
  const isEnum = /\benum\b/.test(lines[start]);
  const found = [];
  let about = [];
  let attribute = '';
  for (const line of lines.slice(start + 1)) {
    if (line === '}') break;
    const text = line.trim();
    if (text.startsWith('///')) {
      about.push(text.slice(3).trim());
    } else if (text.startsWith('#[')) {
      attribute += text;
    } else if (isEnum) {
      found.push(`'${spelled(/^(\w+),$/.exec(text)[1], rule)}'`);
    } else {
      const [, field, type] = /^pub (\w+): (.*),$/.exec(text);
      const leftOut = attribute.includes('skip_serializing_if') || /when absent/.test(about.join(' '));
      const optional = leftOut || rust === 'Capabilities' || field === 'capabilities';
      const written = leftOut ? typeOf(type).replace(/ \| null$/, '') : typeOf(type);
      found.push(`${comment(about, '  ')}  ${spelled(field, rule)}${optional ? '?' : ''}: ${written};`);
    }
    if (!text.startsWith('///') && !text.startsWith('#[')) [about, attribute] = [[], ''];
  }
  if (found.length === 0) throw new Error(`${rust} has nothing in it`);
  const head = comment(docs, '');
  if (isEnum) return `${head}export type ${name} = ${found.join(' | ')};\n`;
  const body = tag ? [`  type: '${tag}';`, ...found] : found;
  return `${head}export interface ${name} {\n${body.join('\n')}\n}\n`;
}

async function types() {
  const items = [];
  for (const [file, names] of Object.entries(SOURCES)) {
    const lines = (await readFile(path.join(CORE, file), 'utf8')).split('\n');
    for (const [rust, name] of Object.entries(names)) {
      const start = lines.findIndex((line) => new RegExp(`^pub (struct|enum) ${rust}\\b`).test(line));
      if (start < 0) throw new Error(`${file} has no ${rust}`);
      let first = start;
      while (/^(\/\/\/|#\[)/.test(lines[first - 1])) first -= 1;
      const above = lines.slice(first, start);
      const docs = above.filter((line) => line.startsWith('///')).map((line) => line.slice(3).trim());
      items.push(translated(lines, start, rust, name, docs, above.filter((line) => line.startsWith('#[')).join('')));
    }
  }
  const head = "// Made from the Rust sources of DoLake. Do not edit.\n\nimport { DurableObject } from 'cloudflare:workers';\n";
  return `${head}\n${items.join('\n')}${REST}`;
}

async function defaults(dist) {
  const code = await WebAssembly.compile(await readFile(path.join(dist, 'dolake.wasm')));
  const unused = WebAssembly.Module.imports(code).map(({ name }) => [name, () => {}]);
  const wasm = new WebAssembly.Instance(code, { shell: Object.fromEntries(unused) }).exports;
  const at = wasm.default_config();
  const length = new DataView(wasm.memory.buffer).getUint32(at, true);
  const config = JSON.parse(new TextDecoder().decode(new Uint8Array(wasm.memory.buffer, at + 4, length)));
  return `// Told by the machine when it was built. Do not edit.\n\nexport const DEFAULT_DOLAKE_CONFIG = Object.freeze(${JSON.stringify(config, null, 2)});\n`;
}

const [, , dist] = process.argv;
await writeFile(path.join(dist, 'index.d.ts'), await types());
await writeFile(path.join(dist, 'defaults.js'), await defaults(dist));
