//! What a peer that does not read is told: acks are gathered, and cover nothing that was not acked.

use serde_json::json;

use super::conn::Conns;
use crate::command::Command;
use crate::event::{ConnId, Peer};
use crate::time::MachineTime;
use crate::wire::server::ServerMessage;

const CONN: ConnId = ConnId(1);
const START: MachineTime = MachineTime(1_000_000);

fn message(value: &serde_json::Value) -> ServerMessage {
    ServerMessage::from_frame(value.to_string().as_bytes()).expect("a message")
}

/// `b7` is batch 7 `buffered`, `d7` a `duplicate`, `n7` a nack; `b7@e` is of epoch e.
fn answer(text: &str) -> ServerMessage {
    let (text, epoch) = text.split_once('@').unwrap_or((text, ""));
    let number: u64 = text[1..].parse().expect("a number");
    let status = |status: &str| {
        message(&json!({"type": "ack", "timestamp": 0, "sequenceNumber": number, "status": status, "sourceDoId": "s",
            "sourceEpoch": epoch}))
    };
    match &text[..1] {
        "b" => status("buffered"),
        "d" => status("duplicate"),
        _ => message(&json!({"type": "nack", "timestamp": 0, "sequenceNumber": number, "reason": "buffer_full",
            "errorMessage": "wait", "shouldRetry": true})),
    }
}

/// The other way: `b3-7` covers batches 3 to 7.
fn text(frame: &[u8]) -> String {
    match ServerMessage::from_frame(frame).expect("a message") {
        ServerMessage::Ack(ack) => {
            let status = &format!("{:?}", ack.status).to_lowercase()[..1];
            let first = ack.first_sequence.map(|first| format!("{first}-")).unwrap_or_default();
            format!("{status}{first}{}", ack.sequence_number)
        }
        ServerMessage::Nack(nack) => format!("n{}", nack.sequence_number),
        ServerMessage::Status(_) | ServerMessage::Pong(_) | ServerMessage::FlushResponse(_) => "?".to_owned(),
    }
}

/// Answers come, in two spells, while a peer with a full window does not read; then it reads.
fn check(answers: &str, told: &str) {
    let (mut conns, mut out) = (Conns::default(), Vec::new());
    conns.open(CONN, &Peer::default(), None);
    let long = "x".repeat(70_000);
    let full = json!({"type": "ack", "timestamp": 0, "sequenceNumber": 0, "status": "ok", "correlationId": long});
    let full = message(&full);
    conns.tell(CONN, full, START, &mut out);
    assert_eq!(out.len(), 1, "the window is empty at first: {out:?}");
    out.clear();
    for one in answers.split_whitespace() {
        conns.tell(CONN, answer(one), START, &mut out);
    }
    assert!(out.is_empty(), "within a second nothing more is sent: {out:?}");
    conns.sent(CONN, 1 << 20, START, &mut out);
    let frames =
        out.iter().filter_map(|command| if let Command::Send { frame, .. } = command { Some(frame) } else { None });
    let seen: Vec<String> = frames.map(|frame| text(frame)).collect();
    assert_eq!(seen.join(" "), told, "answers: {answers}");
}

#[test]
fn acks_are_gathered_where_their_numbers_follow_one_another() {
    check("b1 b2 b3", "b1-3");
    check("d1 d2 b3 b4 b5", "d1-2 b3-5");
    check("b1 n2 b3 b4", "b1 n2 b3-4");
    // Number 3 may have been refused before: an ack of 2 to 4 would cover it.
    check("b2 b4 b5", "b2 b4-5");
    check("d1 d2 d3 d1 d2 d3", "d1-3 d1-3");
    check("d1 d2 d1 d2 d3", "d1-2 d1-3");
    check("b1@e b2@f b3@f b4@e", "b1 b2-3 b4");
}

#[test]
fn thousands_of_closed_holes_are_named_at_once() {
    let (mut conns, mut out) = (Conns::default(), Vec::new());
    conns.open(CONN, &Peer::default(), None);
    let ticket = conns.ticket(CONN);
    let closed = |n: u64| {
        message(
            &json!({"type": "nack", "timestamp": 0, "sequenceNumber": n, "throughSequence": n, "shouldRetry": false,
            "reason": "invalid_sequence", "errorMessage": "x".repeat(150), "sourceDoId": "s"}),
        )
    };
    let greeting: Vec<_> = (1..=10_000).map(closed).chain([answer("b10001")]).collect();
    conns.answer_all(CONN, ticket, greeting, START, &mut out);
    assert_eq!(out.len(), 10_001);
    assert!(out.iter().all(|command| matches!(command, Command::Send { .. })), "{:?}", out.last());
}

#[test]
fn a_peer_may_have_thousands_of_messages_unanswered() {
    let (mut conns, mut out) = (Conns::default(), Vec::new());
    conns.open(CONN, &Peer::default(), None);
    let tickets: Vec<_> = (0..5_000).map(|_| conns.ticket(CONN)).collect();
    conns.answer(CONN, tickets[0], answer("b1"), START, &mut out);
    assert_eq!(out.len(), 1);
    assert!(matches!(out[0], Command::Send { .. }), "{out:?}");
}
