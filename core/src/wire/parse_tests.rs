use proptest::prelude::*;

use super::*;
use crate::limits::SEQUENCE_MAX;
use crate::wire::batch::{Operation, Span};
use crate::wire::client::{BatchHeader, Capabilities, Connect, Disconnect, FlushReason, FlushRequest, Heartbeat};

const LIMITS: WireLimits = WireLimits { max_payload_bytes: 4_000, max_event_bytes: 300 };

fn text(message: &str) -> Frame {
    Frame::Text(Bytes::copy_from_slice(message.as_bytes()))
}

fn refused(message: &str) -> WireError {
    parse(&text(message), &LIMITS).expect_err(message)
}

/// A batch message of these events, whose header says what `header` says.
fn batch_message(events: &str, header: &str) -> String {
    format!(r#"{{"type":"cdc_batch","timestamp":9,"sourceDoId":"s","events":{events},{header}}}"#)
}

/// A batch of the one event 5.
fn one_event(event: &str) -> String {
    batch_message(&format!("[{event}]"), r#""sequenceNumber":3,"firstEventSequence":5,"lastEventSequence":5"#)
}

fn parsed_batch(message: &str) -> CdcBatch {
    match parse(&text(message), &LIMITS) {
        Ok(ClientMessage::CdcBatch(batch)) => batch,
        other => panic!("{message}: {other:?}"),
    }
}

const EVENTS: &str = concat!(
    r#"[{"sequence":5,"timestamp":-1,"operation":"INSERT","table":"a.b","rowId":"1","after":{"x":[1]}}, "#,
    r#"{"table":"c","rowId":"\u00e9","operation":"UPDATE","before":{},"after":{ },"metadata":{"m":1},"timestamp":2,"#,
    r#""sequence":8,"later":[null]},{"sequence":9,"timestamp":3,"operation":"DELETE","table":"\u0063","rowId":"","#,
    r#""before":{"y":2},"after":null}]"#
);

#[test]
fn a_batch_becomes_spans_of_its_frame() {
    let message = batch_message(
        EVENTS,
        r#""sequenceNumber":3,"firstEventSequence":5,"lastEventSequence":9,"isRetry":true,"retryCount":2,
           "sourceEpoch":"e","correlationId":"c","sourceShardName":"n","sizeBytes":7,"unknown":{"a":[]}"#,
    );
    let batch = parsed_batch(&message);
    let show = |span: Option<Span>| span.map(|span| std::str::from_utf8(batch.bytes(span)).expect("UTF-8"));
    assert_eq!(batch.tables, ["a.b", "c"]);
    assert_eq!((batch.sequence_number, batch.first_event_sequence, batch.last_event_sequence), (3, 5, 9));
    assert_eq!((batch.timestamp_ms, batch.is_retry, batch.retry_count), (9, true, 2));
    assert_eq!(batch.source_do_id, "s");
    assert_eq!(batch.source_epoch.as_deref(), Some("e"));
    assert_eq!(batch.correlation_id.as_deref(), Some("c"));
    assert_eq!(batch.source_shard_name.as_deref(), Some("n"));
    assert_eq!(show(Some(batch.events_span)), Some(EVENTS));
    assert_eq!(batch.events_hash, xxhash_rust::xxh3::xxh3_128(EVENTS.as_bytes()));
    let seen: Vec<_> =
        batch.events.iter().map(|event| (event.sequence, event.timestamp_ms, event.operation, event.table)).collect();
    assert_eq!(seen, [(5, -1, Operation::Insert, 0), (8, 2, Operation::Update, 1), (9, 3, Operation::Delete, 1)]);
    let images: Vec<_> = batch
        .events
        .iter()
        .map(|event| (show(Some(event.row_id)), show(event.before), show(event.after), show(event.metadata)))
        .collect();
    assert_eq!(
        images,
        [
            (Some("\"1\""), None, Some(r#"{"x":[1]}"#), None),
            (Some("\"\\u00e9\""), Some("{}"), Some("{ }"), Some(r#"{"m":1}"#)),
            (Some("\"\""), Some(r#"{"y":2}"#), None, None),
        ]
    );
}

#[test]
fn an_event_that_cannot_be_applied_refuses_its_batch_with_place_and_reason() {
    let check = |fields: &str, message: &str| {
        let error = refused(&one_event(&format!("{{{fields}}}")));
        assert_eq!((error.reason, error.message.as_str()), (NackReason::InvalidFormat, message));
        assert_eq!(error.named.sequence_number, Some(3), "{message}");
        assert_eq!(error.named.source_do_id.as_deref(), Some("s"), "{message}");
    };
    let insert = |change: &str| format!(r#""timestamp":1,"operation":"INSERT","rowId":"r","table":"t",{change}"#);
    let with = |change: &str| insert(&format!(r#""sequence":5,"after":{{}},{change}"#));

    check(
        &insert(r#""sequence":"x""#),
        "events[0].sequence: expected an integer from 0 to 9007199254740991, got \"x\"",
    );
    for (value, got) in [("-1", "-1"), ("1.0", "1.0"), ("9007199254740992", "9007199254740992"), ("null", "null")] {
        let message = format!("events[0].sequence: expected an integer from 0 to 9007199254740991, got {got}");
        check(&insert(&format!(r#""sequence":{value}"#)), &message);
    }
    check(&insert(r#""after":{}"#), "events[0].sequence: expected an integer, got nothing");
    check(
        &insert(r#""sequence":5"#),
        "events[0].after: expected an object, since operation is \"INSERT\", got nothing",
    );
    check(
        &insert(r#""sequence":5,"after":null"#),
        "events[0].after: expected an object, since operation is \"INSERT\", got nothing",
    );
    check(&insert(r#""after":[1]"#), "events[0].after: expected an object or null, got [1]");
    check(
        &insert(r#""after":"0123456789012345678901234567890123456789""#),
        "events[0].after: expected an object or null, got \"012345678901234567890123456789012345678…",
    );
    check(&with(r#""before":7"#), "events[0].before: expected an object or null, got 7");
    check(&with(r#""metadata":"m""#), "events[0].metadata: expected an object or null, got \"m\"");
    check(&with(r#""after":{}"#), "events[0].after: expected this field once, got it twice");
    check(
        r#""sequence":5,"timestamp":1,"operation":"DELETE","rowId":"r","table":"t","after":{}"#,
        "events[0].after: expected nothing or null, since operation is \"DELETE\", got an object",
    );
    check(
        r#""operation":"insert""#,
        "events[0].operation: expected \"INSERT\", \"UPDATE\" or \"DELETE\", got \"insert\"",
    );
    check(r#""sequence":5"#, "events[0].operation: expected \"INSERT\", \"UPDATE\" or \"DELETE\", got nothing");
    check(r#""rowId":17"#, "events[0].rowId: expected a string, got 17");
    check(
        r#""timestamp":1.5"#,
        "events[0].timestamp: expected an integer from -8640000000000000 to 8640000000000000, got 1.5",
    );
    check(r#""table":null"#, "events[0].table: expected a string, got null");
    for name in ["", "a.", ".a", "a.b.c", " a", "a/b", "a\\\\b", "..", "a\\u0000"] {
        let error = refused(&one_event(&format!(r#"{{"table":"{name}"}}"#)));
        assert!(error.message.starts_with("events[0].table: expected 'name' or 'namespace.name' of at"), "{error}");
    }
    check(
        &insert(r#""after":{"a":"\ud800"}"#),
        "events[0].after: invalid JSON at byte 135: expected no lone surrogate, got '\\\\'",
    );
    let deep = format!(r#""after":{{"a":{}{}}}"#, "[".repeat(64), "]".repeat(64));
    check(&insert(&deep), "events[0].after: invalid JSON at byte 197: expected at most 64 levels of nesting, got '['");
}

#[test]
fn a_batch_must_be_what_its_header_says() {
    let check = |events: &str, header: &str, message: &str| {
        let error = refused(&batch_message(events, header));
        assert_eq!((error.reason, error.message.as_str()), (NackReason::InvalidFormat, message));
    };
    let event = |n: u64| format!(r#"{{"sequence":{n},"timestamp":1,"operation":"DELETE","table":"t","rowId":"r"}}"#);
    let three = format!("[{},{}]", event(5), event(6));
    let good = r#""firstEventSequence":5,"lastEventSequence":6"#;

    check(&three, good, "sequenceNumber: expected an integer, got nothing");
    check(
        &three,
        &format!(r#"{good},"sequenceNumber":0"#),
        "sequenceNumber: expected an integer from 1 to 9007199254740991, got 0",
    );
    check(
        &three,
        r#""sequenceNumber":1,"firstEventSequence":4,"lastEventSequence":6"#,
        "firstEventSequence: expected 5, the first event's sequence, got 4",
    );
    check(
        &three,
        r#""sequenceNumber":1,"firstEventSequence":5"#,
        "lastEventSequence: expected 6, the last event's sequence, got nothing",
    );
    check(
        &format!("[{},{}]", event(5), event(5)),
        good,
        "events[1].sequence: expected more than 5, the event before it, got 5",
    );
    check("[]", good, "events: expected at least one event, got []");
    check("{}", good, "events: expected an array of events, got {}");
    check("[7]", good, "events[0]: expected an object, got 7");
    check(&format!("[{}", event(5)), good, "events[1]: expected an object, got \"firstEventSequence\"");
    check(&format!("[{}", event(5)), "", "events: invalid JSON at byte 135: expected a value, got '}'");
    check(&three, &format!(r#"{good},"isRetry":"no""#), "isRetry: expected true or false, got \"no\"");
    check(
        &three,
        &format!(r#"{good},"retryCount":-2"#),
        "retryCount: expected an integer from 0 to 9007199254740991, got -2",
    );
    check(&three, &format!(r#"{good},"events":[]"#), "events: expected this field once, got it twice");
    check(&three, &format!(r#"{good},"sourceDoId":"z""#), "sourceDoId: expected this field once, got it twice");
    check(
        &three,
        &format!(r#"{good},"sourceEpoch":"{}""#, "e".repeat(129)),
        "sourceEpoch: expected a string of 0 to 128 bytes without control characters, got \"eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee…",
    );
}

#[test]
fn what_is_too_large_is_refused_with_the_limit() {
    let check = |message: &str, reason: NackReason, max_size: u64, expected: &str| {
        let error = refused(message);
        assert_eq!((error.reason, error.max_size, error.message.as_str()), (reason, Some(max_size), expected));
        assert_eq!(error.named.sequence_number, Some(3));
    };
    let event = |filler: usize| {
        let x = "x".repeat(filler);
        one_event(&format!(
            r#"{{"sequence":5,"timestamp":1,"operation":"INSERT","table":"t","rowId":"r","after":{{"x":"{x}"}}}}"#
        ))
    };
    assert!(parse(&text(&event(210)), &LIMITS).is_ok());
    check(&event(211), NackReason::EventTooLarge, 300, "events[0]: expected at most 300 bytes, got 301");
    check(&event(4_000), NackReason::PayloadTooLarge, 4_000, "expected at most 4000 bytes, got 4217");
}

#[test]
fn control_messages_take_defaults_for_what_is_absent() {
    let check = |message: &str, expected: ClientMessage| {
        assert_eq!(parse(&text(message), &LIMITS), Ok(expected), "{message}");
    };
    let connect = Connect {
        timestamp: 0,
        correlation_id: None,
        source_do_id: "s".into(),
        source_epoch: None,
        source_shard_name: None,
        last_ack_sequence: 0,
        protocol_version: 1,
        capabilities: Capabilities::default(),
    };
    check(r#"{"type":"connect","sourceDoId":"s"}"#, ClientMessage::Connect(connect.clone()));
    check(
        r#"{"sourceDoId":"s","schemas":{"t":{"x":[1]}},"t\u0079pe":"connect","lastAckSequence":4,"timestamp":6,
            "protocolVersion":1,"capabilities":{"sparse":true,"batching":true,"maxBatchSize":9,"other":[]},
            "sourceEpoch":"","correlationId":null} "#,
        ClientMessage::Connect(Connect {
            timestamp: 6,
            last_ack_sequence: 4,
            source_epoch: Some(String::new()),
            capabilities: Capabilities {
                sparse: true,
                batching: true,
                max_batch_size: Some(9),
                ..Capabilities::default()
            },
            ..connect
        }),
    );
    check(
        r#"{"type":"heartbeat","sourceDoId":"s","lastAckSequence":1,"pendingEvents":2,"timestamp":3}"#,
        ClientMessage::Heartbeat(Heartbeat {
            timestamp: 3,
            correlation_id: None,
            source_do_id: "s".into(),
            last_ack_sequence: 1,
            pending_events: 2,
        }),
    );
    check(
        r#"{"type":"flush_request","sourceDoId":"s","reason":"time_threshold","correlationId":"c"}"#,
        ClientMessage::FlushRequest(FlushRequest {
            timestamp: 0,
            correlation_id: Some("c".into()),
            source_do_id: "s".into(),
            reason: FlushReason::TimeThreshold,
        }),
    );
    check(
        r#"{"type":"disconnect","sourceDoId":"s","reason":"bye"}"#,
        ClientMessage::Disconnect(Disconnect {
            timestamp: 0,
            correlation_id: None,
            source_do_id: "s".into(),
            reason: Some("bye".into()),
        }),
    );
}

#[test]
fn other_messages_are_refused() {
    let check = |message: &str, expected: &str| {
        let error = refused(message);
        assert_eq!((error.reason, error.message.as_str()), (NackReason::InvalidFormat, expected));
    };
    let types = "\"connect\", \"cdc_batch\", \"heartbeat\", \"flush_request\" or \"disconnect\"";
    check("", "invalid JSON at byte 0: expected a value, got the end");
    check("[]", "expected an object, got []");
    check("{}", &format!("type: expected {types}, got nothing"));
    check(r#"{"type":"hello"}"#, &format!("type: expected {types}, got \"hello\""));
    check(r#"{"type":1}"#, &format!("type: expected {types}, got 1"));
    check(r#"{"type":"connect"}"#, "sourceDoId: expected a string, got nothing");
    check(
        r#"{"type":"connect","sourceDoId":""}"#,
        "sourceDoId: expected a string of 1 to 256 bytes without control characters, got \"\"",
    );
    check(r#"{"type":"connect","sourceDoId":"s","protocolVersion":2}"#, "protocolVersion: expected 1, got 2");
    check(
        r#"{"type":"connect","sourceDoId":"s","capabilities":{"sparse":1}}"#,
        "capabilities.sparse: expected true or false, got 1",
    );
    check(
        r#"{"type":"flush_request","sourceDoId":"s","reason":"x"}"#,
        "reason: expected \"manual\", \"shutdown\", \"buffer_full\" or \"time_threshold\", got \"x\"",
    );
    check(
        r#"{"type":"disconnect","sourceDoId":"s"} x"#,
        "invalid JSON at byte 39: expected the end of the text, got 'x'",
    );

    let binary = parse(&Frame::Binary(Bytes::from_static(b"{}")), &LIMITS).expect_err("binary");
    assert_eq!(binary.message, "expected a text message, got a binary one; binaryProtocol is not offered");
    let bytes = parse(&Frame::Text(Bytes::from_static(b"{\"type\":\"\xff\"}")), &LIMITS).expect_err("no UTF-8");
    assert_eq!(bytes.message, "expected UTF-8, got something else at byte 9");
}

#[test]
fn a_posted_body_is_the_batch_that_a_socket_would_have_brought() {
    let post = |body: String| parse_post(&Bytes::from(body), "http-1", 77, &LIMITS);
    let batch = post(format!(r#"{{"sourceEpoch":"e","events":{EVENTS},"sequenceNumber":4}}"#)).expect("good");
    let batch = batch.batch;
    assert_eq!((batch.source_do_id.as_str(), batch.sequence_number, batch.timestamp_ms), ("http-1", 4, 77));
    assert_eq!(parse(&Frame::Text(batch.frame.clone()), &LIMITS), Ok(ClientMessage::CdcBatch(batch)));

    assert_eq!(post(format!(r#"{{"events":{EVENTS}}}"#)).expect("good").batch.sequence_number, 9);
    let error = post(r#"{"events":[]}"#.to_owned()).expect_err("empty");
    assert_eq!(error.message, "events: expected at least one event, got []");
}

fn optional_name() -> impl Strategy<Value = Option<String>> {
    prop::option::of("[a-zé\" \\\\😀]{0,12}")
}

fn any_event(sequence: u64) -> impl Strategy<Value = String> {
    (any::<u32>(), 0..3_u8, "[a-z]{1,3}", "[a-zé\"\\\\]{0,6}", any::<bool>()).prop_map(
        move |(timestamp, operation, table, row, before)| {
            let row = serde_json::to_string(&row).expect("a string");
            let image = format!(r#"{{"k":{row}}}"#);
            let before = if before { &image } else { "null" };
            let (operation, after) = match operation {
                0 => ("INSERT", image.as_str()),
                1 => ("UPDATE", image.as_str()),
                _ => ("DELETE", "null"),
            };
            format!(
                r#"{{"sequence":{sequence},"timestamp":{timestamp},"operation":"{operation}","table":"{table}","rowId":{row},"before":{before},"after":{after}}}"#
            )
        },
    )
}

fn any_batch() -> impl Strategy<Value = Bytes> {
    let events = (1..1_000_u64, 1..6_u64).prop_flat_map(|(first, count)| {
        (Just((first, first + count - 1)), (first..first + count).map(any_event).collect::<Vec<_>>())
    });
    (events, "[a-zé\"]{1,9}", optional_name(), optional_name(), 1..SEQUENCE_MAX, any::<bool>()).prop_map(
        |(((first, last), events), source, epoch, correlation, number, is_retry)| {
            let events = format!("[{}]", events.join(", "));
            BatchHeader {
                timestamp: 5,
                correlation_id: correlation.as_deref(),
                source_do_id: &source,
                source_epoch: epoch.as_deref(),
                source_shard_name: None,
                sequence_number: number,
                first_event_sequence: first,
                last_event_sequence: last,
                size_bytes: events.len() as u64,
                is_retry,
                retry_count: u64::from(is_retry),
            }
            .to_frame(events.as_bytes())
        },
    )
}

proptest! {
    #[test]
    fn a_batch_that_was_written_is_read_back(frame in any_batch()) {
        let limits = WireLimits { max_payload_bytes: 1 << 20, max_event_bytes: 1 << 20 };
        let message = parse(&Frame::Text(frame.clone()), &limits).expect("good");
        prop_assert_eq!(message.to_frame(), frame);
    }

    #[test]
    fn a_session_that_was_written_is_read_back(
        timestamp in 0..1_i64 << 50, source in "[a-zé\"]{1,9}", epoch in optional_name(), shard in optional_name(),
        last in 0..SEQUENCE_MAX, flags: [bool; 4], sizes: [Option<u32>; 2], reason in optional_name()
    ) {
        let connect = ClientMessage::Connect(Connect {
            timestamp, correlation_id: reason.clone(), source_do_id: source.clone(), source_epoch: epoch,
            source_shard_name: shard, last_ack_sequence: last, protocol_version: 1,
            capabilities: Capabilities {
                binary_protocol: flags[0], compression: flags[1], batching: flags[2], sparse: flags[3],
                max_batch_size: sizes[0].map(u64::from), max_message_size: sizes[1].map(u64::from),
            },
        });
        let heartbeat = ClientMessage::Heartbeat(Heartbeat {
            timestamp, correlation_id: None, source_do_id: source.clone(), last_ack_sequence: last, pending_events: 3,
        });
        let disconnect = ClientMessage::Disconnect(Disconnect {
            timestamp, correlation_id: None, source_do_id: source, reason,
        });
        for message in [connect, heartbeat, disconnect] {
            prop_assert_eq!(parse(&Frame::Text(message.to_frame()), &LIMITS), Ok(message));
        }
    }

    #[test]
    fn no_change_to_a_message_makes_the_parser_panic(
        frame in any_batch(), at: prop::sample::Index, with: Vec<u8>, cut in 0_usize..40
    ) {
        let mut bytes = frame.to_vec();
        let from = at.index(bytes.len());
        let until = (from + cut).min(bytes.len());
        bytes.splice(from..until, with);
        if let Ok(ClientMessage::CdcBatch(batch)) = parse(&Frame::Text(Bytes::from(bytes)), &LIMITS) {
            prop_assert!(!batch.events.is_empty());
            for event in &batch.events {
                for span in [Some(event.row_id), event.before, event.after, event.metadata].into_iter().flatten() {
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(batch.bytes(span)).is_ok());
                }
            }
        }
    }

    #[test]
    fn no_bytes_make_the_parser_panic(bytes: Vec<u8>) {
        let _ = parse(&Frame::Text(Bytes::from(bytes.clone())), &LIMITS);
        let _ = parse_post(&Bytes::from(bytes), "s", 1, &LIMITS);
    }
}
