//! The machine's two clocks: what the host says it is (written into the lake) and what the machine counts (deadlines).
//!
//! A host's clock may jump. Machine time adds its elapsed time step by step: below zero counts as zero, above
//! `maxClockStepMs` as that. So a jump costs a late or early flush, nothing more (`promises`, "Time").

use serde::{Deserialize, Serialize};

/// The host's wall clock: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(pub i64);

/// Machine time: milliseconds the machine has counted over all its lives. Never goes back within one; the next goes on
/// from the latest moment that the rows it begins with speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct MachineTime(pub u64);

impl MachineTime {
    /// This time plus `ms` milliseconds, saturating.
    pub fn after_ms(self, ms: u64) -> MachineTime {
        MachineTime(self.0.saturating_add(ms))
    }

    /// This time less `ms` milliseconds, or zero.
    pub fn before_ms(self, ms: u64) -> MachineTime {
        MachineTime(self.0.saturating_sub(ms))
    }

    /// Milliseconds from `earlier` until now; zero if `earlier` lies ahead.
    pub fn since_ms(self, earlier: MachineTime) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Turns the host's clock into machine time.
#[derive(Debug, Clone)]
pub struct Clock {
    last_host: Timestamp,
    now: MachineTime,
    max_step_ms: u64,
}

impl Clock {
    /// A clock that goes on from `saved`. The gap since the former life counts as one step of at most `max_step_ms`.
    pub fn resume(saved: MachineTime, saved_at: Option<Timestamp>, now: Timestamp, max_step_ms: u64) -> Clock {
        let mut clock = Clock { last_host: saved_at.unwrap_or(now), now: saved, max_step_ms };
        clock.advance(now);
        clock
    }

    /// Counts the host time that passed since the last call, within the bounds of one step.
    pub fn advance(&mut self, host_now: Timestamp) -> MachineTime {
        let elapsed_ms = u64::try_from(host_now.0.saturating_sub(self.last_host.0)).unwrap_or(0);
        let max_step_ms = if mutant!(ClockJumpCountsInFull) { u64::MAX } else { self.max_step_ms };
        self.now = self.now.after_ms(elapsed_ms.min(max_step_ms));
        if !(mutant!(ClockStandsAfterJumpBack) && host_now < self.last_host) {
            self.last_host = host_now;
        }
        self.now
    }

    /// Machine time at the last [`Clock::advance`].
    pub fn now(&self) -> MachineTime {
        self.now
    }

    /// The host's clock at the last [`Clock::advance`].
    pub fn host_now(&self) -> Timestamp {
        self.last_host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock() -> Clock {
        Clock::resume(MachineTime(1_000), Some(Timestamp(50_000)), Timestamp(50_000), 60_000)
    }

    #[test]
    fn time_goes_on_by_what_the_host_says_has_passed() {
        assert_eq!(clock().advance(Timestamp(50_250)), MachineTime(1_250));
    }

    #[test]
    fn a_clock_that_jumps_back_counts_as_no_time() {
        let mut clock = clock();
        assert_eq!(clock.advance(Timestamp(10)), MachineTime(1_000));
        assert_eq!(clock.advance(Timestamp(20)), MachineTime(1_010));
    }

    #[test]
    fn a_clock_that_jumps_ahead_counts_as_one_step() {
        assert_eq!(clock().advance(Timestamp(i64::MAX)), MachineTime(61_000));
    }

    #[test]
    fn the_gap_between_two_lives_counts_as_one_step() {
        let clock = Clock::resume(MachineTime(5), Some(Timestamp(0)), Timestamp(3_600_000), 60_000);
        assert_eq!(clock.now(), MachineTime(60_005));
    }
}
