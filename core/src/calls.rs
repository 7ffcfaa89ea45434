//! HTTP requests: what each asks for, and the answers. What is shown of the machine's state is in [`crate::report`].

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::catalog::state::Tables;
use crate::catalog::{self, CatalogAnswer, CatalogRequest, CatalogView, MetadataWanted};
use crate::command::{Class, Command, Outcome};
use crate::context::Context;
use crate::event::{CallId, RequestHead};
use crate::flush::Flusher;
use crate::http::error::{ErrorKind, ErrorModel, HttpError};
use crate::http::respond::Answer;
use crate::http::route::{BodyEncoding, BodyFormat, CdcRequest, Route, route};
use crate::http::status::CdcAnswer;
use crate::ingest::source::Opening;
use crate::ingest::{Arrived, Ingest, Origin, RefusedBefore};
use crate::lake::MOUNT;
use crate::limits::REQUEST_BODY_BYTES_MAX;
use crate::pending::Pending;
use crate::report;
use crate::settings::Settings;
use crate::wire::NackReason;
use crate::wire::server::{AckStatus, Nack, ServerMessage};
use crate::wire::{WireLimits, parse_post};

/// What a request needs to be answered.
#[derive(Debug)]
pub(crate) enum Need {
    /// It is answered, or its body is being read.
    Nothing,
    /// A flush.
    Flush,
    /// A source is to know of a batch that is refused, and answered.
    Refuse(RefusedBefore),
    /// A look at the machine.
    View(Question),
}

/// Something that only the whole machine can answer.
#[derive(Debug)]
pub(crate) enum Question {
    Health,
    Status,
    Metrics { json: bool },
    Settings,
    Catalog(CatalogRequest),
}

/// What a request's body turned out to be.
#[derive(Debug)]
pub(crate) enum Body {
    /// More is to come, or the request is answered.
    Incomplete,
    /// A batch.
    Batch(Box<Arrived>),
    /// A batch that is refused, and answered.
    Refused(RefusedBefore),
    /// A change of settings.
    Settings(Bytes),
}

/// The machine, to be looked at.
pub(crate) struct View<'a> {
    pub(crate) ingest: &'a Ingest,
    pub(crate) flusher: &'a Flusher,
    pub(crate) tables: &'a Tables,
    pub(crate) settings: &'a Settings,
    pub(crate) warnings: &'a [String],
    pub(crate) stopping: bool,
}

#[derive(Debug)]
enum Call {
    Body { purpose: BodyPurpose, read: BytesMut },
    Batch { source: String, events: u64 },
    Metadata(MetadataWanted),
}

impl Call {
    /// Bytes of its body that wait for the rest.
    fn read(&self) -> usize {
        match self {
            Call::Body { read, .. } => read.len(),
            Call::Batch { .. } | Call::Metadata(_) => 0,
        }
    }
}

#[derive(Debug)]
enum BodyPurpose {
    Cdc(CdcRequest),
    Settings,
}

/// Open requests.
#[derive(Debug)]
pub(crate) struct Calls {
    open: BTreeMap<CallId, Call>,
    warehouse: String,
    config_defaults: BTreeMap<String, String>,
    table_config: BTreeMap<String, String>,
}

impl Calls {
    /// No request yet; the catalog's warehouse is named by where the store is.
    pub(crate) fn new(location: &str) -> Calls {
        Calls {
            open: BTreeMap::new(),
            warehouse: location.to_owned(),
            config_defaults: BTreeMap::new(),
            table_config: BTreeMap::new(),
        }
    }

    /// Answers a request.
    pub(crate) fn respond(call: CallId, answer: Answer, cx: &mut Context<'_>) {
        cx.out.push(Command::Respond { call, head: answer.head, body: answer.body });
    }

    /// The client went away.
    pub(crate) fn gone(&mut self, call: CallId) {
        self.open.remove(&call);
    }

    /// A request came.
    pub(crate) fn requested(&mut self, call: CallId, head: &RequestHead, cx: &mut Context<'_>) -> Need {
        let found = match route(head, MOUNT) {
            Ok(found) => found,
            Err(error) => {
                Calls::respond(call, error.answer(), cx);
                return Need::Nothing;
            }
        };
        match found {
            Route::Health => Need::View(Question::Health),
            Route::Status => Need::View(Question::Status),
            Route::Metrics { json } => Need::View(Question::Metrics { json }),
            Route::Settings => Need::View(Question::Settings),
            Route::Catalog(request) => Need::View(Question::Catalog(request)),
            Route::Flush => Need::Flush,
            Route::Cdc(request) => {
                if let Some(error) = unsupported(&request) {
                    Calls::respond(call, error.answer(), cx);
                    return Need::Refuse(refused_before(request, None, None));
                }
                self.read_body(call, BodyPurpose::Cdc(request), cx);
                Need::Nothing
            }
            Route::PatchSettings => {
                self.read_body(call, BodyPurpose::Settings, cx);
                Need::Nothing
            }
            Route::Wait(_) => not_there(call, "waiting for an event", cx),
            Route::MemoryStats => not_there(call, "memory statistics", cx),
            Route::WriteStats => not_there(call, "write statistics", cx),
            Route::NotImplemented { model, what } => {
                Calls::respond(call, HttpError::not_implemented(model, &what).answer(), cx);
                Need::Nothing
            }
        }
    }

    fn read_body(&mut self, call: CallId, purpose: BodyPurpose, cx: &mut Context<'_>) {
        self.open.insert(call, Call::Body { purpose, read: BytesMut::new() });
        cx.out.push(Command::ReadMore { call });
    }

    /// A piece of a request's body came.
    pub(crate) fn body_chunk(&mut self, call: CallId, bytes: &Bytes, last: bool, cx: &mut Context<'_>) -> Body {
        let others_bytes: usize = self.open.iter().filter(|(id, _)| **id != call).map(|(_, other)| other.read()).sum();
        let Some(Call::Body { purpose, read }) = self.open.get_mut(&call) else { return Body::Incomplete };
        let most = match purpose {
            BodyPurpose::Cdc(_) => cx.config.max_payload_size,
            BodyPurpose::Settings => REQUEST_BODY_BYTES_MAX as u64,
        };
        read.extend_from_slice(bytes);
        let has_room = others_bytes == 0 || (others_bytes + read.len()) as u64 <= cx.config.memory_budget_bytes / 4;
        let error = if read.len() as u64 > most {
            let message = format!("body: expected at most {most} bytes: send fewer events at a time");
            Some(HttpError::new(ErrorKind::PayloadTooLarge, message))
        } else if !has_room {
            let message = "too many request bodies are on their way: send it again later";
            Some(HttpError::new(ErrorKind::Unavailable, message))
        } else {
            None
        };
        if let Some(error) = error {
            let removed = self.open.remove(&call);
            Calls::respond(call, error.answer(), cx);
            return match removed {
                Some(Call::Body { purpose: BodyPurpose::Cdc(request), .. }) => {
                    Body::Refused(refused_before(request, None, None))
                }
                Some(Call::Body { .. } | Call::Batch { .. } | Call::Metadata(_)) | None => Body::Incomplete,
            };
        }
        if !last {
            cx.out.push(Command::ReadMore { call });
            return Body::Incomplete;
        }
        match self.open.remove(&call) {
            Some(Call::Body { purpose: BodyPurpose::Settings, read }) => Body::Settings(read.freeze()),
            Some(Call::Body { purpose: BodyPurpose::Cdc(request), read }) => {
                self.batch(call, request, &read.freeze(), cx)
            }
            Some(Call::Batch { .. } | Call::Metadata(_)) | None => Body::Incomplete,
        }
    }

    fn batch(&mut self, call: CallId, request: CdcRequest, body: &Bytes, cx: &mut Context<'_>) -> Body {
        let same = |other: &Call| matches!(other, Call::Batch { source, .. } if *source == request.source);
        let is_beside_another = self.open.values().any(same);
        let limits =
            WireLimits { max_payload_bytes: cx.config.max_payload_size, max_event_bytes: cx.config.max_event_size };
        match parse_post(body, &request.source, cx.wall.0, &limits) {
            Ok(post) => {
                let events = post.batch.events.len() as u64;
                let (origin, is_numbered) = (Origin::Call(call), post.is_numbered);
                let epoch = post.batch.source_epoch.clone().unwrap_or_default();
                if is_beside_another {
                    let message = format!("source {:?} has a POST /cdc under way: send one at a time", request.source);
                    Calls::respond(call, HttpError::new(ErrorKind::Conflict, message).answer(), cx);
                    return Body::Refused(RefusedBefore {
                        source: request.source,
                        epoch: Some(epoch),
                        number: Some(post.batch.sequence_number),
                        retry: true,
                        batch: Some(Arc::new(post.batch)),
                        sparse: !is_numbered,
                        conn: None,
                    });
                }
                self.open.insert(call, Call::Batch { source: request.source, events });
                let opening = Opening { base: 0, sparse: !is_numbered };
                Body::Batch(Box::new(Arrived {
                    batch: Arc::new(post.batch),
                    origin,
                    epoch,
                    is_numbered,
                    opening,
                    turn: 0,
                }))
            }
            Err(error) => {
                let kind = match error.reason {
                    NackReason::PayloadTooLarge | NackReason::EventTooLarge => ErrorKind::PayloadTooLarge,
                    NackReason::BufferFull
                    | NackReason::RateLimited
                    | NackReason::InvalidSequence
                    | NackReason::InvalidFormat
                    | NackReason::InternalError
                    | NackReason::ShuttingDown
                    | NackReason::LoadShedding
                    | NackReason::ConnectionLimit
                    | NackReason::IpLimit => ErrorKind::InvalidRequest,
                };
                Calls::respond(call, HttpError::new(kind, error.message).answer(), cx);
                let epoch = error.named.source_epoch;
                Body::Refused(refused_before(request, epoch, error.named.sequence_number))
            }
        }
    }

    /// A batch that came by `POST /cdc` has its answer.
    pub(crate) fn batch_answered(&mut self, call: CallId, message: &ServerMessage, cx: &mut Context<'_>) {
        let Some(Call::Batch { events, .. }) = self.open.remove(&call) else { return };
        let answer = match message {
            ServerMessage::Ack(ack) => {
                let accepted = match ack.status {
                    AckStatus::Duplicate => 0,
                    AckStatus::Ok | AckStatus::Buffered | AckStatus::Persisted | AckStatus::Fallback => {
                        ack.details.as_ref().map_or(0, |details| details.events_processed)
                    }
                };
                let answer = CdcAnswer {
                    success: true,
                    events_received: events,
                    events_accepted: accepted,
                    duplicates: events - accepted,
                    dead_letters: 0,
                };
                Answer::json(200, &answer)
            }
            ServerMessage::Nack(nack) => refused(nack).answer(),
            message @ (ServerMessage::Status(_) | ServerMessage::Pong(_) | ServerMessage::FlushResponse(_)) => {
                panic!("a batch is answered by an ack or a nack, not by {message:?}")
            }
        };
        Calls::respond(call, answer, cx);
    }

    /// Answers with a look at the machine.
    pub(crate) fn show(&mut self, call: CallId, question: Question, view: &View<'_>, cx: &mut Context<'_>) {
        let answer = match question {
            Question::Health => report::health(view, cx),
            Question::Status => Answer::json(200, &report::status(view, cx)),
            Question::Metrics { json } => crate::http::metrics::answer(&report::metrics(view), json),
            Question::Settings => Answer::json(200, view.settings.config()),
            Question::Catalog(request) => return self.catalog(call, &request, view, cx),
        };
        Calls::respond(call, answer, cx);
    }

    fn catalog(&mut self, call: CallId, request: &CatalogRequest, view: &View<'_>, cx: &mut Context<'_>) {
        let warehouses = [self.warehouse.as_str()];
        let catalog = CatalogView {
            warehouses: &warehouses,
            config_defaults: &self.config_defaults,
            namespaces: &view.tables.namespaces,
            tables: &view.tables.pointers,
        };
        let answer = match catalog::answer(&catalog, request) {
            Ok(CatalogAnswer::Ready(answer)) => answer,
            Err(error) => error.answer(),
            Ok(CatalogAnswer::NeedsMetadata(wanted)) => {
                let key = cx.key_of(&wanted.metadata_location).unwrap_or_else(|| wanted.metadata_location.clone());
                self.open.insert(call, Call::Metadata(wanted));
                cx.get(Class::Catalog, key, Pending::CallMetadata { call });
                return;
            }
        };
        Calls::respond(call, answer, cx);
    }

    /// The metadata that a client asked for came from the store.
    pub(crate) fn metadata_read(&mut self, call: CallId, outcome: Outcome, cx: &mut Context<'_>) {
        let Some(Call::Metadata(wanted)) = self.open.remove(&call) else { return };
        let unavailable = |message: String| HttpError::catalog(ErrorKind::Unavailable, message).retry_after_ms(1_000);
        let answer = match outcome.of_get().done() {
            Ok(Some(bytes)) => wanted.finish(&bytes, &self.table_config),
            Ok(None) => {
                let message = format!("{}: expected table metadata, got nothing", wanted.metadata_location);
                Err(HttpError::catalog(ErrorKind::Internal, message))
            }
            Err(failure) => Err(unavailable(format!("the store failed ({}): try again", failure.message))),
        };
        Calls::respond(call, answer.unwrap_or_else(|error| error.answer()), cx);
    }
}

fn not_there(call: CallId, what: &str, cx: &mut Context<'_>) -> Need {
    Calls::respond(call, HttpError::not_implemented(ErrorModel::Dolake, what).answer(), cx);
    Need::Nothing
}

/// A body that was refused before its source was asked. `epoch` and `number` are what it says of itself, as far as it was
/// read.
fn refused_before(request: CdcRequest, epoch: Option<String>, number: Option<u64>) -> RefusedBefore {
    let number = request.sequence_number.or(number);
    let epoch = request.source_epoch.or(epoch);
    let (source, sparse) = (request.source, number.is_none());
    RefusedBefore { source, epoch, number, retry: false, batch: None, sparse, conn: None }
}

fn unsupported(request: &CdcRequest) -> Option<HttpError> {
    let what = match (request.format, request.encoding) {
        (BodyFormat::Ndjson, _) => "POST /cdc with NDJSON",
        (BodyFormat::Json, BodyEncoding::Gzip | BodyEncoding::Zstd) => "POST /cdc with a compressed body",
        (BodyFormat::Json, BodyEncoding::Identity) => return None,
    };
    Some(HttpError::not_implemented(ErrorModel::Dolake, what))
}

fn refused(nack: &Nack) -> HttpError {
    let kind = match nack.reason {
        NackReason::BufferFull | NackReason::ShuttingDown | NackReason::LoadShedding | NackReason::InternalError => {
            ErrorKind::Unavailable
        }
        NackReason::RateLimited | NackReason::ConnectionLimit | NackReason::IpLimit => ErrorKind::TooManyRequests,
        NackReason::InvalidSequence => ErrorKind::Conflict,
        NackReason::InvalidFormat => ErrorKind::InvalidRequest,
        NackReason::PayloadTooLarge | NackReason::EventTooLarge => ErrorKind::PayloadTooLarge,
    };
    let error = HttpError::new(kind, nack.error_message.clone());
    match nack.retry_delay_ms {
        Some(delay_ms) => error.retry_after_ms(delay_ms),
        None => error.finally(),
    }
}
