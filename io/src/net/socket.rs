//! One WebSocket: frames in as the gate has room, messages out as the machine sends them, pings both ways.

use std::collections::VecDeque;
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
use dolake_core::Event;
use dolake_core::event::{ConnId, Frame, Peer};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, WeakUnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite;
use tracing::{debug, warn};

use super::line::Ear;
use super::server::Network;
use crate::host::inbox::{Input, ToSocket};

/// Largest message that is read at all, in bytes. Up to here the machine answers what is too large with a nack that
/// says so; it is the largest `maxPayloadSize` that can be configured.
const MESSAGE_BYTES_MAX: usize = 33 << 20;

const READ_BUFFER_BYTES: usize = 32 << 10;

/// What one flush of the socket takes at most.
const WRITE_BYTES_MAX: usize = 256 << 10;

/// A peer that says nothing for so long is asked for a sign of life; after twice that, it is taken for gone.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a peer has for its part of the goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// WebSocket close codes, RFC 6455, section 7.4.1.
const GOING_AWAY: u16 = 1001;
const NOT_UTF8: u16 = 1007;
const TOO_LARGE: u16 = 1009;

/// Sets the limits of a socket to be.
pub fn configure(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(MESSAGE_BYTES_MAX)
        .max_frame_size(MESSAGE_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(READ_BUFFER_BYTES)
}

/// Runs a socket until it is gone, and tells the machine when it came and went.
pub async fn run(network: &Network, conn: ConnId, peer: Peer, ear: &Ear, socket: WebSocket) {
    let (sink, mut stream) = socket.split();
    let (sender, messages) = unbounded_channel();
    let pinger = sender.downgrade();
    network.inbox.put(Input::Opened { conn, peer, socket: sender });

    tokio::select! {
        biased;
        () = read(network, conn, ear, &mut stream, &pinger) => {}
        () = write(network, conn, sink, messages) => {
            // The peer's part of the goodbye; what it still sends is not wanted any more.
            let _ = tokio::time::timeout(GOODBYE, async { while let Some(Ok(_)) = stream.next().await {} }).await;
        }
    }
    network.inbox.event(Event::Closed { conn });
}

/// Hands frames to the machine until the peer is gone.
async fn read(
    network: &Network,
    conn: ConnId,
    ear: &Ear,
    stream: &mut SplitStream<WebSocket>,
    pinger: &WeakUnboundedSender<ToSocket>,
) {
    let mut asked = false;
    let mut heard = ear.heard();
    loop {
        let message = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(message))) => message,
            Ok(None) => return,
            Ok(Some(Err(error))) => match (objection(&error), pinger.upgrade()) {
                (Some((code, reason)), Some(sender)) => {
                    warn!(conn = conn.0, %error, "a message cannot be read");
                    // The writer says it after all answers before it, and ends the socket.
                    let _ = sender.send(ToSocket::Close { code, reason });
                    drop(sender);
                    return std::future::pending().await;
                }
                _ => {
                    debug!(conn = conn.0, %error, "a socket broke");
                    return;
                }
            },
            // A large message on a slow line.
            Err(_) if ear.heard() != heard => {
                (asked, heard) = (false, ear.heard());
                continue;
            }
            Err(_) if asked => {
                debug!(conn = conn.0, "a socket is silent");
                return;
            }
            Err(_) => {
                asked = true;
                pinger.upgrade().map(|sender| sender.send(ToSocket::Ping));
                continue;
            }
        };
        (asked, heard) = (false, ear.heard());
        let frame = match message {
            Message::Text(text) => Frame::Text(own(&Bytes::from(text))),
            Message::Binary(bytes) => Frame::Binary(own(&bytes)),
            // Pings are answered by the protocol's implementation, and so is a close.
            Message::Ping(_) | Message::Pong(_) | Message::Close(_) => continue,
        };
        let (Frame::Text(bytes) | Frame::Binary(bytes)) = &frame;
        let ballast = network.gate.admit(bytes.len()).await;
        ear.handed_on();
        network.inbox.put(Input::Event(Event::Received { conn, frame }, ballast));
    }
}

/// What the peer is told of a message that cannot be read: close code and reason.
fn objection(error: &axum::Error) -> Option<(u16, String)> {
    let inner = std::error::Error::source(error)?.downcast_ref::<tungstenite::Error>()?;
    if matches!(inner, tungstenite::Error::Capacity(_)) {
        return Some((
            TOO_LARGE,
            format!("a message has more than {MESSAGE_BYTES_MAX} bytes: send fewer events at a time"),
        ));
    }
    let is_not_utf8 = matches!(inner, tungstenite::Error::Utf8(_));
    is_not_utf8.then(|| (NOT_UTF8, "a text message is not UTF-8".to_owned()))
}

/// A frame shares its memory with the read buffer, and the machine may keep it for long: it gets its own, of its size.
fn own(bytes: &Bytes) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

type Sink = SplitSink<WebSocket, Message>;

/// Sends what the machine says, and tells it when the peer has taken it; returns after the goodbye.
async fn write(network: &Network, conn: ConnId, mut sink: Sink, mut messages: UnboundedReceiver<ToSocket>) {
    let mut waiting = VecDeque::new();
    loop {
        if waiting.is_empty() {
            waiting.push_back(next(&mut messages).await);
        }
        while let Ok(message) = messages.try_recv() {
            waiting.push_back(message);
        }
        let batch = Batch::take(&mut waiting);
        let (bytes, last) = (batch.bytes, batch.last);
        let sending = std::pin::pin!(batch.send(&mut sink));
        if !finish(sending, last, &mut messages, &mut waiting).await || last {
            return;
        }
        network.inbox.event(Event::Sent { conn, bytes });
    }
}

/// When the machine has let go of the socket, it has stopped.
async fn next(messages: &mut UnboundedReceiver<ToSocket>) -> ToSocket {
    let stopping = || ToSocket::Close { code: GOING_AWAY, reason: "the server is stopping".to_owned() };
    messages.recv().await.unwrap_or_else(stopping)
}

/// Waits until the peer has taken a batch; not for long, once it is the last or a goodbye waits behind it. Whether it
/// was taken.
async fn finish(
    mut sending: std::pin::Pin<&mut impl Future<Output = Result<(), axum::Error>>>,
    last: bool,
    messages: &mut UnboundedReceiver<ToSocket>,
    waiting: &mut VecDeque<ToSocket>,
) -> bool {
    let mut leaving = last || waiting.iter().any(|message| matches!(message, ToSocket::Close { .. }));
    while !leaving {
        tokio::select! {
            biased;
            result = &mut sending => return result.is_ok(),
            message = next(messages) => {
                leaving = matches!(message, ToSocket::Close { .. });
                waiting.push_back(message);
            }
        }
    }
    tokio::time::timeout(GOODBYE, sending).await.is_ok_and(|result| result.is_ok())
}

/// What goes out with one flush.
struct Batch {
    messages: Vec<Message>,
    /// Of the machine's frames.
    bytes: usize,
    /// Whether it ends with the goodbye.
    last: bool,
}

impl Batch {
    fn take(waiting: &mut VecDeque<ToSocket>) -> Batch {
        let mut batch = Batch { messages: Vec::new(), bytes: 0, last: false };
        while !batch.last
            && batch.bytes < WRITE_BYTES_MAX
            && let Some(message) = waiting.pop_front()
        {
            batch.messages.push(match message {
                ToSocket::Frame(frame) => {
                    batch.bytes += frame.len();
                    Message::Text(Utf8Bytes::try_from(frame).expect("the machine sends JSON, which is UTF-8"))
                }
                ToSocket::Ping => Message::Ping(Bytes::new()),
                ToSocket::Close { code, reason } => {
                    batch.last = true;
                    Message::Close(Some(CloseFrame { code, reason: reason.into() }))
                }
            });
        }
        batch
    }

    async fn send(self, sink: &mut Sink) -> Result<(), axum::Error> {
        for message in self.messages {
            sink.feed(message).await?;
        }
        sink.flush().await
    }
}
