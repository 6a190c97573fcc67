//! Layers: each wraps a provider and is one. [`AiStack`] puts all of them around some providers.
//!
//! # The order
//!
//! Outermost first. What a layer refuses costs nothing that a layer within it takes.
//!
//! | layer | stands here because |
//! | --- | --- |
//! | [`Metered`] | it counts what callers see: one call, however often it was tried |
//! | [`Failover`] | another provider is asked once this one was given all its chances |
//! | — for each provider — | |
//! | [`Retry`] | each attempt is a call of its own to all layers within |
//! | [`BreakerLayer`] | each attempt counts; while it is open, a call waits for no turn, takes no place and sets no money aside |
//! | [`RateLimitAware`] | who waits for a turn takes no place from who has one |
//! | [`ConcurrencyLimit`] | who waits for a place has set no money aside |
//! | [`Budgeted`] | each attempt is one reservation, at the price of its model |
//! | [`Deadline`] | it counts the time of the provider alone, and what it gives up is booked |
//!
//! # How long a call takes at most, and how often it is made
//!
//! With the defaults a provider is asked at most 3 times for a call. No attempt begins later than
//! 10 s after the first, each waits at most 2 s for a turn, 2 s for a place and 10 s for the ledger,
//! and then takes at most 45 s, of which 10 s without a word.
//!
//! # Batches
//!
//! [`AiProvider::batches`] is passed on as it is: a batch is no call, and who makes one sets the money
//! aside for it. Of several providers it is that of the first.
//!
//! # Dropped calls
//!
//! A future or stream may be dropped at any time: see what each layer says of it.
//!
//! [`AiProvider::batches`]: medcards_core::ai::AiProvider::batches
//! [`Budgeted`]: medcards_core::ai::Budgeted

mod breaker;
mod concurrency;
mod deadline;
mod failover;
mod metered;
mod rate;
mod retry;
mod stack;
mod watched;

pub use breaker::BreakerLayer;
pub use concurrency::{ConcurrencyConfig, ConcurrencyLimit};
pub use deadline::{Deadline, DeadlineConfig};
pub use failover::Failover;
pub use metered::Metered;
pub use rate::{RateLimitAware, RateLimitConfig};
pub use retry::{Retry, RetryConfig};
pub use stack::{AiStack, AiStackBuilder};

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A time that no call lives to see, for waits that are longer than a clock can count.
const NEVER: Duration = Duration::from_hours(24 * 365);

fn after(instant: Instant, wait: Duration) -> Instant {
    instant.checked_add(wait).unwrap_or_else(|| instant + NEVER)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while it holds one, and what they hold is whole between two statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
