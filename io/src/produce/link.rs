//! One connection to a server: dialed, used and given up as the producer says. Over what, a [`Dial`] knows.

use bytes::Bytes;
use dolake_core::producer::Attempt;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{Sender, UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async_with_config};
use tracing::debug;

/// Makes connections to one server.
pub trait Dial: Clone + Send + Sync + 'static {
    /// What carries the WebSocket.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send;

    /// Opens one.
    fn connect(&self) -> impl Future<Output = Result<WebSocketStream<Self::Stream>, Error>> + Send;
}

/// The server at an address such as `ws://127.0.0.1:8181/lakehouse`.
#[derive(Debug, Clone)]
pub struct Url(pub String);

impl Dial for Url {
    type Stream = MaybeTlsStream<TcpStream>;

    async fn connect(&self) -> Result<WebSocketStream<Self::Stream>, Error> {
        debug!(url = self.0, "dialing");
        let (socket, _) = connect_async_with_config(&self.0, None, true).await?;
        Ok(socket)
    }
}

/// What a connection tells.
#[derive(Debug)]
pub enum FromLink {
    /// It is open.
    Open(Attempt),
    /// A text message came.
    Text(Attempt, Bytes),
    /// It could not be opened, or is gone. The last that is heard of it.
    Gone {
        /// Which.
        attempt: Attempt,
        /// For people.
        why: String,
        /// How long the server asked to wait, if it did.
        retry_after_ms: Option<u64>,
    },
}

/// A connection, or one that is being made. Dropped, it says goodbye and ends.
#[derive(Debug)]
pub struct Link {
    /// Which.
    pub attempt: Attempt,
    /// Bounded by the producer's window.
    frames: UnboundedSender<Bytes>,
}

impl Link {
    /// Sends a text message, unless the connection is gone.
    pub fn send(&self, frame: Bytes) {
        let _ = self.frames.send(frame);
    }
}

/// Starts connecting. What happens is told to `inbox`.
pub fn dial(server: &impl Dial, attempt: Attempt, inbox: Sender<FromLink>) -> Link {
    let (frames, outgoing) = unbounded_channel();
    let server = server.clone();
    tokio::spawn(async move {
        let gone = match run(&server, attempt, outgoing, &inbox).await {
            Ok(()) => FromLink::Gone { attempt, why: "closed".to_owned(), retry_after_ms: None },
            Err(error) => FromLink::Gone { attempt, retry_after_ms: retry_after(&error), why: error.to_string() },
        };
        // The driver may have ended before.
        let _ = inbox.send(gone).await;
    });
    Link { attempt, frames }
}

async fn run(
    server: &impl Dial,
    attempt: Attempt,
    mut outgoing: UnboundedReceiver<Bytes>,
    inbox: &Sender<FromLink>,
) -> Result<(), Error> {
    let socket = tokio::select! {
        biased;
        connected = server.connect() => connected?,
        () = dropped(&mut outgoing) => return Ok(()),
    };
    if inbox.send(FromLink::Open(attempt)).await.is_err() {
        return Ok(());
    }
    let (mut sink, mut stream) = socket.split();
    let read = async {
        while let Some(message) = stream.next().await {
            if let Message::Text(text) = message?
                && inbox.send(FromLink::Text(attempt, text.into())).await.is_err()
            {
                break;
            }
        }
        Ok(())
    };
    let write = async {
        while let Some(frame) = outgoing.recv().await {
            let text = Utf8Bytes::try_from(frame).expect("the producer sends JSON, which is UTF-8");
            sink.feed(Message::Text(text)).await?;
            if outgoing.is_empty() {
                sink.flush().await?;
            }
        }
        sink.close().await
    };
    tokio::select! {
        biased;
        result = read => result,
        result = write => result,
    }
}

/// Waits until the producer has given the connection up.
async fn dropped(outgoing: &mut UnboundedReceiver<Bytes>) {
    // Nothing is sent before the connection is open, so this ends when the sender is gone.
    while outgoing.recv().await.is_some() {}
}

fn retry_after(error: &Error) -> Option<u64> {
    let Error::Http(response) = error else {
        return None;
    };
    let seconds: u64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    seconds.checked_mul(1_000)
}
