use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use medcards_core::answer::{
    Answer, AnswerStore, NextCase, NextCaseReason, RecordOutcome, RecordedAnswer, UserStats,
};
use medcards_core::case::{
    Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseRecord, CaseStore, CaseVersion,
    KeyCorrection, Publication, PublicationOutcome,
};
use medcards_core::event::{Event, EventBody, EventLog, LogPosition, ReaderName};
use medcards_core::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, Origin, PrecomputedStore, Review, ReviewState,
};
use medcards_core::memory::MemoryStore;
use medcards_core::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery,
    SpendRow, SpendScope, SpendSum,
};
use medcards_core::store::{Consistency, Hint, Hints, Page, PageCursor, PageLimit, ReadToken};
use medcards_core::testing::{SAMPLE_START, sample_feedback};
use medcards_core::user::{Locale, User, UserSettings, UserStore};
use medcards_core::{AnswerId, CaseId, Error, ErrorKind, ReservationId, Result, Timestamp, UserId};

use super::{Crowd, LossyCount};

/// A store that breaks the promise it is given.
#[derive(Debug)]
pub(super) struct StoreSaboteur {
    inner: MemoryStore,
    promise: &'static str,
    count: LossyCount,
    crowd: Crowd,
    notes: Mutex<Notes>,
}

/// What a saboteur needs to know to break its promise.
#[derive(Debug, Default)]
struct Notes {
    owners: HashMap<AnswerId, UserId>,
    finished: HashSet<AnswerId>,
    last_answered: Option<CaseId>,
    published: HashSet<String>,
    kept: Vec<FeedbackKey>,
    overwritten: HashMap<FeedbackKey, Feedback>,
    wishes: HashMap<ReservationId, MicroDollars>,
    settled: HashSet<ReservationId>,
    events_seen: HashSet<LogPosition>,
}

impl StoreSaboteur {
    pub(super) fn new(inner: MemoryStore, promise: &'static str) -> Self {
        let (count, crowd, notes) = Default::default();
        Self {
            inner,
            promise,
            count,
            crowd,
            notes,
        }
    }

    fn breaks(&self, promise: &str) -> bool {
        self.promise == promise
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().expect("nobody panics with the lock")
    }

    async fn all_cases(&self) -> Result<Vec<Arc<Case>>> {
        let limit = PageLimit::MAX;
        Ok(self
            .inner
            .list_cases(&CaseQuery {
                limit,
                ..CaseQuery::default()
            })
            .await?
            .items)
    }

    /// Leaves out the last item of a page that others follow.
    fn without_last<T>(&self, promise: &str, mut page: Page<T>) -> Page<T> {
        if self.breaks(promise) && page.next.is_some() {
            page.items.pop();
        }
        page
    }
}

impl fmt::Display for StoreSaboteur {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreSaboteur({})", self.promise)
    }
}

/// A page by its offset, which moves when something is inserted before it.
fn page_by_offset<T>(all: Vec<T>, after: Option<&PageCursor>, limit: PageLimit) -> Page<T> {
    let offset: usize = after.map_or(0, |cursor| cursor.as_str().parse().unwrap_or(0));
    let end = offset + limit.get();
    let next = (end < all.len())
        .then(|| PageCursor::parse(&end.to_string()).ok())
        .flatten();
    Page {
        items: all.into_iter().skip(offset).take(limit.get()).collect(),
        next,
    }
}

#[async_trait]
impl AnswerStore for StoreSaboteur {
    async fn record_answer(&self, mut answer: Answer) -> Result<RecordedAnswer> {
        let given = answer.clone();
        let (user_id, id) = (answer.user_id, answer.id);
        let owner = *self.notes().owners.entry(id).or_insert(user_id);
        self.notes().last_answered = Some(answer.case_id);
        match self.promise {
            "a_new_answer_is_found_as_it_was_given" => answer.confidence = None,
            "two_users_may_use_the_same_answer_id" => answer.user_id = owner,
            "totals_are_right_after_many_answers_at_once" => _ = self.count.add(1).await,
            "an_answer_sent_by_many_at_once_is_stored_once" => {
                let known = self
                    .inner
                    .find_answer(user_id, id, &Consistency::Strong)
                    .await?;
                self.crowd.wait_for_another().await;
                let mut recorded = self.inner.record_answer(answer).await?;
                if known.is_none() {
                    recorded.outcome = RecordOutcome::Created;
                }
                return Ok(recorded);
            }
            _ => {}
        }
        let mut recorded = self.inner.record_answer(answer).await?;
        let is_repeated = recorded.outcome == RecordOutcome::Repeated;
        match self.promise {
            "a_repeated_answer_gives_the_first_one_back" => recorded.answer = given,
            "a_repeated_answer_adds_no_event" if is_repeated => {
                let settings = UserSettings::default();
                self.inner
                    .update_settings(user_id, settings, SAMPLE_START)
                    .await?;
            }
            "a_read_with_the_token_sees_the_write"
            | "the_next_case_with_the_token_knows_the_answer" => {
                recorded.token = ReadToken::parse("1");
            }
            "a_dropped_recording_leaves_both_answer_and_event_or_neither" if !is_repeated => {
                self.crowd.wait_for_another().await;
                self.notes().finished.insert(id);
            }
            _ => {}
        }
        Ok(recorded)
    }

    async fn find_answer(
        &self,
        mut user_id: UserId,
        answer_id: AnswerId,
        consistency: &Consistency,
    ) -> Result<Option<Answer>> {
        if self.breaks("an_answer_of_another_user_is_not_found") {
            user_id = self
                .notes()
                .owners
                .get(&answer_id)
                .copied()
                .unwrap_or(user_id);
        }
        let is_lagging = matches!(consistency, Consistency::AtLeast(_));
        if self.breaks("a_read_with_the_token_sees_the_write") && is_lagging {
            return Ok(None);
        }
        let mut found = self
            .inner
            .find_answer(user_id, answer_id, consistency)
            .await?;
        if self.breaks("an_answer_keeps_the_version_that_was_seen")
            && let Some(answer) = &mut found
            && let Some(case) = self.inner.find_case(answer.case_id, None).await?
        {
            answer.case_version = case.version;
        }
        Ok(found)
    }

    async fn list_answers(
        &self,
        user_id: UserId,
        after: Option<&PageCursor>,
        limit: PageLimit,
        consistency: &Consistency,
    ) -> Result<Page<Answer>> {
        if self.breaks("a_walk_through_answers_is_not_disturbed_by_new_ones") {
            let all = self
                .inner
                .list_answers(user_id, None, PageLimit::MAX, consistency)
                .await?;
            return Ok(page_by_offset(all.items, after, limit));
        }
        let page = self
            .inner
            .list_answers(user_id, after, limit, consistency)
            .await;
        if self.breaks("a_list_of_answers_refuses_foreign_cursors") && page.is_err() {
            return self
                .inner
                .list_answers(user_id, None, limit, consistency)
                .await;
        }
        let mut page = self.without_last("pages_of_any_limit_hold_every_answer_once", page?);
        if self.breaks("answers_are_listed_newest_first") {
            page.items.reverse();
        }
        Ok(page)
    }

    async fn user_stats(&self, user_id: UserId, consistency: &Consistency) -> Result<UserStats> {
        let mut stats = self.inner.user_stats(user_id, consistency).await?;
        match self.promise {
            "totals_count_a_users_answers_and_cases" => stats.cases = stats.answered,
            // Takes any token for one that a copy without answers has seen.
            "a_token_of_another_store_is_read_strong"
                if matches!(consistency, Consistency::AtLeast(_)) =>
            {
                stats = UserStats::default();
            }
            "totals_are_right_after_many_answers_at_once" => stats.answered = self.count.get(),
            _ => {}
        }
        Ok(stats)
    }

    async fn next_case(
        &self,
        user_id: UserId,
        filter: &CaseFilter,
        consistency: &Consistency,
    ) -> Result<Option<NextCase>> {
        let unseen = |case_id| NextCase {
            case_id,
            reason: NextCaseReason::Unseen,
        };
        let all = self.all_cases().await?;
        match self.promise {
            "the_next_case_is_one_not_yet_seen" => Ok(all.first().map(|case| unseen(case.id))),
            "then_the_next_case_is_the_one_answered_longest_ago" => {
                let reason = NextCaseReason::LongestAgo;
                let last = self.notes().last_answered;
                Ok(last.map(|case_id| NextCase { case_id, reason }))
            }
            "the_next_case_passes_the_filter" => {
                let all = CaseFilter::default();
                self.inner.next_case(user_id, &all, consistency).await
            }
            // Knows the cases, and no answer yet.
            "the_next_case_with_the_token_knows_the_answer"
                if matches!(consistency, Consistency::AtLeast(_)) =>
            {
                Ok(all.first().map(|case| unseen(case.id)))
            }
            "the_next_case_is_the_same_for_the_same_answers" => {
                let turn = self.count.add(1).await as usize;
                Ok(Some(unseen(all[turn % all.len()].id)))
            }
            "a_new_version_of_a_seen_case_is_not_unseen" => {
                let newer = all.iter().find(|case| case.version > CaseVersion::FIRST);
                Ok(newer.map(|case| unseen(case.id)))
            }
            _ => self.inner.next_case(user_id, filter, consistency).await,
        }
    }
}

#[async_trait]
impl CaseStore for StoreSaboteur {
    async fn publish(
        &self,
        mut contents: Vec<CaseContent>,
        now: Timestamp,
    ) -> Result<Vec<Publication>> {
        let names: Vec<_> = contents
            .iter()
            .map(|one| one.external_id().to_owned())
            .collect();
        let all_known = names
            .iter()
            .all(|name| self.notes().published.contains(name));
        match self.promise {
            "the_later_of_two_contents_in_a_batch_wins" => contents.reverse(),
            "source_and_external_id_name_a_case_together" => {
                for content in &mut contents {
                    let record = CaseRecord {
                        source: String::new(),
                        ..content.clone().into()
                    };
                    *content = record.try_into()?;
                }
            }
            "the_same_content_published_at_once_gives_one_version" => {
                self.crowd.wait_for_another().await;
            }
            _ => {}
        }
        let mut publications = self.inner.publish(contents, now).await?;
        self.notes().published.extend(names);
        for publication in &mut publications {
            let outcome = &mut publication.outcome;
            match (self.promise, *outcome) {
                (
                    "equal_content_changes_nothing" | "publishing_goes_on_after_a_correction",
                    PublicationOutcome::Unchanged,
                ) => {
                    *outcome = PublicationOutcome::NewVersion;
                }
                ("changed_content_becomes_the_next_version", PublicationOutcome::NewVersion) => {
                    *outcome = PublicationOutcome::Unchanged;
                }
                ("the_same_content_published_at_once_gives_one_version", _) if !all_known => {
                    *outcome = PublicationOutcome::Created;
                }
                ("different_contents_published_at_once_each_get_a_version", _) => {
                    let number = self.count.add(1).await as u32 + 1;
                    publication.version = CaseVersion::new(number).unwrap_or(CaseVersion::FIRST);
                }
                _ => {}
            }
        }
        if self.breaks("publications_come_in_the_order_of_the_batch")
            || self.breaks("the_later_of_two_contents_in_a_batch_wins")
        {
            publications.reverse();
        }
        Ok(publications)
    }

    async fn correct_case(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        let given = correction.clone();
        let corrected = self.inner.correct_case(correction).await;
        let kind = corrected.as_ref().err().map(Error::kind);
        match (self.promise, kind) {
            (
                "one_of_many_corrections_at_once_counts"
                | "a_correction_of_another_current_version_is_refused",
                Some(ErrorKind::Conflict),
            ) => {
                let Some(case) = self.inner.find_case(given.case_id, None).await? else {
                    return corrected;
                };
                let current = case.version;
                let forced = CaseCorrection { current, ..given };
                self.inner.correct_case(forced).await
            }
            ("a_correction_of_what_is_not_there_is_refused", Some(ErrorKind::NotFound)) => {
                let contents = vec![given.content];
                self.inner.publish(contents, given.corrected_at).await?;
                corrected
            }
            ("a_correction_that_cannot_be_written_is_refused", Some(ErrorKind::Invalid)) => {
                Ok(Vec::new())
            }
            ("corrections_are_numbered_without_a_gap", None) => {
                let mut made = corrected?;
                for correction in &mut made {
                    correction.number *= 2;
                }
                Ok(made)
            }
            _ => corrected,
        }
    }

    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        let mut listed = self.inner.list_corrections(after, limit).await?;
        if self.breaks("a_correction_publishes_and_is_listed") {
            for correction in &mut listed {
                correction.corrected_in = correction.version.next();
            }
        }
        Ok(listed)
    }

    async fn find_case(
        &self,
        case_id: CaseId,
        mut version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>> {
        if self.breaks("an_old_version_stays_as_it_was") {
            version = None;
        }
        let found = self.inner.find_case(case_id, version).await?;
        if self.breaks("an_unknown_case_or_version_is_not_found") && found.is_none() {
            return Ok(self.all_cases().await?.into_iter().next());
        }
        if self.breaks("new_content_becomes_a_case_and_is_found_whole") {
            let later = |case: Arc<Case>| Case {
                published_at: SAMPLE_START,
                ..(*case).clone()
            };
            return Ok(found.map(later).map(Arc::new));
        }
        Ok(found)
    }

    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        let given = query;
        let mut query = query.clone();
        let words = query.search.clone().unwrap_or_default();
        match (self.promise, &mut query.search) {
            ("each_word_of_a_search_must_begin_a_word", Some(search)) => {
                *search = words
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned();
            }
            ("a_search_disregards_case_and_accents", Some(_)) if !words.is_ascii() => {
                return Ok(Page::empty());
            }
            ("a_search_without_a_word_matches_nothing", search) => *search = None,
            ("a_search_has_no_syntax", Some(_)) if words.contains('"') => {
                return Err(Error::new(
                    ErrorKind::Unexpected,
                    "list cases",
                    "syntax error",
                ));
            }
            ("words_beyond_the_sixteenth_are_ignored", Some(_))
                if words.split_whitespace().count() > 16 =>
            {
                return Ok(Page::empty());
            }
            ("a_search_obeys_the_filter", Some(_)) => query.filter = CaseFilter::default(),
            (
                "a_walk_through_cases_is_not_disturbed_by_new_ones"
                | "a_walk_through_a_search_is_not_disturbed_by_new_cases",
                _,
            ) => {
                let all = CaseQuery {
                    after: None,
                    limit: PageLimit::MAX,
                    ..query
                };
                let all = self.inner.list_cases(&all).await?.items;
                return Ok(page_by_offset(all, given.after.as_ref(), given.limit));
            }
            _ => {}
        }
        let page = match self.inner.list_cases(&query).await {
            Err(_)
                if self.breaks("a_list_of_cases_refuses_foreign_cursors")
                    || self.breaks("a_search_refuses_foreign_cursors") =>
            {
                return self
                    .inner
                    .list_cases(&CaseQuery {
                        after: None,
                        ..query
                    })
                    .await;
            }
            page => page?,
        };
        let page = self.without_last("pages_of_any_limit_hold_every_case_once", page);
        let mut page = self.without_last("pages_of_a_search_hold_every_match_once", page);
        match self.promise {
            "cases_are_listed_in_order_of_id" | "the_best_matches_come_first" => {
                page.items.reverse();
            }
            "a_filter_lets_through_what_it_names" => {
                let exact = query.filter.specialty.as_deref();
                page.items
                    .retain(|case| exact.is_none() || case.content.specialty() == exact);
            }
            "a_filter_looks_at_the_current_version" if query.filter.specialty.is_some() => {
                page.items = self.all_cases().await?;
            }
            "a_search_looks_at_the_fields_it_should" => {
                page.items.retain(|case| case.content.topic().is_none());
            }
            "a_search_finds_the_current_version" => page.items = self.all_cases().await?,
            _ => {}
        }
        Ok(page)
    }
}

#[async_trait]
impl UserStore for StoreSaboteur {
    async fn ensure_user(&self, mut user: User) -> Result<User> {
        if self.breaks("a_new_user_is_found_as_it_was_given") {
            user.settings.locale = None;
        }
        let stored = self.inner.ensure_user(user.clone()).await?;
        let is_broken = self.breaks("a_known_user_stays_as_it_is")
            || self.breaks("a_user_ensured_by_many_at_once_is_stored_once");
        Ok(if is_broken { user } else { stored })
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>> {
        self.inner.find_user(user_id).await
    }

    async fn update_settings(
        &self,
        user_id: UserId,
        settings: UserSettings,
        now: Timestamp,
    ) -> Result<User> {
        if self.breaks("settings_of_an_unknown_user_are_refused") {
            let user = User::new(user_id, medcards_core::user::UserKind::Guest, now);
            self.inner.ensure_user(user).await?;
        }
        let before = self.inner.find_user(user_id).await?;
        let updated = self.inner.update_settings(user_id, settings, now).await?;
        let is_broken = self.breaks("new_settings_replace_the_old");
        Ok(before.filter(|_| is_broken).unwrap_or(updated))
    }
}

#[async_trait]
impl EventLog for StoreSaboteur {
    async fn read_events(&self, mut after: LogPosition, limit: usize) -> Result<Vec<Event>> {
        if self.breaks("reading_on_gives_every_event_once") {
            after.sequence = after.sequence.saturating_sub(1);
        }
        let mut events = self.inner.read_events(after, limit).await?;
        let mut notes = self.notes();
        match self.promise {
            "a_dropped_recording_leaves_both_answer_and_event_or_neither" => {
                events.retain(|event| match &event.body {
                    EventBody::AnswerRecorded { answer } => notes.finished.contains(&answer.id),
                    _ => true,
                });
            }
            "corrections_are_events_of_everyone" => {
                events.retain(|event| event.body.kind() != "key_corrected");
            }
            "new_settings_are_recorded_as_an_event" => {
                events.retain(|event| event.body.kind() != "settings_changed");
            }
            "an_event_carries_the_whole_answer" => {
                for event in &mut events {
                    if let EventBody::AnswerRecorded { answer } = &mut event.body {
                        answer.time_to_answer_ms = None;
                    }
                }
            }
            "events_stand_in_the_order_of_commits" => events.reverse(),
            "a_read_of_the_log_is_bounded" if limit > 1_000 => {
                drop(notes);
                let after = events.last().map_or(after, |event| event.position);
                events.extend(self.inner.read_events(after, 1_000).await?);
            }
            // As if a later commit could be seen before an earlier one.
            "reading_while_many_write_misses_and_repeats_nothing" => events.retain(|event| {
                let is_late = event.position.sequence % 7 == 0;
                !is_late || !notes.events_seen.insert(event.position)
            }),
            _ => {}
        }
        Ok(events)
    }

    async fn append_events(&self, mut bodies: Vec<EventBody>) -> Result<()> {
        if self.breaks("events_of_everyone_are_read_as_they_were_appended") {
            bodies.reverse();
        }
        if self.breaks("an_event_that_is_not_of_everyone_is_refused") {
            let good = bodies.iter().filter(|body| body.is_of_everyone());
            self.inner.append_events(good.cloned().collect()).await?;
            bodies.retain(|body| !body.is_of_everyone());
        }
        self.inner.append_events(bodies).await
    }

    async fn count_events(&self, mut after: LogPosition) -> Result<u64> {
        if self.breaks("events_after_a_place_are_counted") {
            after = LogPosition::START;
        }
        self.inner.count_events(after).await
    }

    fn appended(&self) -> Hint {
        if self.breaks("who_waits_for_events_hears_of_them") {
            return Hints::default().take();
        }
        self.inner.appended()
    }

    async fn find_cursor(&self, reader: &ReaderName) -> Result<LogPosition> {
        if self.breaks("a_moved_reader_is_found_where_it_was_moved_to") {
            return self.inner.find_cursor(&one_reader()).await;
        }
        let position = self.inner.find_cursor(reader).await?;
        if self.breaks("an_unknown_reader_stands_at_the_start") {
            return Ok(LogPosition {
                sequence: position.sequence.max(1),
                ..position
            });
        }
        Ok(position)
    }

    async fn move_cursor(
        &self,
        reader: &ReaderName,
        from: LogPosition,
        to: LogPosition,
    ) -> Result<()> {
        match self.promise {
            "a_moved_reader_is_found_where_it_was_moved_to" => {
                self.inner.move_cursor(&one_reader(), from, to).await
            }
            "a_reader_that_is_elsewhere_is_not_moved" => {
                let from = self.inner.find_cursor(reader).await?;
                self.inner.move_cursor(reader, from, to).await
            }
            "one_of_many_moves_of_a_reader_at_once_succeeds" => {
                let is_there = self.inner.find_cursor(reader).await? == from;
                self.crowd.wait_for_another().await;
                let moved = self.inner.move_cursor(reader, from, to).await;
                if is_there { Ok(()) } else { moved }
            }
            "a_reader_does_not_go_back" if to < from => Ok(()),
            _ => self.inner.move_cursor(reader, from, to).await,
        }
    }
}

fn one_reader() -> ReaderName {
    ReaderName::new("everybody").expect("the name is plain")
}

#[async_trait]
impl PrecomputedStore for StoreSaboteur {
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback>> {
        let mut key = key.clone();
        if self.breaks("keys_that_differ_in_one_part_are_different") {
            key.locale = Locale::ENGLISH;
        }
        let overwritten = self.notes().overwritten.get(&key).cloned();
        match overwritten {
            Some(feedback) => Ok(Some(feedback)),
            None => self.inner.find_feedback(&key).await,
        }
    }

    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback) -> Result<bool> {
        let (mut key, mut feedback) = (key.clone(), feedback.clone());
        let before = self.inner.find_feedback(&key).await?;
        let is_free = before
            .as_ref()
            .is_none_or(|kept| kept.review == ReviewState::Unreviewed);
        match self.promise {
            "kept_feedback_is_found_as_it_was_given" => feedback.cost = MicroDollars::ZERO,
            "keys_that_differ_in_one_part_are_different" => key.locale = Locale::ENGLISH,
            "an_unreviewed_text_is_replaced" if before.is_some() => return Ok(false),
            "a_withdrawal_stands_against_texts_kept_at_once" if before.is_some() && is_free => {
                self.crowd.wait_for_another().await;
                self.notes()
                    .overwritten
                    .insert(key.clone(), feedback.clone());
            }
            "keys_kept_at_once_are_all_read" => {
                let mut kept = self.notes().kept.clone();
                kept.extend(before.is_none().then(|| key.clone()));
                self.crowd.wait_for_another().await;
                self.notes().kept = kept;
            }
            "keys_are_read_in_the_order_first_kept" => self.notes().kept.push(key.clone()),
            _ => {}
        }
        let kept = self.inner.put_feedback(&key, &feedback).await?;
        Ok(kept || self.breaks("a_reviewed_text_is_not_replaced"))
    }

    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback> {
        if self.breaks("a_review_of_nothing_is_refused") {
            self.inner
                .put_feedback(key, &sample_feedback("Words."))
                .await?;
        }
        let mut feedback = self.inner.review_feedback(key, review).await?;
        if self.breaks("a_decision_is_written_down") {
            feedback.origin = Origin::Live;
        }
        Ok(feedback)
    }

    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback)>> {
        if self.breaks("reviewing_page_by_page_skips_nothing") {
            let all = self
                .inner
                .list_feedback(state, None, PageLimit::MAX)
                .await?;
            return Ok(page_by_offset(all.items, after, limit));
        }
        let page = self.inner.list_feedback(state, after, limit).await;
        if self.breaks("a_list_of_feedback_refuses_foreign_cursors") && page.is_err() {
            return self.inner.list_feedback(state, None, limit).await;
        }
        let mut page = self.without_last("pages_of_any_limit_hold_every_feedback_once", page?);
        if self.breaks("feedback_is_listed_by_state_oldest_first") {
            page.items.reverse();
        }
        Ok(page)
    }

    async fn list_keys(&self, after: KeyPosition, limit: usize) -> Result<KeyPage> {
        if self.breaks("keys_are_read_in_the_order_first_kept")
            || self.breaks("keys_kept_at_once_are_all_read")
        {
            let rest = self
                .notes()
                .kept
                .iter()
                .skip(after.0 as usize)
                .cloned()
                .collect::<Vec<_>>();
            let keys: Vec<_> = rest.into_iter().take(limit).collect();
            let position = KeyPosition(after.0 + keys.len() as u64);
            return Ok(KeyPage { keys, position });
        }
        self.inner.list_keys(after, limit).await
    }

    async fn list_reviewed(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FeedbackKey)>> {
        let mut reviewed = self.inner.list_reviewed(since, limit).await?;
        if self.breaks("reviews_are_listed_since_an_instant_oldest_first") {
            reviewed.retain(|(at, _)| *at > since);
        }
        Ok(reviewed)
    }
}

#[async_trait]
impl SpendLedger for StoreSaboteur {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        let (mut wish, mut budget) = (wish.clone(), *budget);
        self.notes().wishes.insert(wish.id, wish.amount);
        match self.promise {
            "money_is_set_aside_up_to_the_budget" => {
                budget.per_day = budget.per_day.map(|limit| limit + MicroDollars::new(1));
            }
            "many_at_once_set_aside_no_more_than_the_budget" => {
                let taken = self.count.add(wish.amount.get()).await + wish.amount.get();
                let fits = budget.per_day.is_none_or(|limit| taken <= limit.get());
                return Ok(if fits {
                    ReserveOutcome::Granted
                } else {
                    ReserveOutcome::Exhausted
                });
            }
            "without_a_budget_all_is_granted" => {
                budget.per_day.get_or_insert(MicroDollars::MAX);
            }
            "each_day_has_its_budget" => wish.day = jiff_day(),
            "the_same_reservation_sets_money_aside_once" => {
                wish.id = ReservationId::new(SAMPLE_START);
            }
            "a_month_has_one_budget_for_its_days" => budget.per_month = None,
            "each_user_has_a_budget_of_the_day" => wish.payer = None,
            "each_purpose_has_a_budget_of_the_day" => wish.purpose = Purpose::Feedback,
            "the_last_percent_are_kept_for_premium_users" => budget.premium_percent = 0,
            "many_users_at_once_exceed_no_limit" => {
                let scopes = wish.scopes();
                let sums = self.inner.sums(&scopes).await?;
                let mut scopes = scopes.iter().zip(sums);
                if !scopes.all(|(scope, sum)| budget.allows(scope, sum, &wish)) {
                    return Ok(ReserveOutcome::Exhausted);
                }
                self.crowd.wait_for_another().await;
                budget = SpendBudget::default();
            }
            _ => {}
        }
        let outcome = self.inner.reserve(&wish, &budget).await?;
        if self.breaks("a_refused_wish_leaves_nothing_set_aside") {
            // As a ledger that looks at each scope after it has set aside in the one before.
            let all = SpendBudget::default();
            self.inner.reserve(&wish, &all).await?;
        }
        Ok(outcome)
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let mut spent = spent.clone();
        let is_first = self.notes().settled.insert(reservation);
        match self.promise {
            "settling_frees_the_rest_and_books_the_cost" => return self.inner.add(&[spent]).await,
            "settling_twice_books_once" if !is_first => return self.inner.add(&[spent]).await,
            "overspending_is_booked" => {
                let set_aside = self.notes().wishes.get(&reservation).copied();
                spent.cost = spent.cost.min(set_aside.unwrap_or(MicroDollars::MAX));
            }
            "settling_frees_and_books_in_every_scope" => {
                return self.inner.add(&[spent]).await;
            }
            "what_nobody_reserved_counts_in_day_and_month"
                if !self.notes().wishes.contains_key(&reservation) =>
            {
                return Ok(());
            }
            _ => {}
        }
        self.inner.settle(reservation, &spent).await
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        let mut rows = rows.to_vec();
        match self.promise {
            "rows_that_belong_together_add_up" => {
                for row in &mut rows {
                    row.model.get_or_insert("m1".parse()?);
                }
            }
            "rows_added_at_once_all_count" => _ = self.count.add(rows.len() as u64).await,
            _ => {}
        }
        self.inner.add(&rows).await
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        let mut scopes = scopes.to_vec();
        match self.promise {
            "sums_come_in_the_order_asked_for" => scopes.sort_unstable(),
            "sums_of_days_stay_for_a_week_and_those_of_months_for_a_year" => {
                for scope in &mut scopes {
                    if let SpendScope::Month(month) = scope {
                        *scope = SpendScope::Month(jiff_day().first_of_month().max(*month));
                    }
                }
            }
            _ => {}
        }
        self.inner.sums(&scopes).await
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        let mut rows = self.inner.totals(query).await?;
        match self.promise {
            "totals_hold_the_days_asked_for" => rows.retain(|row| row.day < query.to),
            "totals_are_sorted" => rows.reverse(),
            "rows_added_at_once_all_count" => {
                for row in &mut rows {
                    row.resolutions = self.count.get();
                }
            }
            _ => {}
        }
        Ok(rows)
    }
}

fn jiff_day() -> medcards_core::jiff::civil::Date {
    medcards_core::jiff::civil::date(2026, 1, 15)
}
