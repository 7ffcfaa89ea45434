//! What belongs to a connection: the holes of a source that is connected close sooner, an epoch's first batch opens it.

use serde_json::json;

use super::host::{Host, config};
use crate::event::{ConnId, Event, Frame, Peer};
use crate::wire::client::Capabilities;

#[test]
fn a_source_whose_socket_outlives_the_machine_counts_as_connected() {
    let mut host = Host::new(config());
    host.connect(1);
    host.send(1, 1, &["good"]);
    host.send(1, 3, &["good"]);
    let attachment = host.attachments[&ConnId(1)].clone();
    host.restart();
    host.step(Event::Opened { conn: ConnId(1), peer: Peer::default(), attachment: Some(attachment) });
    let window_ms = host.config.deduplication_window_ms as i64;
    host.pass(window_ms - 1_000);
    assert_eq!(host.refused, [0; 0], "the hole is open");
    host.pass(20_000);
    assert_eq!((host.refused.first(), host.mark(1)), (Some(&2), 3));
}

#[test]
fn what_a_connection_had_acked_is_of_its_own_epoch() {
    let mut host = Host::new(config());
    let conn = ConnId(1);
    host.step(Event::Opened { conn, peer: Peer::default(), attachment: None });
    let mut receive = |message: serde_json::Value| {
        host.step(Event::Received { conn, frame: Frame::Text(message.to_string().into()) });
    };
    receive(json!({ "type": "connect", "timestamp": 0, "sourceDoId": "s1", "sourceEpoch": "old", "lastAckSequence": 5,
        "protocolVersion": 1, "capabilities": Capabilities::default() }));
    for epoch in ["old", "new"] {
        receive(json!({ "type": "cdc_batch", "timestamp": 0, "sourceDoId": "s1", "sourceEpoch": epoch,
            "sequenceNumber": 6, "firstEventSequence": 60, "lastEventSequence": 60, "sizeBytes": 0, "isRetry": false,
            "retryCount": 0, "events": [{ "sequence": 60, "timestamp": 0, "operation": "INSERT", "table": "good",
            "rowId": "r", "after": { "n": 60 } }] }));
    }
    host.pass(20_000);
    assert_eq!(host.events("good"), [("s1".to_owned(), 60)], "batches 1 to 5 of the new epoch are missing");
}
