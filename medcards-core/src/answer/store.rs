use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;

use super::Answer;
use crate::Result;
use crate::case::CaseFilter;
use crate::id::{AnswerId, CaseId, UserId};
use crate::store::{Consistency, Page, PageCursor, PageLimit, ReadToken};

/// Keeps answers, each with its event in the answer log.
#[async_trait]
pub trait AnswerStore: Debug + Display + Send + Sync + 'static {
    /// Records an answer and its event in one transaction, once.
    ///
    /// An answer with the same user and id that is stored already is returned as it was stored,
    /// whatever the new one says; nothing is written and no event is added. When this returns `Ok`,
    /// the answer survives a crash of the process and, with default settings, of the machine.
    ///
    /// [`Answer::created_at`] must be the instant inside the id ([`AnswerId::instant`]), so that an
    /// answer sent again is looked for where the first one is.
    ///
    /// # Errors
    /// Those of the storage. After [`ErrorKind::Timeout`](crate::ErrorKind::Timeout) the answer may
    /// or may not be stored; recording it again finds out. A store that files answers by month
    /// refuses another `created_at` with [`ErrorKind::Invalid`](crate::ErrorKind::Invalid).
    ///
    /// # Cancel safety
    /// A dropped future leaves the answer and its event either both stored or neither.
    async fn record_answer(&self, answer: Answer) -> Result<RecordedAnswer>;

    /// One answer of a user, or `None` if this user has no such answer.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_answer(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<Option<Answer>>;

    /// A page of a user's answers, newest first by instant, then by id.
    ///
    /// Walking the cursors shows no answer twice, and every answer stored before the walk began.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give.
    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        consistency: &Consistency,
    ) -> Result<Page<Answer>>;

    /// The totals of a user; zeros for a user without answers.
    ///
    /// # Errors
    /// Those of the storage.
    async fn user_stats(&self, user_id: UserId, consistency: &Consistency) -> Result<UserStats>;

    /// The case this user should see next, or `None` if no case passes the filter.
    ///
    /// A case the user has not answered, else the one whose last answer is longest ago. The same
    /// user with the same answers gets the same case. It knows the answers, and the cases, of a copy
    /// that is as fresh as `consistency` says: with the token of an answer, at least that answer and
    /// all before it.
    ///
    /// # Errors
    /// Those of the storage.
    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<NextCase>>;
}

/// What [`AnswerStore::record_answer`] stored or found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct RecordedAnswer {
    /// The answer as it is stored.
    pub answer: Answer,
    /// Whether this call stored it.
    pub outcome: RecordOutcome,
    /// Lets a later read see this answer on any copy; `None` if there is one copy only.
    pub token: Option<ReadToken>,
}

/// Whether an answer was stored or found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "an answer is new or known")]
pub enum RecordOutcome {
    /// It is new.
    Created,
    /// It was stored before; the first one stands.
    Repeated,
}

/// The totals of a user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct UserStats {
    /// How many answers.
    pub answered: u64,
    /// How many of them right.
    pub correct: u64,
    /// How many different cases.
    pub cases: u64,
}

/// The case a user should see next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct NextCase {
    /// The case.
    pub case_id: CaseId,
    /// Why this one.
    pub reason: NextCaseReason,
}

/// Why a case comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NextCaseReason {
    /// All are answered, and this one longest ago.
    LongestAgo,
    /// The user has not answered it.
    Unseen,
}

#[async_trait]
impl<T: AnswerStore + ?Sized> AnswerStore for Arc<T> {
    async fn record_answer(&self, answer: Answer) -> Result<RecordedAnswer> {
        (**self).record_answer(answer).await
    }

    async fn find_answer(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<Option<Answer>> {
        (**self).find_answer(user_id, answer_id, consistency).await
    }

    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        consistency: &Consistency,
    ) -> Result<Page<Answer>> {
        (**self)
            .list_answers(user_id, after, limit, consistency)
            .await
    }

    async fn user_stats(&self, user_id: UserId, consistency: &Consistency) -> Result<UserStats> {
        (**self).user_stats(user_id, consistency).await
    }

    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<NextCase>> {
        (**self).next_case(user_id, filter, consistency).await
    }
}
