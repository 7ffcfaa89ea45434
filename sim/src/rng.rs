//! Chance, made from a seed: the same seed gives the same numbers on every machine.
//!
//! A run has one generator for each concern (workload, faults, clock, network, machine), so that a new draw in one does
//! not change what the others draw. A question is named with [`Rng::at`]; what was answered to it can be written down
//! and given again: see [`crate::decisions`]. Answers are written so that 0 is always the calm and simple one.

use crate::decisions::Tape;

/// xoshiro256**, seeded by splitmix64 from a seed and the name of a concern.
#[derive(Debug, Clone)]
struct Bits {
    state: [u64; 4],
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Bits {
    fn new(seed: u64, concern: &str) -> Bits {
        let mut state = concern.bytes().fold(seed ^ 0x51ab_1e5e_ed00_0001, |state, byte| {
            let mut next = state ^ u64::from(byte);
            splitmix(&mut next)
        });
        Bits { state: std::array::from_fn(|_| splitmix(&mut state)) }
    }

    fn next(&mut self) -> u64 {
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
}

/// The generator of one concern: draws its answers, and writes them down or takes them from a tape where it has one.
#[derive(Debug, Clone)]
pub struct Rng {
    bits: Bits,
    tape: Option<Box<Tape>>,
}

impl Rng {
    /// The generator of one concern of a run.
    pub fn new(seed: u64, concern: &str) -> Rng {
        Rng { bits: Bits::new(seed, concern), tape: None }
    }

    /// The same, with a tape that listens or dictates.
    pub fn with_tape(seed: u64, concern: &str, tape: Tape) -> Rng {
        Rng { bits: Bits::new(seed, concern), tape: Some(Box::new(tape)) }
    }

    /// Its tape.
    pub fn into_tape(self) -> Option<Tape> {
        self.tape.map(|tape| *tape)
    }

    /// Names the next question, so that its answers are kept apart from those to others: what is taken out of a
    /// recorded run then moves nothing else.
    pub fn at(&mut self, question: &'static str) -> &mut Rng {
        if let Some(tape) = &mut self.tape {
            tape.ask(question);
        }
        self
    }

    /// Says whose turn it is, if one of many: what each is answered is kept apart.
    pub fn turn_of(&mut self, actor: Option<usize>) {
        if let Some(tape) = &mut self.tape {
            tape.turn_of(actor);
        }
    }

    /// An answer below `answers`: drawn as `of` says from 64 bits, or as the tape says.
    fn decide(&mut self, answers: u64, of: impl FnOnce(u64) -> u64) -> u64 {
        let Rng { bits, tape } = self;
        match tape {
            None => of(bits.next()),
            Some(tape) => tape.answer(answers, || of(bits.next())),
        }
    }

    /// 64 bits.
    #[allow(clippy::should_implement_trait, reason = "it never ends, so it gives no Option")]
    pub fn next(&mut self) -> u64 {
        self.decide(u64::MAX, |bits| bits)
    }

    /// A number below `bound`; 0 if that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.decide(bound, |bits| bits % bound) }
    }

    /// A number from `least` to `most`, both included. The least is the calmest.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most.saturating_sub(least) + 1)
    }

    /// A number from `least` to `most`, both included. The most is the calmest: a pause between two deeds.
    pub fn delay(&mut self, least: u64, most: u64) -> u64 {
        let span = most.saturating_sub(least);
        least + span - self.decide(span + 1, |bits| span - bits % (span + 1))
    }

    /// True `per_million` times in a million. Draws nothing for 0, so that a fault that is off changes nothing.
    pub fn chance(&mut self, per_million: u32) -> bool {
        per_million > 0 && self.decide(2, |bits| u64::from(bits % 1_000_000 < u64::from(per_million))) == 1
    }

    /// True once in `n` times. False is the calm answer.
    pub fn one_in(&mut self, n: u64) -> bool {
        assert!(n > 0, "one in nothing");
        self.decide(2, |bits| u64::from(bits % n == 0)) == 1
    }

    /// One of several. The first is the calmest.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        assert!(!from.is_empty(), "nothing to pick from");
        &from[self.below(from.len() as u64) as usize]
    }

    /// Brings them into another order. The one that they are in is the calmest.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        let question = self.tape.as_mut().map(|tape| tape.asked());
        for at in (1..items.len()).rev() {
            if let (Some(tape), Some(question)) = (&mut self.tape, question) {
                tape.ask(question);
            }
            let down = self.decide(at as u64 + 1, |bits| at as u64 - bits % (at as u64 + 1));
            items.swap(at, at - down as usize);
        }
    }
}
