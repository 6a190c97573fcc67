use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use medcards_core::limit::{LimitKey, Quota, RateLimiter};
use medcards_core::memory::MemoryRateLimiter;
use medcards_core::session::SessionKey;
use medcards_core::time::Clock;
use quick_cache::sync::Cache;

/// How many tokens of sessions that nobody knows may come from one network, counted in this process:
/// as many as a lecture hall whose sessions all ended. More are made up.
pub(super) const STRANGERS_QUOTA: Quota = Quota::per_minute(100);

/// How many sessions are remembered as known, at 32 bytes each: 3 MB. They are looked up all the same.
const KNOWN_MAX: usize = 65_536;

/// Keeps made-up tokens of sessions from the store: each would cost it a query, and is counted against
/// a limit only afterwards.
///
/// Sessions that were good a moment ago are looked up whoever else is in their network.
pub(super) struct Strangers {
    limiter: MemoryRateLimiter,
    known: Cache<SessionKey, ()>,
}

impl Strangers {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            limiter: MemoryRateLimiter::new(clock),
            known: Cache::new(KNOWN_MAX),
        }
    }

    /// Whether a session may be looked up.
    pub(super) async fn may_ask(&self, key: &SessionKey, network: Option<IpAddr>) -> bool {
        self.known.get(key).is_some() || self.counts(network, 0).await
    }

    /// Takes note of a session that was found, or was not.
    pub(super) async fn answered(&self, key: &SessionKey, network: Option<IpAddr>, is_known: bool) {
        if is_known {
            self.known.insert(*key, ());
        } else {
            self.known.remove(key);
            self.counts(network, 1).await;
        }
    }

    /// Counts so many strangers; whether there is room for one more.
    async fn counts(&self, network: Option<IpAddr>, strangers: u32) -> bool {
        let Some(network) = network else { return true };
        let key = LimitKey::new("strangers", network);
        let decision = self.limiter.check(&key, &STRANGERS_QUOTA, strangers).await;
        decision.is_ok_and(|decision| decision.remaining > 0)
    }
}

impl fmt::Debug for Strangers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strangers").finish_non_exhaustive()
    }
}
