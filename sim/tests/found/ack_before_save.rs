//! A batch is acked when the journal has it, and not when it was asked to take it, nor when it did not say.

use crate::holds;

/// ack: batch 1 is acked Buffered, event 0 (source shard-0 epoch "e1" sequence 1) is nowhere
#[test]
fn no_ack_leaves_before_its_save() {
    holds(
        r#"{
          "seed": 7,
          "plan": {},
          "decisions": {
            "workload/batches of 0": "1"
          }
        }"#,
    );
}

/// ack: batch 1 is acked Buffered, event 0 (source shard-0 epoch "e1" sequence 1) is nowhere
#[test]
fn a_save_that_is_unknown_is_no_save() {
    holds(
        r#"{
          "seed": 23,
          "plan": {
            "faults": {
              "save_unknown_lost": 1
            }
          },
          "decisions": {
            "faults/save unknown lost": "0 1",
            "workload/batches of 0": "1"
          }
        }"#,
    );
}
