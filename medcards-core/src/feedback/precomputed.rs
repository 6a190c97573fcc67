use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Feedback, FeedbackKey, Origin, ReviewState, Shared};
use crate::Result;
use crate::id::UserId;
use crate::store::{Page, PageCursor, PageLimit};

/// Keeps feedback that was written before it is asked for, with what reviewers said of it.
#[async_trait]
pub trait PrecomputedStore: Debug + Display + Send + Sync + 'static {
    /// The feedback for a key, in whatever review state, or `None` if there is none.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback<Shared>>>;

    /// Keeps a feedback, unless a reviewer has spoken of this key; says whether it was kept.
    ///
    /// An unreviewed text is replaced, an approved or withdrawn one is not.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the feedback either kept whole or not at all.
    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback<Shared>) -> Result<bool>;

    /// Writes down what a reviewer said, and returns the feedback as it is then.
    ///
    /// The caller must also purge the key from every cache; the resolver's `review` does both.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no feedback for the key.
    ///
    /// # Cancel safety
    /// A dropped future leaves the review either written or not.
    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback<Shared>>;

    /// A page of the feedback in one review state, oldest first.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give.
    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback<Shared>)>>;

    /// Keys in the order in which they were first kept, after a position, at most `limit`.
    ///
    /// Reading on from [`KeyPage::position`] finds the keys kept since. This is how each process
    /// knows which keys are worth a query. A key that was being kept during the read may be missed
    /// until the next reading from the start; missing one costs money, never an answer.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_keys(&self, after: KeyPosition, limit: usize) -> Result<KeyPage>;

    /// The keys whose last review was at `since` or later, with when that was, oldest first, at most
    /// `limit`.
    ///
    /// This is how each process learns what reviewers said elsewhere. Instants are those that
    /// reviewers gave, to the microsecond.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_reviewed(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FeedbackKey)>>;
}

/// What a reviewer says of a feedback.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each review")]
pub struct Review {
    /// What to do with it.
    pub decision: ReviewDecision,
    /// Who says so.
    pub reviewer: UserId,
    /// When.
    pub reviewed_at: Timestamp,
}

impl Review {
    /// The feedback as it is after this review, which is what every store writes down.
    #[must_use]
    pub fn of(&self, mut feedback: Feedback<Shared>) -> Feedback<Shared> {
        feedback.review = match &self.decision {
            ReviewDecision::Approve => ReviewState::Approved,
            ReviewDecision::Mend(text) => {
                feedback.text.clone_from(text);
                feedback.origin = Origin::Reviewer;
                feedback.written_at = self.reviewed_at;
                ReviewState::Approved
            }
            ReviewDecision::Withdraw => ReviewState::Withdrawn,
        };
        feedback
    }
}

/// What to do with a feedback.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReviewDecision {
    /// Show it.
    Approve,
    /// Show these words instead; they count as approved, and as a reviewer's.
    Mend(String),
    /// Never show it.
    Withdraw,
}

/// A place in the order in which keys were first kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct KeyPosition(
    /// Grows with each key; 0 is before the first.
    pub u64,
);

/// Keys, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct KeyPage {
    /// The keys; fewer than asked for at the end.
    pub keys: Vec<FeedbackKey>,
    /// Where to go on, now or later.
    pub position: KeyPosition,
}

#[async_trait]
impl<T: PrecomputedStore + ?Sized> PrecomputedStore for Arc<T> {
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback<Shared>>> {
        (**self).find_feedback(key).await
    }

    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback<Shared>) -> Result<bool> {
        (**self).put_feedback(key, feedback).await
    }

    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback<Shared>> {
        (**self).review_feedback(key, review).await
    }

    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback<Shared>)>> {
        (**self).list_feedback(state, after, limit).await
    }

    async fn list_keys(&self, after: KeyPosition, limit: usize) -> Result<KeyPage> {
        (**self).list_keys(after, limit).await
    }

    async fn list_reviewed(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FeedbackKey)>> {
        (**self).list_reviewed(since, limit).await
    }
}
