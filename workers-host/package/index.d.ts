/** The bindings and variables that a DoLake object needs. */
export interface DoLakeEnv {
  /** Where the lake lies. */
  LAKEHOUSE_BUCKET: R2Bucket;
  /** Settings; what it leaves out has its default. */
  DOLAKE_CONFIG?: Partial<DoLakeConfig> | string;
}
