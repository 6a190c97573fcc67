//! Two caches as one, in every process the same.
//!
//! # How a removal reaches everybody
//!
//! Three things race: a process that removes old words, one that read the old words elsewhere and
//! puts them, and one that found them in the far cache and keeps them nearby. A removal is three
//! steps, each begun when the one before has ended:
//!
//! 1. **announce** it in the log of the far cache,
//! 2. **delete** it from the far cache,
//! 3. **announce** it again.
//!
//! A put writes the far cache, and then reads the log to its end before it returns. So either the put
//! reads the first notice, and then the cache [has heard of](Cache::has_heard_of) the key since its
//! caller read the words, who removes them; or it read the log before the first notice
//! was there, thus wrote before it, and the deletion takes what it wrote.
//!
//! What a process finds far and keeps nearby was there before the deletion, because nothing old is
//! written after it, except by a put that removes it again as said, which is a removal of its own.
//! The second notice is later than the deletion: whoever reads it forgets the key nearby, and finds
//! nothing old in the far cache any more. A look that began before a notice was read keeps nothing
//! nearby afterwards: it compares a counter, under the lock under which notices are carried out. Nor
//! does one in the process that removes: from before it forgets the key nearby until the far cache has
//! done its part, what is found far of it is a miss.
//!
//! # What if the far cache cannot be reached
//!
//! A removal that may not have been carried out is pending: it is tried again until it was, and until
//! then what the far cache has of it is a miss in this process. The same holds of a put whose end
//! is not known, or after which the log could not be read; not of one that was refused, as by a full
//! Redis.
//!
//! A process that cannot read the log does not hear of removals. It forgets everything nearby when
//! that has lasted for a bounded time, and again each time that has passed: no removed words are
//! served from its memory for longer than that. It does so too when it finds that the log does not
//! follow what it read before: it was flushed, trimmed, or lost its end in a failover.
//! Removals that this process announced in the minute before are then repeated, as the deletion may be
//! lost with the log.

mod far;
mod heard;
mod hearing;
mod metrics;
mod pending;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::cache::{Cache, CacheEntry, CacheHit};
use medcards_core::feedback::{FeedbackKey, Tier};
use medcards_core::{CaseId, Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use uuid::Uuid;

pub use self::far::{FarCache, LogPage, LogPosition, NearCache, Notice, Removal};
use self::heard::Heard;
use self::hearing::Hearing;
use self::pending::{Attempt, Pending};

/// For how long a process that cannot read the log keeps what it has nearby, unless said otherwise: a
/// minute, the time in which a server that died is usually replaced.
const STALE_MAX_DEFAULT: Duration = Duration::from_mins(1);

/// A cache in this process before one that all processes share, as one cache. Cloning gives a handle on
/// the same.
///
/// A look asks nearby first; what it finds far it keeps nearby. A put keeps an entry in both. A
/// removal reaches every process: at once where it is called, within a quarter of a second elsewhere,
/// and within `stale_max` where the far cache cannot be reached.
///
/// If the far cache fails, a put that was kept nearby succeeds, and the failure is counted. A removal
/// fails, and is nevertheless carried out when the far cache is back.
///
/// # Cancel safety
/// A dropped removal is carried out in the background, and so is the doubt about a dropped put.
pub struct TieredCache<Near, Far> {
    shared: Arc<Shared<Near, Far>>,
    _hearing: Arc<Task>,
}

/// A task that ends with its last handle.
struct Task(JoinHandle<()>);

struct Shared<Near, Far> {
    near: Near,
    far: Far,
    /// What tells our own notices from those of others.
    name: String,
    stale_max: Duration,
    pending: Pending,
    /// How many removals were carried out nearby. It grows under the lock below.
    removals: AtomicU64,
    /// Held while something is kept nearby or forgotten there.
    changing_near: Mutex<()>,
    /// How many notices of others there were.
    heard: Heard,
    hearing: Hearing,
    tally: Tally,
}

#[derive(Default)]
struct Tally {
    promotions: AtomicU64,
    put_failures: AtomicU64,
    removals_sent: AtomicU64,
    removal_failures: AtomicU64,
    near_clears: AtomicU64,
}

/// What a tiered cache has done.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct TieredCounts {
    /// Entries that were found far and kept nearby.
    pub promotions: u64,
    /// Puts that reached only the near cache, or may have.
    pub put_failures: u64,
    /// Removals and purges that the far cache carried out for this process.
    pub removals_sent: u64,
    /// Attempts at them that failed.
    pub removal_failures: u64,
    /// Notices of other processes, and times when some may have been missed.
    pub removals_heard: u64,
    /// Cases of which the far cache has yet to remove something.
    pub removals_pending: u64,
    /// How often everything nearby was forgotten.
    pub near_clears: u64,
}

impl<Near: NearCache, Far: FarCache> TieredCache<Near, Far> {
    /// Puts one cache before another, and begins to listen for removals.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(near: Near, far: Far) -> Self {
        Self::with_stale_max(near, far, STALE_MAX_DEFAULT)
    }

    /// As [`new`](Self::new), and says for how long removals of other processes may go unheard, while
    /// the far cache cannot be reached, before everything nearby is forgotten. Default: 1 minute.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn with_stale_max(near: Near, far: Far, stale_max: Duration) -> Self {
        let shared = Arc::new(Shared {
            near,
            far,
            name: Uuid::now_v7().simple().to_string(),
            stale_max,
            pending: Pending::default(),
            removals: AtomicU64::new(0),
            changing_near: Mutex::default(),
            heard: Heard::default(),
            hearing: Hearing::new(),
            tally: Tally::default(),
        });
        let listening = Arc::clone(&shared);
        let task = tokio::spawn(async move { listening.listen().await });
        Self {
            shared,
            _hearing: Arc::new(Task(task)),
        }
    }

    /// The cache in this process.
    #[must_use]
    pub fn near(&self) -> &Near {
        &self.shared.near
    }

    /// The cache that processes share.
    #[must_use]
    pub fn far(&self) -> &Far {
        &self.shared.far
    }

    /// What it has done so far.
    #[must_use]
    pub fn counts(&self) -> TieredCounts {
        let Shared { tally, pending, .. } = &*self.shared;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        TieredCounts {
            promotions: load(&tally.promotions),
            put_failures: load(&tally.put_failures),
            removals_sent: load(&tally.removals_sent),
            removal_failures: load(&tally.removal_failures),
            removals_heard: self.shared.heard.count(),
            removals_pending: pending.len() as u64,
            near_clears: load(&tally.near_clears),
        }
    }

    /// Keeps nearby what was found far, unless something was removed since the look began.
    async fn promote(
        &self,
        key: &FeedbackKey,
        entry: &Arc<CacheEntry>,
        removals: u64,
    ) -> Result<()> {
        let shared = &*self.shared;
        let _changing = shared.changing_near.lock().await;
        if shared.removals.load(Ordering::Acquire) == removals {
            shared.near.put(key.clone(), Arc::clone(entry)).await?;
            count(&shared.tally.promotions);
        }
        Ok(())
    }

    /// Forgets something everywhere.
    async fn forget(&self, removal: Removal) -> Result<()> {
        let shared = &*self.shared;
        let began = shared.pending.begin(removal.clone());
        // At once, whatever the far cache does. Until it has done it, nothing that it has of this is
        // kept nearby.
        shared.forget_near(Some(&removal)).await?;
        match began {
            Ok(attempt) => shared.carry_out(attempt).await,
            // There is no room to remember it, but it may be done at once.
            Err(full) => {
                let done = shared.remove_far(&removal).await;
                shared.forget_near(Some(&removal)).await?;
                done.map_err(|_away| full)
            }
        }
    }
}

impl<Near: NearCache, Far: FarCache> Shared<Near, Far> {
    async fn carry_out(&self, attempt: Attempt<'_>) -> Result<()> {
        self.remove_far(attempt.removal()).await?;
        attempt.done();
        Ok(())
    }

    /// Carries out a removal in the far cache, and tells everybody.
    async fn remove_far(&self, removal: &Removal) -> Result<()> {
        let three_steps = async {
            let before = self.far.announce(removal, &self.name).await;
            if before.is_err() && self.far.is_away() {
                return before.map(drop);
            }
            // It is better gone than not, even if nobody can be told.
            match removal {
                Removal::Case(case_id) => self.far.purge_case(*case_id).await?,
                Removal::Key(key) => self.far.remove(key).await?,
            }
            if let Some(position) = self.far.announce(removal, &self.name).await? {
                self.hearing.sent(position, removal);
            }
            before.map(drop)
        };
        let done = three_steps.await;
        count(match done {
            Ok(()) => &self.tally.removals_sent,
            Err(_) => &self.tally.removal_failures,
        });
        done
    }

    /// Forgets something nearby; everything, if it is not known what.
    async fn forget_near(&self, removal: Option<&Removal>) -> Result<()> {
        let _changing = self.changing_near.lock().await;
        self.removals.fetch_add(1, Ordering::AcqRel);
        match removal {
            Some(Removal::Key(key)) => self.near.remove(key).await,
            Some(Removal::Case(case_id)) => self.near.purge_case(*case_id).await,
            None => {
                count(&self.tally.near_clears);
                self.near.clear();
                Ok(())
            }
        }
    }
}

/// Whether the far cache has said no, and kept nothing. After other errors it may have kept it.
fn was_refused(error: &Error) -> bool {
    use ErrorKind::{Corrupt, Denied, Full, ReadOnly};
    matches!(error.kind(), Corrupt | Denied | Full | ReadOnly)
}

/// Remembers that a put may have left something in the far cache that must not stay there, unless it
/// is told that it has not.
struct Doubt<'a> {
    pending: &'a Pending,
    key: Option<FeedbackKey>,
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take() {
            self.pending.add(Removal::Key(key));
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<Near: NearCache, Far: FarCache> Cache for TieredCache<Near, Far> {
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        self.shared.near.get_local(key)
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        let Shared {
            near, far, pending, ..
        } = &*self.shared;
        if let Some(entry) = near.get_local(key) {
            let tier = Tier::Local;
            return Ok(Some(CacheHit { entry, tier }));
        }
        let removals = self.shared.removals.load(Ordering::Acquire);
        if pending.has(key) {
            return Ok(None);
        }
        let Some(hit) = far.get(key).await? else {
            return Ok(None);
        };
        // A removal may have begun, and failed, since it was asked.
        if pending.has(key) {
            return Ok(None);
        }
        self.promote(key, &hit.entry, removals).await?;
        Ok(Some(hit))
    }

    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        let Shared {
            near, far, pending, ..
        } = &*self.shared;
        let mut hits = near.get_many(keys).await?;
        let is_missing = |place: &usize| hits[*place].is_none() && !pending.has(&keys[*place]);
        let missing: Vec<_> = (0..keys.len()).filter(is_missing).collect();
        if missing.is_empty() {
            return Ok(hits);
        }
        let removals = self.shared.removals.load(Ordering::Acquire);
        let asked: Vec<_> = missing.iter().map(|&place| keys[place].clone()).collect();
        let found = match far.get_many(&asked).await {
            Ok(found) => found,
            // What is nearby is not lost with the rest.
            Err(error) if hits.iter().all(Option::is_none) => return Err(error),
            Err(_) => return Ok(hits),
        };
        for (place, hit) in missing.into_iter().zip(found) {
            let Some(hit) = hit.filter(|_| !pending.has(&keys[place])) else {
                continue;
            };
            self.promote(&keys[place], &hit.entry, removals).await?;
            hits[place] = Some(hit);
        }
        Ok(hits)
    }

    /// Succeeds if the entry was kept nearby, whatever becomes of it far.
    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
        let shared = &*self.shared;
        {
            let _changing = shared.changing_near.lock().await;
            shared.near.put(key.clone(), Arc::clone(&entry)).await?;
        }
        // What is to be removed far would take this with it.
        if shared.far.is_away() || shared.pending.has(&key) {
            count(&shared.tally.put_failures);
            return Ok(());
        }
        let mut doubt = Doubt {
            pending: &shared.pending,
            key: Some(key.clone()),
        };
        let put = match shared.far.put(key, entry).await {
            Ok(()) => shared.catch_up().await,
            Err(error) => {
                if was_refused(&error) {
                    doubt.key = None;
                }
                count(&shared.tally.put_failures);
                tracing::debug!(%error, "a feedback is kept in this process only");
                return Ok(());
            }
        };
        match put {
            Ok(()) => doubt.key = None,
            Err(error) => {
                count(&shared.tally.put_failures);
                tracing::debug!(%error, "a feedback may not stay beyond this process");
            }
        }
        Ok(())
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        self.forget(Removal::Key(key.clone())).await
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        self.forget(Removal::Case(case_id)).await
    }

    fn removals_heard(&self) -> u64 {
        self.shared.heard.count()
    }

    fn has_heard_of(&self, key: &FeedbackKey, since: u64) -> bool {
        self.shared.heard.concerns(key, since)
    }
}

impl<Near, Far> Clone for TieredCache<Near, Far> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            _hearing: Arc::clone(&self._hearing),
        }
    }
}

impl<Near: NearCache, Far: FarCache> fmt::Debug for TieredCache<Near, Far> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredCache")
            .field("near", &self.shared.near)
            .field("far", &self.shared.far)
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl<Near: NearCache, Far: FarCache> fmt::Display for TieredCache<Near, Far> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "TieredCache({} before {})",
            self.shared.near, self.shared.far
        )
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn count(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}
