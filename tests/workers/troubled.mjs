// A worker whose objects can be brought into trouble from outside, in ways that the product knows nothing of: its
// WebAssembly is called wrongly, or its bucket takes no writes. Loaded into workerd by `start`, not by Node.
//
//   /lakehouse/panic, /lakehouse/out-of-bounds   the request itself breaks the machine of the object that it comes to
//   /lakehouse/trouble?bucket=BOOL&work=BOOL     from now on every write to R2, every slice of work fails, or does not
//   /lakehouse/trouble?sockets=BOOL&start=BOOL   the same for every new socket, every beginning of a life
//   /lakehouse/trouble?load=BOOL                 the same for what is read from the journal
//   /lakehouse/later?ms=N                        the object's clock goes ahead
//   /lakehouse/dashboard                         opens a socket that is none of the product's
//   /lakehouse/read                              a request whose body is being read already comes to the product
//   /lakehouse/trapped?count=N                   answers when machines have broken so often
//   /lakehouse/alarm                             the object's alarm comes
//   /lakehouse/probe                             what the object is at; begins no life

import { DoLake as Product } from '/dolake/index.js';

const trouble = { bucket: false, work: false, sockets: false, start: false, load: false };
let instances = 0;
let traps = 0;
let watchers = [];

const Instance = WebAssembly.Instance;
const decoder = new TextDecoder();

/** The machine, but for calls that are meant to break it. */
WebAssembly.Instance = function broken(code, imports) {
  if (trouble.start) throw new RangeError('WebAssembly.Instance(): Out of memory');
  instances += 1;
  const { exports } = new Instance(code, imports);
  const counted = (call) => (...given) => {
    try {
      return call(...given);
    } catch (error) {
      traps += 1;
      for (const watch of watchers) watch();
      throw error;
    }
  };
  const requested = (now, call, head, length) => {
    const { path } = JSON.parse(decoder.decode(new Uint8Array(exports.memory.buffer, head, length)));
    // A head that is cut short is no JSON: the machine expects one, and panics.
    if (path === '/lakehouse/panic') exports.requested(now, call, head, length - 1);
    // A place behind the end of its memory, where nothing can be read.
    else if (path === '/lakehouse/out-of-bounds') exports.requested(now, call, exports.memory.buffer.byteLength, 65_536);
    else exports.requested(now, call, head, length);
  };
  const work = (now) => (trouble.work ? exports.requested(now, 0, 0, 0) : exports.work(now));
  const loaded = (now, ...given) => (trouble.load ? exports.requested(now, 0, 0, 0) : exports.loaded(now, ...given));
  return { exports: { ...exports, requested: counted(requested), work: counted(work), loaded: counted(loaded) } };
};

const trapped = (count) =>
  new Promise((resolve) => {
    const watch = () => traps >= count && resolve();
    watchers.push(watch);
    watch();
  });

/** A bucket that takes no writes while it is in trouble. */
function fragile(bucket) {
  return new Proxy(bucket, {
    get(target, name) {
      if (name === 'put' && trouble.bucket) return async () => { throw new Error('put: internal error. (10001)'); };
      const value = target[name];
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

export class DoLake extends Product {
  #ctx;

  constructor(ctx, env, bucket = env.LAKEHOUSE_BUCKET) {
    const accept = ctx.acceptWebSocket.bind(ctx);
    ctx.acceptWebSocket = (...given) => {
      if (trouble.sockets) throw new Error('only 32768 websockets can be accepted on a single Durable Object instance');
      accept(...given);
    };
    super(ctx, { DOLAKE_CONFIG: env.DOLAKE_CONFIG, LAKEHOUSE_BUCKET: fragile(bucket) });
    this.#ctx = ctx;
  }

  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    switch (pathname) {
      case '/lakehouse/trouble':
        for (const [what, whether] of searchParams) trouble[what] = whether === 'true';
        return this.#probed();
      case '/lakehouse/trapped':
        await trapped(Number(searchParams.get('count')));
        return this.#probed();
      case '/lakehouse/later': {
        const { now } = Date;
        Date.now = () => now() + Number(searchParams.get('ms'));
        return this.#probed();
      }
      case '/lakehouse/dashboard': {
        const { 0: client, 1: server } = new WebSocketPair();
        this.#ctx.acceptWebSocket(server, ['dashboard']);
        return new Response(null, { status: 101, webSocket: client });
      }
      case '/lakehouse/read': {
        const read = new Request('https://lake/cdc', { method: 'POST', headers: { 'x-client-id': 'a', 'content-type': 'application/json' }, body: '{}' });
        read.body.getReader();
        return super.fetch(read);
      }
      case '/lakehouse/alarm':
        await this.alarm();
        return this.#probed();
      case '/lakehouse/probe':
        return this.#probed();
      default:
        return super.fetch(request);
    }
  }

  async #probed() {
    const alarm = await this.#ctx.storage.getAlarm();
    return Response.json({ ...this.figures, isAlive: this.figures !== null, alarm, instances, traps });
  }
}

/** Another lake of the same process. */
export class Other extends DoLake {
  constructor(ctx, env) {
    super(ctx, env, env.OTHER_BUCKET);
  }
}

export default {
  async fetch(request, env) {
    const namespace = new URL(request.url).searchParams.has('other') ? env.OTHER : env.DOLAKE;
    return namespace.get(namespace.idFromName('default')).fetch(request);
  },
};
