mod learning;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use tokio::sync::watch;

use crate::ai::{
    AiBatches, AiCapability, AiFailure, AiProvider, AiRequest, AiStream, ModelId, RateLimits,
};
use crate::answer::{Answer, AnswerStore, NextCase, RecordedAnswer, UserStats};
use crate::cache::{Cache, CacheEntry, CacheHit};
use crate::case::{
    Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseStore, CaseVersion,
    KeyCorrection, Publication,
};
use crate::chat::{
    ChatStore, ChatSummary, ChatTurn, SharedAnswer, SharedAnswers, TurnReply, TurnStart,
};
use crate::event::{Event, EventBody, EventLog, LogPosition, ReaderName};
use crate::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, PrecomputedStore, Review, ReviewState, Shared,
};
use crate::id::{AnswerId, CaseId, ReservationId, SharedAnswerId, TurnId, UserId};
use crate::lease::{FeedbackLeases, Fence, Lease, LeaseEnd, LeaseHold, LeaseTurn, LeaseView};
use crate::limit::{LimitDecision, LimitKey, LimitedCall, Quota, RateLimiter};
use crate::session::{Session, SessionKey, SessionStore};
use crate::spend::{
    Price, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow, SpendScope,
    SpendSum,
};
use crate::store::{Consistency, Hint, Page, PageCursor, PageLimit};
use crate::user::{User, UserSettings, UserStore};
use crate::{Error, ErrorKind, Result};

/// A method that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each is the method of its name")]
pub enum Operation {
    AddSpend,
    AppendEvents,
    BeginEdition,
    BeginTurn,
    CacheGet,
    CacheGetLocal,
    CachePurgeCase,
    CachePut,
    CacheRemove,
    CheckLimit,
    ClaimJobs,
    CommitView,
    CorrectCase,
    CountEvents,
    CreateSession,
    DiscardJobs,
    EndLease,
    EndTurn,
    EnqueueJobs,
    EnsureUser,
    FindAnswer,
    FindCase,
    FindCursor,
    FindFeedback,
    FindRows,
    FindSummary,
    FindTurn,
    FindUser,
    FindView,
    FollowLease,
    ForgetChat,
    GiveUpLead,
    HeartbeatJobs,
    JobCounts,
    LastNotice,
    ListAnswers,
    ListAwards,
    ListCases,
    ListCorrections,
    ListDead,
    ListFeedback,
    ListKeys,
    ListNotices,
    ListReviewed,
    ListRows,
    ListSessions,
    ListSetAside,
    ListSharedAnswers,
    ListShelf,
    ListTurns,
    ListViews,
    MoveCursor,
    NextCase,
    NextDue,
    Publish,
    PushWords,
    PutFeedback,
    PutSharedAnswer,
    PutSummary,
    ReadEvents,
    ReadNotices,
    RecordAnswer,
    RemoveSharedAnswer,
    RequeueJobs,
    Reserve,
    ReviewFeedback,
    RevokeSession,
    RevokeSessions,
    Settle,
    SettleJobs,
    SpendSums,
    SpendTotals,
    StreamReply,
    SweepKeys,
    SweepNotices,
    SweepRows,
    SwitchView,
    TakeLead,
    TakeLease,
    TouchSession,
    UpdateSettings,
    UserStats,
}

/// Says which calls fail, and how. Cloning it gives another handle on the same plan.
///
/// Rules for one operation are used up in the order in which they were given; a call without a
/// rule is passed on.
#[derive(Clone)]
pub struct FaultPlan {
    plan: Arc<Mutex<HashMap<Operation, Rules>>>,
    released: watch::Sender<u64>,
    calls: watch::Sender<u64>,
}

#[derive(Default)]
struct Rules {
    calls: u64,
    next: Vec<(u64, Fault)>,
    every: Option<(u64, ErrorKind)>,
}

#[derive(Clone, Copy)]
enum Fault {
    /// The inner method is not called.
    Fails(ErrorKind),
    /// The inner method is called once the plan releases it.
    Hangs,
    /// The inner method is called and succeeds, but the caller never learns.
    LosesReply(ErrorKind),
}

impl FaultPlan {
    /// Makes a plan in which nothing fails.
    #[must_use]
    pub fn new() -> Self {
        Self {
            plan: Arc::default(),
            released: watch::Sender::new(0),
            calls: watch::Sender::new(0),
        }
    }

    /// The next `calls` of an operation fail before they reach the backend.
    pub fn fail_next(&self, operation: Operation, calls: u64, kind: ErrorKind) {
        self.add(operation, calls, Fault::Fails(kind));
    }

    /// The next `calls` of an operation reach the backend; if they succeed there, they fail here.
    pub fn lose_next_reply(&self, operation: Operation, calls: u64, kind: ErrorKind) {
        self.add(operation, calls, Fault::LosesReply(kind));
    }

    /// The next `calls` of an operation wait for [`Self::release`] before they reach the backend.
    ///
    /// One that cannot wait, because it is not async, finds nothing instead.
    pub fn hang_next(&self, operation: Operation, calls: u64) {
        self.add(operation, calls, Fault::Hangs);
    }

    /// Every `nth` call of an operation fails, counted from its first, until the plan is cleared.
    pub fn fail_every(&self, operation: Operation, nth: u64, kind: ErrorKind) {
        self.rules().entry(operation).or_default().every = Some((nth.max(1), kind));
    }

    /// Lets all calls go on that hang now.
    pub fn release(&self) {
        self.released.send_modify(|releases| *releases += 1);
    }

    /// Forgets all rules; counts stay, and calls that hang go on hanging.
    pub fn clear(&self) {
        for rules in self.rules().values_mut() {
            rules.next.clear();
            rules.every = None;
        }
    }

    /// How many calls of an operation there were, failed ones included.
    #[must_use]
    pub fn calls(&self, operation: Operation) -> u64 {
        self.rules().get(&operation).map_or(0, |rules| rules.calls)
    }

    /// Waits until there were at least this many calls of an operation.
    pub async fn called(&self, operation: Operation, calls: u64) {
        // The sender lives as long as this plan, so waiting cannot fail.
        let _ = self
            .calls
            .subscribe()
            .wait_for(|_| self.calls(operation) >= calls)
            .await;
    }

    fn rules(&self) -> MutexGuard<'_, HashMap<Operation, Rules>> {
        // Each change is one assignment, so the rules are whole even after a panic.
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, operation: Operation, calls: u64, fault: Fault) {
        if calls > 0 {
            self.rules()
                .entry(operation)
                .or_default()
                .next
                .push((calls, fault));
        }
    }

    /// Counts a call, and takes the fault that it meets.
    fn meet(&self, operation: Operation) -> Option<Fault> {
        let fault = self.rules().entry(operation).or_default().meet();
        self.calls.send_modify(|calls| *calls += 1);
        fault
    }

    /// Makes a call meet the fault that is planned for it, if any.
    async fn apply<R: Send>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<R>> + Send,
    ) -> Result<R> {
        // Before the call is counted, so that whoever waits for the count can release it.
        let mut released = self.released.subscribe();
        match self.meet(operation) {
            None => call.await,
            Some(Fault::Fails(kind)) => Err(injected(kind)),
            Some(Fault::Hangs) => {
                // The sender lives as long as this plan, so waiting cannot fail.
                let _ = released.changed().await;
                call.await
            }
            Some(Fault::LosesReply(kind)) => {
                call.await?;
                Err(injected(kind))
            }
        }
    }
}

impl Rules {
    fn meet(&mut self) -> Option<Fault> {
        self.calls += 1;
        if let Some((left, fault)) = self.next.first_mut() {
            let fault = *fault;
            *left -= 1;
            if *left == 0 {
                self.next.remove(0);
            }
            return Some(fault);
        }
        let (nth, kind) = self.every?;
        self.calls.is_multiple_of(nth).then_some(Fault::Fails(kind))
    }
}

impl Default for FaultPlan {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultPlan")
            .field("calls", &*self.calls.borrow())
            .finish_non_exhaustive()
    }
}

/// A backend whose calls fail as a [`FaultPlan`] says. It has every ability of what it wraps.
///
/// ```
/// use medcards_core::memory::MemoryStore;
/// use medcards_core::testing::{FaultPlan, Faulty, Operation, sample_user_id};
/// use medcards_core::user::UserStore;
/// use medcards_core::ErrorKind;
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let plan = FaultPlan::new();
/// let store = Faulty::new(MemoryStore::new(), plan.clone());
/// plan.fail_next(Operation::FindUser, 1, ErrorKind::Unavailable);
///
/// assert!(store.find_user(sample_user_id(1)).await.is_err());
/// assert!(store.find_user(sample_user_id(1)).await.is_ok());
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Faulty<T> {
    inner: T,
    plan: FaultPlan,
}

impl<T> Faulty<T> {
    /// Wraps a backend.
    pub fn new(inner: T, plan: FaultPlan) -> Self {
        Self { inner, plan }
    }

    /// What is wrapped.
    pub fn inner(&self) -> &T {
        &self.inner
    }
}

fn injected(kind: ErrorKind) -> Error {
    Error::new(
        kind,
        "call faulty backend",
        "the test's fault plan fails this call",
    )
}

impl<T: fmt::Display> fmt::Display for Faulty<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Faulty({})", self.inner)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: AnswerStore> AnswerStore for Faulty<T> {
    async fn record_answer(&self, answer: Answer) -> Result<RecordedAnswer> {
        self.plan
            .apply(Operation::RecordAnswer, self.inner.record_answer(answer))
            .await
    }

    async fn find_answer(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<Option<Answer>> {
        let call = self.inner.find_answer(user_id, answer_id, consistency);
        self.plan.apply(Operation::FindAnswer, call).await
    }

    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        consistency: &Consistency,
    ) -> Result<Page<Answer>> {
        let call = self.inner.list_answers(user_id, after, limit, consistency);
        self.plan.apply(Operation::ListAnswers, call).await
    }

    async fn user_stats(&self, user_id: UserId, consistency: &Consistency) -> Result<UserStats> {
        self.plan
            .apply(
                Operation::UserStats,
                self.inner.user_stats(user_id, consistency),
            )
            .await
    }

    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<NextCase>> {
        let call = self.inner.next_case(user_id, filter, consistency);
        self.plan.apply(Operation::NextCase, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: CaseStore> CaseStore for Faulty<T> {
    async fn publish(
        &self,
        contents: Vec<CaseContent>,
        now: Timestamp,
    ) -> Result<Vec<Publication>> {
        self.plan
            .apply(Operation::Publish, self.inner.publish(contents, now))
            .await
    }

    async fn correct_case(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        let call = self.inner.correct_case(correction);
        self.plan.apply(Operation::CorrectCase, call).await
    }

    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        let call = self.inner.list_corrections(after, limit);
        self.plan.apply(Operation::ListCorrections, call).await
    }

    async fn find_case(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>> {
        self.plan
            .apply(Operation::FindCase, self.inner.find_case(case_id, version))
            .await
    }

    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        self.plan
            .apply(Operation::ListCases, self.inner.list_cases(query))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: UserStore> UserStore for Faulty<T> {
    async fn ensure_user(&self, user: User) -> Result<User> {
        self.plan
            .apply(Operation::EnsureUser, self.inner.ensure_user(user))
            .await
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>> {
        self.plan
            .apply(Operation::FindUser, self.inner.find_user(user_id))
            .await
    }

    async fn update_settings(
        &self,
        user_id: UserId,
        settings: UserSettings,
        now: Timestamp,
    ) -> Result<User> {
        let call = self.inner.update_settings(user_id, settings, now);
        self.plan.apply(Operation::UpdateSettings, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: EventLog> EventLog for Faulty<T> {
    async fn read_events(&self, after: LogPosition, limit: usize) -> Result<Vec<Event>> {
        self.plan
            .apply(Operation::ReadEvents, self.inner.read_events(after, limit))
            .await
    }

    async fn append_events(&self, bodies: Vec<EventBody>) -> Result<()> {
        let call = self.inner.append_events(bodies);
        self.plan.apply(Operation::AppendEvents, call).await
    }

    async fn count_events(&self, after: LogPosition) -> Result<u64> {
        let call = self.inner.count_events(after);
        self.plan.apply(Operation::CountEvents, call).await
    }

    fn appended(&self) -> Hint {
        self.inner.appended()
    }

    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition> {
        self.plan
            .apply(Operation::FindCursor, self.inner.find_cursor(reader))
            .await
    }

    async fn move_cursor(
        &self,
        reader: &ReaderName,
        from: LogPosition,
        to: LogPosition,
    ) -> Result<()> {
        self.plan
            .apply(
                Operation::MoveCursor,
                self.inner.move_cursor(reader, from, to),
            )
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: PrecomputedStore> PrecomputedStore for Faulty<T> {
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback<Shared>>> {
        self.plan
            .apply(Operation::FindFeedback, self.inner.find_feedback(key))
            .await
    }

    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback<Shared>) -> Result<bool> {
        self.plan
            .apply(
                Operation::PutFeedback,
                self.inner.put_feedback(key, feedback),
            )
            .await
    }

    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback<Shared>> {
        self.plan
            .apply(
                Operation::ReviewFeedback,
                self.inner.review_feedback(key, review),
            )
            .await
    }

    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback<Shared>)>> {
        self.plan
            .apply(
                Operation::ListFeedback,
                self.inner.list_feedback(state, after, limit),
            )
            .await
    }

    async fn list_keys(&self, after: KeyPosition, limit: usize) -> Result<KeyPage> {
        self.plan
            .apply(Operation::ListKeys, self.inner.list_keys(after, limit))
            .await
    }

    async fn list_reviewed(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FeedbackKey)>> {
        let call = self.inner.list_reviewed(since, limit);
        self.plan.apply(Operation::ListReviewed, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: SpendLedger> SpendLedger for Faulty<T> {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        self.plan
            .apply(Operation::Reserve, self.inner.reserve(wish, budget))
            .await
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        self.plan
            .apply(Operation::Settle, self.inner.settle(reservation, spent))
            .await
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        self.plan
            .apply(Operation::AddSpend, self.inner.add(rows))
            .await
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        self.plan
            .apply(Operation::SpendTotals, self.inner.totals(query))
            .await
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        self.plan
            .apply(Operation::SpendSums, self.inner.sums(scopes))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: Cache> Cache for Faulty<T> {
    /// Any fault is a miss.
    fn get_local(&self, key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
        match self.plan.meet(Operation::CacheGetLocal) {
            None => self.inner.get_local(key),
            Some(_) => None,
        }
    }

    async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
        self.plan
            .apply(Operation::CacheGet, self.inner.get(key))
            .await
    }

    async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
        self.plan
            .apply(Operation::CacheGet, self.inner.get_many(keys))
            .await
    }

    async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
        self.plan
            .apply(Operation::CachePut, self.inner.put(key, entry))
            .await
    }

    async fn remove(&self, key: &FeedbackKey) -> Result<()> {
        self.plan
            .apply(Operation::CacheRemove, self.inner.remove(key))
            .await
    }

    async fn purge_case(&self, case_id: CaseId) -> Result<()> {
        self.plan
            .apply(Operation::CachePurgeCase, self.inner.purge_case(case_id))
            .await
    }

    fn removals_heard(&self) -> u64 {
        self.inner.removals_heard()
    }

    fn has_heard_of(&self, key: &FeedbackKey, since: u64) -> bool {
        self.inner.has_heard_of(key, since)
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: FeedbackLeases> FeedbackLeases for Faulty<T> {
    fn ttl(&self) -> Duration {
        self.inner.ttl()
    }

    async fn take(&self, key: &FeedbackKey) -> Result<LeaseTurn> {
        self.plan
            .apply(Operation::TakeLease, self.inner.take(key))
            .await
    }

    async fn push(&self, lease: &Lease, shown: usize, deltas: &[Arc<str>]) -> Result<LeaseHold> {
        self.plan
            .apply(Operation::PushWords, self.inner.push(lease, shown, deltas))
            .await
    }

    async fn end(&self, lease: &Lease, end: &LeaseEnd) -> Result<LeaseHold> {
        self.plan
            .apply(Operation::EndLease, self.inner.end(lease, end))
            .await
    }

    async fn follow(&self, key: &FeedbackKey, fence: Fence, read: usize) -> Result<LeaseView> {
        self.plan
            .apply(Operation::FollowLease, self.inner.follow(key, fence, read))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: RateLimiter> RateLimiter for Faulty<T> {
    async fn check_all(&self, calls: &[LimitedCall]) -> Result<Vec<LimitDecision>> {
        self.plan
            .apply(Operation::CheckLimit, self.inner.check_all(calls))
            .await
    }

    async fn check(&self, key: &LimitKey, quota: &Quota, cost: u32) -> Result<LimitDecision> {
        self.plan
            .apply(Operation::CheckLimit, self.inner.check(key, quota, cost))
            .await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: SessionStore> SessionStore for Faulty<T> {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        let call = self.inner.create_session(session);
        self.plan.apply(Operation::CreateSession, call).await
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        let call = self.inner.touch_session(key, now);
        self.plan.apply(Operation::TouchSession, call).await
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        let call = self.inner.list_sessions(user_id, now);
        self.plan.apply(Operation::ListSessions, call).await
    }

    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        let call = self.inner.revoke_session(user_id, key);
        self.plan.apply(Operation::RevokeSession, call).await
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        let call = self.inner.revoke_sessions(user_id);
        self.plan.apply(Operation::RevokeSessions, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: ChatStore> ChatStore for Faulty<T> {
    async fn begin_turn(&self, turn: &ChatTurn, broken_before: Timestamp) -> Result<TurnStart> {
        let call = self.inner.begin_turn(turn, broken_before);
        self.plan.apply(Operation::BeginTurn, call).await
    }

    async fn end_turn(
        &self,
        user_id: UserId,
        turn_id: TurnId,
        attempt: u32,
        reply: &TurnReply,
    ) -> Result<bool> {
        let call = self.inner.end_turn(user_id, turn_id, attempt, reply);
        self.plan.apply(Operation::EndTurn, call).await
    }

    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>> {
        let call = self.inner.find_turn(user_id, turn_id);
        self.plan.apply(Operation::FindTurn, call).await
    }

    async fn list_turns(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<ChatTurn>> {
        let call = self.inner.list_turns(user_id, answer_id, after, limit);
        self.plan.apply(Operation::ListTurns, call).await
    }

    async fn find_summary(
        &self,
        user_id: UserId,
        answer_id: AnswerId,
    ) -> Result<Option<ChatSummary>> {
        let call = self.inner.find_summary(user_id, answer_id);
        self.plan.apply(Operation::FindSummary, call).await
    }

    async fn put_summary(&self, summary: &ChatSummary) -> Result<()> {
        let call = self.inner.put_summary(summary);
        self.plan.apply(Operation::PutSummary, call).await
    }

    async fn forget_chat(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64> {
        let call = self.inner.forget_chat(user_id, answer_id);
        self.plan.apply(Operation::ForgetChat, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: SharedAnswers> SharedAnswers for Faulty<T> {
    async fn put_shared_answer(&self, answer: &SharedAnswer) -> Result<()> {
        let call = self.inner.put_shared_answer(answer);
        self.plan.apply(Operation::PutSharedAnswer, call).await
    }

    async fn list_shared_answers(&self, case_id: CaseId) -> Result<Vec<SharedAnswer>> {
        let call = self.inner.list_shared_answers(case_id);
        self.plan.apply(Operation::ListSharedAnswers, call).await
    }

    async fn remove_shared_answer(&self, id: SharedAnswerId) -> Result<bool> {
        let call = self.inner.remove_shared_answer(id);
        self.plan.apply(Operation::RemoveSharedAnswer, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: AiProvider> AiProvider for Faulty<T> {
    fn model(&self) -> &ModelId {
        self.inner.model()
    }

    fn price(&self) -> Price {
        self.inner.price()
    }

    fn capability(&self) -> AiCapability {
        self.inner.capability()
    }

    /// A failed call is free; one whose reply is lost may cost anything.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let mut released = self.plan.released.subscribe();
        match self.plan.meet(Operation::StreamReply) {
            None => self.inner.stream(request).await,
            Some(Fault::Fails(kind)) => Err(AiFailure::free(injected(kind))),
            Some(Fault::Hangs) => {
                // The sender lives as long as this plan, so waiting cannot fail.
                let _ = released.changed().await;
                self.inner.stream(request).await
            }
            Some(Fault::LosesReply(kind)) => {
                drop(self.inner.stream(request).await?);
                Err(AiFailure::unknown(injected(kind)))
            }
        }
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.inner.rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        self.inner.batches()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}
