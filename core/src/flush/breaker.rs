//! The circuit breaker: what the machine believes about the store, and when it asks it again.
//!
//! Every failure of a store command opens the wait for the next try, longer each time. While the breaker is open one
//! command at a time is tried; the first success closes it.

use crate::config::Config;
use crate::seed::Draws;
use crate::time::MachineTime;

/// Failures in a row after which the store counts as failing.
const FAILURES_TO_OPEN: u32 = 3;

/// What acks call `circuitBreakerState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerState {
    /// The store answers.
    Closed,
    /// The store fails; nothing is tried until the delay has passed.
    Open,
    /// One command is on its way, to see.
    HalfOpen,
}

/// Counts what the store does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Breaker {
    failures_in_a_row: u32,
    probing: bool,
}

impl Breaker {
    /// The state now.
    pub(crate) fn state(&self) -> BreakerState {
        match (self.failures_in_a_row < FAILURES_TO_OPEN, self.probing) {
            (true, _) => BreakerState::Closed,
            (false, false) => BreakerState::Open,
            (false, true) => BreakerState::HalfOpen,
        }
    }

    /// Whether the store counts as failing: acks say `fallback`.
    pub(crate) fn is_failing(&self) -> bool {
        self.state() != BreakerState::Closed
    }

    /// Whether a command whose delay has passed may be tried. Marks it as the probe while the breaker is open.
    pub(crate) fn may_try(&mut self) -> bool {
        match self.state() {
            BreakerState::Closed => true,
            BreakerState::Open => {
                self.probing = true;
                true
            }
            BreakerState::HalfOpen => false,
        }
    }

    /// A store command had its effect.
    pub(crate) fn succeeded(&mut self) {
        *self = Breaker::default();
    }

    /// A store command failed, or nobody knows. Returns when to try again.
    pub(crate) fn failed(
        &mut self,
        now: MachineTime,
        asked_ms: Option<u64>,
        config: &Config,
        draws: &mut Draws,
    ) -> MachineTime {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        self.probing = self.probing && mutant!(ProbeNeverEnds);
        now.after_ms(backoff_ms(self.failures_in_a_row, asked_ms, config, draws))
    }
}

/// An exponential delay with jitter: between half and all of `base * 2^(failures - 1)`, at most `maxRetryDelayMs`; and
/// not below what the other side asked for, within the same bound.
pub(crate) fn backoff_ms(failures: u32, asked_ms: Option<u64>, config: &Config, draws: &mut Draws) -> u64 {
    let doublings = failures.saturating_sub(1).min(20);
    let full = config.base_retry_delay_ms.saturating_mul(1 << doublings).min(config.max_retry_delay_ms);
    let jittered = full / 2 + draws.below(full / 2 + 1);
    jittered.max(asked_ms.unwrap_or(0).min(config.max_retry_delay_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;

    fn fail(breaker: &mut Breaker, times: u32) {
        for _ in 0..times {
            breaker.failed(MachineTime(0), None, &Config::default(), &mut Draws::new(Seed(1)));
        }
    }

    #[test]
    fn one_failure_is_not_yet_a_failing_store() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, FAILURES_TO_OPEN - 1);
        assert_eq!(breaker.state(), BreakerState::Closed);
        fail(&mut breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn an_open_breaker_lets_one_command_through_and_its_success_closes_it() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, 5);
        assert!(breaker.may_try());
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert!(!breaker.may_try(), "one at a time");
        breaker.succeeded();
        assert_eq!(breaker.state(), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_fails_opens_it_again() {
        let mut breaker = Breaker::default();
        fail(&mut breaker, 5);
        breaker.may_try();
        fail(&mut breaker, 1);
        assert_eq!(breaker.state(), BreakerState::Open);
    }

    #[test]
    fn delays_double_up_to_the_longest_and_obey_what_the_store_asks() {
        let config = Config::default();
        let mut draws = Draws::new(Seed(3));
        for (failures, least, most) in [(1, 50, 100), (2, 100, 200), (5, 800, 1_600), (60, 15_000, 30_000)] {
            let delay = backoff_ms(failures, None, &config, &mut draws);
            assert!((least..=most).contains(&delay), "{failures} failures: {delay}");
        }
        assert_eq!(backoff_ms(1, Some(7_000), &config, &mut draws), 7_000);
        assert_eq!(backoff_ms(1, Some(u64::MAX), &config, &mut draws), 30_000);
    }
}
