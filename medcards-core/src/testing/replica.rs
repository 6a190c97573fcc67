use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::Result;
use crate::answer::{Answer, AnswerStore, NextCase, RecordedAnswer, UserStats};
use crate::case::{
    Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseStore, CaseVersion,
    KeyCorrection, Publication,
};
use crate::event::{Event, EventBody, EventLog, LogPosition, ReaderName};
use crate::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, PrecomputedStore, Review, ReviewState, Shared,
};
use crate::id::{AnswerId, CaseId, ReservationId, UserId};
use crate::memory::MemoryStore;
use crate::spend::{
    Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow, SpendScope,
    SpendSum,
};
use crate::store::{Consistency, Hint, Page, PageCursor, PageLimit, ReadToken};
use crate::user::{User, UserSettings, UserStore};

/// What the tokens of this store begin with.
const TOKEN_PREFIX: &str = "sample-replica-";

/// A store in memory with a replica, which is behind until it is told to catch up.
///
/// Answers carry tokens. A read of answers goes to the replica if its consistency allows it; any
/// other call goes to the copy that takes the writes. A replica that may be any time behind is one
/// that every [`Consistency::Bounded`] takes. Cloning gives another handle on the same data.
///
/// ```
/// use medcards_core::answer::AnswerStore;
/// use medcards_core::store::Consistency;
/// use medcards_core::testing::{ReplicatedStore, SAMPLE_START, sample_answer, sample_case, sample_user_id};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = ReplicatedStore::new();
/// let answer = sample_answer(sample_user_id(1), &sample_case(1), SAMPLE_START);
/// let token = store.record_answer(answer).await?.token.expect("a copy may be behind");
/// let any = Consistency::Bounded(std::time::Duration::MAX);
///
/// let answered = async |consistency| {
///     let stats = store.user_stats(sample_user_id(1), &consistency).await?;
///     Ok::<_, medcards_core::Error>(stats.answered)
/// };
/// assert_eq!(answered(any.clone()).await?, 0);
/// assert_eq!(answered(Consistency::AtLeast(token)).await?, 1);
/// store.catch_up();
/// assert_eq!(answered(any).await?, 1);
/// # Ok::<_, medcards_core::Error>(())
/// # }).expect("the store works");
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct ReplicatedStore {
    primary: MemoryStore,
    replica: Arc<Mutex<Replica>>,
    /// How many answers are recorded between two times that the replica catches up by itself.
    catches_up_every: Option<u64>,
}

#[derive(Debug, Default)]
struct Replica {
    store: MemoryStore,
    /// How many answers were recorded.
    recorded: u64,
    /// How many of them the replica has.
    replayed: u64,
    reads: u64,
}

impl ReplicatedStore {
    /// Makes an empty store whose replica catches up only when told.
    #[must_use]
    pub fn new() -> Self {
        Self {
            primary: MemoryStore::new(),
            replica: Arc::default(),
            catches_up_every: None,
        }
    }

    /// Makes an empty store whose replica also catches up at every `answers`th answer.
    #[must_use]
    pub fn catching_up_every(answers: u64) -> Self {
        Self {
            catches_up_every: Some(answers.max(1)),
            ..Self::new()
        }
    }

    /// Brings the replica up to now.
    pub fn catch_up(&self) {
        let mut replica = self.replica();
        // What is recorded before it is counted is copied and not promised.
        replica.replayed = replica.recorded;
        replica.store = self.primary.copied();
    }

    /// How many reads the replica served.
    #[must_use]
    pub fn replica_reads(&self) -> u64 {
        self.replica().reads
    }

    fn replica(&self) -> MutexGuard<'_, Replica> {
        // Nothing panics between two changes that belong together.
        self.replica.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The copy for a read.
    fn copy_for(&self, consistency: &Consistency) -> MemoryStore {
        let mut replica = self.replica();
        let serves = match consistency {
            Consistency::AtLeast(token) => {
                answers_in(token).is_some_and(|answers| answers <= replica.replayed)
            }
            Consistency::Bounded(_) => true,
            Consistency::Strong => false,
        };
        if !serves {
            return self.primary.clone();
        }
        replica.reads += 1;
        replica.store.clone()
    }
}

/// How many answers a copy must have by this token, or `None` if it is not one of this store.
fn answers_in(token: &ReadToken) -> Option<u64> {
    token.as_str().strip_prefix(TOKEN_PREFIX)?.parse().ok()
}

impl Default for ReplicatedStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for ReplicatedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicatedStore({})", self.primary)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl AnswerStore for ReplicatedStore {
    async fn record_answer(&self, answer: Answer) -> Result<RecordedAnswer> {
        let mut recorded = self.primary.record_answer(answer).await?;
        let count = {
            let mut replica = self.replica();
            replica.recorded += 1;
            replica.recorded
        };
        recorded.token = ReadToken::parse(&format!("{TOKEN_PREFIX}{count}"));
        if self
            .catches_up_every
            .is_some_and(|n| count.is_multiple_of(n))
        {
            self.catch_up();
        }
        Ok(recorded)
    }

    async fn find_answer(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<Option<Answer>> {
        let copy = self.copy_for(consistency);
        copy.find_answer(user_id, answer_id, consistency).await
    }

    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        consistency: &Consistency,
    ) -> Result<Page<Answer>> {
        let copy = self.copy_for(consistency);
        copy.list_answers(user_id, after, limit, consistency).await
    }

    async fn user_stats(&self, user_id: UserId, consistency: &Consistency) -> Result<UserStats> {
        let copy = self.copy_for(consistency);
        copy.user_stats(user_id, consistency).await
    }

    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<NextCase>> {
        let copy = self.copy_for(consistency);
        copy.next_case(user_id, filter, consistency).await
    }
}

/// Writes one impl whose methods call the same method of the copy that takes the writes.
macro_rules! to_primary {
    ($trait:ident {
        $(fn $method:ident($($name:ident: $type:ty),*) -> $output:ty;)*
        $(hint $hint:ident;)?
    }) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl $trait for ReplicatedStore {
            $(async fn $method(&self, $($name: $type),*) -> Result<$output> {
                self.primary.$method($($name),*).await
            })*
            $(fn $hint(&self) -> Hint {
                self.primary.$hint()
            })?
        }
    };
}

to_primary!(CaseStore {
    fn publish(contents: Vec<CaseContent>, now: Timestamp) -> Vec<Publication>;
    fn correct_case(correction: CaseCorrection) -> Vec<KeyCorrection>;
    fn list_corrections(after: u64, limit: usize) -> Vec<KeyCorrection>;
    fn find_case(case_id: CaseId, version: Option<CaseVersion>) -> Option<Arc<Case>>;
    fn list_cases(query: &CaseQuery) -> Page<Arc<Case>>;
});

to_primary!(UserStore {
    fn ensure_user(user: User) -> User;
    fn find_user(user_id: UserId) -> Option<User>;
    fn update_settings(user_id: UserId, settings: UserSettings, now: Timestamp) -> User;
});

to_primary!(EventLog {
    fn read_events(after: LogPosition, limit: usize) -> Vec<Event>;
    fn append_events(bodies: Vec<EventBody>) -> ();
    fn count_events(after: LogPosition) -> u64;
    fn find_cursor(reader: &ReaderName) -> LogPosition;
    fn move_cursor(reader: &ReaderName, from: LogPosition, to: LogPosition) -> ();
    hint appended;
});

to_primary!(PrecomputedStore {
    fn find_feedback(key: &FeedbackKey) -> Option<Feedback<Shared>>;
    fn put_feedback(key: &FeedbackKey, feedback: &Feedback<Shared>) -> bool;
    fn review_feedback(key: &FeedbackKey, review: Review) -> Feedback<Shared>;
    fn list_feedback(
        state: ReviewState, after: Option<&PageCursor>, limit: PageLimit
    ) -> Page<(FeedbackKey, Feedback<Shared>)>;
    fn list_keys(after: KeyPosition, limit: usize) -> KeyPage;
    fn list_reviewed(since: Timestamp, limit: usize) -> Vec<(Timestamp, FeedbackKey)>;
});

to_primary!(SpendLedger {
    fn reserve(wish: &Reservation, budget: &SpendBudget) -> ReserveOutcome;
    fn settle(reservation: ReservationId, spent: &SpendRow) -> ();
    fn add(rows: &[SpendRow]) -> ();
    fn sums(scopes: &[SpendScope]) -> Vec<SpendSum>;
    fn totals(query: &SpendQuery) -> Vec<SpendRow>;
});
