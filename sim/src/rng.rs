//! Chance, made from a seed: the same seed gives the same numbers on every machine.
//!
//! A run has one generator for each concern (workload, faults, clock, network, machine), so that a new draw in one does
//! not change what the others draw.

/// xoshiro256**, seeded by splitmix64 from a seed and the name of a concern.
#[derive(Debug, Clone)]
pub struct Rng {
    state: [u64; 4],
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The generator of one concern of a run.
    pub fn new(seed: u64, concern: &str) -> Rng {
        let mut state = concern.bytes().fold(seed ^ 0x51ab_1e5e_ed00_0001, |state, byte| {
            let mut next = state ^ u64::from(byte);
            splitmix(&mut next)
        });
        Rng { state: std::array::from_fn(|_| splitmix(&mut state)) }
    }

    /// 64 bits.
    #[allow(clippy::should_implement_trait, reason = "it never ends, so it gives no Option")]
    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.state;
        let result = b.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// A number from `least` to `most`, both included.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// True `per_million` times in a million. Draws nothing for 0, so that a fault that is off changes nothing.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.below(1_000_000) < u64::from(per_million)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        assert!(!from.is_empty(), "nothing to pick from");
        &from[self.below(from.len() as u64) as usize]
    }

    /// Brings them into another order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at as u64 + 1) as usize);
        }
    }
}
