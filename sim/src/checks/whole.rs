//! Promises 2 and 5, at the end of a run, for one of its tables: it is what its metadata says ([`dolake_core::verify`]:
//! statistics, bounds, sequence numbers, field ids, each sequence once), and its `dolake.frontier` names just what is in
//! it. Uses the product's own verifier, so it does not see what that overlooks; [`crate::reader`] reads rows on its own.

use std::collections::BTreeMap;

use dolake_core::verify::{Untruth, verify_table};
use serde_json::Value;

use crate::truth::Uid;
use crate::world::World;

/// By source and epoch: the highest event in a table.
type Highest = BTreeMap<(String, String), u64>;

impl World {
    pub(crate) fn check_tables(&mut self) {
        let tables = self.view.metadata().count() as u64;
        // A look at all files of all snapshots is dear: one table a run.
        let one = self.chance.work.at("table to verify").below(tables);
        let Some((table, location)) = self.view.metadata().nth(one as usize).cloned() else { return };
        if let Err(message) = self.verify_one(&table, &location) {
            self.fail("whole", message);
        }
    }

    fn verify_one(&self, table: &str, location: &str) -> Result<(), String> {
        let mut read = |uri: &str| {
            let key = uri.strip_prefix(self.location.as_str()).and_then(|key| key.strip_prefix('/'));
            let key = key.ok_or_else(|| format!("{uri} does not lie below {}", self.location))?;
            Ok(self.store.get(key).cloned())
        };
        let untruths = verify_table(location, &mut read).err().unwrap_or_default();
        // Where nothing is compared, a batch that came twice is there twice.
        let is_allowed = |untruth: &Untruth| self.truth.applies_each && untruth.to_string().ends_with("got it again");
        if let Some(untruth) = untruths.iter().find(|untruth| !is_allowed(untruth)) {
            return Err(untruth.to_string());
        }
        let metadata = read(location)?.ok_or_else(|| format!("{location} is gone"))?;
        let metadata: Value = serde_json::from_slice(&metadata).map_err(|error| error.to_string())?;
        let said = frontier(&metadata, &mut |uri| read(uri)?.ok_or_else(|| format!("{uri} is gone")))?;
        let there = self.highest(table);
        for (stream, event) in &there {
            // A batch covers its range, so what is said may be above the last event of just this table.
            if said.get(stream).is_none_or(|said| said < event) {
                return Err(format!(
                    "{location}: event {event} of {stream:?} is in the table, dolake.frontier says {said:?}"
                ));
            }
        }
        Ok(())
    }

    fn highest(&self, table: &str) -> Highest {
        let mut highest = Highest::new();
        let in_table = |uid: &&Uid| self.truth.events[**uid as usize].table == table;
        for uid in self.view.events.iter().filter(in_table) {
            let event = &self.truth.events[*uid as usize];
            let stream = &self.truth.streams[event.stream];
            let at = highest.entry((stream.source.clone(), stream.epoch.clone())).or_default();
            *at = event.sequence.max(*at);
        }
        highest
    }
}

/// What a table says that it holds, in the property itself or in the object that it names.
fn frontier(metadata: &Value, read: &mut impl FnMut(&str) -> Result<bytes::Bytes, String>) -> Result<Highest, String> {
    let property = metadata["properties"]["dolake.frontier"].as_str().ok_or("a table without dolake.frontier")?;
    let sources: BTreeMap<String, BTreeMap<String, (u64, u64)>> = match serde_json::from_str(property) {
        Ok(inline) => inline,
        Err(_) => serde_json::from_slice(&read(property)?).map_err(|error| format!("{property}: {error}"))?,
    };
    let epochs = |(source, epochs): (String, BTreeMap<String, (u64, u64)>)| {
        epochs.into_iter().map(move |(epoch, (_, event))| ((source.clone(), epoch), event))
    };
    Ok(sources.into_iter().flat_map(epochs).collect())
}
