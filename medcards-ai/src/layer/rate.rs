use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, CallLoad,
    CallPace, ModelId, Prompt, RateLimits, Refusal,
};
use medcards_core::spend::Price;
use medcards_core::time::Clock;
use medcards_core::{Error, ErrorKind};
use tokio::time::{Instant, sleep_until};

use super::watched::{Event, Watch, Watched};
use super::{after, lock};
use crate::http::ASK;

/// How many bytes of a prompt are taken for a token: fewer than in any language that tokenisers were
/// made for, so that more tokens are expected than come.
const BYTES_PER_TOKEN: usize = 3;

/// How far apart calls are after all had to wait, so that they do not come back at once.
const SPREAD: Duration = Duration::from_millis(50);

/// How a provider is spared before it says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct RateLimitConfig {
    /// Below which share of a limit calls are spread, in percent. Default: 10: above it, a burst
    /// passes as it comes.
    pub slow_below_percent: u8,
    /// How long a call waits at most. Default: 2 s: a student waits for it.
    pub wait_max: Duration,
    /// How long all calls wait after the provider said no without saying for how long; it doubles
    /// each time in a row. Default: 1 s.
    pub pause: Duration,
    /// The longest that this grows to. Default: 1 min, the window that limits are commonly for.
    pub pause_max: Duration,
}

impl Default for RateLimitConfig {
    fn default() -> Self {
        Self {
            slow_below_percent: 10,
            wait_max: Duration::from_secs(2),
            pause: Duration::from_secs(1),
            pause_max: Duration::from_mins(1),
        }
    }
}

/// The layer that slows down before the provider says no, and stops when it did.
///
/// It reads [`AiProvider::rate_limits`] before each call. Where less than a share is left, calls are
/// spread over the time until all is back, see [`CallPace`]; calls under way count as not told yet,
/// at the most tokens that they may write, as some providers count them too until they end.
/// After a failure of kind [`ErrorKind::RateLimited`] all calls wait for as long as the provider
/// asked, or for a pause that doubles. A call that would wait for too long is refused at once as
/// [`Refusal::RateLimited`], with the time it would take.
pub struct RateLimitAware<P> {
    provider: P,
    config: RateLimitConfig,
    clock: Arc<dyn Clock>,
    turns: Arc<Mutex<Turns>>,
}

/// Whose turn it is.
#[derive(Debug, Default)]
struct Turns {
    under_way: CallLoad,
    /// When the last call began, or will.
    last: Option<Instant>,
    /// Until when all wait, and how often in a row the provider said no without a time.
    paused_until: Option<Instant>,
    refusals: u32,
}

impl<P: AiProvider> RateLimitAware<P> {
    /// Slows the calls of a provider down in time. The clock tells when limits are full again.
    #[must_use]
    pub fn new(provider: P, config: RateLimitConfig, clock: Arc<dyn Clock>) -> Self {
        Self {
            provider,
            config,
            clock,
            turns: Arc::default(),
        }
    }

    /// Takes the next turn for a call, or says how long it would have to wait.
    fn turn(&self, load: CallLoad) -> Result<(Instant, Turn), Duration> {
        let limits = self.provider.rate_limits();
        let now = Instant::now();
        let mut turns = lock(&self.turns);
        let pace = limits.map_or(CallPace::Free, |limits| {
            let below = self.config.slow_below_percent;
            CallPace::of(&limits, turns.under_way, load, below, self.clock.now())
        });
        let paused_until = turns.paused_until.filter(|until| *until > now);
        let (apart, not_before) = match pace {
            CallPace::Free => (Duration::ZERO, now),
            CallPace::Apart(time) => (time, now),
            CallPace::NotFor(time) => (SPREAD, after(now, time)),
        };
        let (apart, not_before) = match paused_until {
            Some(until) => (apart.max(SPREAD), not_before.max(until)),
            None => (apart, not_before),
        };
        let begins_at = match turns.last {
            // Turns that others took are before this one, even if nothing keeps calls apart now.
            Some(last) if last > now || !apart.is_zero() => not_before.max(after(last, apart)),
            _ => not_before,
        };
        if begins_at > after(now, self.config.wait_max) {
            return Err(begins_at - now);
        }
        turns.last = Some(begins_at);
        turns.under_way = plus(turns.under_way, load);
        let turn = Turn {
            turns: Arc::clone(&self.turns),
            config: self.config,
            load: Some(load),
        };
        Ok((begins_at, turn))
    }
}

impl Turns {
    /// Lets all calls wait.
    fn pause(&mut self, asked_for: Option<Duration>, config: &RateLimitConfig) {
        let now = Instant::now();
        let is_paused = self.paused_until.is_some_and(|until| until > now);
        let pause = match asked_for {
            Some(asked_for) => asked_for,
            // Calls that were under way together are refused together, which is once.
            None if is_paused => return,
            None => {
                let doubled = 2_u32.saturating_pow(self.refusals);
                self.refusals = self.refusals.saturating_add(1);
                config.pause.saturating_mul(doubled).min(config.pause_max)
            }
        };
        let until = after(now, pause);
        self.paused_until = Some(self.paused_until.map_or(until, |before| before.max(until)));
    }
}

fn plus(one: CallLoad, other: CallLoad) -> CallLoad {
    CallLoad {
        requests: one.requests.saturating_add(other.requests),
        input_tokens: one.input_tokens.saturating_add(other.input_tokens),
        output_tokens: one.output_tokens.saturating_add(other.output_tokens),
    }
}

fn minus(one: CallLoad, other: CallLoad) -> CallLoad {
    CallLoad {
        requests: one.requests.saturating_sub(other.requests),
        input_tokens: one.input_tokens.saturating_sub(other.input_tokens),
        output_tokens: one.output_tokens.saturating_sub(other.output_tokens),
    }
}

fn load_of(prompt: &Prompt) -> CallLoad {
    CallLoad {
        requests: 1,
        input_tokens: prompt.len_bytes().div_ceil(BYTES_PER_TOKEN) as u64,
        output_tokens: u64::from(prompt.output_tokens_max),
    }
}

fn rate_limited(wait: Duration) -> AiFailure {
    let context = "the rate limit of the model is used up; it is asked again when there is more";
    let error = Error::new(ErrorKind::RateLimited, ASK, context).with_retry_after(wait);
    AiFailure::refused(Refusal::RateLimited, error)
}

/// A call that waits for its turn or is under way. Dropped, it is neither.
struct Turn {
    turns: Arc<Mutex<Turns>>,
    config: RateLimitConfig,
    load: Option<CallLoad>,
}

impl Turn {
    fn end(&mut self) {
        if let Some(load) = self.load.take() {
            let mut turns = lock(&self.turns);
            turns.under_way = minus(turns.under_way, load);
        }
    }

    fn fail(&mut self, failure: &AiFailure) {
        if failure.refusal.is_none() && failure.error.kind() == ErrorKind::RateLimited {
            lock(&self.turns).pause(failure.error.retry_after(), &self.config);
        }
        self.end();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.end();
    }
}

impl Watch for Turn {
    fn see(&mut self, event: &mut Event) {
        match event {
            Ok(AiEvent::End(_)) => {
                lock(&self.turns).refusals = 0;
                self.end();
            }
            Ok(_) => {}
            Err(failure) => self.fail(failure),
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<P: AiProvider> AiProvider for RateLimitAware<P> {
    fn model(&self) -> &ModelId {
        self.provider.model()
    }

    fn price(&self) -> Price {
        self.provider.price()
    }

    fn capability(&self) -> AiCapability {
        self.provider.capability()
    }

    /// # Cancel safety
    /// Dropping the future or the stream ends the call here too. The turn of one that waited is not
    /// given to another, so the next may wait as if it had been made.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let load = load_of(&request.prompt);
        let (begins_at, mut turn) = self.turn(load).map_err(rate_limited)?;
        if begins_at > Instant::now() {
            sleep_until(begins_at).await;
            // The provider may have said no meanwhile.
            let paused_until = lock(&self.turns).paused_until;
            let rest = paused_until.map(|until| until.saturating_duration_since(Instant::now()));
            if let Some(rest) = rest.filter(|rest| !rest.is_zero()) {
                return Err(rate_limited(rest));
            }
        }
        match self.provider.stream(request).await {
            Ok(stream) => Ok(Watched::stream(stream, turn)),
            Err(failure) => {
                turn.fail(&failure);
                Err(failure)
            }
        }
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.provider.rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        self.provider.batches()
    }

    async fn close(&self) {
        self.provider.close().await;
    }
}

impl<P: fmt::Debug> fmt::Debug for RateLimitAware<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RateLimitAware")
            .field("provider", &self.provider)
            .field("config", &self.config)
            .field("turns", &*lock(&self.turns))
            .finish_non_exhaustive()
    }
}

impl<P: fmt::Display> fmt::Display for RateLimitAware<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}
