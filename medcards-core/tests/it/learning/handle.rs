//! What is learnt, in one value.

use std::sync::Arc;
use std::time::Duration;

use medcards_core::app::{AnswerForm, Medcards};
use medcards_core::case::{CaseFilter, CaseRecord, CaseStore, CaseVersion, OptionSet};
use medcards_core::event::{EventBody, EventLog, LogPosition};
use medcards_core::job::{JobKind, JobQueue};
use medcards_core::learning::ability::AbilityProjection;
use medcards_core::learning::reviews::ReviewsProjection;
use medcards_core::learning::user_stats::{Dashboard, UserStatsProjection};
use medcards_core::learning::{KeyFix, Learning, NOTIFY_REGRADED};
use medcards_core::memory::MemoryStore;
use medcards_core::store::{Consistency, Store};
use medcards_core::testing::{ManualClock, build_view, sample_record, sample_user_id};
use medcards_core::time::Clock;
use medcards_core::user::UserKind;
use medcards_core::view::ViewStore;
use medcards_core::{CaseId, ErrorKind, UserId};

struct World {
    store: MemoryStore,
    clock: Arc<ManualClock>,
    learning: Learning,
}

impl World {
    async fn new() -> Self {
        let (store, clock) = (MemoryStore::new(), Arc::new(ManualClock::default()));
        let medcards = Medcards::builder(Arc::new(store.clone()))
            .clock(Arc::clone(&clock) as _)
            .build()
            .await
            .expect("memory builds");
        let learning = Learning::new(medcards, Arc::new(store.clone()));
        Self {
            store,
            clock,
            learning,
        }
    }

    async fn publish(&self, record: CaseRecord) -> CaseId {
        let content = vec![record.try_into().expect("it is well formed")];
        let published = self.store.publish(content, self.clock.now()).await;
        published.expect("memory works")[0].case_id
    }

    async fn student(&self) -> UserId {
        let medcards = self.learning.medcards();
        let user = medcards.ensure_user(sample_user_id(1), UserKind::Guest);
        user.await.expect("memory works").id
    }

    /// Answers a case with its first option.
    async fn answer(&self, user_id: UserId, case_id: CaseId) {
        let case = self.store.find_case(case_id, None).await.expect("works");
        let key = case.expect("it exists").content.options()[0]
            .key
            .to_string();
        let form = AnswerForm {
            options: vec![key],
            ..AnswerForm::default()
        };
        let medcards = self.learning.medcards();
        medcards
            .submit_answer(user_id, case_id, form)
            .await
            .expect("it is a choice");
        self.clock.advance(Duration::from_secs(30));
    }

    async fn build_views(&self) {
        let log: Arc<dyn Store> = Arc::new(self.store.clone());
        let views: Arc<dyn ViewStore> = Arc::new(self.store.clone());
        let works = "nobody else builds";
        build_view(UserStatsProjection::new(), &log, &views, &*self.clock)
            .await
            .expect(works);
        build_view(AbilityProjection::new(), &log, &views, &*self.clock)
            .await
            .expect(works);
        build_view(ReviewsProjection::new(), &log, &views, &*self.clock)
            .await
            .expect(works);
    }

    async fn next(&self, user_id: UserId) -> (CaseId, &'static str) {
        let (filter, strong) = (CaseFilter::default(), Consistency::Strong);
        let next = self.learning.next_case(user_id, &filter, &strong).await;
        let next = next.expect("memory works").expect("there are cases");
        (next.shown.case.id, next.reason.kind())
    }
}

#[tokio::test]
async fn without_views_the_store_says_what_comes_next() {
    let world = World::new().await;
    let me = world.student().await;
    let mut cases = Vec::new();
    for n in 0..3 {
        cases.push(world.publish(sample_record(n)).await);
    }
    let (first, _) = world.next(me).await;
    world.answer(me, first).await;
    let (second, reason) = world.next(me).await;
    assert_eq!(reason, "unseen");
    world.answer(me, second).await;
    let (third, _) = world.next(me).await;
    world.answer(me, third).await;
    assert_eq!(world.next(me).await, (first, "longest_ago"));
    let mut all = [first, second, third];
    all.sort_unstable();
    cases.sort_unstable();
    assert_eq!(all[..], cases[..]);
    let strong = Consistency::Strong;
    let nobody = world.learning.dashboard(me, &strong).await.unwrap();
    assert_eq!(nobody, Dashboard::default());
    assert_eq!(world.learning.streak(me, &strong).await.unwrap().days, 0);
    assert!(world.learning.views().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_was_just_answered_does_not_come_back_although_the_views_are_behind() {
    let world = World::new().await;
    let me = world.student().await;
    for n in 0..30 {
        world.publish(sample_record(n)).await;
    }
    let (first, _) = world.next(me).await;
    world.answer(me, first).await;
    world.build_views().await;
    let mut seen = vec![first];
    for _ in 0..20 {
        let (next, reason) = world.next(me).await;
        assert_eq!(
            world.next(me).await.0,
            next,
            "the same until it is answered"
        );
        assert!(!seen.contains(&next), "{reason}");
        assert_ne!(reason, "unseen", "the views know the student");
        world.answer(me, next).await;
        seen.push(next);
    }
    world.build_views().await;
    let dashboard = world.learning.dashboard(me, &Consistency::Strong).await;
    assert_eq!(dashboard.unwrap().total.answers, 21);
    while seen.len() < 30 {
        let (next, _) = world.next(me).await;
        assert!(!seen.contains(&next));
        world.answer(me, next).await;
        seen.push(next);
    }
    // What is due by then comes again, the rest when nothing is left.
    world.build_views().await;
    world.clock.advance(Duration::from_hours(24 * 60));
    assert_eq!(world.next(me).await.1, "due");
    let due = world.learning.due_reviews(me, 1_000, &Consistency::Strong);
    assert_eq!(due.await.unwrap().len(), 30);
}

#[tokio::test]
async fn a_corrected_key_goes_to_all_versions_with_the_mistake() {
    let world = World::new().await;
    let with = |answer: &str, stem: &str, turned: bool| {
        let mut record = sample_record(1);
        record.stem = stem.to_owned();
        let keys: Vec<_> = record.options.iter().map(|it| it.key.clone()).collect();
        if turned {
            record.options.reverse();
            // The same texts under other keys.
            for (option, key) in record.options.iter_mut().zip(&keys) {
                option.key.clone_from(key);
            }
        }
        let texts = sample_record(1).options;
        let text = texts.iter().find(|it| it.key == answer).expect("it has it");
        let option = record.options.iter().find(|it| it.text == text.text);
        record.answer_keys = vec![option.expect("it has it").key.clone()];
        record
    };
    // The first has another key, the third the options in another order.
    world.publish(with("B", "first", false)).await;
    world.publish(with("A", "second", false)).await;
    world.publish(with("A", "third", true)).await;
    let case_id = world.publish(with("A", "fourth", false)).await;
    let current = CaseVersion::new(4).unwrap();
    let fix = |current, right: &[&str]| KeyFix {
        case_id,
        current,
        right: right.iter().map(|key| (*key).to_owned()).collect(),
        explanation: Some("It was wrong.".to_owned()),
    };
    for (refused, kind) in [
        (fix(CaseVersion::FIRST, &["C"]), ErrorKind::Conflict),
        (fix(current, &["A"]), ErrorKind::Invalid),
        (fix(current, &["Z"]), ErrorKind::Invalid),
        (fix(current, &[]), ErrorKind::Invalid),
    ] {
        let error = world.learning.correct_key(refused).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    assert!(
        world
            .store
            .list_corrections(0, 10)
            .await
            .unwrap()
            .is_empty()
    );

    let fixed = world.learning.correct_key(fix(current, &["C"])).await;
    let fixed = fixed.unwrap();
    assert_eq!(fixed.version, CaseVersion::new(5).unwrap());
    let options = sample_record(1).options.len();
    let only = |at: usize| [at].into_iter().collect::<OptionSet>();
    let corrections = fixed.corrections.iter();
    let corrections: Vec<_> = corrections.map(|it| (it.version.get(), it.right)).collect();
    assert_eq!(
        corrections,
        [(2, only(2)), (3, only(options - 3)), (4, only(2))]
    );
    let case = world.store.find_case(case_id, None).await.unwrap().unwrap();
    assert_eq!(case.content.right_options(), only(2));
    assert_eq!(case.content.explanation(), Some("It was wrong."));

    let kinds = [JobKind::new(NOTIFY_REGRADED).unwrap()];
    let lease = Duration::from_secs(60);
    let jobs = world.store.claim(&kinds, 10, world.clock.now(), lease);
    let jobs = jobs.await.unwrap();
    let payloads: Vec<_> = jobs.iter().map(|job| job.payload.as_str()).collect();
    let expected = format!(r#"{{"case_id":"{case_id}","versions":[2,3,4]}}"#);
    assert_eq!(payloads, [expected]);

    // A mistake in the correction: the versions that had the first one have the second.
    let current = fixed.version;
    let fixed = world.learning.correct_key(fix(current, &["A", "D"])).await;
    let versions = fixed.unwrap().corrections;
    let versions: Vec<_> = versions.iter().map(|it| it.version.get()).collect();
    assert_eq!(versions, [2, 3, 4, 5]);
    let case = world.store.find_case(case_id, None).await.unwrap().unwrap();
    assert!(case.content.several_right());
}

#[tokio::test]
async fn an_outage_is_declared_when_it_is_over() {
    let world = World::new().await;
    let now = world.clock.now();
    let hour = Duration::from_hours(1);
    for (began_at, ended_at) in [(now, now - hour), (now - hour, now + hour), (now, now)] {
        let refused = world.learning.declare_outage(began_at, ended_at).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
    }
    world
        .learning
        .declare_outage(now - hour, now)
        .await
        .unwrap();
    let events = world.store.read_events(LogPosition::START, 10).await;
    let bodies: Vec<_> = events.unwrap().into_iter().map(|it| it.body).collect();
    let expected = EventBody::OutageDeclared {
        began_at: now - hour,
        ended_at: now,
        declared_at: now,
    };
    assert_eq!(bodies, [expected]);
}
