//! Accepts connections and tells WebSocket upgrades from requests.
//!
//! `axum::serve` has no time-out for a head that never comes and does not wait for upgraded sockets at the end, so the
//! loop here is our own; connections are hyper's.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts, Request};
use axum::http::HeaderMap;
use axum::http::header::UPGRADE;
use axum::response::{IntoResponse, Response};
use axum::serve::Listener;
use dolake_core::event::{CallId, ConnId, Peer, SOCKET_PATHS};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{Sender, channel};
use tracing::debug;

use super::line::{Ear, Line, Parts};
use super::{call, socket};
use crate::host::gate::Gate;
use crate::host::inbox::Inbox;

/// Requests that are served at once. Further ones wait in their connections. More than may wait for a flush.
const CALLS_MAX: usize = 2_048;

/// Those among them that have a body: slow ones keep only their like waiting.
const BODIES_MAX: usize = 512;

/// A connection on which no whole head of a request, the next one included, comes for so long is closed: its client is
/// gone, or wants to use up the connections that the system allows.
const HEAD_SILENCE: Duration = Duration::from_secs(30);

/// What every connection shares.
#[derive(Debug)]
pub struct Network {
    /// Where events go.
    pub inbox: Inbox,
    /// Bounds what is on its way.
    pub gate: Gate,
    /// Bounds the requests that are served at once.
    pub calls: Semaphore,
    /// Bounds those with a body.
    pub bodies: Semaphore,
    parts: Parts,
    named: AtomicU64,
}

impl Network {
    /// Nothing is connected yet.
    pub fn new(inbox: Inbox) -> Network {
        Network {
            inbox,
            gate: Gate::default(),
            calls: Semaphore::new(CALLS_MAX),
            bodies: Semaphore::new(BODIES_MAX),
            parts: Parts::default(),
            named: AtomicU64::new(1),
        }
    }

    /// A name for a socket or request, unique in this process.
    fn name(&self) -> u64 {
        self.named.fetch_add(1, Ordering::Relaxed)
    }
}

/// Serves until `stop` is done; then no new connections, open requests get their answers, and sockets say goodbye.
pub async fn serve(
    mut listener: impl Listener<Addr = SocketAddr>,
    network: Arc<Network>,
    stop: impl Future<Output = ()> + Send,
) {
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_SILENCE);
    let connections = GracefulShutdown::new();
    // Held by each open socket; nothing is ever sent.
    let (open, mut all_closed) = channel::<Infallible>(1);
    let mut stop = pin!(stop);
    loop {
        let (stream, address) = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (network, open) = (Arc::clone(&network), open.clone());
        let line = Line::new(stream, network.parts.clone());
        let ear = line.ear();
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (network, open, ear) = (Arc::clone(&network), open.clone(), Arc::clone(&ear));
            async move { Ok::<_, Infallible>(handle(network, open, address, ear, request.map(Body::new)).await) }
        });
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(line), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(%address, error, "a connection broke");
            }
        });
    }
    drop((listener, open));
    connections.shutdown().await;
    all_closed.recv().await;
}

async fn handle(
    network: Arc<Network>,
    open: Sender<Infallible>,
    address: SocketAddr,
    ear: Arc<Ear>,
    request: Request,
) -> Response {
    if !wants_socket(&request) {
        let id = CallId(network.name());
        return call::serve(&network, id, request).await;
    }
    let (mut parts, _) = request.into_parts();
    let upgrade = match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let conn = ConnId(network.name());
    let peer = peer(address, &parts.headers);
    socket::configure(upgrade).on_upgrade(move |socket| async move {
        ear.begin_socket();
        socket::run(&network, conn, peer, &ear, socket).await;
        drop(open);
    })
}

fn wants_socket(request: &Request) -> bool {
    let upgrade =
        request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    upgrade && SOCKET_PATHS.contains(&request.uri().path())
}

fn peer(address: SocketAddr, headers: &HeaderMap) -> Peer {
    let text = |name: &str| Some(std::str::from_utf8(headers.get(name)?.as_bytes()).ok()?.to_owned());
    Peer { address: Some(address.ip().to_string()), client_id: text("x-client-id"), shard_name: text("x-shard-name") }
}
