//! A commit whose save is unknown is read back before anybody is told of it.

use crate::holds;

/// mark: mark 1 of stream 0: event 0 (source shard-0 epoch "e1" sequence 1) is not in the lake
#[test]
fn a_commit_that_was_lost_is_no_commit() {
    holds(
        r#"{
          "seed": 11,
          "plan": {
            "faults": {
              "save_unknown_lost": 1
            }
          },
          "decisions": {
            "faults/save unknown lost": "3x0 1",
            "workload/batches of 0": "1"
          }
        }"#,
    );
}
