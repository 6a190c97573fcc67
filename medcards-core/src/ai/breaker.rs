use std::time::Duration;

use crate::{Error, ErrorKind, Result};

/// When a breaker opens, and how it closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct BreakerConfig {
    /// How many of the last calls are looked at, at most [`Self::WINDOW_MAX`]. Default: 20, so that
    /// what is long over is soon forgotten.
    pub window: u32,
    /// How many there must be before anything is decided. Default: 5, so that no single call
    /// decides, and a deployment with few calls is protected too.
    pub calls_min: u32,
    /// The share of failures at which it opens, in percent. Default: 50: a provider that fails half
    /// of its calls costs more waiting than it answers.
    pub failure_percent: u32,
    /// How long it stays open the first time. Default: 5 s, some restarts of a server.
    pub pause: Duration,
    /// How long it stays open at most: the pause doubles each time that a probe fails. Default:
    /// 2 min, the longest that students should wait for a provider that is back.
    pub pause_max: Duration,
    /// How many calls may probe at once, and how many must succeed for it to close. Default: 2, as
    /// one may succeed by luck.
    pub probes: u32,
}

impl Default for BreakerConfig {
    fn default() -> Self {
        Self {
            window: 20,
            calls_min: 5,
            failure_percent: 50,
            pause: Duration::from_secs(5),
            pause_max: Duration::from_mins(2),
            probes: 2,
        }
    }
}

impl BreakerConfig {
    /// The largest window, which is one machine word of results.
    pub const WINDOW_MAX: u32 = 64;

    /// Checks that a breaker can work like this.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a value that cannot be.
    pub fn check(&self) -> Result<()> {
        let fits = (1..=Self::WINDOW_MAX).contains(&self.window)
            && (1..=self.window).contains(&self.calls_min)
            && (1..=100).contains(&self.failure_percent)
            && self.probes > 0
            && !self.pause.is_zero()
            && self.pause_max >= self.pause;
        if fits {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "configure breaker",
            "it needs 1 <= calls_min <= window <= 64, a failure share of 1 to 100 percent, at least \
             one probe, and 0 < pause <= pause_max",
        ))
    }
}

/// How a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the three states of any breaker")]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Some calls pass, to see whether the provider is back.
    HalfOpen,
    /// No call passes.
    Open,
}

impl BreakerState {
    /// The stable name, as counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half-open",
            Self::Open => "open",
        }
    }
}

/// What a call says of its provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "good, bad, or nothing")]
pub enum CallVerdict {
    /// It did its part.
    Success,
    /// It failed by a fault of its own.
    Failure,
    /// Nothing: it was not asked, or nobody waited for what came of it.
    Nothing,
}

/// The decisions of a circuit breaker, as plain data: which calls pass, given how others ended.
///
/// Closed, it opens with a failure that makes the share of failures among the last calls too large.
/// Open, it lets nothing pass until its pause is over. Half-open, it lets some calls probe: it closes
/// once enough succeed, and opens for twice as long when one fails. A call that ends without a
/// verdict gives its place back, and one that passed before the last change decides nothing.
///
/// Each [`Passage`] is to be given back once with [`Self::record`].
#[derive(Clone, Debug)]
pub struct Breaker {
    config: BreakerConfig,
    phase: Phase,
    /// Counts the changes of state.
    epoch: u64,
    pause: Duration,
    opened: u64,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Closed { results: u64, len: u32 },
    HalfOpen { under_way: u32, succeeded: u32 },
    Open { until_us: u64 },
}

/// The right to make one call.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "give it back with record"]
pub struct Passage {
    epoch: u64,
}

/// No call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "that is all there is to say")]
pub struct BreakerOpen {
    /// The rest of the pause; `None` while others probe.
    pub retry_after: Option<Duration>,
}

const CLOSED: Phase = Phase::Closed { results: 0, len: 0 };

impl Breaker {
    /// Makes a closed breaker.
    ///
    /// # Errors
    /// Those of [`BreakerConfig::check`].
    pub fn new(config: BreakerConfig) -> Result<Self> {
        config.check()?;
        Ok(Self {
            config,
            phase: CLOSED,
            epoch: 0,
            pause: config.pause,
            opened: 0,
        })
    }

    /// Asks to make a call. `now_us` is a monotonic time.
    ///
    /// # Errors
    /// [`BreakerOpen`] if none may be made.
    pub fn pass(&mut self, now_us: u64) -> std::result::Result<Passage, BreakerOpen> {
        if let Phase::Open { until_us } = self.phase {
            if now_us < until_us {
                let rest = Duration::from_micros(until_us - now_us);
                return Err(BreakerOpen {
                    retry_after: Some(rest),
                });
            }
            self.change(Phase::HalfOpen {
                under_way: 0,
                succeeded: 0,
            });
        }
        if let Phase::HalfOpen {
            under_way,
            succeeded,
        } = &mut self.phase
        {
            if *under_way + *succeeded >= self.config.probes {
                return Err(BreakerOpen { retry_after: None });
            }
            *under_way += 1;
        }
        Ok(Passage { epoch: self.epoch })
    }

    /// Says how a call ended.
    pub fn record(&mut self, passage: Passage, verdict: CallVerdict, now_us: u64) {
        if passage.epoch != self.epoch {
            return;
        }
        match &mut self.phase {
            // Whoever passed did so before it opened, which the epoch says.
            Phase::Open { .. } => {}
            Phase::Closed { results, len } => {
                if verdict == CallVerdict::Nothing {
                    return;
                }
                *results = (*results << 1) | u64::from(verdict == CallVerdict::Failure);
                *len = (*len + 1).min(self.config.window);
                let failures = (*results & (u64::MAX >> (64 - *len))).count_ones();
                let is_too_much = failures * 100 >= *len * self.config.failure_percent;
                // No success opens it, even if it completes the least count.
                let has_failed = verdict == CallVerdict::Failure;
                if has_failed && is_too_much && *len >= self.config.calls_min {
                    self.open(now_us);
                }
            }
            Phase::HalfOpen {
                under_way,
                succeeded,
            } => {
                *under_way = under_way.saturating_sub(1);
                match verdict {
                    CallVerdict::Nothing => {}
                    CallVerdict::Failure => {
                        self.pause = self.pause.saturating_mul(2).min(self.config.pause_max);
                        self.open(now_us);
                    }
                    CallVerdict::Success => {
                        *succeeded += 1;
                        if *succeeded >= self.config.probes {
                            self.pause = self.config.pause;
                            self.change(CLOSED);
                        }
                    }
                }
            }
        }
    }

    /// How it stands. Once its pause is over it is half-open, even if nobody asks.
    #[must_use]
    pub fn state(&self, now_us: u64) -> BreakerState {
        match self.phase {
            Phase::Closed { .. } => BreakerState::Closed,
            Phase::Open { until_us } if now_us < until_us => BreakerState::Open,
            Phase::Open { .. } | Phase::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// How often it opened.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.opened
    }

    fn open(&mut self, now_us: u64) {
        let pause_us = u64::try_from(self.pause.as_micros()).unwrap_or(u64::MAX);
        self.opened += 1;
        self.change(Phase::Open {
            until_us: now_us.saturating_add(pause_us),
        });
    }

    fn change(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn breaker() -> Breaker {
        Breaker::new(BreakerConfig::default()).unwrap()
    }

    fn call(breaker: &mut Breaker, verdict: CallVerdict, now_us: u64) {
        let passage = breaker.pass(now_us).unwrap();
        breaker.record(passage, verdict, now_us);
    }

    fn opened() -> Breaker {
        let mut breaker = breaker();
        (0..5).for_each(|_| call(&mut breaker, CallVerdict::Failure, 0));
        breaker
    }

    #[test]
    fn it_opens_at_its_share_and_not_before_its_least_count() {
        let mut breaker = breaker();
        for _ in 0..4 {
            call(&mut breaker, CallVerdict::Failure, 0);
            assert_eq!(breaker.state(0), BreakerState::Closed);
        }
        call(&mut breaker, CallVerdict::Nothing, 0);
        assert_eq!(breaker.state(0), BreakerState::Closed);
        call(&mut breaker, CallVerdict::Failure, 0);
        assert_eq!(breaker.state(0), BreakerState::Open);
        let rest = breaker.pass(SECOND).unwrap_err().retry_after;
        assert_eq!(rest, Some(Duration::from_secs(4)));
    }

    #[test]
    fn no_success_opens_it() {
        let mut breaker = breaker();
        (0..4).for_each(|_| call(&mut breaker, CallVerdict::Failure, 0));
        (0..2).for_each(|_| call(&mut breaker, CallVerdict::Success, 0));
        assert_eq!(breaker.state(0), BreakerState::Closed);
        call(&mut breaker, CallVerdict::Failure, 0);
        assert_eq!(breaker.state(0), BreakerState::Open);
    }

    #[test]
    fn failures_that_left_the_window_are_forgotten() {
        let mut breaker = breaker();
        (0..20).for_each(|_| call(&mut breaker, CallVerdict::Success, 0));
        for round in 0..5 {
            (0..9).for_each(|_| call(&mut breaker, CallVerdict::Failure, 0));
            assert_eq!(breaker.state(0), BreakerState::Closed, "{round}");
            (0..20).for_each(|_| call(&mut breaker, CallVerdict::Success, 0));
        }
        (0..10).for_each(|_| call(&mut breaker, CallVerdict::Failure, 0));
        assert_eq!(breaker.state(0), BreakerState::Open);
    }

    #[test]
    fn it_closes_once_enough_probes_succeed() {
        let mut breaker = opened();
        let now = 5 * SECOND;
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        let first = breaker.pass(now).unwrap();
        let second = breaker.pass(now).unwrap();
        assert_eq!(breaker.pass(now), Err(BreakerOpen { retry_after: None }));
        breaker.record(first, CallVerdict::Success, now);
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        assert!(breaker.pass(now).is_err(), "no more than are needed");
        breaker.record(second, CallVerdict::Success, now);
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn a_probe_that_is_dropped_gives_its_place_back() {
        let mut breaker = opened();
        let now = 5 * SECOND;
        for _ in 0..10 {
            call(&mut breaker, CallVerdict::Nothing, now);
        }
        call(&mut breaker, CallVerdict::Success, now);
        call(&mut breaker, CallVerdict::Nothing, now);
        call(&mut breaker, CallVerdict::Success, now);
        assert_eq!(breaker.state(now), BreakerState::Closed);
    }

    #[test]
    fn each_failed_probe_doubles_the_pause_up_to_its_most() {
        let mut breaker = opened();
        let mut now = 0;
        for pause_s in [5, 10, 20, 40, 80, 120, 120] {
            let rest = breaker.pass(now).unwrap_err().retry_after;
            assert_eq!(rest, Some(Duration::from_secs(pause_s)));
            now += pause_s * SECOND;
            call(&mut breaker, CallVerdict::Failure, now);
        }
        now += 120 * SECOND;
        (0..2).for_each(|_| call(&mut breaker, CallVerdict::Success, now));
        (0..5).for_each(|_| call(&mut breaker, CallVerdict::Failure, now));
        let rest = breaker.pass(now).unwrap_err().retry_after;
        assert_eq!(rest, Some(Duration::from_secs(5)), "it begins anew");
    }

    #[test]
    fn a_call_from_before_a_change_decides_nothing() {
        let mut breaker = breaker();
        let late = breaker.pass(0).unwrap();
        let later = breaker.pass(0).unwrap();
        (0..5).for_each(|_| call(&mut breaker, CallVerdict::Failure, 0));
        breaker.record(late, CallVerdict::Success, 0);
        assert_eq!(breaker.state(0), BreakerState::Open);
        let probe = breaker.pass(5 * SECOND).unwrap();
        breaker.record(later, CallVerdict::Failure, 5 * SECOND);
        assert_eq!(breaker.state(5 * SECOND), BreakerState::HalfOpen);
        breaker.record(probe, CallVerdict::Success, 5 * SECOND);
    }
}
