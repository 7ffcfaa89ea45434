//! One HTTP request: its head, the pieces of its body as the machine grants them, and the machine's answer.

use std::time::Duration;

use axum::body::{Body, BodyDataStream, HttpBody};
use axum::extract::Request;
use axum::http::header::{EXPECT, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use dolake_core::Event;
use dolake_core::command::ResponseHead;
use dolake_core::event::{CallId, RequestHead};
use futures_util::StreamExt;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::oneshot;

use super::server::Network;
use crate::host::inbox::{Inbox, Input, ToCall};

/// A body of which nothing comes for so long is given up: its client is gone, or wants to keep others waiting.
const BODY_SILENCE: Duration = Duration::from_secs(30);

/// How long, and how much, is read of a body whose answer is known: a client that still sends does not hear it.
const REST_TIME: Duration = Duration::from_secs(5);
const REST_BYTES_MAX: usize = 64 << 20;

/// Serves one request. When the client goes away, this future is dropped, and the machine is told.
pub async fn serve(network: &Network, call: CallId, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let turns = if body.is_end_stream() { &network.calls } else { &network.bodies };
    let _turn = turns.acquire().await.expect("the semaphore is never closed");
    if parts.headers.get("x-client-id").is_some_and(|id| std::str::from_utf8(id.as_bytes()).is_err()) {
        // What stands for it could be another's name.
        return (StatusCode::BAD_REQUEST, "header X-Client-ID: expected UTF-8, got other bytes").into_response();
    }
    // Nothing of such a body comes before it is asked for.
    let mut is_coming = !parts.headers.contains_key(EXPECT);
    let head = RequestHead {
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        headers: headers(&parts.headers),
    };
    let (answer, mut answered) = oneshot::channel();
    let (more, mut wanted) = unbounded_channel();
    network.inbox.put(Input::Requested { call, head, handle: ToCall { more, answer } });
    let mut gone = Gone { call, inbox: Some(network.inbox.clone()) };

    let mut bytes_wanted = false;
    let mut ended = body.is_end_stream();
    let mut body = body.into_data_stream();
    loop {
        tokio::select! {
            biased;
            answer = &mut answered => {
                gone.inbox = None;
                if is_coming && !ended {
                    skip_rest(&mut body).await;
                }
                return answer.map_or_else(|_| stopping(), |(head, body)| respond(&head, body));
            }
            Some(()) = wanted.recv(), if !bytes_wanted => bytes_wanted = true,
            piece = tokio::time::timeout(BODY_SILENCE, body.next()), if bytes_wanted && !ended => {
                (bytes_wanted, is_coming) = (false, true);
                match piece {
                    Ok(Some(Ok(bytes))) => deliver(network, call, bytes, false).await,
                    Ok(Some(Err(error))) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
                    Err(_) => return (StatusCode::REQUEST_TIMEOUT, "nothing more of the body came").into_response(),
                    Ok(None) => {
                        ended = true;
                        deliver(network, call, Bytes::new(), true).await;
                    }
                }
            }
            // A request without a body: its end is delivered when it is asked for.
            () = std::future::ready(()), if bytes_wanted && ended => {
                bytes_wanted = false;
                deliver(network, call, Bytes::new(), true).await;
            }
        }
    }
}

async fn skip_rest(body: &mut BodyDataStream) {
    let skip = async {
        let mut bytes = 0;
        while let Some(Ok(piece)) = body.next().await {
            bytes += piece.len();
            if bytes > REST_BYTES_MAX {
                return;
            }
        }
    };
    // A client that takes longer has its answer before it has sent all, and may not hear it.
    let _ = tokio::time::timeout(REST_TIME, skip).await;
}

async fn deliver(network: &Network, call: CallId, bytes: Bytes, last: bool) {
    let ballast = network.gate.admit(bytes.len()).await;
    network.inbox.put(Input::Event(Event::BodyChunk { call, bytes, last }, ballast));
}

/// Tells the machine that the client is gone, unless it was answered.
struct Gone {
    call: CallId,
    inbox: Option<Inbox>,
}

impl Drop for Gone {
    fn drop(&mut self) {
        if let Some(inbox) = &self.inbox {
            inbox.event(Event::CallGone { call: self.call });
        }
    }
}

fn headers(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect()
}

fn respond(head: &ResponseHead, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(head.status).expect("the machine answers with a status code");
    for (name, value) in &head.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).expect("the machine writes header names");
        // A value may quote what the client sent; what no header can hold is left out.
        if let Ok(value) = HeaderValue::from_bytes(value.as_bytes()) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// The machine has stopped and will not answer any more.
fn stopping() -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], "stopping").into_response()
}
