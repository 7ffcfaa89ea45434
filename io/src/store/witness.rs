//! Remembers the last HTTP answer of an operation: `object_store` hides the status and `Retry-After` of most failures,
//! and whether a failure had an effect depends on them.

use std::cell::Cell;
use std::pin::Pin;

use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService, ReqwestConnector,
};

/// How the last HTTP request of an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Seen {
    /// There was none: the store is no HTTP store, or it failed before.
    #[default]
    Nothing,
    /// An answer came.
    Status {
        /// Its status code.
        code: u16,
        /// Its header `Retry-After`, when that is a number of seconds.
        retry_after_ms: Option<u64>,
    },
    /// No connection could be made, so nothing was asked.
    NotConnected,
    /// The request may have been taken, or may be yet.
    Cut,
}

tokio::task_local! {
    static SEEN: Cell<Seen>;
}

/// Runs one operation and tells how its last HTTP request ended.
pub async fn watch<T>(operation: impl Future<Output = T>) -> (T, Seen) {
    SEEN.scope(Cell::default(), async {
        let result = operation.await;
        (result, SEEN.with(Cell::get))
    })
    .await
}

/// Makes clients that can be watched.
#[derive(Debug)]
pub struct WitnessConnector {
    inner: Box<dyn HttpConnector>,
}

impl WitnessConnector {
    /// Clients over connections that `inner` makes.
    pub fn over(inner: impl HttpConnector) -> WitnessConnector {
        WitnessConnector { inner: Box::new(inner) }
    }
}

impl Default for WitnessConnector {
    fn default() -> WitnessConnector {
        WitnessConnector::over(ReqwestConnector::default())
    }
}

impl HttpConnector for WitnessConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        Ok(HttpClient::new(Witness { inner: self.inner.connect(options)? }))
    }
}

#[derive(Debug)]
struct Witness {
    inner: HttpClient,
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<HttpResponse, HttpError>> + Send + 'a>>;

impl HttpService for Witness {
    fn call<'life, 'async_trait>(&'life self, request: HttpRequest) -> Answer<'async_trait>
    where
        'life: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            let result = self.inner.execute(request).await;
            let seen = match &result {
                Ok(response) => {
                    Seen::Status { code: response.status().as_u16(), retry_after_ms: retry_after(response) }
                }
                Err(error) if error.kind() == HttpErrorKind::Connect => Seen::NotConnected,
                Err(_) => Seen::Cut,
            };
            // Outside of `watch`, nobody wants to know.
            let _ = SEEN.try_with(|cell| cell.set(seen));
            result
        })
    }
}

fn retry_after(response: &HttpResponse) -> Option<u64> {
    let seconds: u64 = response.headers().get("retry-after")?.to_str().ok()?.trim().parse().ok()?;
    seconds.checked_mul(1_000)
}
