//! Clients that do not play along: they never read, cut their requests short, or never finish them.

use std::sync::Arc;
use std::time::Duration;

use dolake_sim::rng::Rng;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use turmoil::net::TcpStream;

use crate::memory;
use crate::net::HOST;
use crate::raw::{Answer, answer, connections_of, get, heartbeat, introduced, request};
use crate::seeds;
use crate::sources::Source;
use crate::world::{Plan, World};

/// What a connection that does not read may cost: 1 MiB of answers, and buffers.
const UNREAD_BYTES_MAX: usize = 3 << 20;

/// Some 20 MB of answers.
const MESSAGES_MAX: u32 = 60_000;

/// A peer that cannot send for so long is not waited for by the host either.
const STALLED: Duration = Duration::from_secs(5);

#[test]
fn a_peer_that_never_reads_is_closed_before_it_costs_much() {
    seeds("a_peer_that_never_reads_is_closed_before_it_costs_much", 5, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 1, segments: 32, latency_ms_max: 10, ..Plan::default() });
        world.wait_ready();
        let peers = usize::try_from(world.rng.between(1, 4)).expect("few");
        memory::begin();
        for n in 0..peers {
            let name = format!("deaf-{n}");
            world.sim.client(name.clone(), async move {
                let mut socket = introduced(&name).await;
                let mut sent = 0;
                // Nobody takes any more when the connection is closed; that it is, only the host can tell for sure.
                while let Ok(Ok(())) = timeout(STALLED, socket.send(heartbeat(&name))).await {
                    sent += 1;
                    assert!(sent < MESSAGES_MAX, "still open after {sent} messages");
                }
                sleep(Duration::from_secs(10)).await;
                assert_eq!(connections_of(&name).await, 0);
                Ok(())
            });
        }
        world.run(Duration::from_secs(140));
        let peak = memory::peak_bytes();
        assert!(peak < (peers + 1) * UNREAD_BYTES_MAX, "{peak} bytes for {peers} peers");
        world.finish();
    });
}

/// Sends every batch of a source by POST until it is answered 200; many tries are slow or cut short.
async fn post_all(source: Arc<Source>, mut rng: Rng) -> turmoil::Result {
    for n in 0..source.batches {
        let batch = source.batch(n);
        let body = format!(r#"{{"events":{},"sequenceNumber":{}}}"#, batch.events, batch.last);
        let request = request("POST", "/cdc", &source.name, &body);
        while !matches!(post(&request, &mut rng).await, Ok(Answer { status: 200, .. })) {
            sleep(Duration::from_millis(rng.between(10, 2_000))).await;
        }
        sleep(source.pace).await;
    }
    source.told.lock().expect("one thread").done = true;
    Ok(())
}

async fn post(request: &str, rng: &mut Rng) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(HOST).await?;
    let bytes = request.as_bytes();
    let cut = if rng.chance(300_000) { Some(rng.below(bytes.len() as u64) as usize) } else { None };
    let sent = &bytes[..cut.unwrap_or(bytes.len())];
    let piece = rng.between(1, 600) as usize;
    for piece in sent.chunks(piece) {
        stream.write_all(piece).await?;
        sleep(Duration::from_millis(rng.below(50))).await;
    }
    match cut {
        Some(_) => Err(std::io::ErrorKind::Interrupted.into()),
        None => answer(&mut stream).await,
    }
}

#[test]
fn requests_that_are_slow_or_cut_short_are_applied_once_or_not_at_all() {
    seeds("requests_that_are_slow_or_cut_short_are_applied_once_or_not_at_all", 15, |seed| {
        let plan = Plan { nodes: 1, batches: 30, ..Plan::default() };
        let mut world = World::new(seed, &plan);
        world.wait_ready();
        for n in 0..3 {
            let source = world.source(&format!("http-{n}"), &plan);
            world.sources.push(Arc::clone(&source));
            world.nodes.push(source.name.clone());
            let rng = Rng::new(seed, &source.name);
            world.sim.client(source.name.clone(), post_all(source, rng));
        }
        for _ in 0..world.rng.below(3) {
            world.run_some(5_000);
            world.crash_host(false);
            world.run_some(1_000);
            world.start_host();
        }
        world.finish();
    });
}

/// Half a head; a whole request and then nothing.
const SILENT_STARTS: [&str; 2] = ["GET /health HTTP/1.1\r\nHo", "GET /health HTTP/1.1\r\nHost: dolake\r\n\r\n"];

#[test]
fn a_connection_on_which_no_request_comes_is_closed() {
    seeds("a_connection_on_which_no_request_comes_is_closed", 3, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 0, ..Plan::default() });
        world.wait_ready();
        for (n, start) in SILENT_STARTS.into_iter().enumerate() {
            world.sim.client(format!("silent-{n}"), async move {
                let mut stream = TcpStream::connect(HOST).await?;
                stream.write_all(start.as_bytes()).await?;
                // Ends when the host closes the connection, whatever it says before.
                timeout(Duration::from_secs(40), stream.read_to_end(&mut Vec::new())).await??;
                Ok(())
            });
        }
        world.run(Duration::from_secs(45));
        world.finish();
    });
}

#[test]
fn requests_that_are_never_finished_keep_nobody_else_waiting_for_long() {
    seeds("requests_that_are_never_finished_keep_nobody_else_waiting_for_long", 2, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 1, segments: 2_048, ..Plan::default() });
        world.wait_ready();
        let silent = world.rng.chance(500_000);
        world.sim.client("stuck", async move {
            let tries = (0..1_100).map(|n| async move {
                let mut stream = TcpStream::connect(HOST).await?;
                let whole = request("POST", "/cdc", &format!("stuck-{n}"), "{\"events\":[]}");
                stream.write_all(&whole.as_bytes()[..whole.len() - 5]).await?;
                std::io::Result::Ok(stream)
            });
            let stuck = futures_util::future::join_all(tries).await;
            assert!(stuck.iter().all(Result::is_ok));
            sleep(Duration::from_secs(1)).await;
            if silent {
                turmoil::partition(HOST.0, "stuck");
            }
            sleep(Duration::from_secs(150)).await;
            Ok(())
        });
        world.sim.client("operator", async {
            sleep(Duration::from_secs(3)).await;
            let answer = get("/health").await.expect("others are served");
            assert_eq!(answer.status, 200);
            Ok(())
        });
        world.run(Duration::from_secs(160));
        world.finish();
    });
}

/// The head of a WebSocket text message from a client, whose mask changes nothing.
fn frame_head(length: u64) -> Vec<u8> {
    [&[0x81, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat()
}

/// What the host says when it closes a connection.
async fn goodbye(socket: &mut WebSocketStream<TcpStream>) -> Option<u16> {
    while let Ok(Some(Ok(message))) = timeout(Duration::from_secs(20), socket.next()).await {
        if let Message::Close(frame) = message {
            return frame.map(|frame| frame.code.into());
        }
    }
    None
}

#[test]
fn a_message_that_comes_slowly_comes_through() {
    seeds("a_message_that_comes_slowly_comes_through", 2, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 0, ..Plan::default() });
        world.wait_ready();
        world.sim.client("slow", async {
            let mut socket = introduced("slow").await;
            let text = heartbeat("slow").into_text().expect("a text");
            let stream = socket.get_mut();
            stream.write_all(&frame_head(text.len() as u64)).await?;
            for piece in text.as_bytes().chunks(text.len() / 12) {
                sleep(Duration::from_secs(20)).await;
                stream.write_all(piece).await?;
            }
            loop {
                let message = timeout(Duration::from_secs(20), socket.next()).await?.expect("it is open")?;
                if message.to_text().is_ok_and(|text| text.contains(r#""type":"pong""#)) {
                    return Ok(());
                }
            }
        });
        world.run(Duration::from_secs(300));
        world.finish();
    });
}

#[test]
fn who_sends_what_no_message_can_be_is_told_why_the_connection_ends() {
    seeds("who_sends_what_no_message_can_be_is_told_why_the_connection_ends", 2, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 0, ..Plan::default() });
        world.wait_ready();
        world.sim.client("other", async {
            let mut socket = introduced("binary").await;
            let not_utf8 = [&frame_head(2)[..], &[0xff, 0xfe]].concat();
            socket.get_mut().write_all(&not_utf8).await?;
            assert_eq!(goodbye(&mut socket).await, Some(1007));
            let mut socket = introduced("huge").await;
            socket.get_mut().write_all(&frame_head(34 << 20)).await?;
            assert_eq!(goodbye(&mut socket).await, Some(1009));
            Ok(())
        });
        world.run(Duration::from_secs(60));
        world.finish();
    });
}

#[test]
fn a_request_that_is_refused_early_hears_it() {
    seeds("a_request_that_is_refused_early_hears_it", 2, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 0, ..Plan::default() });
        world.wait_ready();
        world.sim.client("large", async {
            let mut stream = TcpStream::connect(HOST).await?;
            stream.write_all(request("POST", "/cdc", "large", &" ".repeat(6 << 20)).as_bytes()).await?;
            assert_eq!(answer(&mut stream).await?.status, 413);
            let mut stream = TcpStream::connect(HOST).await?;
            let whole = request("POST", "/cdc", "z?hler", "{}").replace('?', "\u{1}").into_bytes();
            let whole: Vec<u8> = whole.into_iter().map(|byte| if byte == 1 { 0xe4 } else { byte }).collect();
            stream.write_all(&whole).await?;
            assert_eq!(answer(&mut stream).await?.status, 400);
            Ok(())
        });
        world.run(Duration::from_secs(60));
        world.finish();
    });
}
