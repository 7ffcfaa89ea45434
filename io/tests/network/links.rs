//! Links between the host, its producers and its store that break, stall and come back.

use std::time::Duration;

use crate::net::{HOST, STORE};
use crate::seeds;
use crate::world::{Plan, World};

/// Breaks one link in one of the ways that links break, for a while.
fn disturb(world: &mut World) {
    let nodes: Vec<String> = world.nodes.iter().cloned().chain([STORE.0.to_owned()]).collect();
    let other = world.rng.pick(&nodes).clone();
    let other = other.as_str();
    match world.rng.below(4) {
        0 => world.sim.partition(HOST.0, other),
        1 => world.sim.partition_oneway(HOST.0, other),
        2 => world.sim.partition_oneway(other, HOST.0),
        _ => world.sim.hold(HOST.0, other),
    }
    let ms = if world.rng.chance(250_000) { 90_000 } else { 8_000 };
    world.run_some(ms);
    world.sim.release(HOST.0, other);
    world.sim.repair(HOST.0, other);
}

fn partitions(seed: u64) -> Vec<String> {
    let mut world = World::new(seed, &Plan::default());
    for _ in 0..world.rng.between(2, 6) {
        if world.rng.chance(300_000) {
            world.trouble_store();
        }
        if world.rng.chance(200_000) {
            let ms = i64::try_from(world.rng.below(7_200_000)).expect("fits") - 3_600_000;
            world.host.clock.jump(ms);
        }
        world.run_some(4_000);
        disturb(&mut world);
    }
    world.finish()
}

#[test]
fn what_was_acked_is_in_the_lake_once_whatever_link_broke() {
    seeds("what_was_acked_is_in_the_lake_once_whatever_link_broke", 20, |seed| drop(partitions(seed)));
}

#[test]
fn the_same_seed_tells_the_same_story() {
    seeds("the_same_seed_tells_the_same_story", 3, |seed| assert_eq!(partitions(seed), partitions(seed)));
}

#[test]
fn two_hundred_producers_that_come_back_at_once_are_all_served() {
    let plan = Plan { nodes: 8, sources: 25, batches: 12, pace_ms_max: 2_000, segments: 512, ..Plan::default() };
    seeds("two_hundred_producers_that_come_back_at_once_are_all_served", 5, |seed| {
        let mut world = World::new(seed, &plan);
        world.run(Duration::from_secs(3));
        if world.rng.chance(500_000) {
            world.crash_host(false);
            world.run_some(5_000);
            world.start_host();
        } else {
            world.each_link(|sim, a, b| sim.partition(a, b));
            // Longer than any silence that is borne: every connection is given up, on both sides.
            world.run(Duration::from_secs(70));
        }
        world.finish();
    });
}
