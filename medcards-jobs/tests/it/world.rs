use std::sync::Arc;
use std::time::Duration;

use medcards_core::answer::{Answer, AnswerStore};
use medcards_core::case::{Case, CaseCorrection, CaseStore, CaseVersion, OptionSet};
use medcards_core::event::{Event, EventBody, EventLog, LogPosition};
use medcards_core::job::NewJob;
use medcards_core::memory::MemoryStore;
use medcards_core::notice::{Notice, NoticeBody, NoticeStore};
use medcards_core::store::Consistency;
use medcards_core::testing::{
    FaultPlan, Faulty, ManualClock, SAMPLE_START, sample_answer, sample_content, sample_record,
    sample_user_id,
};
use medcards_core::time::Clock;
use medcards_core::view::{
    CaseFact, Changes, EditionOf, Facts, Folded, NewAward, Projection, ProjectionRow, RowKey, Stop,
    ViewName, ViewState, ViewStore, fold,
};
use medcards_core::{AnswerId, CaseId, Timestamp, UserId};
use medcards_jobs::Stores;
use serde::{Deserialize, Serialize};

/// How many users and cases there are.
pub(crate) const USERS: u32 = 7;
const CASES: u32 = 5;

/// An answer that took so long is set aside by [`Tally`], and one that took a millisecond longer makes
/// it panic.
pub(crate) const POISON_MS: u32 = 666;

/// A deployment: a store, a clock, and whatever processes are made.
pub(crate) struct World {
    pub(crate) store: MemoryStore,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) cases: Vec<Case>,
}

/// A process of a deployment, whose calls to the store fail as its plan says.
pub(crate) struct Process {
    pub(crate) plan: FaultPlan,
    pub(crate) stores: Stores,
}

impl World {
    pub(crate) async fn new() -> Self {
        let store = MemoryStore::new();
        let contents = (0..CASES).map(sample_content).collect();
        let published = store
            .publish(contents, SAMPLE_START)
            .await
            .expect("a store in memory does not fail");
        let mut cases = Vec::new();
        for it in published {
            let case = store
                .find_case(it.case_id, None)
                .await
                .expect("a store in memory does not fail")
                .expect("a store in memory does not fail");
            cases.push(Case::clone(&case));
        }
        Self {
            store,
            clock: Arc::new(ManualClock::default()),
            cases,
        }
    }

    pub(crate) fn process(&self) -> Process {
        let plan = FaultPlan::new();
        let store = Arc::new(Faulty::new(self.store.clone(), plan.clone()));
        Process {
            plan,
            stores: Stores {
                store: Arc::clone(&store) as _,
                learning: store,
                clock: Arc::clone(&self.clock) as _,
            },
        }
    }

    /// An answer of a user to a case, right for every other of them.
    pub(crate) fn answer_of(&self, user: u32, case: u32) -> Answer {
        self.clock.advance(Duration::from_millis(1));
        let case = &self.cases[case as usize];
        sample_answer(sample_user_id(user), case, self.clock.now())
    }

    pub(crate) async fn record(&self, answer: Answer) {
        self.store
            .record_answer(answer)
            .await
            .expect("a store in memory does not fail");
    }

    /// Answers of some users to some cases.
    pub(crate) async fn record_some(&self, count: u32, luck: &mut fastrand::Rng) {
        for _ in 0..count {
            let answer = self.answer_of(luck.u32(0..USERS), luck.u32(0..CASES));
            self.record(answer).await;
        }
    }

    /// Answers that cannot be counted: of a case that does not exist, one that is refused, and one that
    /// makes the projection panic.
    pub(crate) async fn record_poison(&self) {
        let mut unknown = self.answer_of(1, 1);
        unknown.case_id = CaseId::new(self.clock.now());
        let mut refused = self.answer_of(1, 1);
        refused.time_to_answer_ms = Some(POISON_MS);
        let mut panics = self.answer_of(1, 1);
        panics.time_to_answer_ms = Some(POISON_MS + 1);
        for answer in [unknown, refused, panics] {
            self.record(answer).await;
        }
    }

    /// Makes the first option the right one of a case, in its first version too.
    pub(crate) async fn correct(&self, case: u32, jobs: Vec<NewJob>) {
        let known = &self.cases[case as usize];
        let current = self
            .store
            .find_case(known.id, None)
            .await
            .expect("a store in memory does not fail")
            .expect("a store in memory does not fail");
        let mut record = sample_record(case);
        record.answer_keys = vec!["A".to_owned()];
        record.explanation = Some(format!("Corrected after version {}.", current.version));
        let right: OptionSet = [0].into_iter().collect();
        let correction = CaseCorrection {
            case_id: known.id,
            current: current.version,
            content: record.try_into().expect("a store in memory does not fail"),
            versions: vec![(CaseVersion::FIRST, right)],
            jobs,
            corrected_at: self.clock.now(),
        };
        self.store
            .correct_case(correction)
            .await
            .expect("a store in memory does not fail");
    }

    pub(crate) async fn events(&self) -> Vec<Event> {
        let (mut events, mut after) = (Vec::new(), LogPosition::START);
        loop {
            let page = self
                .store
                .read_events(after, 1_000)
                .await
                .expect("a store in memory does not fail");
            let Some(last) = page.last() else {
                return events;
            };
            after = last.position;
            events.extend(page);
        }
    }

    pub(crate) async fn notices(&self) -> Vec<Notice> {
        let (mut notices, mut after) = (Vec::new(), LogPosition::START);
        loop {
            let page = self
                .store
                .read_notices(after, 1_000)
                .await
                .expect("a store in memory does not fail");
            let Some(last) = page.last() else {
                return notices;
            };
            after = last.position;
            notices.extend(page);
        }
    }

    /// What a projection makes of the log, from scratch.
    pub(crate) async fn folded<P: Projection>(&self, projection: P) -> Folded<P::Row> {
        let corrections = self
            .store
            .list_corrections(0, 1_000)
            .await
            .expect("a store in memory does not fail");
        let mut facts = Facts::new(&corrections);
        for case in &self.cases {
            facts.insert(case.id, case.version, CaseFact::of(case));
        }
        fold(projection, &self.events().await, &facts)
    }

    pub(crate) async fn view(&self, name: &ViewName) -> ViewState {
        self.store
            .view(name)
            .await
            .expect("a store in memory does not fail")
    }

    /// Whether the view answers with all that the log has, and nothing is being built.
    pub(crate) async fn is_whole<P: Projection>(&self, projection: &P) -> bool {
        let view = self.view(&projection.name()).await;
        let corrections = self
            .store
            .list_corrections(0, 1_000)
            .await
            .expect("a store in memory does not fail")
            .len() as u64;
        let Some(current) = view.current.filter(|_| view.next.is_none()) else {
            return false;
        };
        (current.version, current.corrections) == (projection.version(), corrections)
            && self
                .store
                .count_events(current.position)
                .await
                .expect("a store in memory does not fail")
                == 0
    }

    /// Waits until it is, and checks every row against the log.
    pub(crate) async fn check<P: Projection + Clone>(&self, projection: &P, context: &str) {
        until(context, async || self.is_whole(projection).await).await;
        let expected = self.folded(projection.clone()).await;
        let edition = EditionOf::Current(projection.name());
        let mut owners: Vec<_> = expected.rows.keys().map(|key| key.owner).collect();
        owners.extend((0..USERS).map(|n| *sample_user_id(n).as_uuid()));
        owners.extend(self.cases.iter().map(|case| *case.id.as_uuid()));
        owners.sort_unstable();
        owners.dedup();
        let mut found = std::collections::BTreeMap::new();
        for owner in owners {
            let rows = self
                .store
                .list_rows(&edition, owner, None, 10_000, &Consistency::Strong);
            for stored in rows.await.expect("a store in memory does not fail") {
                found.insert(
                    stored.key,
                    P::Row::from_bytes(&stored.bytes).expect("a store in memory does not fail"),
                );
            }
        }
        assert_eq!(found, expected.rows, "{context}");
        let current = self
            .view(&projection.name())
            .await
            .current
            .expect("a store in memory does not fail");
        let set_aside = expected.set_aside.len() as u64;
        assert_eq!(current.set_aside, set_aside, "{context}");
    }
}

/// Waits until something holds. Time is paused, so that a minute takes as long as the work in it.
pub(crate) async fn until(context: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..6_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not come to hold within a minute: {context}");
}

/// Waits until something holds that comes about between two steps of a task that is never idle.
pub(crate) async fn at_once(context: &str, holds: impl AsyncFn() -> bool) {
    for _ in 0..100_000 {
        if holds().await {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it did not come to hold: {context}");
}

/// Counts answers by user and by case. Every third of a user is announced, and the first right one is
/// awarded.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) version: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) answers: u64,
    pub(crate) right: u64,
    pub(crate) last: Option<AnswerId>,
}

impl Tally {
    pub(crate) const FIRST: Self = Self { version: 1 };

    pub(crate) fn view() -> ViewName {
        Self::FIRST.name()
    }
}

impl Projection for Tally {
    type Row = Count;

    fn name(&self) -> ViewName {
        ViewName::new("tally").expect("it is a name")
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn likely_rows(&self, event: &Event, _facts: &Facts) -> Vec<RowKey> {
        // Not that of the case, which it asks for too.
        vec![RowKey::of_user(event.user_id)]
    }

    fn place(&self, _key: &RowKey, row: &Count) -> Option<i64> {
        i64::try_from(row.right).ok()
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<Count>,
    ) -> Result<(), Stop> {
        let EventBody::AnswerRecorded { answer } = &event.body else {
            return Ok(());
        };
        facts.case_of(answer)?;
        let of_user = self.count(RowKey::of_user(answer.user_id), answer, facts, changes)?;
        // After a change, which must be undone.
        match answer.time_to_answer_ms {
            Some(POISON_MS) => return Err(Stop::SetAside("it is refused".to_owned())),
            Some(it) if it == POISON_MS + 1 => panic!("a projection has a defect"),
            _ => {}
        }
        if of_user.answers.is_multiple_of(3) {
            let days = u32::try_from(of_user.answers).unwrap_or_default();
            let body = NoticeBody::Streak { days };
            changes.notify(answer.user_id, answer.created_at, body);
        }
        if of_user.right == 1 {
            changes.award(NewAward {
                user_id: answer.user_id,
                badge: "first-right".to_owned(),
                at: answer.created_at,
                job: None,
            });
        }
        self.count(RowKey::of_case(answer.case_id), answer, facts, changes)?;
        Ok(())
    }
}

impl Tally {
    fn count(
        &self,
        key: RowKey,
        answer: &Answer,
        facts: &Facts,
        changes: &mut Changes<Count>,
    ) -> Result<Count, Stop> {
        let mut count = changes.find(key)?.copied().unwrap_or_default();
        // Later versions count answers in tens.
        count.answers += if self.version == 1 { 1 } else { 10 };
        count.right += u64::from(facts.is_correct(answer));
        count.last = Some(answer.id);
        changes.put(key, count)?;
        Ok(count)
    }
}

/// Notices of one user as they are told, without their places.
pub(crate) fn told(notices: &[Notice]) -> Vec<(UserId, Timestamp, NoticeBody)> {
    let mut told: Vec<_> = notices
        .iter()
        .map(|it| (it.user_id, it.at, it.body.clone()))
        .collect();
    told.sort_by_key(|(user_id, at, body)| (*user_id, *at, format!("{body:?}")));
    told
}
