//! The breaker against a model of it, under random interleavings of calls that end, fail or vanish.

use std::time::Duration;

use medcards_core::ai::{Breaker, BreakerConfig, BreakerState, CallVerdict, Passage};
use proptest::prelude::*;

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A call asks to pass.
    Ask,
    /// One of those under way ends.
    End(prop::sample::Index, CallVerdict),
    /// Time passes, in milliseconds.
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let verdict = prop::sample::select(vec![
        CallVerdict::Failure,
        CallVerdict::Failure,
        CallVerdict::Nothing,
        CallVerdict::Success,
    ]);
    let step = prop_oneof![
        4 => Just(Step::Ask),
        4 => (any::<prop::sample::Index>(), verdict).prop_map(|(which, verdict)| Step::End(which, verdict)),
        1 => (0..3_000_u64).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 0..200)
}

fn configs() -> impl Strategy<Value = BreakerConfig> {
    (1..=8_u32, 1..=100_u32, 1..=3_u32, 1..=3_u32)
        .prop_flat_map(|(window, percent, probes, grows)| {
            let calls_min = 1..=window;
            (Just((window, percent, probes, grows)), calls_min)
        })
        .prop_map(
            |((window, failure_percent, probes, grows), calls_min)| BreakerConfig {
                window,
                calls_min,
                failure_percent,
                pause: Duration::from_secs(1),
                pause_max: Duration::from_secs(u64::from(grows)),
                probes,
            },
        )
}

/// The breaker, told as a story: everything that happened since its last change.
#[derive(Debug)]
struct Model {
    config: BreakerConfig,
    state: BreakerState,
    /// The number of the last change, which calls remember.
    age: usize,
    /// Whether each call with a verdict failed, since the last change.
    ended: Vec<bool>,
    probing: usize,
    pause: Duration,
    opened_ms: u64,
}

impl Model {
    fn new(config: BreakerConfig) -> Self {
        Self {
            config,
            state: BreakerState::Closed,
            age: 0,
            ended: Vec::new(),
            probing: 0,
            pause: config.pause,
            opened_ms: 0,
        }
    }

    fn change(&mut self, state: BreakerState) {
        self.state = state;
        self.age += 1;
        self.ended.clear();
        self.probing = 0;
    }

    fn pause_is_over(&self, now_ms: u64) -> bool {
        now_ms >= self.opened_ms + self.pause.as_millis() as u64
    }

    fn state(&self, now_ms: u64) -> BreakerState {
        if self.state == BreakerState::Open && self.pause_is_over(now_ms) {
            return BreakerState::HalfOpen;
        }
        self.state
    }

    /// The age of a call that may pass.
    fn ask(&mut self, now_ms: u64) -> Option<usize> {
        if self.state == BreakerState::Open && self.pause_is_over(now_ms) {
            self.change(BreakerState::HalfOpen);
        }
        match self.state {
            BreakerState::Open => return None,
            BreakerState::Closed => {}
            BreakerState::HalfOpen => {
                if self.probing + self.ended.len() >= self.config.probes as usize {
                    return None;
                }
                self.probing += 1;
            }
        }
        Some(self.age)
    }

    fn end(&mut self, age: usize, verdict: CallVerdict, now_ms: u64) {
        if age != self.age {
            return;
        }
        let has_failed = verdict == CallVerdict::Failure;
        self.probing = self.probing.saturating_sub(1);
        if verdict == CallVerdict::Nothing {
            return;
        }
        self.ended.push(has_failed);
        let config = self.config;
        match self.state {
            BreakerState::Open => unreachable!("no call passes while it is open"),
            BreakerState::Closed => {
                let seen = self.ended.iter().rev().take(config.window as usize);
                let (len, failures) =
                    (seen.clone().count(), seen.filter(|failed| **failed).count());
                let share = failures as f64 / len as f64 * 100.0;
                let is_too_much = share >= f64::from(config.failure_percent) - 1e-9;
                if has_failed && len >= config.calls_min as usize && is_too_much {
                    self.opened_ms = now_ms;
                    self.change(BreakerState::Open);
                }
            }
            BreakerState::HalfOpen if has_failed => {
                self.pause = (self.pause * 2).min(config.pause_max);
                self.opened_ms = now_ms;
                self.change(BreakerState::Open);
            }
            BreakerState::HalfOpen => {
                if self.ended.len() == config.probes as usize {
                    self.pause = config.pause;
                    self.change(BreakerState::Closed);
                }
            }
        }
    }
}

/// A breaker beside its model, and the calls that are under way.
#[derive(Debug)]
struct Run {
    breaker: Breaker,
    model: Model,
    calls: Vec<(Passage, usize)>,
    now_ms: u64,
}

impl Run {
    fn now_us(&self) -> u64 {
        self.now_ms * 1_000
    }

    fn ask(&mut self) -> bool {
        let now_us = self.now_us();
        let before = self.breaker.state(now_us);
        let passed = self.breaker.pass(now_us);
        let expected = self.model.ask(self.now_ms);
        assert_eq!(passed.is_ok(), expected.is_some(), "{self:?}");
        match passed {
            Ok(passage) => {
                assert_ne!(before, BreakerState::Open, "no call passes an open one");
                self.calls.extend(expected.map(|age| (passage, age)));
                true
            }
            Err(open) => {
                assert_ne!(before, BreakerState::Closed, "a closed one lets all pass");
                assert_eq!(open.retry_after.is_some(), before == BreakerState::Open);
                false
            }
        }
    }

    fn end(&mut self, which: usize, verdict: CallVerdict) {
        let (passage, age) = self.calls.swap_remove(which);
        let before = self.breaker.state(self.now_us());
        self.breaker.record(passage, verdict, self.now_us());
        self.model.end(age, verdict, self.now_ms);
        let after = self.breaker.state(self.now_us());
        assert!(
            verdict != CallVerdict::Nothing || before == after,
            "it says nothing"
        );
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Ask => {
                self.ask();
            }
            Step::End(_, _) if self.calls.is_empty() => {}
            Step::End(which, verdict) => self.end(which.index(self.calls.len()), verdict),
            Step::Wait(time_ms) => self.now_ms += time_ms,
        }
        let state = self.breaker.state(self.now_us());
        assert_eq!(state, self.model.state(self.now_ms), "{self:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_breaker_does_what_its_model_does_and_never_jams(config in configs(), steps in steps()) {
        let mut run = Run {
            breaker: Breaker::new(config).unwrap(),
            model: Model::new(config),
            calls: Vec::new(),
            now_ms: 0,
        };
        for step in steps {
            run.take(step);
        }
        // Whatever is under way vanishes; then calls that succeed close it.
        while !run.calls.is_empty() {
            run.end(0, CallVerdict::Nothing);
        }
        run.now_ms += u64::try_from(config.pause_max.as_millis()).unwrap();
        for _ in 0..config.probes {
            prop_assert!(run.ask(), "it lets calls pass: {run:?}");
            run.end(0, CallVerdict::Success);
        }
        prop_assert_eq!(run.breaker.state(run.now_us()), BreakerState::Closed);
    }
}
