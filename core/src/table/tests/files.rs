//! The files themselves: bytes, row groups, sizes, metrics.

use bytes::Bytes;
use parquet::file::reader::{FileReader, SerializedFileReader};
use serde_json::json;

use super::support::{OPTIONS, batch, flushes, insert, job, rows_of, update};
use crate::config::Compression;
use crate::iceberg::data_file::ColumnMetrics;
use crate::table::job::{EncodeOptions, Job, JobOutput};

fn many_rows(count: usize) -> Vec<String> {
    (0..count)
        .map(|row| format!(r#"{{"id":{row},"name":"user {row}","kind":"{}","share":{row}.25}}"#, row % 3))
        .collect()
}

fn job_of(rows: &[String], options: EncodeOptions) -> Job {
    let changes: Vec<_> = rows.iter().map(|row| insert(row)).collect();
    Job { options, ..job(None, vec![batch(&changes)]) }
}

fn run(rows: &[String], options: EncodeOptions) -> JobOutput {
    job_of(rows, options).run()
}

#[test]
fn the_same_job_gives_the_same_bytes_with_every_codec() {
    let rows = many_rows(2_000);
    for compression in [Compression::None, Compression::Snappy, Compression::Gzip, Compression::Zstd] {
        let options = EncodeOptions { compression, ..OPTIONS };
        assert_eq!(run(&rows, options.clone()), run(&rows, options));
    }
}

#[test]
fn how_a_job_is_sliced_does_not_show() {
    let rows = many_rows(100);
    let options = EncodeOptions { row_group_rows: 30, ..OPTIONS };
    let whole = run(&rows, options.clone());
    let mut encoder = job_of(&rows, options).start();
    let mut slices = 1;
    let sliced = loop {
        if let Some(output) = encoder.resume(7) {
            break output;
        }
        slices += 1;
    };
    assert_eq!(sliced, whole);
    assert!(slices > 100 / 7, "{slices} slices");
}

#[test]
fn row_groups_end_by_rows_or_by_bytes() {
    let groups = |options| run(&many_rows(100), options).files[0].metrics.split_offsets.len();
    assert_eq!(groups(OPTIONS), 1);
    assert_eq!(groups(EncodeOptions { row_group_rows: 30, ..OPTIONS }), 4);
    assert_eq!(groups(EncodeOptions { row_group_bytes: 2_000, ..OPTIONS }), 3);
}

#[test]
fn a_file_ends_at_its_target_size() {
    let options = EncodeOptions { row_group_rows: 10, target_file_size_bytes: 1, ..OPTIONS };
    let output = run(&many_rows(95), options);
    let counts: Vec<u64> = output.files.iter().map(|file| file.metrics.record_count).collect();
    assert_eq!(counts, [10, 10, 10, 10, 10, 10, 10, 10, 10, 5]);
}

#[test]
fn no_events_no_files() {
    let output = run(&[], OPTIONS);
    assert_eq!((output.files.len(), output.schema.fields.len(), output.last_column_id), (0, 0, 0));
}

#[test]
fn the_fixed_columns_say_where_a_row_comes_from() {
    let mut parts = vec![batch(&[insert(r#"{"a":1}"#)]), batch(&[update(r#"{"a":1}"#, r#"{"a":2}"#)])];
    parts[1].epoch = "e".into();
    let output = job(None, parts).run();
    let rows = rows_of(&output.files[0]);
    let expected = json!({
        "a": 1, "_cdc_key": "k1", "_cdc_source": "s", "_cdc_epoch": null, "_cdc_seq": 1,
        "_cdc_ts": 1_767_225_600_001_000_i64, "_cdc_rescued": null, "_cdc_op": "INSERT", "_cdc_before": null,
    });
    assert_eq!(rows[0], expected);
    assert_eq!((&rows[1]["_cdc_epoch"], &rows[1]["_cdc_op"]), (&json!("e"), &json!("UPDATE")));
}

#[test]
fn only_taken_events_of_the_table_count() {
    let mut part = batch(&[1, 2, 3, 4, 5, 6].map(|_| insert(r#"{"a":1}"#)));
    part.taken = Some(vec![(1, 2), (4, 4), (6, 9)]);
    let keys = |job: Job| -> Vec<String> {
        let rows = job.run().files.iter().flat_map(rows_of).collect::<Vec<_>>();
        rows.iter().map(|row| row["_cdc_key"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(keys(job(None, vec![part.clone()])), ["k1", "k2", "k4", "k6"]);
    assert!(keys(Job { table: "other".into(), ..job(None, vec![part]) }).is_empty());
}

#[test]
fn the_footer_says_nothing_but_what_is_in_the_file() {
    let output = &flushes(&[&[r#"{"a":1,"t":["x"],"o":{"p":2.5}}"#]])[0];
    let reader = SerializedFileReader::new(output.files[0].bytes.clone()).unwrap();
    let footer = reader.metadata().file_metadata();
    assert_eq!(footer.created_by(), Some("dolake"));
    assert_eq!(footer.key_value_metadata(), None);
    let leaves: Vec<(i32, String)> = footer
        .schema_descr()
        .columns()
        .iter()
        .map(|leaf| (leaf.self_type().get_basic_info().id(), leaf.path().string()))
        .take(3)
        .collect();
    assert_eq!(leaves, [(1, "a".into()), (3, "t.list.element".into()), (5, "o.p".into())]);
    assert!(reader.metadata().row_group(0).column(0).offset_index_offset().is_some(), "page index");
}

#[test]
fn metrics_are_those_of_the_columns() {
    let rows = [
        r#"{"n":5,"d":-1.5,"s":"a long string, longer than bounds","l":[1,null],"b":true,"x":99999999999999999999}"#,
        r#"{"n":-3,"d":0.25,"s":"Ä","l":[2],"b":false,"x":-129}"#,
        r#"{"n":null,"o":{"p":null,"q":1}}"#,
    ];
    let output = &flushes(&[&rows])[0];
    let metrics = &output.files[0].metrics;
    let id = |name: &str| output.schema.fields.iter().find(|field| field.name == name).unwrap().id;
    let check = |id: i32, values, nulls, nans, lower: &[u8], upper: &[u8]| {
        let size_bytes = metrics.columns[&id].size_bytes;
        assert!(size_bytes > 0);
        let bound = |bytes: &[u8]| Some(bytes.to_vec()).filter(|bytes| !bytes.is_empty());
        let (lower_bound, upper_bound) = (bound(lower), bound(upper));
        let expected = ColumnMetrics {
            size_bytes,
            value_count: values,
            null_count: nulls,
            nan_count: nans,
            lower_bound,
            upper_bound,
        };
        assert_eq!(metrics.columns[&id], expected, "field {id}");
    };
    check(id("n"), Some(3), Some(1), None, &(-3_i64).to_le_bytes(), &5_i64.to_le_bytes());
    check(id("d"), Some(3), Some(1), Some(0), &(-1.5_f64).to_le_bytes(), &0.25_f64.to_le_bytes());
    check(id("s"), Some(3), Some(1), None, b"a long string, l", "Ä".as_bytes());
    check(id("b"), Some(3), Some(1), None, &[0], &[1]);
    check(id("x"), Some(3), Some(1), None, &[0xFF, 0x7F], &99_999_999_999_999_999_999_i128.to_be_bytes()[7..]);
    check(id("l") + 1, None, None, None, &[], &[]);
    check(id("o") + 1, Some(3), Some(2), None, &1_i64.to_le_bytes(), &1_i64.to_le_bytes());
    check(id("_cdc_rescued"), Some(3), Some(3), None, &[], &[]);
    assert_eq!(metrics.split_offsets, [4]);
}

#[test]
fn bounds_hold_over_all_row_groups() {
    let rows = many_rows(100);
    let output = run(&rows, EncodeOptions { row_group_rows: 30, ..OPTIONS });
    let id = &output.files[0].metrics.columns[&1];
    assert_eq!((id.value_count, id.null_count), (Some(100), Some(0)));
    assert_eq!(id.lower_bound.as_deref(), Some(&0_i64.to_le_bytes()[..]));
    assert_eq!(id.upper_bound.as_deref(), Some(&99_i64.to_le_bytes()[..]));
}

#[test]
fn columns_of_few_different_values_have_a_dictionary_and_others_none() {
    let output = run(&many_rows(1_000), OPTIONS);
    let reader = SerializedFileReader::new(Bytes::clone(&output.files[0].bytes)).unwrap();
    let group = reader.metadata().row_group(0);
    let with: Vec<String> = group
        .columns()
        .iter()
        .filter(|column| column.dictionary_page_offset().is_some())
        .map(|column| column.column_path().string())
        .collect();
    assert_eq!(with, ["kind", "_cdc_source", "_cdc_op"]);
}
