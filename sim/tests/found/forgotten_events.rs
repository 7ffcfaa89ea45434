//! What a source has sent is known again after its machine was evicted.

use crate::holds;

/// lake: table users, warehouse/default/users/data/00000002-001-00000.parquet: event 2 (source shard-0 epoch …
#[test]
fn an_event_that_is_in_the_lake_is_known_after_an_eviction() {
    holds(
        r#"{
          "seed": 2,
          "plan": {
            "config": {
              "flushThresholdMs": 300
            },
            "faults": {
              "evict": 1
            },
            "overlap": 1,
            "turn_ms": 2000
          },
          "decisions": {
            "faults/evict": "38x0 1",
            "workload/batches of 0": "0 3 1",
            "workload/overlap of 0": "2x0 1",
            "workload/table of 0": "0 1"
          }
        }"#,
    );
}
