//! The host's and the producers' seams, on the simulated network: a listener, a way to dial, HTTP to the store, the
//! clock, and loops that come late.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use dolake_core::Timestamp;
use dolake_io::host::clock::Clock;
use dolake_io::host::loops::{Body, Loops};
use dolake_io::produce::link::Dial;
use dolake_sim::rng::Rng;
use http_body_util::BodyExt;
use hyper::client::conn::http1;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpService,
};
use tokio::time::{Sleep, sleep, timeout};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::{WebSocketStream, client_async};
use turmoil::net::{TcpListener, TcpStream};

/// The host's name and port in the simulated network.
pub(crate) const HOST: (&str, u16) = ("dolake", 8181);

/// The object server's.
pub(crate) const STORE: (&str, u16) = ("store", 9000);

/// As the host sets them for its real HTTP client.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// A simulated listener as axum wants one.
pub(crate) struct SimListener(TcpListener);

impl SimListener {
    pub(crate) async fn bind(port: u16) -> std::io::Result<SimListener> {
        TcpListener::bind(("0.0.0.0", port)).await.map(SimListener)
    }
}

impl Listener for SimListener {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        loop {
            match self.0.accept().await {
                Ok(accepted) => return accepted,
                Err(_) => sleep(Duration::from_secs(1)).await,
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Dials the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SimDial;

impl Dial for SimDial {
    type Stream = TcpStream;

    async fn connect(&self) -> Result<WebSocketStream<TcpStream>, Error> {
        let stream = TcpStream::connect(HOST).await?;
        let (socket, _) = client_async(format!("ws://{}:{}/lakehouse", HOST.0, HOST.1), stream).await?;
        Ok(socket)
    }
}

/// HTTP to the store: a connection for each request, and the same time-outs as the real client.
#[derive(Debug)]
pub(crate) struct SimConnector;

impl HttpConnector for SimConnector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(SimHttp))
    }
}

#[derive(Debug)]
struct SimHttp;

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for SimHttp {
    fn call<'life, 'async_trait>(&'life self, request: HttpRequest) -> Answer<'async_trait>
    where
        'life: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let timed_out = |kind| HttpError::new(kind, std::io::Error::from(std::io::ErrorKind::TimedOut));
            let connected = timeout(CONNECT_TIMEOUT, TcpStream::connect(STORE)).await;
            let stream = connected
                .map_err(|_| timed_out(HttpErrorKind::Connect))?
                .map_err(|error| HttpError::new(HttpErrorKind::Connect, error))?;
            let exchanged = timeout(REQUEST_TIMEOUT, exchange(stream, request)).await;
            exchanged
                .map_err(|_| timed_out(HttpErrorKind::Timeout))?
                .map_err(|error| HttpError::new(HttpErrorKind::Request, error))
        })
    }
}

async fn exchange(stream: TcpStream, request: HttpRequest) -> hyper::Result<HttpResponse> {
    let (mut sender, connection) = http1::handshake::<_, HttpRequestBody>(TokioIo::new(stream)).await?;
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    parts.uri = path.parse::<Uri>().expect("a part of a good address");
    let answer = async {
        let (parts, body) = sender.send_request(Request::from_parts(parts, body)).await?.into_parts();
        Ok(HttpResponse::from_parts(parts, body.collect().await?.to_bytes().into()))
    };
    let (mut answer, connection) = (pin!(answer), pin!(connection));
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// Simulated time, and how far the host's clock is off.
#[derive(Debug, Clone, Default)]
pub(crate) struct SimClock {
    off_ms: Arc<AtomicI64>,
}

impl SimClock {
    pub(crate) fn jump(&self, ms: i64) {
        self.off_ms.fetch_add(ms, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let since_epoch = turmoil::since_epoch().expect("the host runs inside the simulation");
        let ms = i64::try_from(since_epoch.as_millis()).expect("a time in this age");
        Timestamp(ms + self.off_ms.load(Ordering::Relaxed))
    }
}

/// Runs loops as tasks that come late whenever they are called, as threads on a busy machine with a slow disk do. So
/// a crash may fall between a save and what follows from it, and saves gather into groups.
#[derive(Debug, Clone)]
pub(crate) struct LateLoops {
    pub(crate) chance: Arc<Mutex<Rng>>,
    pub(crate) late_ms_max: u64,
}

impl Loops for LateLoops {
    fn start(&self, _: &str, body: Body) {
        tokio::spawn(Late { body, pause: None, loops: self.clone() });
    }
}

struct Late {
    body: Body,
    pause: Option<Pin<Box<Sleep>>>,
    loops: LateLoops,
}

impl Future for Late {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Late { body, pause, loops } = self.get_mut();
        let pause_for = || {
            let late_ms = loops.chance.lock().expect("one thread").below(loops.late_ms_max + 1);
            Box::pin(sleep(Duration::from_millis(late_ms)))
        };
        ready!(pause.get_or_insert_with(pause_for).as_mut().poll(cx));
        *pause = None;
        body.as_mut().poll(cx)
    }
}
