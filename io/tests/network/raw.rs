//! Clients that are no producers of ours: a WebSocket by hand, and HTTP/1.1 by hand, so that it can be slow, cut short,
//! or never finished.

use std::time::Duration;

use dolake_core::http::status::StatusAnswer;
use dolake_io::produce::link::Dial;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use turmoil::net::TcpStream;

use crate::net::{HOST, SimDial};

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

/// The bytes of a request whose connection ends with its answer.
pub(crate) fn request(method: &str, path: &str, source: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: dolake\r\nConnection: close\r\nX-Client-ID: {source}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Asks, and waits for the answer.
pub(crate) async fn get(path: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(HOST).await?;
    stream.write_all(request("GET", path, "nobody", "").as_bytes()).await?;
    answer(&mut stream).await
}

/// Reads until the other side has said all.
pub(crate) async fn answer(stream: &mut TcpStream) -> std::io::Result<Answer> {
    let mut bytes = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut bytes)).await??;
    let text = String::from_utf8_lossy(&bytes);
    let broken = || std::io::Error::from(std::io::ErrorKind::UnexpectedEof);
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(broken)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(broken)?;
    Ok(Answer { status, body: body.to_owned() })
}

/// Connections that the host counts for a source.
pub(crate) async fn connections_of(source: &str) -> u64 {
    let answer = get("/status").await.expect("the host answers");
    let status: StatusAnswer = serde_json::from_str(&answer.body).expect("a status");
    status.source_states.iter().filter(|state| state.id == source).map(|state| state.connections).sum()
}

/// A WebSocket on which a source has introduced itself.
pub(crate) async fn introduced(source: &str) -> WebSocketStream<TcpStream> {
    use futures_util::SinkExt;
    let mut socket = SimDial.connect().await.expect("the host is there");
    let connect = format!(
        r#"{{"type":"connect","timestamp":0,"sourceDoId":"{source}","lastAckSequence":0,"protocolVersion":1,"capabilities":{{}}}}"#
    );
    socket.send(Message::text(connect)).await.expect("sends");
    socket
}

/// A message that is answered at some length and changes nothing.
pub(crate) fn heartbeat(source: &str) -> Message {
    let long = "x".repeat(250);
    Message::text(format!(
        r#"{{"type":"heartbeat","timestamp":0,"sourceDoId":"{source}","correlationId":"{long}","lastAckSequence":0,"pendingEvents":0}}"#
    ))
}
