// src/two.ts
import { DoLake } from '@dotdo/dolake';

// A store belongs to one lake: each object gets a bucket of its own, under the name that DoLake looks for.
export class ShopLake extends DoLake {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, { LAKEHOUSE_BUCKET: env.SHOP_BUCKET, DOLAKE_CONFIG: { r2BucketName: 'shop-data' } });
  }
}

export class GameLake extends DoLake {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, { LAKEHOUSE_BUCKET: env.GAME_BUCKET, DOLAKE_CONFIG: { r2BucketName: 'game-data' } });
  }
}

interface Env {
  SHOP: DurableObjectNamespace;
  GAME: DurableObjectNamespace;
  SHOP_BUCKET: R2Bucket;
  GAME_BUCKET: R2Bucket;
}

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    // /shop/lakehouse/… and /game/lakehouse/…
    const url = new URL(request.url);
    const [, which, ...rest] = url.pathname.split('/');
    const lake = { shop: env.SHOP, game: env.GAME }[which ?? ''];
    if (!lake) return new Response('Not Found', { status: 404 });
    url.pathname = `/${rest.join('/')}`;
    return lake.get(lake.idFromName('default')).fetch(new Request(url, request));
  },
};
