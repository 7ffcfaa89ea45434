//! Files that the library wrote, and damaged ones.

use apache_avro::types::Record;
use apache_avro::{DeflateSettings, Writer};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::iceberg::avro::AvroFile;

const SCHEMA: &str =
    r#"{"type":"record","name":"r","fields":[{"name":"number","type":"long"},{"name":"text","type":"string"}]}"#;

fn by_library(rows: &[(i64, String)], codec: Codec) -> Vec<u8> {
    let schema = Schema::parse_str(SCHEMA).expect("a schema");
    let mut writer = Writer::with_codec(&schema, Vec::new(), codec).expect("a writer");
    for (place, (number, text)) in rows.iter().enumerate() {
        let mut record = Record::new(&schema).expect("a record");
        record.put("number", *number);
        record.put("text", text.as_str());
        writer.append_value(record).expect("writes");
        if place % 3 == 2 {
            writer.flush().expect("ends a block");
        }
    }
    writer.into_inner().expect("finishes")
}

fn read(file: &[u8]) -> Result<Vec<Value>, ManifestError> {
    let mut values = Vec::new();
    Container::open(file, &mut Schemas::default())?.records(|value| {
        values.push(value);
        Ok(())
    })?;
    Ok(values)
}

fn said(file: &[u8]) -> String {
    read(file).expect_err("an error").to_string()
}

proptest! {
    #[test]
    fn what_the_library_wrote_is_read_as_it_reads_it(rows in vec((any::<i64>(), ".{0,40}"), 0..20), deflate: bool) {
        let codec = if deflate { Codec::Deflate(DeflateSettings::default()) } else { Codec::Null };
        let file = by_library(&rows, codec);
        let theirs: Vec<Value> =
            apache_avro::Reader::new(&file[..]).expect("reads").map(|value| value.expect("a value")).collect();
        prop_assert_eq!(theirs.len(), rows.len());
        prop_assert_eq!(read(&file).expect("reads"), theirs);
    }

    #[test]
    fn a_file_that_is_cut_short_is_an_error_or_ends_between_blocks(count in 1..10_usize, at in 0..2_000_usize) {
        let rows: Vec<_> = (0..count as i64).map(|n| (n, "text".to_owned())).collect();
        let whole = by_library(&rows, Codec::Null);
        let at = at % whole.len();
        if let Ok(values) = read(&whole[..at]) {
            prop_assert!(values.len() % 3 == 0 && values.len() < count);
        }
    }
}

#[test]
fn a_block_that_claims_more_than_there_is_costs_nothing() {
    let start = AvroFile::new(SCHEMA, &[]).finish();
    // Records, bytes; each as zigzag varint.
    for claim in [&[2, 0xfe, 0xff, 0xff, 0xff, 0x0f][..], &[2, 1], &[1, 2, 0], &[2], &[0xff; 12]] {
        assert_eq!(
            said(&[&start[..], claim].concat()),
            "expected an Avro file: it is cut short, or a length in it is wrong"
        );
    }
    let marker = &start[start.len() - 16..];
    let without_records = [&start[..], &[0xfe, 0xff, 0xff, 0xff, 0x0f, 0], marker].concat();
    assert_eq!(said(&without_records), "expected an Avro file: it is cut short, or a length in it is wrong");
    let other_marker = [&start[..], &[2, 2, 0], &[7; 16]].concat();
    assert_eq!(said(&other_marker), "expected an Avro file: a block does not end with the marker of the header");
}

#[test]
fn a_header_that_cannot_be_used_is_named() {
    assert_eq!(said(b"PAR1"), "expected an Avro file: it does not begin with `Obj` and 1");
    assert_eq!(said(b"Obj\x01\x00"), "expected an Avro file: it has no schema");
    let header =
        |codec: &str| [b"Obj\x01\x02\x14avro.codec", &[codec.len() as u8 * 2][..], codec.as_bytes(), &[0]].concat();
    assert_eq!(
        said(&header("snappy")),
        "expected an Avro file: its blocks are compressed with \"snappy\"; deflate and null are read"
    );
    assert_eq!(said(&AvroFile::new("{", &[]).finish())[..47], *"expected an Avro file: its schema is no JSON: E");
    // A count below 0 has the size of the map beside it.
    let schema = [&[20 + 2][..], b"avro.schema", &[12], b"\"long\""].concat();
    let sized = [b"Obj\x01", &[1, schema.len() as u8 * 2][..], &schema, &[0], &[9; 16], &[2, 2, 84], &[9; 16]].concat();
    assert_eq!(read(&sized).expect("reads"), [Value::Long(42)]);
}
