use std::fmt;
use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;

use super::SharedAnswer;
use crate::Result;
use crate::case::CaseVersion;
use crate::id::CaseId;
use crate::user::Locale;

/// A question for which an answer is looked for that exists already.
#[derive(Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "made for each question")]
pub struct ReuseWish<'a> {
    /// The case that it is about.
    pub case_id: CaseId,
    /// The version that the student saw.
    pub case_version: CaseVersion,
    /// The student's language.
    pub locale: Locale,
    /// The question, as the student wrote it.
    pub question: &'a str,
}

impl Debug for ReuseWish<'_> {
    /// Says nothing of the question.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReuseWish({} {})", self.case_id, self.case_version)
    }
}

/// An answer that may be reused.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "made by every implementation")]
pub struct Reusable {
    /// The answer.
    pub answer: SharedAnswer,
    /// How much its question means the same: 1 if it is the same, 0 if it is not.
    pub similarity: f32,
}

/// Finds a reviewed answer to a question that means the same.
///
/// It looks at shared answers alone, never at a chat, and keeps nothing of the question.
#[async_trait]
pub trait SemanticReuse: Debug + Display + Send + Sync + 'static {
    /// The answer whose question is nearest to this one, if it is near enough: to the same version
    /// of the same case, in the same language.
    ///
    /// # Errors
    /// Those of the storage; then the question is answered as if there were none.
    async fn find_reusable(&self, wish: ReuseWish<'_>) -> Result<Option<Reusable>>;
}

#[async_trait]
impl<T: SemanticReuse + ?Sized> SemanticReuse for Arc<T> {
    async fn find_reusable(&self, wish: ReuseWish<'_>) -> Result<Option<Reusable>> {
        (**self).find_reusable(wish).await
    }
}
