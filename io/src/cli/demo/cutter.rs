//! A bad network: hands connections on to the server and cuts each after a while.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};

/// How long a connection lives, one after the other, in milliseconds. None of them divides another, so the cuts of
/// several producers do not fall together for long.
const LIVES_MS: [u64; 5] = [700, 1_300, 430, 1_900, 1_010];

/// The running network.
#[derive(Debug)]
pub(super) struct Cutter {
    /// Where producers connect to.
    pub(super) address: SocketAddr,
    cuts: Arc<AtomicU64>,
}

impl Cutter {
    /// Starts it before `server`.
    ///
    /// # Errors
    /// The system has no port left.
    pub(super) async fn start(server: SocketAddr) -> std::io::Result<Cutter> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let cuts = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&cuts);
        tokio::spawn(async move {
            for life_ms in LIVES_MS.into_iter().cycle() {
                let Ok((producer, _)) = listener.accept().await else {
                    return;
                };
                tokio::spawn(hand_on(producer, server, Duration::from_millis(life_ms), Arc::clone(&counted)));
            }
        });
        Ok(Cutter { address, cuts })
    }

    /// Connections cut so far.
    pub(super) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }
}

async fn hand_on(mut producer: TcpStream, server: SocketAddr, life: Duration, cuts: Arc<AtomicU64>) {
    // A server that is down looks to the producer like a connection that is cut at once.
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let both = tokio::io::copy_bidirectional(&mut producer, &mut server);
    if tokio::time::timeout(life, both).await.is_err() {
        cuts.fetch_add(1, Ordering::Relaxed);
    }
}
