//! The only source of chance in the machine: a seed that the host draws once for each life.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// 128 bits that the host draws anew for each life of the machine (the simulator: from its own seed).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(pub u128);

/// Identifiers drawn from a [`Seed`]: the n-th draw is a hash of seed and n, so a replay draws the same.
#[derive(Debug, Clone)]
pub struct Draws {
    seed: Seed,
    drawn: u64,
}

impl Draws {
    /// Starts at the first draw of `seed`.
    pub fn new(seed: Seed) -> Draws {
        Draws { seed, drawn: 0 }
    }

    fn next_u128(&mut self) -> u128 {
        let mut input = [0_u8; 24];
        input[..16].copy_from_slice(&self.seed.0.to_le_bytes());
        input[16..].copy_from_slice(&self.drawn.to_le_bytes());
        self.drawn += 1;
        xxhash_rust::xxh3::xxh3_128(&input)
    }

    /// A version 4 UUID.
    pub fn uuid(&mut self) -> Uuid {
        uuid::Builder::from_random_bytes(self.next_u128().to_be_bytes()).into_uuid()
    }

    /// A positive snapshot id. Iceberg wants it unique in its table. Below 2^53: it stands in acks as a JSON number, of which
    /// JavaScript keeps no more digits.
    pub fn snapshot_id(&mut self) -> i64 {
        (self.next_u128() as u64 & ((1 << 53) - 1)).max(1) as i64
    }

    /// The number of this life (see [`crate::Op`]).
    pub fn life(&mut self) -> u64 {
        self.next_u128() as u64
    }

    /// A value below `bound` (which is at least 1), for back-off jitter.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u128() as u64 % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same_and_never_twice_the_same() {
        let draw = |seed| {
            let mut draws = Draws::new(Seed(seed));
            (0..4).map(|_| draws.uuid()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(7)[0], draw(7)[1]);
    }
}
