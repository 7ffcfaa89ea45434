//! Accepts connections and tells WebSocket upgrades from requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::HeaderMap;
use axum::http::header::UPGRADE;
use axum::response::{IntoResponse, Response};
use axum::serve::{IncomingStream, Listener};
use dolake_core::event::{CallId, ConnId, Peer};
use tokio::sync::Semaphore;

use super::{call, socket};
use crate::host::gate::Gate;
use crate::host::inbox::Inbox;

/// Requests that are served at once. Further ones wait in their connections.
const CALLS_MAX: usize = 1_024;

/// Paths at which a WebSocket may be opened.
const SOCKET_PATHS: [&str; 3] = ["/", "/lakehouse", "/lakehouse/"];

/// What every connection shares.
#[derive(Debug)]
pub struct Network {
    /// Where events go.
    pub inbox: Inbox,
    /// Bounds what is on its way.
    pub gate: Gate,
    /// Bounds the requests that are served at once.
    pub calls: Arc<Semaphore>,
    named: AtomicU64,
}

impl Network {
    /// Nothing is connected yet.
    pub fn new(inbox: Inbox) -> Network {
        Network { inbox, gate: Gate::default(), calls: Arc::new(Semaphore::new(CALLS_MAX)), named: AtomicU64::new(1) }
    }

    /// A name for a socket or request, unique in this process.
    fn name(&self) -> u64 {
        self.named.fetch_add(1, Ordering::Relaxed)
    }
}

/// Serves until `stop` is done; then no new connections, and open requests get their answers.
///
/// # Errors
/// What the system says about the listener.
pub async fn serve<L>(
    listener: L,
    network: Arc<Network>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()>
where
    L: Listener<Addr = SocketAddr>,
    SocketAddr: for<'a> Connected<IncomingStream<'a, L>>,
{
    let router = Router::new().fallback(handle).with_state(network);
    axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>()).with_graceful_shutdown(stop).await
}

async fn handle(
    State(network): State<Arc<Network>>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
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
    socket::configure(upgrade).on_upgrade(move |socket| async move { socket::run(&network, conn, peer, socket).await })
}

fn wants_socket(request: &Request) -> bool {
    let upgrade =
        request.headers().get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    upgrade && SOCKET_PATHS.contains(&request.uri().path())
}

fn peer(address: SocketAddr, headers: &HeaderMap) -> Peer {
    let text = |name: &str| Some(headers.get(name)?.to_str().ok()?.to_owned());
    Peer { address: Some(address.ip().to_string()), client_id: text("x-client-id"), shard_name: text("x-shard-name") }
}
