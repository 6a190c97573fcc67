//! One making of a text that many read along with: live feedback, and replies of the coach.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Debug;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// One making of a text, which all who want it share. `L` is how it ends.
///
/// It belongs to what is made: it runs in a task of its own, and whoever leaves changes nothing. Who
/// joins late reads the same deltas from the start.
#[derive(Debug)]
pub(crate) struct Flight<L> {
    state: Mutex<State<L>>,
    changed: watch::Sender<()>,
}

struct State<L> {
    deltas: Vec<Arc<str>>,
    is_muted: bool,
    landing: Option<L>,
}

/// What a flight has for someone who has read some of its deltas.
pub(crate) enum Progress<L> {
    Delta(Arc<str>),
    Landed(L),
    Pending,
}

impl<L: Debug> Debug for State<L> {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State")
            .field("deltas", &self.deltas.len())
            .field("is_muted", &self.is_muted)
            .field("landing", &self.landing)
            .finish()
    }
}

impl<L: Debug> Debug for Progress<L> {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delta(words) => write!(f, "Delta({} bytes)", words.len()),
            Self::Landed(landing) => f.debug_tuple("Landed").field(landing).finish(),
            Self::Pending => f.write_str("Pending"),
        }
    }
}

impl<L: Clone> Flight<L> {
    pub(crate) fn new() -> Arc<Self> {
        let state = State {
            deltas: Vec::new(),
            is_muted: false,
            landing: None,
        };
        Arc::new(Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        })
    }

    pub(crate) fn push(&self, delta: &str) {
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
    pub(crate) fn mute_unless_silent(&self) {
        let mut state = self.lock();
        state.is_muted |= !state.deltas.is_empty();
    }

    /// Lets no more words out before the landing.
    pub(crate) fn mute(&self) {
        self.lock().is_muted = true;
    }

    /// Ends the flight; a second landing changes nothing.
    pub(crate) fn land(&self, landing: L) {
        self.lock().landing.get_or_insert(landing);
        self.changed.send_replace(());
    }

    /// How many deltas there are so far, and all of them joined.
    pub(crate) fn so_far(&self) -> (usize, String) {
        let state = self.lock();
        (state.deltas.len(), state.deltas.concat())
    }

    /// The delta after `read` others, or the landing once all are read.
    pub(crate) async fn after(&self, read: usize) -> Progress<L> {
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
    pub(crate) async fn landing(&self) -> L {
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

    fn progress(&self, read: usize) -> Progress<L> {
        let state = self.lock();
        match (state.deltas.get(read), &state.landing) {
            (Some(delta), _) => Progress::Delta(Arc::clone(delta)),
            (None, Some(landing)) => Progress::Landed(landing.clone()),
            (None, None) => Progress::Pending,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<L>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All flights under way, by what they make.
#[derive(Debug)]
pub(crate) struct Flights<K, L> {
    flights: Mutex<HashMap<K, Arc<Flight<L>>>>,
    flights_max: usize,
}

/// What happened to someone who wants something made. `C` is what a cache has of it.
#[derive(Debug)]
pub(crate) enum Boarding<C, L> {
    /// A flight landed a moment ago: here is what it found.
    Arrived(C),
    /// A new flight, which the caller must start.
    First(Arc<Flight<L>>),
    /// No more flights are allowed.
    Full,
    /// A flight under way.
    Joined(Arc<Flight<L>>),
}

impl<K: Eq + Hash + Clone, L: Clone> Flights<K, L> {
    /// No flights, and at most `flights_max` to come.
    pub(crate) fn new(flights_max: usize) -> Self {
        Self {
            flights: Mutex::default(),
            flights_max,
        }
    }

    /// Joins the flight of a key, or begins one.
    ///
    /// A flight leaves the map only after its find is in the cache, so `cached` is asked under the
    /// lock: whoever comes between a miss and the end of a flight finds one or the other.
    pub(crate) fn board<C>(&self, key: &K, cached: impl FnOnce() -> Option<C>) -> Boarding<C, L> {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(key) {
            return Boarding::Joined(Arc::clone(flight));
        }
        if let Some(entry) = cached() {
            return Boarding::Arrived(entry);
        }
        if flights.len() >= self.flights_max {
            return Boarding::Full;
        }
        let flight = Flight::new();
        flights.insert(key.clone(), Arc::clone(&flight));
        Boarding::First(flight)
    }

    /// The flight of a key.
    pub(crate) fn find(&self, key: &K) -> Option<Arc<Flight<L>>> {
        self.lock().get(key).map(Arc::clone)
    }

    /// Begins a flight in place of one that counts no more. The caller sees to their number.
    pub(crate) fn begin(&self, key: K) -> Arc<Flight<L>> {
        let flight = Flight::new();
        self.lock().insert(key, Arc::clone(&flight));
        flight
    }

    /// Ends the flight of a key, unless another has taken its place.
    pub(crate) fn remove(&self, key: &K, flight: &Arc<Flight<L>>) {
        let mut flights = self.lock();
        if flights
            .get(key)
            .is_some_and(|other| Arc::ptr_eq(other, flight))
        {
            flights.remove(key);
        }
    }

    /// Lets nobody join the flight of a key any more. Who is aboard stays aboard.
    pub(crate) fn forget(&self, key: &K) {
        self.lock().remove(key);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, Arc<Flight<L>>>> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
