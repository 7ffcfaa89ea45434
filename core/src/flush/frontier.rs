//! `dolake.frontier`: how far each source got in a table, kept where any engine's clean-up leaves it.
//!
//! Snapshots are expired by engines; table properties are not. So the lake tells without the journal what it holds. Up
//! to 4 KiB stand in the property itself, more in an object that the property names.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::flush::table::Source;
use crate::limits::FRONTIER_INLINE_BYTES_MAX;

const PROPERTY: &str = "dolake.frontier";

/// Source → epoch → highest batch number and event sequence in this table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct TableFrontier {
    sources: BTreeMap<String, BTreeMap<String, (u64, u64)>>,
}

impl TableFrontier {
    /// The frontier in a table's properties; `Err` names the object that holds it.
    pub(crate) fn of(properties: &BTreeMap<String, String>) -> Result<TableFrontier, String> {
        match properties.get(PROPERTY) {
            None => Ok(TableFrontier::default()),
            Some(value) => serde_json::from_str(value).map_err(|_| value.clone()),
        }
    }

    /// The frontier in an object.
    pub(crate) fn parse(bytes: &[u8]) -> Result<TableFrontier, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// Takes over what a flush moved.
    pub(crate) fn moved(&mut self, sources: &[Source]) {
        for source in sources {
            let epochs = self.sources.entry(source.name.clone()).or_default();
            let (batch, event) = epochs.entry(source.epoch.clone()).or_default();
            *batch = (*batch).max(source.through);
            *event = (*event).max(source.event);
        }
    }

    /// The property's value; and the object to be written where `location` says, if it is too long to stand inline.
    pub(crate) fn property(&self, location: impl FnOnce() -> String) -> (String, Option<Bytes>) {
        let json = serde_json::to_string(self).expect("plain data always encodes");
        if json.len() <= FRONTIER_INLINE_BYTES_MAX { (json, None) } else { (location(), Some(json.into())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, through: u64, event: u64) -> Source {
        Source { name: name.to_owned(), epoch: String::new(), first: 1, through, event }
    }

    fn kept(frontier: &TableFrontier) -> (TableFrontier, bool) {
        let (value, object) = frontier.property(|| "s3://lake/f.json".to_owned());
        let read = match TableFrontier::of(&BTreeMap::from([(PROPERTY.to_owned(), value)])) {
            Ok(frontier) => frontier,
            Err(location) => {
                assert_eq!(location, "s3://lake/f.json");
                TableFrontier::parse(object.as_ref().expect("an object for what is not inline")).expect("our own JSON")
            }
        };
        (read, object.is_some())
    }

    #[test]
    fn it_never_goes_back() {
        let mut frontier = TableFrontier::default();
        frontier.moved(&[source("a", 7, 70), source("a", 5, 90)]);
        assert_eq!(frontier.sources["a"][""], (7, 90));
    }

    #[test]
    fn few_sources_stand_inline_and_many_in_an_object() {
        for (count, is_object) in [(0, false), (10, false), (1_000, true)] {
            let mut frontier = TableFrontier::default();
            let sources: Vec<_> = (0..count).map(|n| source(&format!("shard-{n}"), n, n)).collect();
            frontier.moved(&sources);
            assert_eq!(kept(&frontier), (frontier.clone(), is_object), "{count} sources");
        }
    }
}
