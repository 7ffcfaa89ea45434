export const DEFAULT_DOLAKE_CONFIG = {};
