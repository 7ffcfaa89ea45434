// Real workerd with the quick start's worker in it, as tests want it: on a port, with its storage in a folder, and with
// what a test must do to it from outside. Used by the tests here, and as a process of its own by tests/e2e:
//
//   node host.mjs --port 8787 --control 8788 --storage DIR [--config JSON] [--key-value]

import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as wait } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { Miniflare } from 'miniflare';
import ts from 'typescript';

const HERE = path.dirname(fileURLToPath(import.meta.url));
/** The built package. */
export const PACKAGE = path.resolve(HERE, '../../workers-host/dist');

/** The quick start's folder. */
export const QUICKSTART = path.resolve(HERE, '../../workers-host/examples/quickstart');

/** A module in TypeScript, as the runtime takes it. */
export async function transpiled(file) {
  const options = { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ES2022 };
  const source = ts.transpileModule(await readFile(file, 'utf8'), { compilerOptions: options }).outputText;
  return source.replace("'@dotdo/dolake'", "'/dolake/index.js'");
}

/** The quick start's worker around a class that also tells what tests ask. */
const PROBE = `
import { DoLake as Product } from '@dotdo/dolake';
export class DoLake extends Product {
  #ctx;
  constructor(ctx, env) { super(ctx, env); this.#ctx = ctx; }
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case '/lakehouse/probe': return Response.json({ ...this.figures, alarm: await this.#ctx.storage.getAlarm(), sockets: this.#ctx.getWebSockets().length });
      case '/lakehouse/abort': return this.#ctx.abort('a test wants it');
      default: return super.fetch(request);
    }
  }
}`;

/** Hands every request to an object: the one that is named, or the quick start's. */
const WORKER = `
export default {
  async fetch(request, env) {
    const url = new URL(request.url);
    const name = url.searchParams.get('object') ?? 'default';
    return env.DOLAKE.get(env.DOLAKE.idFromName(name)).fetch(request);
  },
};`;

/** Modules of the built package, as Miniflare takes them. */
async function packageModules() {
  const names = (await readdir(PACKAGE)).filter((name) => /\.(js|wasm)$/.test(name));
  return Promise.all(
    names.map(async (name) => ({
      type: name.endsWith('.wasm') ? 'CompiledWasm' : 'ESModule',
      path: path.join('/dolake', name),
      contents: await readFile(path.join(PACKAGE, name)),
    })),
  );
}

/** Starts workerd. `storage`: a folder, or nothing for memory. `worker`: a module in place of the probed one. */
export async function start({ storage, config = {}, keyValue = false, port = 0, worker, options = {} } = {}) {
  const probed = PROBE.replace("'@dotdo/dolake'", "'/dolake/index.js'") + WORKER;
  const modules = [
    { type: 'ESModule', path: '/worker.mjs', contents: worker ?? probed },
    ...(await packageModules()),
  ];
  const folder = (name) => (storage ? path.join(storage, name) : false);
  const miniflare = new Miniflare({
    name: 'my-lakehouse',
    modules,
    modulesRoot: '/',
    compatibilityDate: '2024-01-01',
    durableObjects: { DOLAKE: { className: 'DoLake', useSQLite: !keyValue } },
    r2Buckets: { LAKEHOUSE_BUCKET: 'my-lakehouse-data' },
    bindings: { DOLAKE_CONFIG: config },
    durableObjectsPersist: folder('objects'),
    r2Persist: folder('buckets'),
    port,
    unsafeEphemeralDurableObjects: false,
    ...options,
  });
  const url = await miniflare.ready;
  return new Host(miniflare, url);
}

export class Host {
  constructor(miniflare, url) {
    this.miniflare = miniflare;
    this.url = url;
  }

  /** Puts the object away once it rests, its sockets asleep (`hibernate`) or cut (`close`). */
  async evict(webSockets, name = 'default') {
    try {
      await this.miniflare.unsafeEvictDurableObject('my-lakehouse', 'DoLake', { name, webSockets });
    } catch (error) {
      if (!/not currently running/.test(String(error))) throw error;
    }
  }

  /** Asks the worker. */
  fetch(where, init) {
    return fetch(new URL(where, this.url), init);
  }

  /** What the object costs and holds; wakes it. */
  async probe() {
    return (await this.fetch('/lakehouse/probe')).json();
  }

  /** The same once nothing is left to be done: an answer may come before what follows it. */
  async rested() {
    for (const until = performance.now() + 20_000; ; await wait(20)) {
      const probed = await this.probe();
      if (probed.alarm === null) return probed;
      if (performance.now() > until) throw new Error(`the object does not come to rest: ${JSON.stringify(probed)}`);
    }
  }

  bucket(binding = 'LAKEHOUSE_BUCKET') {
    return this.miniflare.getR2Bucket(binding);
  }

  /** Keys of all objects. */
  async keys(binding) {
    const bucket = await this.bucket(binding);
    const keys = [];
    let cursor;
    do {
      const page = await bucket.list({ cursor });
      keys.push(...page.objects.map((object) => object.key));
      cursor = page.truncated ? page.cursor : undefined;
    } while (cursor);
    return keys;
  }

  /** Writes all objects below a folder. */
  async export(folder) {
    const bucket = await this.bucket();
    for (const key of await this.keys()) {
      const object = await bucket.get(key);
      if (object === null) continue;
      const file = path.join(folder, key);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, new Uint8Array(await object.arrayBuffer()));
    }
  }

  stop() {
    return this.miniflare.dispose();
  }
}

async function main() {
  const { values } = parseArgs({
    options: {
      port: { type: 'string' },
      control: { type: 'string' },
      storage: { type: 'string' },
      config: { type: 'string', default: '{}' },
      'key-value': { type: 'boolean', default: false },
    },
  });
  const host = await start({
    storage: values.storage,
    config: JSON.parse(values.config),
    keyValue: values['key-value'],
    port: Number(values.port),
  });
  const actions = {
    '/evict': (query) => host.evict(query.get('webSockets') ?? 'close', query.get('object') ?? 'default'),
    '/export': (query) => host.export(query.get('to')),
    '/stop': () => host.stop(),
  };
  const control = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://control');
    try {
      await actions[url.pathname](url.searchParams);
      response.end('done\n');
    } catch (error) {
      console.error(error);
      response.writeHead(500).end(String(error?.stack ?? error));
    }
    if (url.pathname === '/stop') process.exit(0);
  });
  control.listen(Number(values.control), '127.0.0.1', () => console.log(`listening on ${host.url}`));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
