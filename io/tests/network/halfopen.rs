//! Connections whose other end is gone without a word.

use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::sleep;

use crate::net::HOST;
use crate::raw::{connections_of, introduced};
use crate::seeds;
use crate::world::{Plan, World};

/// A silent peer is asked after half a minute, and given up after another.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(65);

const LONG: Duration = Duration::from_secs(150);

#[test]
fn a_peer_that_is_gone_is_given_up_and_one_that_is_only_quiet_is_not() {
    seeds("a_peer_that_is_gone_is_given_up_and_one_that_is_only_quiet_is_not", 5, |seed| {
        let mut world = World::new(seed, &Plan { nodes: 0, ..Plan::default() });
        world.wait_ready();
        for name in ["quiet", "gone"] {
            world.sim.host(name, move || async move {
                // Reading answers the host's pings.
                let mut socket = introduced(name).await;
                while let Some(Ok(_)) = socket.next().await {}
                Ok(())
            });
        }
        let before = Duration::from_millis(world.rng.between(1_000, 100_000));
        world.sim.client("operator", async move {
            sleep(before).await;
            assert_eq!((connections_of("quiet").await, connections_of("gone").await), (1, 1));
            turmoil::partition(HOST.0, "gone");
            sleep(GIVEN_UP_AFTER).await;
            assert_eq!((connections_of("quiet").await, connections_of("gone").await), (1, 0));
            sleep(LONG).await;
            assert_eq!(connections_of("quiet").await, 1);
            Ok(())
        });
        world.run(before + GIVEN_UP_AFTER + LONG + Duration::from_secs(10));
        world.finish();
    });
}

#[test]
fn a_producer_that_loses_connection_after_connection_in_silence_gets_through_in_the_end() {
    seeds("a_producer_that_loses_connection_after_connection_in_silence_gets_through_in_the_end", 10, |seed| {
        let mut plan = Plan { nodes: 1, ..Plan::default() };
        plan.config.max_connections_per_source = 2;
        let mut world = World::new(seed, &plan);
        for _ in 0..6 {
            world.run_some(5_000);
            world.sim.partition(HOST.0, "node-0");
            // The producer gives a connection up sooner than the host does, so dead ones gather there.
            let ms = world.rng.between(31_000, 40_000);
            world.run(Duration::from_millis(ms));
            world.sim.repair(HOST.0, "node-0");
        }
        world.finish();
    });
}
