//! What ends with a commit, so that metadata stays small at any commit rate (`lake`, "Upkeep"): snapshots, former
//! metadata files, schemas.

use std::collections::BTreeSet;

use super::commit::{Append, Garbage};
use super::metadata::{MAIN, TableMetadata};

/// The age past which snapshots go; only where the table says it.
const MAX_AGE: &str = "history.expire.max-snapshot-age-ms";

/// Snapshots that stay whatever their age.
const MIN_TO_KEEP: &str = "history.expire.min-snapshots-to-keep";

/// Former metadata files that a table keeps when it does not say.
const PREVIOUS_VERSIONS_MAX: usize = 100;

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

/// Takes out the snapshots whose time is over, and former metadata files beyond those that the table keeps.
pub(super) fn expire(next: &mut TableMetadata, last: &TableMetadata, change: &Append, garbage: &mut Vec<Garbage>) {
    let gone = expired(last, change.max_snapshots, change.now_ms);
    let mut unnamed = |location: String| garbage.push(Garbage { location, named_below: 0 });
    if !gone.is_empty() {
        let lists = next.snapshots.iter().filter(|snapshot| gone.contains(&snapshot.snapshot_id));
        lists.filter_map(|snapshot| snapshot.manifest_list.clone()).for_each(&mut unnamed);
        next.snapshots.retain(|snapshot| !gone.contains(&snapshot.snapshot_id));
        for statistics in [&mut next.statistics, &mut next.partition_statistics] {
            let of_gone = statistics.iter().filter(|file| gone.contains(&file.snapshot_id));
            of_gone.map(|file| file.statistics_path.clone()).for_each(&mut unnamed);
            statistics.retain(|file| !gone.contains(&file.snapshot_id));
        }
        // As Iceberg's own writer does it: history starts anew after the last entry that leads nowhere.
        let last_gone = next.snapshot_log.iter().rposition(|entry| gone.contains(&entry.snapshot_id));
        next.snapshot_log.drain(..last_gone.map_or(0, |n| n + 1));
    }
    drop_unneeded_schemas(next);
    let previous_max = next.properties.get("write.metadata.previous-versions-max").and_then(|text| text.parse().ok());
    let previous_max = previous_max.unwrap_or(PREVIOUS_VERSIONS_MAX).max(1);
    let surplus = next.metadata_log.len().saturating_sub(previous_max);
    next.metadata_log.drain(..surplus).map(|entry| entry.metadata_file).for_each(unnamed);
}

/// Takes out the schemas that neither the table nor a retained snapshot has any more. The one with the highest id stays:
/// the next id is counted from it.
fn drop_unneeded_schemas(next: &mut TableMetadata) {
    let of_snapshots: Option<BTreeSet<i32>> = next.snapshots.iter().map(|snapshot| snapshot.schema_id).collect();
    // A snapshot that does not say which one it has may have any.
    let Some(mut needed) = of_snapshots else { return };
    needed.insert(next.current_schema_id);
    needed.extend(next.schemas.iter().map(|schema| schema.schema_id).max());
    next.schemas.retain(|schema| needed.contains(&schema.schema_id));
}
