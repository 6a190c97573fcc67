use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use medcards_core::UserId;

use crate::problem::{Problem, ProblemCode};

/// When a client that found no place may try again: others close meanwhile, or are found silent.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(10);

/// The places for live connections: so many in the process, and for each user.
#[derive(Debug)]
pub(crate) struct Places {
    max: usize,
    per_user_max: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    by_user: HashMap<UserId, usize>,
}

/// A place, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    user_id: UserId,
}

impl Places {
    pub(super) fn new(max: usize, per_user_max: usize) -> Self {
        Self {
            max,
            per_user_max,
            taken: Mutex::default(),
        }
    }

    /// Takes a place, if there is one.
    pub(crate) fn take(self: &Arc<Self>, user_id: UserId) -> Result<Place, Problem> {
        let mut taken = self.taken();
        let of_user = taken.by_user.get(&user_id).copied().unwrap_or_default();
        if of_user >= self.per_user_max {
            let detail = format!(
                "at most {} may be open at once: close one",
                self.per_user_max
            );
            return Err(refused(ProblemCode::LiveTooMany).with_detail(detail));
        }
        if taken.all >= self.max {
            return Err(refused(ProblemCode::LiveFull));
        }
        taken.all += 1;
        taken.by_user.insert(user_id, of_user + 1);
        drop(taken);
        Ok(Place {
            places: Arc::clone(self),
            user_id,
        })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // Nothing panics between two changes that belong together.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(code: ProblemCode) -> Problem {
    Problem::new(code).with_retry_after(TRY_AGAIN_AFTER)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.all -= 1;
        if let Some(of_user) = taken.by_user.get_mut(&self.user_id) {
            *of_user -= 1;
            if *of_user == 0 {
                taken.by_user.remove(&self.user_id);
            }
        }
    }
}
