//! Of a source whose numbers are sparse by nature nothing is passed over: no number would tell that it is missing.

use crate::holds;

/// refusal: batch 1 of stream 0 (acked: false, Due(18446744073709551615)): events 1..=1 of batch 1 are covered a…
#[test]
fn what_an_eviction_lost_of_a_sparse_source_is_not_passed_over() {
    holds(
        r#"{
          "seed": 1,
          "plan": {
            "faults": {
              "evict": 1
            },
            "sparse": 1
          },
          "decisions": {
            "faults/evict": "8x0 1",
            "workload/batches of 0": "2",
            "workload/no epoch of 0": "1",
            "workload/sparse of 0": "1"
          }
        }"#,
    );
}

/// ack: batch 1 is acked Duplicate, event 0 (source shard-0 epoch "e1" sequence 1) is nowhere
#[test]
fn what_the_journal_did_not_take_of_a_sparse_source_is_not_passed_over() {
    holds(
        r#"{
          "seed": 147,
          "plan": {
            "faults": {
              "save_unknown_lost": 1
            },
            "sparse": 1
          },
          "decisions": {
            "faults/save unknown lost": "0 1",
            "workload/batches of 0": "2",
            "workload/sparse of 0": "1"
          }
        }"#,
    );
}

/// order of answers: conn 1: ack of 3 to 3 where None waits
#[test]
fn nothing_is_answered_on_a_connection_that_was_superseded() {
    holds(
        r#"{
          "seed": 402,
          "plan": {
            "faults": {
              "extra_connection": 1
            },
            "sparse": 1,
            "turn_ms": 1
          },
          "decisions": {
            "faults/short": "700",
            "workload/batches of 0": "3",
            "workload/extra connection of 0": "0 1",
            "workload/sparse and hostile of 0": "1",
            "workload/sparse of 0": "1"
          }
        }"#,
    );
}
