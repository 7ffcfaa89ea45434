//! How fast a `cdc_batch` is checked: all of its JSON, every event's envelope, and the hash of its events.
//!
//! One message of 500 events of about 390 bytes, three tables, seven inserts to two and a half updates to half a
//! delete, with unicode and escapes in it. The figure to look at is items (events) per second.

use std::fmt::Write as _;

use bytes::Bytes;
use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use dolake_core::Seed;
use dolake_core::event::Frame;
use dolake_core::seed::Draws;
use dolake_core::wire::json::Cursor;
use dolake_core::wire::{WireLimits, parse};

const EVENTS: usize = 500;
const LIMITS: WireLimits = WireLimits { max_payload_bytes: 4 << 20, max_event_bytes: 1 << 20 };

const NAMES: [&str; 6] =
    ["Søren Müller", "Ann O'Brien", "Wei Tanaka", "Maria Silva \\\"Jr\\\"", "Chloé Novák", "Tom Kim"];
const CITIES: [&str; 5] = ["Amsterdam", "São Paulo", "Łódź", "New York", "Hà Nội"];
const TAGS: [&str; 5] = ["vip", "churn-risk", "newsletter", "promo-2026", "eu"];
const TABLES: [(&str, &str); 3] = [("users", "user"), ("orders", "order"), ("events", "evt")];

fn main() {
    divan::main();
}

fn row(draws: &mut Draws, prefix: &str, key: u64) -> String {
    let mut pick = |bound: usize| draws.below(bound as u64) as usize;
    format!(
        r#"{{"id":"{prefix}-{key}","name":"{}","email":"user.{key}@mail.example.org","created_at":"2025-0{}-17T08:{}:11.{}Z","amount":{}.{},"qty":{},"tags":["{}","{}"],"address":{{"city":"{}","zip":"{}"}}}}"#,
        NAMES[pick(6)],
        1 + pick(9),
        10 + pick(50),
        100 + pick(900),
        pick(5_000),
        1 + pick(99),
        pick(100),
        TAGS[pick(5)],
        TAGS[pick(5)],
        CITIES[pick(5)],
        10_000 + pick(89_999),
    )
}

fn message() -> Bytes {
    let mut draws = Draws::new(Seed(42));
    let mut text = r#"{"type":"cdc_batch","timestamp":1767225600000,"sourceDoId":"shard-3","events":["#.to_owned();
    for sequence in 1..=EVENTS {
        let (table, prefix) = TABLES[draws.below(3) as usize];
        let key = 1_000 + draws.below(90_000);
        let kind = draws.below(100);
        let operation = if kind < 70 {
            "INSERT"
        } else if kind < 95 {
            "UPDATE"
        } else {
            "DELETE"
        };
        let comma = if sequence == 1 { "" } else { "," };
        write!(
            text,
            r#"{comma}{{"sequence":{sequence},"timestamp":17672256{:05},"operation":"{operation}","table":"{table}","rowId":"{prefix}-{key}""#,
            sequence * 3
        )
        .expect("writing to a string");
        if kind >= 70 {
            write!(text, r#","before":{}"#, row(&mut draws, prefix, key)).expect("writing to a string");
        }
        if kind < 95 {
            write!(text, r#","after":{}"#, row(&mut draws, prefix, key)).expect("writing to a string");
        }
        text.push('}');
    }
    let size = text.len();
    write!(
        text,
        r#"],"sequenceNumber":1,"firstEventSequence":1,"lastEventSequence":{EVENTS},"sizeBytes":{size},"isRetry":false,"retryCount":0}}"#
    )
    .expect("writing to a string");
    Bytes::from(text)
}

/// What the machine does with every batch.
#[divan::bench]
fn batch(bencher: Bencher<'_, '_>) {
    let bytes = message();
    let frame = Frame::Text(bytes.clone());
    parse(&frame, &LIMITS).expect("a good message");
    bencher
        .counter(BytesCount::new(bytes.len()))
        .counter(ItemsCount::new(EVENTS))
        .bench(|| parse(divan::black_box(&frame), &LIMITS));
}

/// The part of it that checks the JSON.
#[divan::bench]
fn json_only(bencher: Bencher<'_, '_>) {
    let bytes = message();
    let text = std::str::from_utf8(&bytes).expect("UTF-8");
    bencher
        .counter(BytesCount::new(bytes.len()))
        .counter(ItemsCount::new(EVENTS))
        .bench(|| Cursor::new(divan::black_box(text)).skip());
}
