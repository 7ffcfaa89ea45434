//! An object server with the part of S3 that the host uses: PUT (also `If-None-Match: *`), GET (also a range), DELETE.
//! It is slow, refuses, fails before and after it has done what it was asked, and may be cut off by the network.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::serve::ListenerExt;
use bytes::Bytes;
use dolake_io::store::Store;
use dolake_sim::rng::Rng;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use object_store::ObjectStoreExt;
use object_store::memory::InMemory;
use object_store::path::Path;

use crate::net::{STORE, SimListener};

/// The bucket, and where readers find it.
const BUCKET: &str = "/bucket/";
pub(crate) const LOCATION: &str = "s3://bucket";

/// What goes wrong, each in a million.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StoreFaults {
    pub(crate) slow_ms_max: u64,
    /// 429 without an effect.
    pub(crate) refused: u32,
    /// 503 without an effect.
    pub(crate) failed_before: u32,
    /// 503 though it was done.
    pub(crate) failed_after: u32,
}

/// What the bucket holds. It outlives the server.
#[derive(Debug)]
pub(crate) struct Objects {
    objects: Mutex<BTreeMap<String, Bytes>>,
    faults: Mutex<StoreFaults>,
    chance: Mutex<Rng>,
}

impl Objects {
    pub(crate) fn new(chance: Rng) -> Arc<Objects> {
        let (objects, faults) = (Mutex::default(), Mutex::default());
        Arc::new(Objects { objects, faults, chance: Mutex::new(chance) })
    }

    pub(crate) fn set(&self, faults: StoreFaults) {
        *self.faults.lock().expect("one thread") = faults;
    }

    /// Serves until the simulation ends.
    pub(crate) async fn serve(self: Arc<Objects>) -> turmoil::Result {
        let listener = SimListener::bind(STORE.1).await?.tap_io(|_| ());
        axum::serve(listener, Router::new().fallback(answer).with_state(self)).await?;
        Ok(())
    }

    /// The same objects as a store of their own, for who judges.
    pub(crate) fn view(&self) -> Store {
        let copy = InMemory::new();
        for (key, bytes) in &*self.objects.lock().expect("one thread") {
            let put = async { copy.put(&Path::parse(key)?, bytes.clone().into()).await };
            put.now_or_never().expect("memory does not wait").expect("memory takes it");
        }
        Store::over(Arc::new(copy), LOCATION)
    }

    fn chance(&self, of: impl Fn(&StoreFaults) -> u32) -> bool {
        let faults = *self.faults.lock().expect("one thread");
        self.chance.lock().expect("one thread").chance(of(&faults))
    }

    fn wait_ms(&self) -> u64 {
        let slow_ms_max = self.faults.lock().expect("one thread").slow_ms_max;
        self.chance.lock().expect("one thread").below(slow_ms_max + 1)
    }

    fn carry_out(&self, method: &Method, key: &str, headers: &HeaderMap, body: Bytes) -> Response {
        let mut objects = self.objects.lock().expect("one thread");
        if method == Method::PUT {
            if headers.contains_key(header::IF_NONE_MATCH) && objects.contains_key(key) {
                return (StatusCode::PRECONDITION_FAILED, "").into_response();
            }
            objects.insert(key.to_owned(), body);
            return ([(header::ETAG, "\"x\"")], "").into_response();
        }
        if method == Method::DELETE {
            objects.remove(key);
            return StatusCode::NO_CONTENT.into_response();
        }
        assert_eq!(method, Method::GET, "the host asks for nothing else");
        let Some(bytes) = objects.get(key).cloned() else {
            return (StatusCode::NOT_FOUND, "<Error><Code>NoSuchKey</Code></Error>").into_response();
        };
        let facts = [(header::ETAG, "\"x\""), (header::LAST_MODIFIED, "Sun, 22 Nov 2026 00:00:00 GMT")];
        let Some((from, to)) = headers.get(header::RANGE).and_then(|range| range_of(range.to_str().ok()?)) else {
            return (facts, bytes).into_response();
        };
        let range = [(header::CONTENT_RANGE, format!("bytes {from}-{to}/{}", bytes.len()))];
        (StatusCode::PARTIAL_CONTENT, facts, range, bytes.slice(from..=to)).into_response()
    }
}

/// First and last byte of `bytes=…-…`.
fn range_of(text: &str) -> Option<(usize, usize)> {
    let (from, to) = text.strip_prefix("bytes=")?.split_once('-')?;
    Some((from.parse().ok()?, to.parse().ok()?))
}

async fn answer(State(objects): State<Arc<Objects>>, request: Request<Body>) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = body.collect().await else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let key = percent_decoded(parts.uri.path().strip_prefix(BUCKET).unwrap_or(""));
    tokio::time::sleep(Duration::from_millis(objects.wait_ms())).await;
    if objects.chance(|faults| faults.refused) {
        return (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "1")], "<Error/>").into_response();
    }
    if objects.chance(|faults| faults.failed_before) {
        return (StatusCode::SERVICE_UNAVAILABLE, "<Error/>").into_response();
    }
    let answer = objects.carry_out(&parts.method, &key, &parts.headers, body.to_bytes());
    tokio::time::sleep(Duration::from_millis(objects.wait_ms())).await;
    if objects.chance(|faults| faults.failed_after) {
        return (StatusCode::SERVICE_UNAVAILABLE, "<Error/>").into_response();
    }
    answer
}

/// The tables of these tests have plain names, so what stands in a path is what the key is.
fn percent_decoded(path: &str) -> String {
    assert!(!path.contains('%'), "a key that needs an escape: {path}");
    path.to_owned()
}
