//! Which snapshots end with a commit, so that metadata stays small at any commit rate (`lake`, "Upkeep").

use std::collections::BTreeSet;

use super::metadata::{MAIN, TableMetadata};

/// The age past which snapshots go; only where the table says it.
const MAX_AGE: &str = "history.expire.max-snapshot-age-ms";

/// Snapshots that stay whatever their age.
const MIN_TO_KEEP: &str = "history.expire.min-snapshots-to-keep";

/// The snapshots of `base` that go when a commit adds one more: the oldest beyond `max_snapshots` in all, and those
/// that are older than the table's own properties say. What a branch or tag names stays.
pub fn expired(base: &TableMetadata, max_snapshots: u64, now_ms: i64) -> BTreeSet<i64> {
    let count = base.snapshots.len() + 1;
    let surplus = count.saturating_sub(usize::try_from(max_snapshots.max(1)).unwrap_or(usize::MAX));
    let number = |key: &str| base.properties.get(key).and_then(|text| text.parse::<i64>().ok());
    let oldest_ms = number(MAX_AGE).map(|age_ms| now_ms.saturating_sub(age_ms));
    let min_to_keep = number(MIN_TO_KEEP).and_then(|n| usize::try_from(n).ok()).unwrap_or(1).max(1);
    let too_many_to_keep = count.saturating_sub(min_to_keep);
    if (surplus == 0 && oldest_ms.is_none()) || mutant!(SnapshotsNeverExpire) {
        return BTreeSet::new();
    }
    let named: BTreeSet<i64> = base.refs.iter().filter(|(name, _)| *name != MAIN).map(|(_, r)| r.snapshot_id).collect();
    let mut gone = BTreeSet::new();
    for snapshot in base.snapshots.iter().filter(|snapshot| !named.contains(&snapshot.snapshot_id)) {
        let too_old = oldest_ms.is_some_and(|oldest_ms| snapshot.timestamp_ms < oldest_ms);
        if gone.len() < surplus || (too_old && gone.len() < too_many_to_keep) {
            gone.insert(snapshot.snapshot_id);
        } else if !too_old {
            break;
        }
    }
    gone
}
