//! The platform in one value: cases shown, answers taken, feedback found.

mod builder;
mod form;

pub use builder::MedcardsBuilder;
pub use form::{AnswerForm, ShownCase, SubmittedAnswer};

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::sync::Cache;

use crate::answer::Answer;
use crate::answer::{NextCaseReason, RecordOutcome, RecordedAnswer, answer_instant};
use crate::case::{Case, CaseFilter, CaseVersion};
use crate::feedback::{
    FeedbackRequest, FeedbackResolver, FeedbackStream, RequestAudience, Resolution,
};
use crate::id::{AnswerId, CaseId, UserId};
use crate::spend::Payer;
use crate::store::{Consistency, Store};
use crate::time::Clock;
use crate::user::{User, UserKind, UserSettings};
use crate::{Error, ErrorKind, Result};

/// How many answers' requests for feedback are remembered, at about 300 bytes each. An answer never
/// changes, so that asking for its feedback again needs no store.
const REMEMBERED_ANSWERS_MAX: usize = 100_000;

/// How many users are remembered, at about 150 bytes each.
const REMEMBERED_USERS_MAX: usize = 100_000;

/// How long a user is remembered: so long may settings changed by another process go unseen.
const USER_REMEMBERED_FOR: Duration = Duration::from_mins(1);

/// The platform: a store, a resolver and a clock, and what students do with them.
///
/// Cloning gives a handle on the same platform.
///
/// ```
/// # use medcards_core::{Result, app::{AnswerForm, Medcards}, case::CaseRecord};
/// # use medcards_core::{memory::MemoryStore, store::Consistency, user::UserKind, UserId};
/// # use std::sync::Arc;
/// # async fn example(record: CaseRecord) -> Result<()> {
/// let medcards = Medcards::builder(Arc::new(MemoryStore::new())).build().await?;
/// let (content, _notices) = record.into_content()?;
/// let published = medcards.store().publish(vec![content], medcards.now()).await?;
///
/// let student = medcards.ensure_user(UserId::new(medcards.now()), UserKind::Guest).await?;
/// let choice = AnswerForm { options: vec!["B".into()], ..AnswerForm::default() };
/// let submitted = medcards.submit_answer(student.id, published[0].case_id, choice).await?;
/// // Read from any copy of the data that has the answer.
/// let fresh = Consistency::after(submitted.token);
/// let feedback = medcards.feedback(student.id, submitted.answer.id, &fresh).await?;
/// println!("{} ({})", feedback.text(), feedback.tier());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Medcards {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    resolver: FeedbackResolver,
    clock: Arc<dyn Clock>,
    requests: Cache<(UserId, AnswerId), Arc<FeedbackRequest>>,
    users: Cache<UserId, (User, crate::Timestamp)>,
    /// How many times settings were changed here: who looked at older ones remembers nothing.
    settings_changes: AtomicU64,
}

impl Medcards {
    /// Begins a platform on this store, without a model, with a cache of 64 MiB in memory.
    #[must_use]
    pub fn builder(store: Arc<dyn Store>) -> MedcardsBuilder {
        MedcardsBuilder::new(store)
    }

    /// The store.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }

    /// The resolver.
    #[must_use]
    pub fn resolver(&self) -> &FeedbackResolver {
        &self.inner.resolver
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The time by that clock.
    #[must_use]
    pub fn now(&self) -> crate::Timestamp {
        self.inner.clock.now()
    }

    /// Makes sure that a user is known, and returns what is stored. Cheap for a user seen before.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn ensure_user(&self, user_id: UserId, kind: UserKind) -> Result<User> {
        if let Some(user) = self.remembered_user(user_id) {
            return Ok(user);
        }
        let user = self
            .inner
            .store
            .ensure_user(User::new(user_id, kind, self.now()))
            .await?;
        self.remember_user(&user);
        Ok(user)
    }

    /// Replaces the settings of a user.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the user is not known.
    pub async fn update_settings(&self, user_id: UserId, settings: UserSettings) -> Result<User> {
        let user = self
            .inner
            .store
            .update_settings(user_id, settings, self.now())
            .await?;
        self.remember_user(&user);
        self.inner.settings_changes.fetch_add(1, Ordering::AcqRel);
        // The language of feedback may be another now. Which answers are this user's is not known
        // here, and forgetting all costs a read each.
        self.inner.requests.clear();
        Ok(user)
    }

    /// A case as this student sees it: the current version, unless another is asked for.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such case or version.
    pub async fn show_case(
        &self,
        user_id: UserId,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<ShownCase> {
        let case = self.find_case("show case", case_id, version).await?;
        let order = case.order_shown_to(&user_id);
        Ok(ShownCase { case, order })
    }

    /// The case this student should see next, with the reason; `None` if no case passes the filter.
    ///
    /// It is chosen by answers and cases as fresh as `consistency` says, and shown in its current
    /// version. `None` is always as fresh as can be: a copy without a case may be behind.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<(ShownCase, NextCaseReason)>> {
        let store = &self.inner.store;
        let mut next = store.next_case(user_id, filter, consistency).await?;
        if next.is_none() && *consistency != Consistency::Strong {
            next = store
                .next_case(user_id, filter, &Consistency::Strong)
                .await?;
        }
        match next {
            Some(next) => {
                let shown = self.show_case(user_id, next.case_id, None).await?;
                Ok(Some((shown, next.reason)))
            }
            None => Ok(None),
        }
    }

    /// Scores a choice and records it, once per id.
    ///
    /// An id that this student used before for the same case gives the first answer back.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such case or version; [`ErrorKind::Invalid`] if the
    /// id is not a fresh UUIDv7 or the choice is not one that the case allows;
    /// [`ErrorKind::Conflict`] if this student used the id for another case.
    ///
    /// # Cancel safety
    /// A dropped future leaves the answer recorded or not; sending it again finds out.
    pub async fn submit_answer(
        &self,
        user_id: UserId,
        case_id: CaseId,
        form: AnswerForm,
    ) -> Result<SubmittedAnswer> {
        let id = form.id.unwrap_or_else(|| AnswerId::new(self.now()));
        let recorded = match self.score(user_id, case_id, id, &form).await {
            Ok((answer, case)) => {
                let recorded = self.inner.store.record_answer(answer).await?;
                (recorded, Some(case))
            }
            // An answer that was recorded once stands, whatever has become of the case since.
            Err(refusal) => match self.find_recorded(user_id, &form).await? {
                Some(recorded) => (recorded, None),
                None => return Err(refusal),
            },
        };
        let (
            RecordedAnswer {
                answer,
                outcome,
                token,
            },
            case,
        ) = recorded;
        if answer.case_id != case_id {
            return Err(Error::new(
                ErrorKind::Conflict,
                "submit answer",
                "this id was used for an answer to another case; make a new id for each answer",
            ));
        }
        // A repeated answer may be to an earlier version than the one just looked up.
        let case = match case.filter(|case| case.version == answer.case_version) {
            Some(case) => case,
            None => {
                self.find_case("submit answer", case_id, Some(answer.case_version))
                    .await?
            }
        };
        // The answer is recorded: not to remember it costs a read later, and nothing else.
        if let Err(error) = self.remember(&answer, &case, user_id.into()).await {
            tracing::debug!(%error, "a recorded answer is not remembered");
        }
        Ok(SubmittedAnswer {
            answer,
            case,
            is_repeated: outcome == RecordOutcome::Repeated,
            token,
        })
    }

    /// The wish for feedback that belongs to an answer of this student.
    ///
    /// An answer that a read of this consistency does not find is looked for once more with
    /// [`Consistency::Strong`] before it counts as absent: the token may be of an earlier answer, or
    /// the copy behind, and a student is never told that their answer does not exist.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if this student has no such answer.
    pub async fn feedback_request(
        &self,
        student: impl Into<Payer>,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<Arc<FeedbackRequest>> {
        let payer = student.into();
        let user_id = payer.user_id;
        if let Some(request) = self.remembered_request(payer, answer_id) {
            return Ok(request);
        }
        let store = &self.inner.store;
        let mut found = store.find_answer(user_id, answer_id, consistency).await?;
        if found.is_none() && *consistency != Consistency::Strong {
            found = store
                .find_answer(user_id, answer_id, &Consistency::Strong)
                .await?;
        }
        let answer = found.ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                "find answer",
                "you have no answer with this id",
            )
        })?;
        let case = self
            .find_case("find answer", answer.case_id, Some(answer.case_version))
            .await?;
        self.remember(&answer, &case, payer).await
    }

    /// The same without waiting, if it was asked for lately. Does not allocate.
    #[must_use]
    pub fn remembered_request(
        &self,
        student: impl Into<Payer>,
        answer_id: AnswerId,
    ) -> Option<Arc<FeedbackRequest>> {
        let payer = student.into();
        let request = self.inner.requests.get(&(payer.user_id, answer_id))?;
        (request.payer == Some(payer)).then_some(request)
    }

    /// The feedback on an answer of this student, which is found as
    /// [`feedback_request`](Self::feedback_request) finds it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if this student has no such answer; those of the store, if the answer
    /// has to be read from it. The resolver itself always has feedback.
    pub async fn feedback(
        &self,
        student: impl Into<Payer>,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<Resolution> {
        let request = self
            .feedback_request(student, answer_id, consistency)
            .await?;
        Ok(self.inner.resolver.resolve(&request).await)
    }

    /// The same as it arrives.
    ///
    /// # Errors
    /// Those of [`feedback`](Self::feedback), before the stream begins.
    pub async fn feedback_stream(
        &self,
        student: impl Into<Payer>,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<FeedbackStream> {
        let request = self
            .feedback_request(student, answer_id, consistency)
            .await?;
        Ok(self.inner.resolver.resolve_stream((*request).clone()))
    }

    /// Ends live calls and books what is to be booked, waiting at most `patience`.
    ///
    /// The store is not closed: whoever made it closes it.
    ///
    /// # Errors
    /// Those of the ledger.
    pub async fn close(&self, patience: Duration) -> Result<()> {
        self.inner.resolver.close(patience).await
    }

    /// The answer that a form makes, and the case that it answers.
    async fn score(
        &self,
        user_id: UserId,
        case_id: CaseId,
        id: AnswerId,
        form: &AnswerForm,
    ) -> Result<(Answer, Arc<Case>)> {
        let created_at = answer_instant(id, self.now())?;
        let case = self
            .find_case("submit answer", case_id, form.case_version)
            .await?;
        let chosen = form.chosen_of(&case)?;
        let answer = Answer {
            id,
            user_id,
            case_id,
            case_version: case.version,
            chosen,
            shown: case.order_shown_to(&user_id),
            is_correct: case.is_correct(chosen),
            time_to_answer_ms: form.time_to_answer_ms,
            confidence: form.confidence,
            created_at,
        };
        Ok((answer, case))
    }

    async fn find_recorded(
        &self,
        user_id: UserId,
        form: &AnswerForm,
    ) -> Result<Option<RecordedAnswer>> {
        let Some(id) = form.id else { return Ok(None) };
        let found = self
            .inner
            .store
            .find_answer(user_id, id, &Consistency::Strong)
            .await?;
        Ok(found.map(|answer| RecordedAnswer {
            answer,
            outcome: RecordOutcome::Repeated,
            token: None,
        }))
    }

    async fn find_case(
        &self,
        operation: &'static str,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Arc<Case>> {
        let found = self.inner.store.find_case(case_id, version).await?;
        found.ok_or_else(|| {
            let context = match version {
                None => "no case has this id",
                Some(_) => "no case has this id and version",
            };
            Error::new(ErrorKind::NotFound, operation, context)
        })
    }

    fn remembered_user(&self, user_id: UserId) -> Option<User> {
        let (user, until) = self.inner.users.get(&user_id)?;
        (self.now() < until).then_some(user)
    }

    /// What a user chose; the defaults for one who is not known.
    pub(crate) async fn settings(&self, user_id: UserId) -> Result<UserSettings> {
        let user = match self.remembered_user(user_id) {
            Some(user) => Some(user),
            None => self.inner.store.find_user(user_id).await?,
        };
        Ok(user.map(|user| user.settings).unwrap_or_default())
    }

    fn remember_user(&self, user: &User) {
        let until = self.now() + USER_REMEMBERED_FOR;
        self.inner.users.insert(user.id, (user.clone(), until));
    }

    async fn remember(
        &self,
        answer: &Answer,
        case: &Arc<Case>,
        payer: Payer,
    ) -> Result<Arc<FeedbackRequest>> {
        let settings_changes = self.inner.settings_changes.load(Ordering::Acquire);
        let settings = self.settings(answer.user_id).await?;
        let locale = settings.locale.unwrap_or_else(|| case.content.locale());
        let request = Arc::new(FeedbackRequest {
            key: self
                .inner
                .resolver
                .key(case, answer.chosen, locale, settings.level),
            case: Arc::clone(case),
            audience: RequestAudience::Shared,
            payer: Some(payer),
        });
        if self.inner.settings_changes.load(Ordering::Acquire) == settings_changes {
            let place = (answer.user_id, answer.id);
            self.inner.requests.insert(place, Arc::clone(&request));
        }
        Ok(request)
    }
}

impl fmt::Debug for Medcards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Medcards")
            .field("store", &self.inner.store)
            .field("resolver", &self.inner.resolver)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Medcards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Medcards({}, {})", self.inner.store, self.inner.resolver)
    }
}
