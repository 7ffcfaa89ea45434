//! The bytes of one accepted connection: whether any came, how many lie here of messages that are not whole yet, and whether
//! the peer takes what is written.
//!
//! Who asks and does not read the answer is not waited for without end. (Of a socket the machine knows how much its peer
//! has not read, and decides.)
//!
//! A message is handed on when all of it is here. Until then it is memory that no gate counts, so all sockets together may
//! hold so much of them and no more: past that, those with large ones are cut off, and send again later (promise 6).

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Bytes of messages that are not whole, of all sockets.
const PARTS_BYTES_MAX: usize = 128 << 20;

/// A socket may always hold so much: it takes no part in the crowd.
const SMALL_BYTES: usize = 64 << 10;

/// A peer that takes nothing of an answer for so long does not read it.
const STALL: Duration = Duration::from_secs(60);

/// What is held of all sockets.
#[derive(Debug, Clone, Default)]
pub struct Parts(Arc<AtomicUsize>);

/// What came on a connection.
#[derive(Debug)]
pub struct Ear {
    heard: AtomicU64,
    is_socket: AtomicBool,
    held: AtomicUsize,
    all: Parts,
}

impl Ear {
    /// Bytes that ever came.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// What comes from now on are messages.
    pub fn begin_socket(&self) {
        self.is_socket.store(true, Ordering::Relaxed);
    }

    /// A whole message was handed on.
    pub fn handed_on(&self) {
        let held = self.held.swap(0, Ordering::Relaxed);
        self.all.0.fetch_sub(held, Ordering::Relaxed);
    }

    /// Some bytes came. Whether there is room for them.
    fn came(&self, bytes: usize) -> bool {
        self.heard.fetch_add(bytes as u64, Ordering::Relaxed);
        if !self.is_socket.load(Ordering::Relaxed) {
            return true;
        }
        let held = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.all.0.fetch_add(bytes, Ordering::Relaxed) + bytes;
        held <= SMALL_BYTES || all <= PARTS_BYTES_MAX
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.handed_on();
    }
}

/// A stream that is listened to.
#[derive(Debug)]
pub struct Line<S> {
    stream: S,
    ear: Arc<Ear>,
    /// Until when the peer has to take some of what is written, while it takes none.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Line<S> {
    /// A new connection, one of all that share `all`.
    pub fn new(stream: S, all: Parts) -> Line<S> {
        let ear = Ear { heard: AtomicU64::new(0), is_socket: AtomicBool::new(false), held: AtomicUsize::new(0), all };
        Line { stream, ear: Arc::new(ear), stalled: None }
    }

    /// Who listens.
    pub fn ear(&self) -> Arc<Ear> {
        Arc::clone(&self.ear)
    }

    /// What became of a try to write, or that it took too long.
    fn watched<T>(&mut self, cx: &mut Context<'_>, tried: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if tried.is_ready() || self.ear.is_socket.load(Ordering::Relaxed) {
            self.stalled = None;
            return tried;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(STALL)));
        std::task::ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Line<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        std::task::ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if self.ear.came(buffer.filled().len() - before) {
            Poll::Ready(Ok(()))
        } else {
            Poll::Ready(Err(io::Error::other("too many large messages are on their way: send this one again later")))
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Line<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.watched(cx, tried)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let tried = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.watched(cx, tried)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// Sends so much on a new connection of those that share `all`.
    async fn send(bytes: usize, all: &Parts) -> (io::Result<()>, Arc<Ear>) {
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let mut line = Line::new(server, all.clone());
        let ear = line.ear();
        ear.begin_socket();
        let sending = tokio::spawn(async move {
            let piece = vec![0; 1 << 16];
            for _ in 0..bytes >> 16 {
                // Fails when the other end is cut off, which is what is asked about.
                if client.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        let mut read = vec![0; 1 << 16];
        let result = loop {
            match line.read(&mut read).await {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        drop(line);
        sending.await.expect("it does not panic");
        (result, ear)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_not_waited_for_unless_it_is_a_socket() {
        for is_socket in [false, true] {
            let (_client, server) = tokio::io::duplex(64);
            let mut line = Line::new(server, Parts::default());
            if is_socket {
                line.ear().begin_socket();
            }
            line.write_all(&[0; 64]).await.expect("there is room");
            let next = tokio::time::timeout(2 * STALL, line.write_all(&[0; 64])).await;
            assert_eq!(
                next.map_err(drop).map(|result| result.map_err(|error| error.kind())),
                match is_socket {
                    true => Err(()),
                    false => Ok(Err(io::ErrorKind::TimedOut)),
                }
            );
        }
    }

    #[tokio::test]
    async fn messages_that_are_not_whole_share_a_limit_and_small_ones_come_through() {
        let all = Parts::default();
        let (result, first) = send(PARTS_BYTES_MAX - (1 << 20), &all).await;
        assert!(result.is_ok());
        let (result, second) = send(2 << 20, &all).await;
        assert!(result.is_err_and(|error| error.to_string().contains("send this one again later")));
        let (result, _) = send(SMALL_BYTES, &all).await;
        assert!(result.is_ok());
        first.handed_on();
        drop(second);
        let (result, _) = send(PARTS_BYTES_MAX, &all).await;
        assert!(result.is_ok());
        drop(first);
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
