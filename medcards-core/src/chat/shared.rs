use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use crate::Result;
use crate::case::CaseVersion;
use crate::id::{CaseId, SharedAnswerId, UserId};
use crate::user::Locale;

/// The most shared answers of one case: all of them are compared with each question.
pub const SHARED_ANSWERS_PER_CASE_MAX: usize = 200;

/// An answer of the coach that anyone may see: a reviewer wrote or approved it for everyone.
///
/// It names no student and comes from no chat by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "a row: every store writes all of it"
)]
pub struct SharedAnswer {
    /// Names it.
    pub id: SharedAnswerId,
    /// The case that it is about.
    pub case_id: CaseId,
    /// The version of the case; it answers nobody who saw another.
    pub case_version: CaseVersion,
    /// Its language.
    pub locale: Locale,
    /// The question, as students ask it.
    pub question: String,
    /// The answer.
    pub answer: String,
    /// Who says that anyone may see it.
    pub reviewer: UserId,
    /// When.
    pub reviewed_at: Timestamp,
}

/// Keeps answers of the coach that anyone may see.
///
/// An ability of its own, as [`ChatStore`](super::ChatStore) is, with the same bounds on words. It
/// belongs to no user. Reads are as fresh as can be. Instants are kept to the microsecond. It asks
/// nobody whether there is such a case.
#[async_trait]
pub trait SharedAnswers: Debug + Display + Send + Sync + 'static {
    /// Keeps an answer, in place of one with the same id.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a question or an answer that cannot be
    /// kept; [`ErrorKind::Full`](crate::ErrorKind::Full) if it is new and its case has
    /// [`SHARED_ANSWERS_PER_CASE_MAX`] others; [`ErrorKind::Conflict`](crate::ErrorKind::Conflict)
    /// if the id is that of an answer about another case; those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves it kept or not.
    async fn put_shared_answer(&self, answer: &SharedAnswer) -> Result<()>;

    /// The answers of a case, all versions and languages, in the order of their ids.
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_shared_answers(&self, case_id: CaseId) -> Result<Vec<SharedAnswer>>;

    /// Removes an answer, and says whether there was one.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves it removed or not.
    async fn remove_shared_answer(&self, id: SharedAnswerId) -> Result<bool>;
}

#[async_trait]
impl<T: SharedAnswers + ?Sized> SharedAnswers for Arc<T> {
    async fn put_shared_answer(&self, answer: &SharedAnswer) -> Result<()> {
        (**self).put_shared_answer(answer).await
    }

    async fn list_shared_answers(&self, case_id: CaseId) -> Result<Vec<SharedAnswer>> {
        (**self).list_shared_answers(case_id).await
    }

    async fn remove_shared_answer(&self, id: SharedAnswerId) -> Result<bool> {
        (**self).remove_shared_answer(id).await
    }
}
