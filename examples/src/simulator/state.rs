use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use medcards::Timestamp;
use medcards::time::Clock;

use super::BATCH_BODIES;
use super::batch::Batches;
use super::cache::{Cached, PromptCache};
use super::counts::Counts;
use super::limit::{Exceeded, Levels, Meters};
use super::openai::Files;
use super::reply::{Ask, Reply};
use super::script::{Behaviour, Script};

/// What mixes the number of a call into the seed: an odd number without a pattern in its bits.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// All that the routes of one simulator share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) body_bytes_max: usize,
    state: Mutex<State>,
    /// What makes ids differ from those of another simulator, and of this one before a restart.
    ids_begin: u64,
    ids_given: AtomicU64,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) script: Arc<Script>,
    next: VecDeque<Behaviour>,
    batch_next: VecDeque<Behaviour>,
    /// Calls to models under the present script.
    calls: u64,
    pub(super) counts: Counts,
    meters: Meters,
    cache: PromptCache,
    pub(super) batches: Batches,
    pub(super) files: Files,
    /// What items of batches asked for, to tell repeated ones.
    pub(super) items_seen: HashSet<u64>,
}

/// How one call to a model goes.
#[derive(Debug)]
pub(super) struct Turn {
    pub(super) behaviour: Behaviour,
    pub(super) reply: Reply,
    pub(super) first_token: Duration,
    pub(super) script: Arc<Script>,
    pub(super) levels: Levels,
    pub(super) call: Call,
}

impl Shared {
    pub(super) fn new(script: Script, clock: Arc<dyn Clock>, body_bytes_max: usize) -> Self {
        let mut state = State {
            script: Arc::default(),
            next: VecDeque::new(),
            batch_next: VecDeque::new(),
            calls: 0,
            counts: Counts::default(),
            meters: Meters::default(),
            cache: PromptCache::default(),
            batches: Batches::default(),
            files: Files::default(),
            items_seen: HashSet::new(),
        };
        state.follow(script, clock.monotonic_us());
        Self {
            clock,
            body_bytes_max,
            state: Mutex::new(state),
            ids_begin: Rng::new().u64(..),
            ids_given: AtomicU64::new(0),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Whoever panicked left plain counts behind; the simulator goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The longest body of a batch or a file.
    pub(super) const fn batch_bytes_max(&self) -> usize {
        self.body_bytes_max.saturating_mul(BATCH_BODIES)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn id(&self) -> String {
        let number = self.ids_given.fetch_add(1, Ordering::Relaxed);
        format!("{:016x}{number:08x}", self.ids_begin)
    }

    pub(super) fn follow(&self, script: Script) {
        self.state().follow(script, self.clock.monotonic_us());
    }

    /// Decides how a call goes, or that a rate limit keeps it out.
    pub(super) fn begin(
        self: &Arc<Self>,
        route: &'static str,
        ask: &Ask,
    ) -> Result<Turn, Exceeded> {
        let now_us = self.clock.monotonic_us();
        let id = self.id();
        let mut state = self.state();
        let script = Arc::clone(&state.script);
        let cached = state.pass_cache(ask, now_us);
        let paced = ask.input_tokens.saturating_sub(cached.read);
        if let Err(exceeded) = state.meters.take(paced, now_us) {
            state.counts.count(route, "limited");
            return Err(exceeded);
        }
        let number = state.calls;
        state.calls += 1;
        let mut chance = chance_of(&script, number);
        let drawn = script.behaviour(&mut chance);
        let behaviour = state.next.pop_front().unwrap_or(drawn);
        let levels = state.meters.levels(now_us);
        let counts = &mut state.counts;
        counts.under_way += 1;
        counts.most_at_once = counts.most_at_once.max(counts.under_way);
        // Writing takes longest, and others need not wait for it.
        drop(state);
        let first_token = script.first_token(&mut chance);
        let reply = Reply::new(id, ask, behaviour, cached, &script, &mut chance);
        let call = Call {
            shared: Arc::clone(self),
            route,
            outcome: match behaviour {
                Behaviour::Good => HUNG_UP,
                behaviour => behaviour.name(),
            },
            output_tokens: 0,
            open: true,
        };
        Ok(Turn {
            behaviour,
            reply,
            first_token,
            script,
            levels,
            call,
        })
    }

    pub(super) fn levels(&self) -> Levels {
        let now_us = self.clock.monotonic_us();
        self.state().meters.levels(now_us)
    }

    /// How the next call about a batch or a file is treated.
    pub(super) fn next_batch_behaviour(&self) -> Behaviour {
        let next = self.state().batch_next.pop_front();
        next.unwrap_or(Behaviour::Good)
    }

    pub(super) fn count(&self, route: &str, outcome: &str) {
        self.state().counts.count(route, outcome);
    }
}

impl State {
    fn follow(&mut self, script: Script, now_us: u64) {
        self.next = script.next.iter().copied().collect();
        self.batch_next = script.batch.next.iter().copied().collect();
        self.calls = 0;
        self.meters = Meters::new(script.limits, now_us);
        self.script = Arc::new(script);
    }

    pub(super) fn queue(&mut self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.next.extend(behaviours);
    }

    pub(super) fn replace_queue(&mut self, behaviours: impl IntoIterator<Item = Behaviour>) {
        self.next = behaviours.into_iter().collect();
    }

    pub(super) fn clear_counts(&mut self) {
        let under_way = self.counts.under_way;
        self.counts = Counts {
            under_way,
            most_at_once: under_way,
            ..Counts::default()
        };
    }

    fn pass_cache(&mut self, ask: &Ask, now_us: u64) -> Cached {
        let tokens_min = self.script.cache_tokens_min;
        let mut cached = self.cache.pass(&ask.prefixes, tokens_min, now_us);
        if !ask.tell_cache_writes {
            cached.written = 0;
        }
        cached
    }
}

/// What decides about the n-th call.
pub(super) fn chance_of(script: &Script, number: u64) -> Rng {
    Rng::with_seed(script.seed ^ number.wrapping_add(1).wrapping_mul(SEED_STEP))
}

const HUNG_UP: &str = "hung_up";

/// A call to a model that is under way. It is counted when it is closed or dropped.
#[derive(Debug)]
pub(super) struct Call {
    shared: Arc<Shared>,
    route: &'static str,
    outcome: &'static str,
    output_tokens: u64,
    open: bool,
}

impl Call {
    /// Notes that the prompt was read, which is when it is paid for.
    pub(super) fn read(&self, reply: &Reply) {
        let counts = &mut self.shared.state().counts;
        counts.input_tokens += reply.usage.input;
        counts.cache_read_tokens += reply.usage.cached.read;
        counts.cache_write_tokens += reply.usage.cached.written;
    }

    /// Notes tokens of the reply that are sent.
    pub(super) fn sent(&mut self, tokens: u64) {
        self.output_tokens += tokens;
    }

    /// Notes the end that was planned. Call it before the last bytes go, so that a caller who has
    /// them all finds them counted.
    pub(super) fn close(&mut self) {
        if self.outcome == HUNG_UP {
            self.outcome = Behaviour::Good.name();
        }
        self.record();
    }

    fn record(&mut self) {
        if !std::mem::take(&mut self.open) {
            return;
        }
        let now_us = self.shared.clock.monotonic_us();
        let mut state = self.shared.state();
        state.counts.under_way -= 1;
        state.counts.output_tokens += self.output_tokens;
        state.counts.count(self.route, self.outcome);
        state.meters.take_output(self.output_tokens, now_us);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.record();
    }
}
