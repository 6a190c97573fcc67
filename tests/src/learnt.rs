//! What the views of a store say, beside what a fold of its log from the first event says.

use std::collections::{BTreeMap, BTreeSet};

use medcards_core::case::KeyCorrection;
use medcards_core::event::{EVENTS_PER_READ_MAX, Event, EventBody, LogPosition};
use medcards_core::learning::ability::AbilityProjection;
use medcards_core::learning::boards::BoardsProjection;
use medcards_core::learning::case_stats::CaseStatsProjection;
use medcards_core::learning::habits::HabitsProjection;
use medcards_core::learning::reviews::ReviewsProjection;
use medcards_core::learning::user_stats::UserStatsProjection;
use medcards_core::notice::{NOTICES_PER_READ_MAX, NoticeBody};
use medcards_core::store::{Consistency, LearningStore, Store};
use medcards_core::view::{
    CaseFact, EditionOf, Facts, NewAward, Projection, ProjectionRow, ROWS_PER_CALL_MAX, fold,
};

/// How much was compared.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Learnt {
    /// How many events the log has.
    pub events: usize,
    /// How many rows all views have.
    pub rows: usize,
    /// How many badges students have.
    pub awards: usize,
}

/// Compares every row of every view, every award and every notice of an award with what the log gives.
///
/// A badge stays though a key is corrected: so there may be those that the log gave without the last
/// corrections, too.
pub async fn assert_learnt(store: &dyn Store, views: &dyn LearningStore) -> Learnt {
    let events = events_of(store).await;
    let corrections = corrections_of(store, &events).await;
    let facts = facts_of(store, &events, &corrections).await;
    let mut learnt = Learnt {
        events: events.len(),
        ..Learnt::default()
    };
    let mut check = Check {
        views,
        events: &events,
        facts: &facts,
        learnt: &mut learnt,
    };
    check.rows_of(UserStatsProjection::new()).await;
    check.rows_of(CaseStatsProjection::new()).await;
    check.rows_of(AbilityProjection::new()).await;
    check.rows_of(ReviewsProjection::new()).await;
    check.rows_of(BoardsProjection::new()).await;
    let awards = check.rows_of(HabitsProjection::new()).await;
    let mut before = Vec::new();
    for known in 0..corrections.len() {
        let facts = facts_of(store, &events, &corrections[..known]).await;
        before.extend(fold(HabitsProjection::new(), &events, &facts).awards);
    }
    check.awards(awards, before).await;
    learnt
}

/// All events of a log, from the first.
pub async fn events_of(store: &dyn Store) -> Vec<Event> {
    let mut events = Vec::new();
    let mut after = LogPosition::START;
    loop {
        let read = store.read_events(after, EVENTS_PER_READ_MAX).await.unwrap();
        let Some(last) = read.last() else {
            return events;
        };
        after = last.position;
        events.extend(read);
    }
}

/// All corrections, by number.
async fn corrections_of(store: &dyn Store, events: &[Event]) -> Vec<KeyCorrection> {
    let corrections: Vec<KeyCorrection> = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::KeyCorrected { correction } => Some(*correction),
            _ => None,
        })
        .collect();
    let listed = store.list_corrections(0, 1_000).await.unwrap();
    let mut by_number = corrections.clone();
    by_number.sort_by_key(|correction| correction.number);
    assert_eq!(listed, by_number, "each correction is listed and logged");
    by_number
}

async fn facts_of(store: &dyn Store, events: &[Event], corrections: &[KeyCorrection]) -> Facts {
    let mut facts = Facts::new(corrections);
    for event in events {
        let EventBody::AnswerRecorded { answer } = &event.body else {
            continue;
        };
        let (case_id, version) = (answer.case_id, answer.case_version);
        if !facts.knows(case_id, version) {
            let case = store.find_case(case_id, Some(version)).await.unwrap();
            facts.insert(case_id, version, CaseFact::of(&case.unwrap()));
        }
    }
    facts
}

struct Check<'a> {
    views: &'a dyn LearningStore,
    events: &'a [Event],
    facts: &'a Facts,
    learnt: &'a mut Learnt,
}

impl Check<'_> {
    /// Compares the rows of a view; returns the awards that the log gives.
    async fn rows_of<P: Projection>(&mut self, projection: P) -> Vec<NewAward> {
        let name = projection.name();
        let state = self.views.view(&name).await.unwrap();
        let current = state
            .current
            .unwrap_or_else(|| panic!("{name} was never built"));
        let last = self
            .events
            .last()
            .map_or(LogPosition::START, |it| it.position);
        assert_eq!(
            current.position, last,
            "{name} has come to the end of the log"
        );
        let folded = fold(projection, self.events, self.facts);
        assert_eq!(current.set_aside, folded.set_aside.len() as u64, "{name}");
        let mut kept = BTreeMap::new();
        let owners: BTreeSet<_> = folded.rows.keys().map(|key| key.owner).collect();
        let edition = EditionOf::Number(current.number);
        for owner in owners {
            let mut after = None;
            loop {
                let rows = self
                    .views
                    .list_rows(
                        &edition,
                        owner,
                        after,
                        ROWS_PER_CALL_MAX,
                        &Consistency::Strong,
                    )
                    .await
                    .unwrap();
                let Some(last) = rows.last() else { break };
                after = Some(last.key.item);
                kept.extend(rows.into_iter().map(|row| (row.key, row.bytes)));
            }
        }
        assert_eq!(kept.len(), folded.rows.len(), "{name} has as many rows");
        for (key, row) in &folded.rows {
            let bytes = kept
                .get(key)
                .unwrap_or_else(|| panic!("{name} has no {key:?}"));
            let kept = P::Row::from_bytes(bytes).unwrap();
            assert_eq!(&kept, row, "{name}: {key:?}");
        }
        self.learnt.rows += folded.rows.len();
        folded.awards
    }

    /// Each award is there once, and was told once. Some of `before` may be there too.
    async fn awards(&mut self, awards: Vec<NewAward>, before: Vec<NewAward>) {
        let mut of_users: BTreeMap<_, [BTreeSet<String>; 2]> = BTreeMap::new();
        for (awards, which) in [(awards, 0), (before, 1)] {
            for award in awards {
                of_users.entry(award.user_id).or_default()[which].insert(award.badge);
            }
        }
        for (user_id, [earned, before]) in of_users {
            let kept = self.views.list_awards(user_id, &Consistency::Strong).await;
            let kept: Vec<String> = kept.unwrap().into_iter().map(|it| it.badge).collect();
            let different: BTreeSet<String> = kept.iter().cloned().collect();
            assert_eq!(kept.len(), different.len(), "no badge twice: {kept:?}");
            assert!(
                different.is_superset(&earned)
                    && different.difference(&earned).all(|it| before.contains(it)),
                "the badges of {user_id}: {different:?} and not {earned:?}"
            );
            let notices = self
                .views
                .list_notices(user_id, LogPosition::START, NOTICES_PER_READ_MAX)
                .await
                .unwrap();
            let told: Vec<String> = notices
                .into_iter()
                .filter_map(|notice| match notice.body {
                    NoticeBody::Badge { badge } => Some(badge),
                    _ => None,
                })
                .collect();
            assert_eq!(told.len(), kept.len(), "each badge is told once: {told:?}");
            self.learnt.awards += kept.len();
        }
    }
}
