use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::feedback::FeedbackKey;
use crate::lease::{
    FeedbackLeases, Fence, Lease, LeaseEnd, LeaseHold, LeaseState, LeaseTurn, LeaseView,
};
use crate::time::Clock;
use crate::{Error, ErrorKind, Result};

/// The most keys that have a lease, or had one some seconds ago: at some kB each about 100 MB.
const LEASES_MAX: usize = 20_000;

/// How long followers can read how a lease ended: far longer than they wait between two looks.
const ENDED_FOR: Duration = Duration::from_secs(10);

/// Leases in the memory of this process, for resolvers that share it. Cloning gives another handle on
/// the same leases.
#[derive(Clone)]
pub struct MemoryLeases {
    clock: Arc<dyn Clock>,
    ttl: Duration,
    leases: Arc<Mutex<Leases>>,
}

#[derive(Default)]
struct Leases {
    by_key: HashMap<FeedbackKey, Held>,
    last_fence: u64,
}

struct Held {
    fence: Fence,
    deltas: Vec<Arc<str>>,
    end: Option<LeaseEnd>,
    until_us: u64,
}

impl MemoryLeases {
    /// Makes leases that end when their holder was not heard of for `ttl`.
    #[must_use]
    pub fn new(ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            ttl,
            leases: Arc::default(),
        }
    }

    /// Does something with the leases that have not run out.
    fn with<T>(&self, work: impl FnOnce(&mut Leases, u64) -> T) -> T {
        let now_us = self.clock.monotonic_us();
        let mut leases = self.leases.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut leases, now_us)
    }
}

impl Leases {
    fn find(&mut self, key: &FeedbackKey, now_us: u64) -> Option<&mut Held> {
        let held = self.by_key.get_mut(key)?;
        (now_us < held.until_us).then_some(held)
    }

    /// The lease of its holder; one that ran out is its own as long as nobody took it.
    fn own(&mut self, lease: &Lease) -> Option<&mut Held> {
        let held = self
            .by_key
            .entry(lease.key.clone())
            .or_insert_with(|| Held {
                fence: lease.fence,
                deltas: Vec::new(),
                end: None,
                until_us: 0,
            });
        (held.fence == lease.fence && held.end.is_none()).then_some(held)
    }
}

fn after(now_us: u64, time: Duration) -> u64 {
    now_us.saturating_add(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

#[async_trait]
impl FeedbackLeases for MemoryLeases {
    fn ttl(&self) -> Duration {
        self.ttl
    }

    async fn take(&self, key: &FeedbackKey) -> Result<LeaseTurn> {
        self.with(|leases, now_us| {
            if let Some(held) = leases.find(key, now_us) {
                match held.end {
                    None => return Ok(LeaseTurn::Followed(held.fence)),
                    Some(LeaseEnd::Failed(_)) => {
                        let left = Duration::from_micros(held.until_us - now_us);
                        return Ok(LeaseTurn::Failed(left));
                    }
                    Some(LeaseEnd::Released | LeaseEnd::Written(_)) => {}
                }
            }
            if leases.by_key.len() >= LEASES_MAX {
                leases.by_key.retain(|_, held| now_us < held.until_us);
            }
            if leases.by_key.len() >= LEASES_MAX {
                let context = "as many leases as are allowed are held";
                return Err(Error::new(ErrorKind::Busy, "take lease", context));
            }
            leases.last_fence += 1;
            let fence = Fence::new(leases.last_fence);
            let held = Held {
                fence,
                deltas: Vec::new(),
                end: None,
                until_us: after(now_us, self.ttl),
            };
            leases.by_key.insert(key.clone(), held);
            let key = key.clone();
            Ok(LeaseTurn::Held(Lease { key, fence }))
        })
    }

    async fn push(&self, lease: &Lease, shown: usize, deltas: &[Arc<str>]) -> Result<LeaseHold> {
        self.with(|leases, now_us| {
            let Some(held) = leases.own(lease) else {
                return Ok(LeaseHold::Lost);
            };
            held.until_us = after(now_us, self.ttl);
            if let Some(known) = held.deltas.len().checked_sub(shown) {
                held.deltas.extend(deltas.iter().skip(known).cloned());
            }
            let shown = held.deltas.len();
            Ok(LeaseHold::Held { shown })
        })
    }

    async fn end(&self, lease: &Lease, end: &LeaseEnd) -> Result<LeaseHold> {
        self.with(|leases, now_us| {
            let Some(held) = leases.own(lease) else {
                return Ok(LeaseHold::Lost);
            };
            let shown = held.deltas.len();
            held.until_us = match end {
                LeaseEnd::Failed(pause) => after(now_us, *pause),
                LeaseEnd::Released => now_us,
                LeaseEnd::Written(_) => after(now_us, ENDED_FOR),
            };
            held.end = Some(end.clone());
            Ok(LeaseHold::Held { shown })
        })
    }

    async fn follow(&self, key: &FeedbackKey, fence: Fence, read: usize) -> Result<LeaseView> {
        self.with(|leases, now_us| {
            let held = leases.find(key, now_us);
            let Some(held) = held.filter(|held| held.fence == fence) else {
                return Ok(LeaseView {
                    deltas: Vec::new(),
                    state: LeaseState::Vacant,
                });
            };
            Ok(LeaseView {
                deltas: held.deltas.iter().skip(read).cloned().collect(),
                state: match &held.end {
                    None => LeaseState::Held,
                    Some(end) => LeaseState::Ended(end.clone()),
                },
            })
        })
    }
}

impl fmt::Debug for MemoryLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryLeases")
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for MemoryLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MemoryLeases")
    }
}
