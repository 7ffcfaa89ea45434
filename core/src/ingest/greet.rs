//! The answer to `connect`: where the source stands.

use crate::context::Context;
use crate::event::ConnId;
use crate::ingest::answers;
use crate::ingest::conn::Ticket;
use crate::ingest::source::{Greeting, Hello};
use crate::ingest::{Ingest, Slot};
use crate::wire::NackReason;
use crate::wire::client::Connect;
use crate::wire::server::{AckStatus, BufferStats, LakeState, ServerMessage, Status};

impl Ingest {
    /// A source introduces itself: it is told of holes that were closed, its resume number, the state, and what is
    /// persisted, in this order.
    pub(super) fn greet(&mut self, conn: ConnId, ticket: Ticket, connect: Connect, cx: &mut Context<'_>) {
        if !self.conns.is_open(conn) {
            return;
        }
        let epoch = connect.source_epoch.clone().unwrap_or_default();
        let name = connect.source_do_id.clone();
        let most = usize::try_from(cx.config.max_connections_per_source).unwrap_or(usize::MAX);
        // One of another source, that only brought batches of this one, is not of this source.
        let Some(Slot::Ready(state)) = self.sources.get_mut(&name) else {
            panic!("source {name:?} is loaded before its messages are handled");
        };
        let introduced = |of: &ConnId| self.conns.introduction(*of).is_some_and(|said| said.source == name);
        if state.conns.keys().filter(|of| **of != conn && introduced(of)).count() >= most {
            self.turn_away(conn, ticket, &connect, most, cx);
            return;
        }
        let sparse = connect.capabilities.sparse;
        let hello = Hello { epoch: &epoch, last_ack: connect.last_ack_sequence, sparse, conn: Some(conn) };
        let greeting = state.source.connect(hello, cx.now);
        state.source.set_connected(true, cx.now);
        state.shard_name.clone_from(&connect.source_shard_name);
        state.connected_at_ms = Some(cx.wall.0);
        state.last_activity_ms = cx.wall.0;
        let told = state.conns.entry(conn).or_default();
        if let Some(mark) = greeting.mark {
            told.insert(epoch.clone(), mark);
        }
        self.stats.source_ahead += u64::from(greeting.source_ahead);
        if let Some(older) = greeting.superseded {
            self.conns.shut(older, "a newer connection of this source took over", cx.out);
        }
        let messages = self.greeting(&name, &epoch, connect.correlation_id, &greeting, cx);
        self.conns.answer_all(conn, ticket, messages, cx.now, cx.out);
    }

    fn greeting(
        &self,
        name: &str,
        epoch: &str,
        correlation_id: Option<String>,
        greeting: &Greeting,
        cx: &Context<'_>,
    ) -> Vec<ServerMessage> {
        let mut messages: Vec<ServerMessage> =
            greeting.closed.iter().map(|closed| answers::nack_closed(name, epoch, *closed, cx)).collect();
        let mut ok = answers::bare_ack(name, epoch, greeting.resume, AckStatus::Ok, cx);
        ok.correlation_id = correlation_id;
        ok.details = Some(answers::details(0, self.buffer.all().bytes, cx));
        messages.push(ServerMessage::Ack(ok));
        let mut status = self.status(cx);
        if greeting.source_ahead {
            status.state = LakeState::Recovering;
        }
        messages.push(ServerMessage::Status(status));
        if let Some(mark) = greeting.mark {
            let mut ack = answers::bare_ack(name, epoch, mark, AckStatus::Persisted, cx);
            ack.details = Some(answers::details(0, self.buffer.all().bytes, cx));
            messages.push(ServerMessage::Ack(ack));
        }
        messages
    }

    fn turn_away(&mut self, conn: ConnId, ticket: Ticket, connect: &Connect, most: usize, cx: &mut Context<'_>) {
        self.count_nack(NackReason::ConnectionLimit);
        let message =
            format!("source {:?} has {most} connections, the most there may be: close one", connect.source_do_id);
        let delay_ms = Some(cx.config.max_retry_delay_ms);
        let nack = answers::nack_connect(connect, NackReason::ConnectionLimit, message, delay_ms, cx);
        self.conns.answer(conn, ticket, nack, cx.now, cx.out);
        self.conns.shut(conn, "too many connections of this source", cx.out);
    }

    /// The seed's `status` message.
    pub(crate) fn status(&self, cx: &Context<'_>) -> Status {
        let all = self.buffer.all();
        let host_time = |at: crate::time::MachineTime| {
            cx.wall.0.saturating_sub(i64::try_from(cx.now.since_ms(at)).unwrap_or(i64::MAX))
        };
        let times = self.buffer.times();
        let state = match (self.is_recovering(), cx.store.failing, cx.store.flushing, all.batches) {
            (true, ..) => LakeState::Recovering,
            (_, true, ..) => LakeState::Error,
            (_, _, true, _) => LakeState::Flushing,
            (.., 0) => LakeState::Idle,
            (..) => LakeState::Receiving,
        };
        Status {
            timestamp: cx.wall.0,
            state,
            buffer: BufferStats {
                batch_count: all.batches,
                event_count: all.events,
                total_size_bytes: all.bytes,
                utilization: answers::utilization(all.bytes, cx),
                oldest_batch_time: times.map(|(oldest, _)| host_time(oldest)),
                newest_batch_time: times.map(|(_, newest)| host_time(newest)),
            },
            connected_sources: self.states().filter(|(_, state)| !state.conns.is_empty()).count() as u64,
            last_flush_time: cx.store.last_flush_ms,
            next_flush_time: (all.batches > 0)
                .then(|| cx.wall.0.saturating_add(i64::try_from(cx.store.next_flush_ms).unwrap_or(i64::MAX))),
        }
    }
}
