// DoLake for Cloudflare Workers: the Durable Object's class and the settings' defaults.

export { DoLake } from './object.js';
export { DEFAULT_DOLAKE_CONFIG } from './defaults.js';
