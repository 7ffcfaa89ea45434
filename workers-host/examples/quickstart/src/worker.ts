// src/worker.ts
import { DoLake } from '@dotdo/dolake';

export { DoLake };

interface Env {
  DOLAKE: DurableObjectNamespace;
  LAKEHOUSE_BUCKET: R2Bucket;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const url = new URL(request.url);

    // Route requests to DoLake
    if (url.pathname.startsWith('/lakehouse')) {
      const id = env.DOLAKE.idFromName('default');
      const stub = env.DOLAKE.get(id);
      return stub.fetch(request);
    }

    return new Response('Not Found', { status: 404 });
  },
};
