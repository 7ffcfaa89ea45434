//! What `POST /cdc` refuses for good says so: its client would send it again for ever.

use crate::holds;

/// liveness: not all batches have their final answer: [(0, 2, Due(306304400))]
#[test]
fn a_conflict_that_stays_one_is_not_called_retryable() {
    holds(
        r#"{
          "seed": 360,
          "plan": {
            "posts": 1
          },
          "decisions": {
            "workload/batches of 0": "2 1",
            "workload/no epoch of 0": "1",
            "workload/posts in any order of 0": "1",
            "workload/posts of 0": "1",
            "workload/posts without numbers of 0": "1"
          }
        }"#,
    );
}
