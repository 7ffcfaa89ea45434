//! Where the files of a table lie, and what they are called.

use uuid::Uuid;

/// `base` and `path` with one slash between them.
pub fn location_join(base: &str, path: &str) -> String {
    format!("{}/{}", base.trim_end_matches('/'), path.trim_start_matches('/'))
}

/// `{location}/metadata/{version}-{uuid}.metadata.json`, the version with at least five digits.
pub fn metadata_file(location: &str, version: u64, name: Uuid) -> String {
    location_join(location, &format!("metadata/{version:05}-{name}.metadata.json"))
}

/// `{location}/metadata/snap-{snapshot id}-1-{uuid}.avro`.
pub fn manifest_list(location: &str, snapshot_id: i64, name: Uuid) -> String {
    location_join(location, &format!("metadata/snap-{snapshot_id}-1-{name}.avro"))
}

/// `{location}/metadata/{uuid}-m{n}.avro`.
pub fn manifest(location: &str, name: Uuid, n: usize) -> String {
    location_join(location, &format!("metadata/{name}-m{n}.avro"))
}

/// What `version-hint.text` holds, so that a scan of the bare folder finds the metadata: the file's name without
/// `.metadata.json`, such as `00002-0f3c…`.
pub fn version_hint(metadata_location: &str) -> &str {
    let name = file_name(metadata_location);
    name.strip_suffix(".metadata.json").unwrap_or(name)
}

/// The number in a metadata file's name: 2 for `00002-{uuid}.metadata.json` and for `v2.metadata.json`.
pub fn metadata_version(metadata_location: &str) -> Option<u64> {
    let name = file_name(metadata_location);
    let digits = name.strip_prefix('v').unwrap_or(name);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits.get(..end)?.parse().ok()
}

fn file_name(location: &str) -> &str {
    location.rsplit('/').next().unwrap_or(location)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_are_neither_lost_nor_doubled() {
        for (base, path) in [("s3://b/t", "data/x"), ("s3://b/t/", "data/x"), ("s3://b/t/", "/data/x")] {
            assert_eq!(location_join(base, path), "s3://b/t/data/x");
        }
    }

    #[test]
    fn a_metadata_file_tells_its_version_and_its_hint() {
        let check = |location, version, hint| {
            assert_eq!((metadata_version(location), version_hint(location)), (version, hint));
        };
        let ours = metadata_file("/lake/t", 2, Uuid::from_u128(7));
        check(&ours, Some(2), "00002-00000000-0000-0000-0000-000000000007");
        check("/t/metadata/v12.metadata.json", Some(12), "v12");
        check("/t/metadata/123456-x.metadata.json", Some(123_456), "123456-x");
        check("other.json", None, "other.json");
    }
}
