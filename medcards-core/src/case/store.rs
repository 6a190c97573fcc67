use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Case, CaseContent, CaseCorrection, CaseVersion, KeyCorrection};
use crate::Result;
use crate::id::CaseId;
use crate::store::{Page, PageCursor, PageLimit};
use crate::user::Locale;

/// Keeps cases, all versions of each. Cases are reference data: every shard has them all.
#[async_trait]
pub trait CaseStore: Debug + Display + Send + Sync + 'static {
    /// Publishes contents, each on its own, and says what became of each, in the same order.
    ///
    /// Source and external id name the case. A content nobody has published makes a new case, with
    /// version 1; one equal to the current version changes nothing; any other makes the next
    /// version. Publishing the same twice, also at once, gives one version. When a batch names a
    /// case twice, the later content wins the later version.
    ///
    /// # Errors
    /// Those of the storage, for the batch as a whole; then none of it may be relied on, and it can
    /// be published again.
    ///
    /// # Cancel safety
    /// A dropped future leaves each content either published whole or not at all.
    async fn publish(&self, contents: Vec<CaseContent>, now: Timestamp)
    -> Result<Vec<Publication>>;

    /// Publishes a new version of a case because the key of earlier ones was wrong, in one transaction
    /// with the corrections, an [event](crate::event::EventBody::KeyCorrected) for each, and its jobs.
    ///
    /// Corrections are numbered from 1 in the order in which they are made, without a gap. Returns
    /// those that were made, in the order in which they were given.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`](crate::ErrorKind::NotFound) if there is no such case, or no such version
    /// of it; [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if its current version is another;
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) if the content is of another case, or is the
    /// current version as it is, or a job cannot be enqueued. Those of the storage. Then nothing is
    /// written.
    ///
    /// # Cancel safety
    /// A dropped future leaves all of it written or nothing.
    async fn correct_case(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>>;

    /// Corrections with a greater number than this, in the order of their numbers, at most `limit` and
    /// at most [`CORRECTIONS_PER_READ_MAX`](super::CORRECTIONS_PER_READ_MAX).
    ///
    /// # Errors
    /// Those of the storage.
    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>>;

    /// One version of a case, or the current one; `None` if there is no such.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_case(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>>;

    /// A page of current versions: with search words the best matches first, else in order of id.
    ///
    /// Walking the cursors shows no case twice, and every case that matched all the while. A
    /// search may end after 1,000 results.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give.
    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>>;
}

/// What became of one content that was published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct Publication {
    /// The case.
    pub case_id: CaseId,
    /// Its current version.
    pub version: CaseVersion,
    /// What changed.
    pub outcome: PublicationOutcome,
}

/// What publishing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "a case is new, newer or the same")]
pub enum PublicationOutcome {
    /// A new case.
    Created,
    /// A new version of a known case.
    NewVersion,
    /// Nothing: it is the current version already.
    Unchanged,
}

/// Which cases, by exact match on what is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct CaseFilter {
    /// Cases of this specialty, without regard to case.
    pub specialty: Option<String>,
    /// Cases in this language.
    pub locale: Option<Locale>,
}

/// Which part of which list of cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct CaseQuery {
    /// Which cases.
    pub filter: CaseFilter,
    /// Cases that match these words; see [`search_words`](super::search_words). A search without
    /// a word in it matches nothing.
    pub search: Option<String>,
    /// Where to go on.
    pub after: Option<PageCursor>,
    /// How many.
    pub limit: PageLimit,
}

#[async_trait]
impl<T: CaseStore + ?Sized> CaseStore for Arc<T> {
    async fn publish(
        &self,
        contents: Vec<CaseContent>,
        now: Timestamp,
    ) -> Result<Vec<Publication>> {
        (**self).publish(contents, now).await
    }

    async fn correct_case(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        (**self).correct_case(correction).await
    }

    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        (**self).list_corrections(after, limit).await
    }

    async fn find_case(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>> {
        (**self).find_case(case_id, version).await
    }

    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        (**self).list_cases(query).await
    }
}
