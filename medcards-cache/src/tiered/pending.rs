//! Removals that the far cache may not have carried out.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use medcards_core::feedback::FeedbackKey;
use medcards_core::{CaseId, Error, ErrorKind, Result};

use super::Removal;
use crate::lock::lock;

/// The most cases of which removals are remembered while the far cache is away: some ten megabytes.
/// A platform has fewer cases than that.
const CASES_MAX: usize = 100_000;

/// How many keys of one case are remembered before the whole case is removed instead.
const KEYS_PER_CASE_MAX: usize = 32;

/// Removals that the far cache may not have carried out. What it has of them is not to be believed.
#[derive(Debug, Default)]
pub(super) struct Pending {
    cases: Mutex<HashMap<CaseId, HashMap<Removal, Claim>>>,
    /// How many cases there are, so that a look costs no lock while there are none.
    len: AtomicUsize,
    /// How many attempts there were.
    attempts: AtomicU64,
}

/// Who carries a removal out.
#[derive(Clone, Copy, Debug)]
struct Claim {
    /// Different for each attempt, so that an earlier one does not end a later one.
    number: u64,
    is_running: bool,
}

/// An attempt to carry a removal out. Unless it is [`done`](Self::done), another is to be made.
#[derive(Debug)]
pub(super) struct Attempt<'a> {
    pending: &'a Pending,
    removal: Removal,
    number: u64,
}

impl Pending {
    /// Remembers a removal, and begins to carry it out.
    ///
    /// # Errors
    /// [`ErrorKind::Full`] if there are too many; it is not remembered then.
    pub(super) fn begin(&self, removal: Removal) -> Result<Attempt<'_>> {
        let mut cases = lock(&self.cases);
        let case_id = removal.case_id();
        if cases.len() >= CASES_MAX && !cases.contains_key(&case_id) {
            return Err(Error::new(
                ErrorKind::Full,
                "forget cached feedback",
                "too many removals wait for Redis to come back: bring it back, then repeat this one",
            ));
        }
        let of_case = cases.entry(case_id).or_default();
        let is_running = |claim: &Claim| claim.is_running;
        let removal = if of_case.len() < KEYS_PER_CASE_MAX || of_case.contains_key(&removal) {
            removal
        } else {
            // What others carry out at the moment stays theirs.
            of_case.retain(|_, claim| is_running(claim));
            Removal::Case(case_id)
        };
        let number = self.attempts.fetch_add(1, Ordering::Relaxed);
        let claim = Claim {
            number,
            is_running: true,
        };
        of_case.insert(removal.clone(), claim);
        self.len.store(cases.len(), Ordering::Release);
        Ok(Attempt {
            pending: self,
            removal,
            number,
        })
    }

    /// Remembers a removal that nobody carries out at the moment. If there are too many, it is not
    /// remembered.
    pub(super) fn add(&self, removal: Removal) {
        // Dropping the attempt leaves it to be made.
        if let Err(error) = self.begin(removal) {
            tracing::error!(%error, "a removal is lost");
        }
    }

    /// Takes over a removal that nobody carries out at the moment, any of them.
    pub(super) fn next(&self) -> Option<Attempt<'_>> {
        if self.len() == 0 {
            return None;
        }
        let mut cases = lock(&self.cases);
        // From a different place each time, so that those that keep failing do not hold up others.
        let first = fastrand::usize(..cases.len().max(1));
        let is_idle =
            |of_case: &HashMap<Removal, Claim>| of_case.values().any(|claim| !claim.is_running);
        let idle = |(case_id, of_case): (&CaseId, &HashMap<Removal, Claim>)| {
            is_idle(of_case).then_some(*case_id)
        };
        let case_id = cases.iter().skip(first).find_map(idle);
        let case_id = case_id.or_else(|| cases.iter().find_map(idle))?;
        let mut of_case = cases.get_mut(&case_id)?.iter_mut();
        let (removal, claim) = of_case.find(|(_, claim)| !claim.is_running)?;
        claim.is_running = true;
        claim.number = self.attempts.fetch_add(1, Ordering::Relaxed);
        Some(Attempt {
            pending: self,
            removal: removal.clone(),
            number: claim.number,
        })
    }

    /// Whether the far cache may still have what was to be removed.
    pub(super) fn has(&self, key: &FeedbackKey) -> bool {
        if self.len() == 0 {
            return false;
        }
        let cases = lock(&self.cases);
        cases.get(&key.case_id).is_some_and(|of_case| {
            of_case.keys().any(|removal| match removal {
                Removal::Case(_) => true,
                Removal::Key(removed) => removed == key,
            })
        })
    }

    /// Of how many cases something is to be removed.
    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }
}

impl Attempt<'_> {
    pub(super) fn removal(&self) -> &Removal {
        &self.removal
    }

    /// It was carried out.
    pub(super) fn done(self) {
        let mut cases = lock(&self.pending.cases);
        let case_id = self.removal.case_id();
        let Some(of_case) = cases.get_mut(&case_id) else {
            return;
        };
        let claim = of_case.get(&self.removal);
        if claim.is_some_and(|claim| claim.number == self.number) {
            of_case.remove(&self.removal);
        }
        if of_case.is_empty() {
            cases.remove(&case_id);
        }
        self.pending.len.store(cases.len(), Ordering::Release);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut cases = lock(&self.pending.cases);
        let of_case = cases.get_mut(&self.removal.case_id());
        let claim = of_case.and_then(|of_case| of_case.get_mut(&self.removal));
        if let Some(claim) = claim.filter(|claim| claim.number == self.number) {
            claim.is_running = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use medcards_core::testing::sample_key;

    use super::*;

    fn key(n: u32) -> Removal {
        Removal::Key(sample_key(n))
    }

    #[test]
    fn what_was_not_carried_out_is_pending_until_it_is() {
        let pending = Pending::default();
        let attempt = pending.begin(key(1)).unwrap();
        assert!(pending.has(&sample_key(1)) && !pending.has(&sample_key(2)));
        assert!(pending.next().is_none(), "somebody is at it");
        drop(attempt);
        let again = pending.next().expect("nobody is at it");
        assert_eq!(again.removal(), &key(1));
        again.done();
        assert!(!pending.has(&sample_key(1)) && pending.len() == 0);
    }

    #[test]
    fn an_earlier_attempt_does_not_end_a_later_one() {
        let pending = Pending::default();
        let earlier = pending.begin(key(1)).unwrap();
        let later = pending.begin(key(1)).unwrap();
        earlier.done();
        assert!(pending.has(&sample_key(1)));
        later.done();
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn many_keys_of_a_case_become_the_case() {
        let pending = Pending::default();
        let version = |n| {
            let mut key = sample_key(1);
            key.prompt_version = medcards_core::ai::PromptVersion::new(n);
            key
        };
        for n in 0..200 {
            pending.add(Removal::Key(version(n)));
        }
        assert!((0..200).all(|n| pending.has(&version(n))));
        let mut attempts = 0;
        while let Some(attempt) = pending.next() {
            attempt.done();
            attempts += 1;
        }
        assert!(attempts <= KEYS_PER_CASE_MAX, "{attempts} attempts");
        assert_eq!(pending.len(), 0);
    }

    #[test]
    fn there_is_a_bound_and_it_is_told() {
        let pending = Pending::default();
        let case = || Removal::Case(CaseId::new(medcards_core::testing::SAMPLE_START));
        for _ in 0..CASES_MAX {
            pending.add(case());
        }
        let error = pending.begin(case()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full);
        assert_eq!(pending.len(), CASES_MAX);
    }
}
