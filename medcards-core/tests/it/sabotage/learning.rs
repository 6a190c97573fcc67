use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::answer::{Answer, AnswerStore, NextCase, RecordedAnswer, UserStats};
use medcards_core::case::{
    Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseStore, CaseVersion,
    KeyCorrection, Publication,
};
use medcards_core::event::{Event, EventBody, EventLog, LogPosition, ReaderName};
use medcards_core::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, PrecomputedStore, Review, ReviewState, Shared,
};
use medcards_core::job::{
    ClaimedJob, DeadJob, Enqueued, JobClaim, JobCounts, JobKind, JobOrder, JobOutcome, JobQueue,
    NewJob, Settled, Settlement,
};
use medcards_core::memory::MemoryStore;
use medcards_core::notice::{Notice, NoticeStore};
use medcards_core::spend::{
    Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow, SpendScope,
    SpendSum,
};
use medcards_core::store::{Consistency, Hint, Hints, Page, PageCursor, PageLimit};
use medcards_core::testing::SAMPLE_START;
use medcards_core::user::{User, UserSettings, UserStore};
use medcards_core::view::{
    Announced, Award, Committed, EditionNumber, EditionOf, Item, Placement, RowKey, RowWrite,
    Runner, SetAside, ShelfQuery, StoredRow, ViewCommit, ViewName, ViewState, ViewStore,
};
use medcards_core::{AnswerId, CaseId, ErrorKind, JobId, ReservationId, Result, Timestamp, UserId};
use uuid::Uuid;

/// A whole store that breaks the promise of its jobs, notices or views that it is given.
#[derive(Debug)]
pub(super) struct LearningSaboteur {
    inner: MemoryStore,
    promise: &'static str,
    begun: AtomicU64,
    notes: Mutex<Notes>,
}

/// What a saboteur needs to know to break its promise.
#[derive(Debug, Default)]
struct Notes {
    jobs: HashMap<JobId, NewJob>,
    notices_seen: HashSet<LogPosition>,
}

impl LearningSaboteur {
    pub(super) fn new(inner: MemoryStore, promise: &'static str) -> Self {
        let (begun, notes) = Default::default();
        Self {
            inner,
            promise,
            begun,
            notes,
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nobody panics with the lock")
    }

    /// What a job becomes on its way into the queue.
    fn changed(&self, mut job: NewJob) -> NewJob {
        match self.promise {
            "a_key_is_taken_while_its_job_is_there" => job.dedup = None,
            "a_key_is_taken_as_long_as_was_asked" => {
                if let Some(dedup) = &mut job.dedup {
                    dedup.keep_for = Duration::ZERO;
                }
            }
            "a_key_is_of_one_kind" => {
                if let Some(dedup) = &mut job.dedup {
                    dedup.key = dedup.key.to_lowercase();
                }
            }
            "jobs_in_order_are_done_one_at_a_time" => job.order = JobOrder::Any,
            "a_job_in_order_holds_up_those_of_other_kinds" if job.kind.as_str() == "other" => {
                job.order = JobOrder::Any;
            }
            "jobs_in_order_hold_up_no_others" if job.user_id.is_some() => {
                job.order = JobOrder::OfUser;
            }
            "claimers_at_once_keep_the_order_of_a_user" => {
                let into = job.run_at.duration_since(SAMPLE_START);
                (job.order, job.run_at) = (JobOrder::Any, SAMPLE_START - into);
            }
            _ => {}
        }
        job
    }

    /// A hint that nobody gives.
    fn silence(&self, promise: &str, hint: Hint) -> Hint {
        if self.breaks(promise) {
            return Hints::default().take();
        }
        hint
    }

    /// What a settlement becomes before it is written.
    fn twisted(&self, mut it: Settlement, now: Timestamp) -> Settlement {
        let job = self.notes().jobs.get(&it.claim.id).cloned();
        match (self.promise, &mut it.outcome) {
            ("a_job_that_is_done_is_forgotten", outcome @ JobOutcome::Done) => {
                let reason = String::new();
                *outcome = JobOutcome::Dead { reason };
            }
            ("effects_are_written_with_the_end", JobOutcome::Retry { .. }) => {
                it.effects = Default::default();
            }
            ("a_released_job_is_due_at_once", outcome @ JobOutcome::Released) => {
                let reason = String::new();
                *outcome = JobOutcome::Retry { at: now, reason };
            }
            ("a_job_of_an_effect_is_like_any_other", _) => {
                for job in &mut it.effects.jobs {
                    job.dedup = None;
                }
            }
            ("a_retried_job_holds_up_those_behind_it", outcome @ JobOutcome::Retry { .. }) => {
                let JobOutcome::Retry { at, .. } = outcome.clone() else {
                    return it;
                };
                *outcome = JobOutcome::Done;
                it.effects.jobs.extend(job.map(|job| again(&job).at(at)));
            }
            ("a_retry_is_due_when_it_was_asked_for", JobOutcome::Retry { at, .. }) => *at = now,
            _ => {}
        }
        it
    }
}

/// The same job under another id.
fn again(job: &NewJob) -> NewJob {
    let mut other = job.clone();
    other.id = JobId::new(job.run_at);
    other
}

impl fmt::Display for LearningSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LearningSaboteur({})", self.promise)
    }
}

#[async_trait]
impl JobQueue for LearningSaboteur {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>> {
        let jobs: Vec<_> = jobs.into_iter().map(|job| self.changed(job)).collect();
        let known = jobs.iter().map(|job| (job.id, job.clone()));
        self.notes().jobs.extend(known);
        if self.breaks("jobs_that_cannot_be_enqueued_are_refused_whole") {
            let mut enqueued = Vec::new();
            for job in jobs {
                enqueued.extend(self.inner.enqueue(vec![job], now).await?);
            }
            return Ok(enqueued);
        }
        let mut enqueued = self.inner.enqueue(jobs, now).await?;
        if self.breaks("a_job_that_is_there_is_known")
            || self.breaks("a_key_is_taken_within_a_call")
            || self.breaks("one_of_many_takes_a_key")
        {
            enqueued.fill(Enqueued::New);
        }
        Ok(enqueued)
    }

    async fn claim(
        &self,
        kinds: &[JobKind],
        limit: usize,
        mut now: Timestamp,
        mut lease: Duration,
    ) -> Result<Vec<ClaimedJob>> {
        let mut kinds = kinds.to_vec();
        match self.promise {
            "a_job_is_not_claimed_before_its_time" => now += Duration::from_secs(1),
            "only_jobs_of_the_given_kinds_are_claimed" if kinds.is_empty() => {
                kinds.extend(JobKind::new("a"));
            }
            "a_job_whose_lease_has_ended_is_claimed_again" => lease *= 10,
            _ => {}
        }
        let claim = self.inner.claim(&kinds, limit, now, lease);
        let mut claimed = claim.await?;
        match self.promise {
            "a_new_job_is_claimed_as_it_was_given" => {
                for job in &mut claimed {
                    job.user_id = None;
                }
            }
            "the_longest_job_that_is_allowed_is_kept" => {
                for job in &mut claimed {
                    job.payload.truncate(60_000);
                }
            }
            "jobs_due_longest_are_claimed_first" => {
                let more = self.inner.claim(&kinds, 1, now, lease).await?;
                claimed.extend(more);
                claimed.drain(..claimed.len().min(1));
            }
            "a_claim_is_bounded" if limit > 1_000 => {
                claimed.extend(self.inner.claim(&kinds, limit, now, lease).await?);
            }
            "claimers_at_once_get_different_jobs" => claimed.extend(claimed.first().cloned()),
            _ => {}
        }
        Ok(claimed)
    }

    async fn heartbeat(
        &self,
        claims: &[JobClaim],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<JobClaim>> {
        if self.breaks("a_heartbeat_prolongs_a_claim") {
            return Ok(Vec::new());
        }
        let lost = self.inner.heartbeat(claims, now, lease).await?;
        let is_silent = self.breaks("a_heartbeat_of_a_lost_claim_says_so");
        Ok(if is_silent { Vec::new() } else { lost })
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>> {
        let queue: &dyn JobQueue = &self.inner;
        let twist = |it| self.twisted(it, now);
        let settlements: Vec<_> = settlements.into_iter().map(twist).collect();
        if self.breaks("effects_that_cannot_be_written_are_refused_whole") {
            let mut settled = Vec::new();
            for it in settlements {
                settled.extend(queue.settle(vec![it], now).await?);
            }
            return Ok(settled);
        }
        let is_late = now > SAMPLE_START + Duration::from_secs(5_000);
        if is_late && self.breaks("a_late_attempt_counts_if_no_other_was_made") {
            return Ok(vec![Settled::Lost; settlements.len()]);
        }
        let events: Vec<_> = settlements
            .iter()
            .map(|it| it.effects.events.clone())
            .collect();
        let mut settled = queue.settle(settlements, now).await?;
        match self.promise {
            "a_lost_attempt_writes_nothing" => {
                self.inner.append_events(events.concat()).await?;
            }
            "an_attempt_is_settled_once"
            | "an_attempt_ends_once_though_its_job_goes_on"
            | "one_of_many_settlements_at_once_counts" => {
                settled.fill(Settled::Done);
            }
            "settlements_are_answered_in_their_order" => settled.reverse(),
            _ => {}
        }
        Ok(settled)
    }

    async fn next_due(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>> {
        let is_broken = self.breaks("the_next_due_instant_is_the_earliest");
        let kinds = if is_broken && !kinds.is_empty() {
            &kinds[..1]
        } else {
            kinds
        };
        self.inner.next_due(kinds).await
    }

    fn enqueued(&self) -> Hint {
        self.silence("who_waits_for_jobs_hears_of_them", self.inner.enqueued())
    }

    async fn list_dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadJob>> {
        let mut dead = self.inner.list_dead(after, limit).await?;
        match self.promise {
            "a_job_given_up_is_kept" => {
                for job in &mut dead {
                    job.attempts = 1;
                }
            }
            "dead_jobs_are_listed_in_order_of_id" => dead.reverse(),
            _ => {}
        }
        Ok(dead)
    }

    async fn requeue(&self, jobs: &[JobId], now: Timestamp) -> Result<u64> {
        match self.promise {
            "too_many_at_once_are_refused" => {
                return self
                    .inner
                    .requeue(&jobs[..jobs.len().min(1_000)], now)
                    .await;
            }
            "a_requeued_job_waits_for_one_under_way" => {
                self.inner.discard(jobs).await?;
                let again: Vec<_> = {
                    let notes = self.notes();
                    let known = jobs.iter().filter_map(|id| notes.jobs.get(id)).cloned();
                    let free = |mut job: NewJob| {
                        job.order = JobOrder::Any;
                        job
                    };
                    known.map(free).collect()
                };
                return Ok(self.inner.enqueue(again, now).await?.len() as u64);
            }
            _ => {}
        }
        let count = self.inner.requeue(jobs, now).await?;
        let is_broken = self.breaks("a_requeued_job_is_due_and_goes_on");
        Ok(if is_broken { jobs.len() as u64 } else { count })
    }

    async fn discard(&self, jobs: &[JobId]) -> Result<u64> {
        if self.breaks("a_discarded_job_is_gone") {
            return Ok(1);
        }
        self.inner.discard(jobs).await
    }

    async fn job_counts(&self, now: Timestamp) -> Result<Vec<JobCounts>> {
        let mut counts = self.inner.job_counts(now).await?;
        if self.breaks("jobs_are_counted_by_kind") {
            for count in &mut counts {
                count.due_since = None;
            }
        }
        Ok(counts)
    }

    async fn sweep_keys(&self, now: Timestamp, mut limit: usize) -> Result<u64> {
        if self.breaks("keys_that_are_free_are_swept") {
            limit = usize::MAX;
        }
        self.inner.sweep_keys(now, limit).await
    }
}

#[async_trait]
impl NoticeStore for LearningSaboteur {
    async fn read_notices(&self, mut after: LogPosition, limit: usize) -> Result<Vec<Notice>> {
        if self.breaks("reading_on_gives_every_notice_once") {
            after.sequence = after.sequence.saturating_sub(1);
        }
        let mut notices = self.inner.read_notices(after, limit).await?;
        match self.promise {
            "a_notice_is_read_as_it_was_written" => {
                for notice in &mut notices {
                    notice.at = SAMPLE_START;
                }
            }
            "notices_stand_in_the_order_of_commits" => notices.reverse(),
            "a_read_of_notices_is_bounded" if limit > 1_000 => {
                let after = notices.last().map_or(after, |notice| notice.position);
                notices.extend(self.inner.read_notices(after, limit).await?);
            }
            // As if a later commit could be seen before an earlier one.
            "reading_while_many_write_misses_and_repeats_nothing" => {
                let mut notes = self.notes();
                notices.retain(|notice| {
                    let is_late = notice.position.sequence % 7 == 0;
                    !is_late || !notes.notices_seen.insert(notice.position)
                });
            }
            _ => {}
        }
        Ok(notices)
    }

    async fn list_notices(
        &self,
        user_id: UserId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>> {
        if self.breaks("a_user_reads_no_notice_of_another") {
            return self.inner.read_notices(after, limit).await;
        }
        self.inner.list_notices(user_id, after, limit).await
    }

    async fn last_notice(&self) -> Result<LogPosition> {
        if self.breaks("what_comes_is_behind_the_last_place") {
            return Ok(LogPosition::START);
        }
        self.inner.last_notice().await
    }

    fn noticed(&self) -> Hint {
        self.silence("who_waits_for_notices_hears_of_them", self.inner.noticed())
    }

    async fn sweep_notices(&self, mut before: Timestamp, limit: usize) -> Result<u64> {
        if self.breaks("old_notices_are_swept") {
            before = Timestamp::MAX;
        }
        self.inner.sweep_notices(before, limit).await
    }
}

#[async_trait]
impl ViewStore for LearningSaboteur {
    async fn view(&self, name: &ViewName) -> Result<ViewState> {
        let mut state = self.inner.view(name).await?;
        if self.breaks("a_new_view_has_announced_what_the_log_has") {
            state.announced = LogPosition::START;
        }
        Ok(state)
    }

    async fn list_views(&self) -> Result<Vec<ViewState>> {
        let mut views = self.inner.list_views().await?;
        if self.breaks("views_are_listed_and_kept_apart") {
            views.reverse();
        }
        Ok(views)
    }

    async fn begin_edition(
        &self,
        name: &ViewName,
        mut version: u64,
        corrections: u64,
        now: Timestamp,
    ) -> Result<ViewState> {
        match self.promise {
            "an_edition_begun_again_stays_as_it_is" => {
                let other = version + 100;
                self.inner.begin_edition(name, other, 0, now).await?;
            }
            "an_edition_of_other_rules_gives_up_the_next_one" => {
                let state = self.inner.view(name).await?;
                if state.next.is_some() {
                    return Ok(state);
                }
            }
            "an_edition_begun_by_many_at_once_is_one" => {
                version = self.begun.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
        let begin = self.inner.begin_edition(name, version, corrections, now);
        begin.await
    }

    async fn take_lead(
        &self,
        name: &ViewName,
        runner: Runner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<bool> {
        let leads = self.inner.take_lead(name, runner, now, lease).await;
        match self.promise {
            "a_view_that_nobody_began_is_empty" => Ok(leads.unwrap_or(false)),
            "one_runner_leads_until_its_lease_has_ended" | "one_of_many_takes_the_lead" => {
                leads.map(|_| true)
            }
            _ => leads,
        }
    }

    async fn give_up_lead(&self, name: &ViewName, runner: Runner) -> Result<()> {
        if self.breaks("a_lead_given_up_is_free") {
            return Ok(());
        }
        self.inner.give_up_lead(name, runner).await
    }

    async fn find_rows(
        &self,
        edition: &EditionOf,
        mut keys: &[RowKey],
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        if self.breaks("as_many_rows_as_allowed_are_written_at_once") {
            keys = &keys[..keys.len().min(10_000)];
        }
        let mut rows = self.inner.find_rows(edition, keys, consistency).await?;
        if self.breaks("rows_are_found_as_they_were_committed") {
            for row in &mut rows {
                row.place = row.place.filter(|place| *place > i64::MIN);
            }
        }
        Ok(rows)
    }

    async fn list_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let list = async |edition: &EditionOf| {
            let list = self
                .inner
                .list_rows(edition, owner, after, limit, consistency);
            list.await
        };
        let mut rows = list(edition).await?;
        match self.promise {
            "rows_of_an_owner_are_listed_in_order_of_item" => rows.reverse(),
            "an_edition_that_is_gone_has_no_rows" if rows.is_empty() => {
                for view in self.inner.list_views().await? {
                    rows.extend(list(&EditionOf::Current(view.name)).await?);
                }
            }
            _ => {}
        }
        Ok(rows)
    }

    async fn list_shelf(
        &self,
        edition: &EditionOf,
        query: &ShelfQuery,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let mut query = *query;
        if self.breaks("a_shelf_is_read_in_order_of_place") {
            query.order = Placement::Ascending;
        }
        self.inner.list_shelf(edition, &query, consistency).await
    }

    async fn commit(&self, mut commit: ViewCommit) -> Result<Committed> {
        if self.breaks("rows_are_replaced_and_removed") {
            let is_put = |write: &RowWrite| matches!(write, RowWrite::Put(_));
            commit.rows.retain(is_put);
        }
        let given = commit.clone();
        let committed = self.inner.commit(commit).await;
        match (self.promise, &committed) {
            (
                "a_commit_counts_from_where_the_edition_stands",
                Ok(Committed::Elsewhere(position)),
            ) if given.to >= *position => {
                let from = *position;
                self.inner.commit(ViewCommit { from, ..given }).await?;
            }
            ("one_of_many_commits_at_once_counts", Ok(Committed::Elsewhere(_)))
            | ("a_commit_to_no_edition_is_told_so", Ok(Committed::Gone)) => {
                return Ok(Committed::Done);
            }
            ("only_who_leads_commits", Ok(Committed::NotLeading)) => {
                let lead = self.inner.view(&given.view).await?.lead;
                if let Some((runner, _)) = lead {
                    return self.inner.commit(ViewCommit { runner, ..given }).await;
                }
            }
            ("a_commit_that_cannot_be_written_is_refused_whole", Err(_)) => {
                let only_rows = ViewCommit {
                    to: given.from,
                    announced: Vec::new(),
                    awards: Vec::new(),
                    set_aside: Vec::new(),
                    ..given
                };
                self.inner.commit(only_rows).await?;
            }
            ("an_event_is_announced_once", Ok(Committed::Done)) => {
                let jobs = given.announced.iter().filter_map(|(_, it)| match it {
                    Announced::Job(job) => Some(again(job)),
                    Announced::Notice { .. } => None,
                });
                self.inner.enqueue(jobs.collect(), SAMPLE_START).await?;
            }
            ("a_badge_is_awarded_once", Ok(Committed::Done)) => {
                let jobs = given.awards.iter().filter_map(|it| it.job.as_ref());
                let jobs = jobs.map(again).collect();
                self.inner.enqueue(jobs, SAMPLE_START).await?;
            }
            _ => {}
        }
        committed
    }

    async fn switch(&self, name: &ViewName, edition: EditionNumber) -> Result<bool> {
        let switched = self.inner.switch(name, edition).await?;
        let is_broken = self.breaks("the_next_edition_takes_the_place_of_the_current_one");
        Ok(switched || is_broken)
    }

    async fn list_set_aside(&self, edition: EditionNumber, limit: usize) -> Result<Vec<SetAside>> {
        let mut events = self.inner.list_set_aside(edition, limit).await?;
        if self.breaks("events_set_aside_are_kept_and_counted") {
            events.reverse();
        }
        Ok(events)
    }

    async fn sweep_rows(&self, limit: usize) -> Result<u64> {
        self.inner.sweep_rows(limit).await
    }

    async fn list_awards(&self, user_id: UserId, consistency: &Consistency) -> Result<Vec<Award>> {
        self.inner.list_awards(user_id, consistency).await
    }
}

/// Writes one impl whose methods call the same method of the store inside.
macro_rules! hand_on {
    ($trait:ident {
        $(fn $method:ident($($name:ident: $type:ty),*) -> $output:ty;)*
        $(hint $hint:ident;)?
    }) => {
        #[async_trait]
        impl $trait for LearningSaboteur {
            $(async fn $method(&self, $($name: $type),*) -> Result<$output> {
                $trait::$method(&self.inner, $($name),*).await
            })*
            $(fn $hint(&self) -> Hint {
                self.inner.$hint()
            })?
        }
    };
}

hand_on!(AnswerStore {
    fn record_answer(answer: Answer) -> RecordedAnswer;
    fn find_answer(user: UserId, id: AnswerId, consistency: &Consistency) -> Option<Answer>;
    fn list_answers(
        user: UserId, after: Option<&PageCursor>, limit: PageLimit, consistency: &Consistency
    ) -> Page<Answer>;
    fn user_stats(user: UserId, consistency: &Consistency) -> UserStats;
    fn next_case(user: UserId, filter: &CaseFilter, consistency: &Consistency) -> Option<NextCase>;
});

#[async_trait]
impl CaseStore for LearningSaboteur {
    async fn publish(
        &self,
        contents: Vec<CaseContent>,
        now: Timestamp,
    ) -> Result<Vec<Publication>> {
        self.inner.publish(contents, now).await
    }

    async fn correct_case(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        let (jobs, now) = (correction.jobs.clone(), correction.corrected_at);
        let corrected = self.inner.correct_case(correction).await;
        if self.breaks("a_correction_enqueues_its_jobs")
            && matches!(&corrected, Err(error) if error.kind() == ErrorKind::Conflict)
        {
            self.inner.enqueue(jobs, now).await?;
        }
        corrected
    }

    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        self.inner.list_corrections(after, limit).await
    }

    async fn find_case(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>> {
        self.inner.find_case(case_id, version).await
    }

    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        self.inner.list_cases(query).await
    }
}

hand_on!(UserStore {
    fn ensure_user(user: User) -> User;
    fn find_user(user_id: UserId) -> Option<User>;
    fn update_settings(user_id: UserId, settings: UserSettings, now: Timestamp) -> User;
});

hand_on!(EventLog {
    fn read_events(after: LogPosition, limit: usize) -> Vec<Event>;
    fn append_events(bodies: Vec<EventBody>) -> ();
    fn count_events(after: LogPosition) -> u64;
    fn find_cursor(reader: &ReaderName) -> LogPosition;
    fn move_cursor(reader: &ReaderName, from: LogPosition, to: LogPosition) -> ();
    hint appended;
});

hand_on!(PrecomputedStore {
    fn find_feedback(key: &FeedbackKey) -> Option<Feedback<Shared>>;
    fn put_feedback(key: &FeedbackKey, feedback: &Feedback<Shared>) -> bool;
    fn review_feedback(key: &FeedbackKey, review: Review) -> Feedback<Shared>;
    fn list_feedback(
        state: ReviewState, after: Option<&PageCursor>, limit: PageLimit
    ) -> Page<(FeedbackKey, Feedback<Shared>)>;
    fn list_keys(after: KeyPosition, limit: usize) -> KeyPage;
    fn list_reviewed(since: Timestamp, limit: usize) -> Vec<(Timestamp, FeedbackKey)>;
});

hand_on!(SpendLedger {
    fn reserve(wish: &Reservation, budget: &SpendBudget) -> ReserveOutcome;
    fn settle(reservation: ReservationId, spent: &SpendRow) -> ();
    fn add(rows: &[SpendRow]) -> ();
    fn sums(scopes: &[SpendScope]) -> Vec<SpendSum>;
    fn totals(query: &SpendQuery) -> Vec<SpendRow>;
});
