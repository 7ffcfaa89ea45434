//! `loadTable`: the metadata of a table, as it stands in the store.
//!
//! The metadata's bytes go into the answer as they are; what another writer put there, and DoLake does not understand,
//! gets through. Only `snapshots=refs` looks inside, to leave snapshots out.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::catalog::{CatalogAnswer, CatalogView, LoadTable};
use crate::http::error::{ErrorKind, HttpError};
use crate::http::respond::Answer;

/// Which snapshots the metadata is to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Snapshots {
    /// All that the table has.
    All,
    /// Those that a branch or a tag names, and the current one.
    Refs,
}

/// A load that waits for the bytes of a metadata file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetadataWanted {
    /// The file, as a full URI.
    pub metadata_location: String,
    /// Which snapshots are wanted.
    pub snapshots: Snapshots,
}

/// Answers at once if the table is not there, or if the client has its metadata already.
pub(super) fn begin(view: &CatalogView<'_>, request: &LoadTable) -> Result<CatalogAnswer, HttpError> {
    let pointer = view.table(&request.ident)?;
    let wanted = MetadataWanted { metadata_location: pointer.metadata_location.clone(), snapshots: request.snapshots };
    let etag = wanted.etag();
    if request.if_none_match.as_deref().is_some_and(|tags| matches(tags, &etag)) {
        return Ok(CatalogAnswer::Ready(Answer::empty(304).with_header("etag", etag)));
    }
    Ok(CatalogAnswer::NeedsMetadata(wanted))
}

impl MetadataWanted {
    /// Names this version of the metadata, in this shape (specification: header `ETag`). Metadata files never change,
    /// so a file's location says which bytes it has.
    pub fn etag(&self) -> String {
        let shape = match self.snapshots {
            Snapshots::All => "all",
            Snapshots::Refs => "refs",
        };
        let named = format!("{shape}\n{}", self.metadata_location);
        format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(named.as_bytes()))
    }

    /// `LoadTableResult`. `config` is what the client is told about access to the store.
    ///
    /// # Errors
    /// 500 if `metadata` is not a JSON object with what `snapshots=refs` needs.
    pub fn finish(&self, metadata: &[u8], config: &BTreeMap<String, String>) -> Result<Answer, HttpError> {
        let unreadable = |error: serde_json::Error| {
            let message = format!("{}: expected table metadata, got {error}", self.metadata_location);
            HttpError::catalog(ErrorKind::Internal, message)
        };
        let checked = serde_json::from_slice::<Metadata<'_>>(metadata).map_err(unreadable)?;
        let body = match self.snapshots {
            Snapshots::All => self.body(metadata, config),
            Snapshots::Refs => {
                let fewer = serde_json::to_vec(&checked.with_refs_only().map_err(unreadable)?).map_err(unreadable)?;
                self.body(&fewer, config)
            }
        };
        Ok(Answer::json_bytes(200, body).with_header("etag", self.etag()))
    }

    fn body(&self, metadata: &[u8], config: &BTreeMap<String, String>) -> Bytes {
        let mut body = Vec::with_capacity(metadata.len() + 512);
        let quoted = "strings and maps of strings into memory";
        body.extend_from_slice(b"{\"metadata-location\":");
        serde_json::to_writer(&mut body, &self.metadata_location).expect(quoted);
        body.extend_from_slice(b",\"metadata\":");
        body.extend_from_slice(metadata);
        body.extend_from_slice(b",\"config\":");
        serde_json::to_writer(&mut body, config).expect(quoted);
        body.push(b'}');
        body.into()
    }
}

/// Table metadata of which only the outermost level is looked at. Values stay as they were written.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct Metadata<'a> {
    #[serde(borrow)]
    fields: BTreeMap<String, &'a RawValue>,
}

impl<'a> Metadata<'a> {
    /// Without the snapshots that neither a reference nor `current-snapshot-id` names. All else stays, the log of
    /// snapshots too: it is history, and readers know that its snapshots may be gone.
    fn with_refs_only(self) -> Result<impl Serialize + use<'a>, serde_json::Error> {
        #[derive(Deserialize)]
        #[serde(rename_all = "kebab-case")]
        struct Named {
            snapshot_id: i64,
        }

        let mut kept = BTreeSet::new();
        if let Some(refs) = self.fields.get("refs") {
            let refs: Option<BTreeMap<String, Named>> = serde_json::from_str(refs.get())?;
            kept.extend(refs.into_iter().flatten().map(|(_, named)| named.snapshot_id));
        }
        if let Some(current) = self.fields.get("current-snapshot-id") {
            kept.extend(serde_json::from_str::<Option<i64>>(current.get())?);
        }
        let mut snapshots: Vec<&'a RawValue> = Vec::new();
        if let Some(all) = self.fields.get("snapshots").copied() {
            for snapshot in serde_json::from_str::<Option<Vec<&'a RawValue>>>(all.get())?.unwrap_or_default() {
                if kept.contains(&serde_json::from_str::<Named>(snapshot.get())?.snapshot_id) {
                    snapshots.push(snapshot);
                }
            }
        }
        let raw = serde_json::value::to_raw_value(&snapshots)?;
        let mut fields: BTreeMap<String, std::borrow::Cow<'a, RawValue>> =
            self.fields.into_iter().map(|(key, value)| (key, std::borrow::Cow::Borrowed(value))).collect();
        fields.insert("snapshots".to_owned(), std::borrow::Cow::Owned(raw));
        Ok(fields)
    }
}

/// Whether `If-None-Match` names this tag, or any. A weak tag counts: the comparison is the weak one (RFC 9110, 13.1.2).
fn matches(if_none_match: &str, etag: &str) -> bool {
    let tags = if_none_match.split(',').map(str::trim);
    tags.map(|tag| tag.strip_prefix("W/").unwrap_or(tag)).any(|tag| tag == "*" || tag == etag)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const METADATA: &str = r#"{ "format-version" : 2, "of-another-writer": {"b":1,"a":12345678901234567890123},
        "current-snapshot-id": 3, "refs": {"main":{"snapshot-id":3,"type":"branch"},"old":{"snapshot-id":1,"type":"tag"}},
        "snapshots": [ {"snapshot-id":1 , "x":1.10}, {"snapshot-id":2}, {"snapshot-id":3} ], "snapshot-log": [] }"#;

    fn wanted(snapshots: Snapshots) -> MetadataWanted {
        MetadataWanted { metadata_location: "file:///a \"b\"/v1.metadata.json".to_owned(), snapshots }
    }

    fn finished(snapshots: Snapshots, metadata: &str) -> String {
        let config = BTreeMap::from([("s3.region".to_owned(), "auto".to_owned())]);
        let answer = wanted(snapshots).finish(metadata.as_bytes(), &config).expect("readable");
        assert_eq!(answer.header("etag"), Some(wanted(snapshots).etag().as_str()));
        String::from_utf8(answer.body.to_vec()).expect("UTF-8")
    }

    #[test]
    fn metadata_gets_through_byte_for_byte() {
        let head = r#"{"metadata-location":"file:///a \"b\"/v1.metadata.json","metadata":"#;
        let tail = r#","config":{"s3.region":"auto"}}"#;
        assert_eq!(finished(Snapshots::All, METADATA), format!("{head}{METADATA}{tail}"));
    }

    #[test]
    fn refs_leaves_out_snapshots_that_nothing_names_and_nothing_else() {
        let body = finished(Snapshots::Refs, METADATA);
        assert!(body.contains(r#""snapshots":[{"snapshot-id":1 , "x":1.10},{"snapshot-id":3}]"#), "{body}");
        assert!(body.contains(r#"{"b":1,"a":12345678901234567890123}"#), "{body}");
        let mut expected: Value = serde_json::from_str(METADATA).expect("JSON");
        expected["snapshots"] = json!([{"snapshot-id": 1, "x": 1.1}, {"snapshot-id": 3}]);
        assert_eq!(serde_json::from_str::<Value>(&body).expect("JSON")["metadata"], expected);
    }

    #[test]
    fn refs_of_a_table_without_snapshots_are_none() {
        for metadata in ["{}", r#"{"snapshots":null,"refs":null,"current-snapshot-id":null}"#] {
            let body: Value = serde_json::from_str(&finished(Snapshots::Refs, metadata)).expect("JSON");
            assert_eq!(body["metadata"]["snapshots"], json!([]));
        }
        let minus_one = r#"{"snapshots":[],"current-snapshot-id":-1}"#;
        let body: Value = serde_json::from_str(&finished(Snapshots::Refs, minus_one)).expect("JSON");
        assert_eq!(body["metadata"]["current-snapshot-id"], json!(-1));
    }

    #[test]
    fn metadata_that_is_none_is_not_passed_on() {
        for metadata in ["", "{", "[]", "{} x", "null", "\u{1f}\u{8b}"] {
            let error = wanted(Snapshots::All).finish(metadata.as_bytes(), &BTreeMap::new()).expect_err(metadata);
            assert_eq!(error.kind, ErrorKind::Internal);
            assert!(error.message.starts_with("file:///a \"b\"/v1.metadata.json: expected table metadata, got "));
        }
    }

    #[test]
    fn a_tag_names_the_file_and_the_shape() {
        let next = MetadataWanted {
            metadata_location: "file:///a \"b\"/v2.metadata.json".to_owned(),
            ..wanted(Snapshots::All)
        };
        let tags = BTreeSet::from([wanted(Snapshots::All).etag(), wanted(Snapshots::Refs).etag(), next.etag()]);
        assert_eq!(tags.len(), 3);
    }

    #[test]
    fn a_client_may_name_several_tags() {
        let check = |header: &str, expected: bool| assert_eq!(matches(header, "\"t\""), expected, "{header}");
        check("\"t\"", true);
        check("\"x\", W/\"t\"", true);
        check("*", true);
        check("t", false);
        check("\"x\"", false);
        check("", false);
    }
}
