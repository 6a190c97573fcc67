use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use super::resolution::{Found, Freshness, Trace};
use crate::cache::CacheEntry;
use crate::feedback::{FeedbackKey, Tier};
use crate::spend::MicroDollars;

/// The most keys looked for at once. Each takes about 1 kB while its tiers are asked; beyond it a
/// request gets the authored explanation.
const FLIGHTS_MAX: usize = 100_000;

/// One search for the feedback of one key, which all who want it share.
///
/// It belongs to the key: it runs in a task of its own, and whoever leaves changes nothing. Who
/// joins late reads the same deltas from the start.
#[derive(Debug)]
pub(super) struct Flight {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct State {
    deltas: Vec<Arc<str>>,
    is_muted: bool,
    landing: Option<Landing>,
}

/// How a flight ended.
#[derive(Clone, Debug)]
pub(super) struct Landing {
    /// What was found, or nothing: then the authored explanation is due.
    pub(super) found: Option<(Found, Tier, Freshness)>,
    /// What it cost.
    pub(super) cost: MicroDollars,
    /// What each tier did.
    pub(super) trace: Trace,
}

/// What a flight has for someone who has read some of its deltas.
#[derive(Debug)]
pub(super) enum Progress {
    Delta(Arc<str>),
    Landed(Landing),
    Pending,
}

impl Flight {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            changed: watch::Sender::new(()),
        })
    }

    pub(super) fn push(&self, delta: &str) {
        let mut state = self.lock();
        // After a landing with an older feedback, which is being renewed, nobody follows any more.
        if state.landing.is_some() || state.is_muted {
            return;
        }
        state.deltas.push(delta.into());
        drop(state);
        self.changed.send_replace(());
    }

    /// Lets no words follow on those of another reply; the landing replaces them.
    pub(super) fn mute_unless_silent(&self) {
        let mut state = self.lock();
        state.is_muted |= !state.deltas.is_empty();
    }

    /// Ends the flight; a second landing changes nothing.
    pub(super) fn land(&self, landing: Landing) {
        self.lock().landing.get_or_insert(landing);
        self.changed.send_replace(());
    }

    /// The delta after `read` others, or the landing once all are read.
    pub(super) async fn after(&self, read: usize) -> Progress {
        let mut changed = self.changed.subscribe();
        loop {
            match self.progress(read) {
                Progress::Pending => {}
                progress @ (Progress::Delta(_) | Progress::Landed(_)) => return progress,
            }
            // The sender lives in `self`, so the channel cannot close while we wait.
            if changed.changed().await.is_err() {
                return Progress::Pending;
            }
        }
    }

    /// The landing, however many deltas come before it.
    pub(super) async fn landing(&self) -> Landing {
        let mut changed = self.changed.subscribe();
        loop {
            if let Some(landing) = &self.lock().landing {
                return landing.clone();
            }
            if changed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn progress(&self, read: usize) -> Progress {
        let state = self.lock();
        match (state.deltas.get(read), &state.landing) {
            (Some(delta), _) => Progress::Delta(Arc::clone(delta)),
            (None, Some(landing)) => Progress::Landed(landing.clone()),
            (None, None) => Progress::Pending,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All flights under way, by key.
#[derive(Debug, Default)]
pub(super) struct Flights(Mutex<HashMap<FeedbackKey, Arc<Flight>>>);

/// What happened to someone who wants a key.
#[derive(Debug)]
pub(super) enum Boarding {
    /// A flight landed a moment ago: here is what it found.
    Arrived(Arc<CacheEntry>),
    /// A new flight, which the caller must start.
    First(Arc<Flight>),
    /// No more flights are allowed.
    Full,
    /// A flight under way.
    Joined(Arc<Flight>),
}

impl Flights {
    /// Joins the flight of a key, or begins one.
    ///
    /// A flight leaves the map only after its find is in the cache, so `cached` is asked under the
    /// lock: whoever comes between a miss and the end of a flight finds one or the other.
    pub(super) fn board(
        &self,
        key: &FeedbackKey,
        cached: impl FnOnce() -> Option<Arc<CacheEntry>>,
    ) -> Boarding {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key) {
            return Boarding::Joined(Arc::clone(flight));
        }
        if let Some(entry) = cached() {
            return Boarding::Arrived(entry);
        }
        if flights.len() >= FLIGHTS_MAX {
            return Boarding::Full;
        }
        let flight = Flight::new();
        flights.insert(key.clone(), Arc::clone(&flight));
        Boarding::First(flight)
    }

    /// Ends the flight of a key, unless another has taken its place.
    pub(super) fn remove(&self, key: &FeedbackKey, flight: &Arc<Flight>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights
            .get(key)
            .is_some_and(|other| Arc::ptr_eq(other, flight))
        {
            flights.remove(key);
        }
    }

    /// Lets nobody join the flight of a key any more. Who is aboard stays aboard.
    pub(super) fn forget(&self, key: &FeedbackKey) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(key);
    }

    pub(super) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
