//! A host that dies, and a host that is told to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use turmoil::net::TcpStream;

use crate::net::HOST;
use crate::raw::introduced;
use crate::seeds;
use crate::world::{Plan, World};

#[test]
fn a_host_that_dies_again_and_again_goes_on_from_its_journal() {
    seeds("a_host_that_dies_again_and_again_goes_on_from_its_journal", 20, |seed| {
        let mut world = World::new(seed, &Plan::default());
        for _ in 0..world.rng.between(2, 6) {
            if world.rng.chance(300_000) {
                world.trouble_store();
            }
            world.run_some(5_000);
            let silent = world.rng.chance(400_000);
            world.crash_host(silent);
            world.run_some(3_000);
            world.each_link(|sim, a, b| sim.repair(a, b));
            if world.rng.chance(300_000) {
                let nodes = world.nodes.clone();
                let node = world.rng.pick(&nodes).clone();
                world.sim.bounce(node.as_str());
            }
            world.start_host();
        }
        world.finish();
    });
}

#[test]
fn a_host_that_stops_under_load_flushes_and_its_producers_go_on_with_the_next() {
    seeds("a_host_that_stops_under_load_flushes_and_its_producers_go_on_with_the_next", 20, |seed| {
        let mut world = World::new(seed, &Plan { pace_ms_max: 100, ..Plan::default() });
        for _ in 0..world.rng.between(1, 3) {
            world.wait_ready();
            world.run_some(4_000);
            let node = world.nodes[0].clone();
            let dead = world.rng.chance(300_000);
            if dead {
                world.sim.hold(HOST.0, node.as_str());
            }
            world.stop_host();
            if dead {
                world.sim.release(HOST.0, node.as_str());
            }
            world.run_some(10_000);
            world.start_host();
        }
        world.finish();
    });
}

/// Reads until the host says goodbye; whether it did so, and not just went away.
async fn hears_goodbye(name: String) -> bool {
    let mut socket = introduced(&name).await;
    while let Some(Ok(message)) = socket.next().await {
        if let Message::Close(Some(close)) = message {
            return close.code == CloseCode::Away;
        }
    }
    false
}

#[test]
fn a_host_that_stops_says_goodbye_to_every_socket() {
    seeds("a_host_that_stops_says_goodbye_to_every_socket", 10, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 0, ..Plan::default() });
        world.wait_ready();
        let heard = Arc::new(AtomicU64::new(0));
        for n in 0..5 {
            let (name, heard) = (format!("reader-{n}"), Arc::clone(&heard));
            world.sim.client(name.clone(), async move {
                heard.fetch_add(u64::from(hears_goodbye(name).await), Ordering::Relaxed);
                Ok(())
            });
        }
        // An open request is not to be what the host waits for.
        let idle = world.rng.chance(500_000);
        world.sim.client("idle", async move {
            let stream = TcpStream::connect(HOST).await?;
            if idle {
                sleep(Duration::from_secs(20)).await;
            }
            drop(stream);
            Ok(())
        });
        world.run(Duration::from_secs(2));
        world.stop_host();
        world.run(Duration::from_secs(1));
        assert_eq!(heard.load(Ordering::Relaxed), 5);
    });
}
