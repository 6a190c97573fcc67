//! Which case comes next, by the usual policy.

use std::collections::HashMap;
use std::time::Duration;

use medcards_core::answer::{Answer, Confidence};
use medcards_core::case::{Case, CaseFilter, CaseVersion};
use medcards_core::event::{CaseCalibration, Event, EventBody};
use medcards_core::learning::SeenCases;
use medcards_core::learning::ability::{
    AbilityModel, AbilityProjection, AbilityRow, AreaAbility, CaseDifficulty, Estimate,
    UserAbility, case_key, user_key,
};
use medcards_core::learning::next::{
    Catalogue, CatalogueCase, ExamWeights, LastTime, NextCasePolicy, NextCaseView, NextReason,
    Pick, Targeted,
};
use medcards_core::learning::reviews::{DueReview, ReviewsProjection};
use medcards_core::memory::MemoryStore;
use medcards_core::testing::{
    ManualClock, NextCaseLoad, measure_next_case, sample_case, sample_record,
};
use medcards_core::view::{Applied, CaseFact, Facts, Folder, RowKey, fold};
use medcards_core::{CaseId, Timestamp, UserId};
use proptest::prelude::*;

use super::{answer, answers, at, log, user};

/// So many cases of each of these topics, one after the other.
fn cases(topics: &[(&str, &str)], of_each: u32) -> Vec<Case> {
    let topic = |n: u32| topics[n as usize / of_each as usize];
    let case = |n: u32| {
        let mut case = sample_case(n);
        let mut record = sample_record(n);
        record.specialty = Some(topic(n).0.to_owned());
        record.topic = Some(topic(n).1.to_owned());
        case.content = record.try_into().expect("a sample is well formed");
        case
    };
    (0..of_each * topics.len() as u32).map(case).collect()
}

/// A case as hard as this, which is well known.
fn difficulty(mean: f64) -> Option<CaseDifficulty> {
    Some(CaseDifficulty {
        version: CaseVersion::FIRST,
        difficulty: Estimate::new(mean, 0.01),
        discrimination: 1.0,
        answers: 200,
        calibrated_from: 200,
    })
}

/// A student of average ability, who does so in topics.
fn student(areas: &[(&str, &str, f64)]) -> UserAbility {
    let area = |(specialty, topic, offset): &(&str, &str, f64)| AreaAbility {
        specialty: (*specialty).into(),
        topic: (*topic).into(),
        offset: Estimate::new(*offset, 0.01),
        answers: 20,
        right: 10,
        last_right: true,
        last_at_ms: now().as_millisecond(),
    };
    let mut areas: Vec<_> = areas.iter().map(area).collect();
    areas.sort_by(|a, b| (&a.specialty, &a.topic).cmp(&(&b.specialty, &b.topic)));
    UserAbility {
        general: Estimate::new(0.0, 0.01),
        form: Estimate::new(0.0, 0.01),
        answers: 100,
        last_at_ms: now().as_millisecond(),
        areas,
    }
}

fn now() -> Timestamp {
    at("2026-02-01T12:00:00Z")
}

/// All that a policy looks at.
#[derive(Default)]
struct Desk {
    catalogue: Catalogue,
    filter: CaseFilter,
    model: AbilityModel,
    user: Option<UserAbility>,
    seen: SeenCases,
    recent: Vec<Answer>,
    due: Vec<DueReview>,
}

impl Desk {
    fn of(catalogue: Catalogue) -> Self {
        Self {
            catalogue,
            ..Self::default()
        }
    }

    fn pick(&self, seed: u64) -> Option<Pick> {
        let view = NextCaseView {
            now: now(),
            catalogue: &self.catalogue,
            filter: &self.filter,
            model: &self.model,
            user: self.user.as_ref(),
            seen: &self.seen,
            recent: &self.recent,
            due: &self.due,
        };
        Targeted::new().pick(&view, seed)
    }

    fn topic(&self, case_id: CaseId) -> &str {
        let case = self
            .catalogue
            .find(case_id)
            .expect("it is in the catalogue");
        &self.catalogue.area_of(case).label
    }

    /// How often each topic comes, for so many seeds.
    fn topics(&self, seeds: u64) -> HashMap<String, u32> {
        let mut counts = HashMap::new();
        for seed in 0..seeds {
            let pick = self.pick(seed).expect("there are cases");
            *counts
                .entry(self.topic(pick.case_id).to_owned())
                .or_default() += 1;
        }
        counts
    }
}

#[test]
fn the_same_view_and_seed_give_the_same_case() {
    let cases = cases(&[("Cardiology", "Rhythm"), ("Neurology", "Stroke")], 40);
    let build =
        |cases: &[Case]| Catalogue::new(cases, |_| difficulty(-1.1), &ExamWeights::by_cases());
    let mut turned = cases.clone();
    turned.reverse();
    let (one, other) = (Desk::of(build(&cases)), Desk::of(build(&turned)));
    let picks: Vec<_> = (0..50).map(|seed| one.pick(seed)).collect();
    assert_eq!(
        picks,
        (0..50).map(|seed| other.pick(seed)).collect::<Vec<_>>()
    );
    let mut different: Vec<_> = picks.iter().flatten().map(|pick| pick.case_id).collect();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() > 20, "chance chooses among those that suit");
    assert_eq!(Desk::default().pick(1), None);
}

#[test]
fn what_is_due_comes_first_the_most_nearly_forgotten_before_the_others() {
    let cases = cases(&[("Cardiology", "Rhythm"), ("Neurology", "Stroke")], 3);
    let me = user(1);
    let given = |n: usize, days: u64, chosen, confidence: u8| {
        let when = now() - Duration::from_hours(24 * days);
        let mut given = answer(me, cases[n].id, chosen, when);
        given.confidence = Confidence::try_from(confidence).ok();
        given
    };
    let mut facts = Facts::default();
    for case in &cases {
        let right = [0].into_iter().collect();
        let fact = CaseFact::new("Cardiology", "Rhythm", 4, right);
        facts.insert(case.id, case.version, fact);
    }
    let events = answers([given(3, 30, 0, 60), given(0, 12, 0, 20), given(4, 5, 1, 60)]);
    let rows = fold(ReviewsProjection::new(), &events, &facts).rows;
    let due = rows
        .iter()
        .map(|(key, row)| DueReview::read(key, row, now()));
    let mut desk = Desk::of(Catalogue::new(&cases, |_| None, &ExamWeights::by_cases()));
    desk.due = due.collect::<Option<Vec<_>>>().unwrap();
    let recall = |n: usize| {
        let due = desk.due.iter().find(|it| it.case_id == cases[n].id);
        due.unwrap().retrievability
    };
    let mut order = [3, 0, 4];
    order.sort_by(|a, b| recall(*a).total_cmp(&recall(*b)));
    let mut sentences = HashMap::new();
    for n in order {
        for seed in 0..20 {
            let pick = desk.pick(seed).unwrap();
            assert_eq!(pick.case_id, cases[n].id);
            sentences.insert(n, pick.reason.to_string());
        }
        desk.due.retain(|it| it.case_id != cases[n].id);
    }
    let sentence = |n: usize| sentences[&n].as_str();
    assert_eq!(
        sentence(0),
        "because you were unsure about Rhythm 12 days ago"
    );
    assert_eq!(sentence(4), "because you got Stroke wrong 5 days ago");
    assert_eq!(
        sentence(3),
        "because you answered Stroke rightly 30 days ago and may forget it soon"
    );
    assert_ne!(desk.pick(1).unwrap().reason.kind(), "due");
}

#[test]
fn one_case_of_ten_is_picked_to_find_out_how_hard_it_is() {
    let cases = cases(&[("Cardiology", "Rhythm"), ("Neurology", "Stroke")], 60);
    let is_new = |case_id: CaseId| cases.iter().position(|it| it.id == case_id).unwrap() % 2 == 1;
    let of = |case_id| {
        if is_new(case_id) {
            None
        } else {
            difficulty(-1.1)
        }
    };
    let desk = Desk::of(Catalogue::new(&cases, of, &ExamWeights::by_cases()));
    let mut explored = 0;
    for seed in 0..2_000 {
        let pick = desk.pick(seed).unwrap();
        if let NextReason::Exploration { answers } = pick.reason {
            assert!(is_new(pick.case_id) && answers == 0);
            explored += 1;
        }
    }
    // Four deviations of a tenth of 2,000.
    assert!((146..=254).contains(&explored), "{explored}");
}

#[test]
fn weak_topics_come_oftener_and_so_do_those_that_weigh_in_the_exam() {
    let topics = [("Cardiology", "Rhythm"), ("Cardiology", "Failure")];
    let cases = cases(&topics, 40);
    // Both have cases that suit: the one easy ones, the other hard ones.
    let of = |case_id| {
        let place = cases.iter().position(|it| it.id == case_id);
        difficulty(if place? < 40 { -3.1 } else { 1.9 })
    };
    let desk = |exam: &ExamWeights| {
        let mut desk = Desk::of(Catalogue::new(&cases, of, exam));
        let areas = [
            ("cardiology", "rhythm", -2.0),
            ("cardiology", "failure", 3.0),
        ];
        desk.user = Some(student(&areas));
        desk.topics(400)
    };
    let counts = desk(&ExamWeights::by_cases());
    assert!(counts["Rhythm"] > 3 * counts["Failure"], "{counts:?}");
    let exam = ExamWeights::by_cases()
        .with_topic("Cardiology", "Rhythm", 0.01)
        .with_topic("CARDIOLOGY", "failure", 0.99);
    let counts = desk(&exam);
    assert!(counts["Failure"] > 3 * counts["Rhythm"], "{counts:?}");
    let exam = ExamWeights::by_cases().with_specialty("Cardiology", 0.2);
    let areas = Catalogue::new(&cases, |_| None, &exam).areas().to_vec();
    let shares: f64 = areas.iter().map(|area| area.exam_share).sum();
    assert!((shares - 1.0).abs() < 1e-9);
}

/// What happens to a student, and what the model makes of it.
struct Simulation {
    folder: Folder<AbilityProjection>,
    facts: Facts,
    rows: HashMap<RowKey, AbilityRow>,
    sequence: u64,
}

impl Simulation {
    fn tell(&mut self, user_id: UserId, body: EventBody) {
        self.sequence += 1;
        let mut events: Vec<Event> = log([(user_id, body)]);
        events[0].position.sequence = self.sequence;
        loop {
            match self.folder.apply(&events[0], &self.facts) {
                Applied::Missing(key) => self.folder.learn(key, None),
                Applied::Done { .. } => break,
                Applied::SetAside(reason) => panic!("{reason}"),
            }
        }
        let changed = self.folder.take_changed();
        self.rows.extend(
            changed
                .into_iter()
                .filter_map(|(key, row)| Some((key, row?))),
        );
    }
}

/// A number from 0 to below 1, of which no two tell of each other.
fn chance(a: u64, b: u64) -> f64 {
    let mut state = a.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ b.wrapping_mul(0xd134_2543_de82_ef95);
    for _ in 0..3 {
        state ^= state >> 32;
        state = state.wrapping_mul(0xd6e8_feb8_6659_fd93);
    }
    (state >> 11) as f64 / (1_u64 << 53) as f64
}

/// Goal: students of any ability get 70 to 80 % right. Method: students of known ability answer what is
/// picked, by chance, and the ability model learns of it as it does from the log.
#[test]
fn students_of_any_ability_get_three_of_four_right() {
    const ABILITIES: [f64; 5] = [-1.2, -0.6, 0.0, 0.6, 1.2];
    let names: Vec<_> = (0..12).map(|n| format!("Topic {n}")).collect();
    let topics: Vec<_> = names
        .iter()
        .map(|name| ("Medicine", name.as_str()))
        .collect();
    let cases = cases(&topics, 50);
    let hardness: HashMap<_, _> = (0..)
        .zip(&cases)
        .map(|(n, case)| (case.id, -3.0 + 5.5 * chance(7, n)))
        .collect();
    let mut facts = Facts::default();
    for case in &cases {
        facts.insert(case.id, case.version, CaseFact::of(case));
    }
    let mut simulation = Simulation {
        folder: Folder::new(AbilityProjection::new()),
        facts,
        rows: HashMap::new(),
        sequence: 0,
    };
    for some in cases.chunks(500) {
        let calibration = |case: &Case| CaseCalibration {
            case_id: case.id,
            version: case.version,
            discrimination_millionths: 1_000_000,
            difficulty_millionths: (hardness[&case.id] * 1e6) as i64,
            answers: 500,
        };
        let body = EventBody::CasesCalibrated {
            calibrations: some.iter().map(calibration).collect(),
            calibrated_at: now(),
        };
        simulation.tell(UserId::EVERYONE, body);
    }
    let difficulty_of = |case_id| match simulation.rows.get(&case_key(case_id)) {
        Some(AbilityRow::Case(difficulty)) => Some(CaseDifficulty {
            answers: 500,
            ..difficulty.clone()
        }),
        _ => None,
    };
    let catalogue = Catalogue::new(&cases, difficulty_of, &ExamWeights::by_cases());
    let mut desk = Desk::of(catalogue);
    let (mut right, mut all) = ([0_u32; 5], [0_u32; 5]);
    for n in 0..20_u32 {
        let (me, group) = (user(n), n as usize % ABILITIES.len());
        desk.seen = SeenCases::default();
        desk.recent.clear();
        for step in 0..120_u64 {
            let row = simulation.rows.get(&user_key(me));
            desk.user = row.and_then(AbilityRow::user).cloned();
            let pick = desk.pick(u64::from(n) << 32 | step).unwrap();
            let chance_of_right = 1.0 / (1.0 + (hardness[&pick.case_id] - ABILITIES[group]).exp());
            let is_right = chance(u64::from(n), step) < chance_of_right;
            let case = cases.iter().find(|it| it.id == pick.case_id).unwrap();
            let when = now() - Duration::from_mins(120 - step);
            let mut given = answer(me, case.id, 0, when);
            given.is_correct = is_right;
            desk.seen.insert(case.id);
            desk.recent.insert(0, given.clone());
            desk.recent.truncate(20);
            simulation.tell(me, EventBody::AnswerRecorded { answer: given });
            // Once the model knows the student.
            if step >= 40 {
                right[group] += u32::from(is_right);
                all[group] += 1;
            }
        }
    }
    let share = |right: u32, all: u32| f64::from(right) / f64::from(all);
    let shares: Vec<_> = right
        .iter()
        .zip(all)
        .map(|(right, all)| share(*right, all))
        .collect();
    let whole = share(right.iter().sum(), all.iter().sum());
    assert!((0.70..=0.80).contains(&whole), "{whole} {shares:?}");
    // 320 answers of each group: two deviations are 5 percentage points.
    let is_near = |share: &f64| (0.65..=0.85).contains(share);
    assert!(shares.iter().all(is_near), "{whole} {shares:?}");
}

const TOPICS: [(&str, &str); 4] = [
    ("Cardiology", "Rhythm"),
    ("Cardiology", "Failure"),
    ("Neurology", "Stroke"),
    ("Surgery", "Hernia"),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn nothing_comes_that_was_just_answered_or_is_not_wanted(
        seed: u64,
        recent in proptest::collection::vec(0..40_usize, 0..20),
        seen in proptest::collection::vec(0..40_usize, 0..40),
        specialty in proptest::option::of(0..3_usize),
    ) {
        let cases = cases(&TOPICS, 10);
        let of = |case_id: CaseId| match case_id.as_bytes()[15] % 3 {
            0 => None,
            n => difficulty(f64::from(n) - 2.5),
        };
        let mut desk = Desk::of(Catalogue::new(&cases, of, &ExamWeights::by_cases()));
        desk.filter.specialty = specialty.map(|n| TOPICS[n + 1].0.to_uppercase());
        desk.recent = recent.iter().map(|n| answer(user(1), cases[*n].id, 0, now())).collect();
        seen.iter().for_each(|n| desk.seen.insert(cases[*n].id));
        let passes = |case: &CatalogueCase| desk.catalogue.passes(case, &desk.filter);
        let is_new = |case: &CatalogueCase| {
            let is_recent = desk.recent.iter().any(|it| it.case_id == case.case_id);
            passes(case) && !is_recent && !desk.seen.contains(case.case_id)
        };
        let left: Vec<_> = desk.catalogue.cases().iter().filter(|case| is_new(case)).collect();
        let Some(pick) = desk.pick(seed) else {
            prop_assert!(left.is_empty());
            return Ok(());
        };
        prop_assert!(left.iter().any(|case| case.case_id == pick.case_id));
        // Not a third of one topic, as long as there is another.
        if let [first, second, ..] = &desk.recent[..] {
            let topic = desk.topic(first.case_id);
            let others = left.iter().any(|case| desk.topic(case.case_id) != topic);
            if others && topic == desk.topic(second.case_id) {
                prop_assert_ne!(desk.topic(pick.case_id), topic);
            }
        }
    }
}

#[test]
fn reasons_are_sentences() {
    let topic = || "Rhythm".to_owned();
    let due = |days, memory| NextReason::Due {
        topic: topic(),
        last_at: now(),
        days,
        recall_percent: 80,
        memory,
    };
    for (reason, kind, sentence) in [
        (
            due(0, LastTime::Unknown),
            "due",
            "because you answered Rhythm earlier today and may forget it soon",
        ),
        (
            due(1, LastTime::Wrong),
            "due",
            "because you got Rhythm wrong a day ago",
        ),
        (
            NextReason::Exploration { answers: 3 },
            "exploration",
            "because it is new, and your answer tells how hard it is",
        ),
        (
            NextReason::LongestAgo,
            "longest_ago",
            "because you answered it longest ago",
        ),
        (
            NextReason::Match {
                topic: topic(),
                chance_percent: 75,
            },
            "match",
            "because it should suit you: students like you get it right 75 % of the time",
        ),
        (
            NextReason::Unseen,
            "unseen",
            "because you have not answered it yet",
        ),
        (
            NextReason::Untried {
                topic: topic(),
                exam_percent: 4,
            },
            "untried",
            "because you have not answered anything on Rhythm yet",
        ),
        (
            NextReason::WeakTopic {
                topic: topic(),
                chance_percent: 50,
                exam_percent: 7,
            },
            "weak_topic",
            "because you can still gain on Rhythm, which is 7 % of the exam",
        ),
        (
            NextReason::WeakTopic {
                topic: topic(),
                chance_percent: 50,
                exam_percent: 0,
            },
            "weak_topic",
            "because you can still gain on Rhythm",
        ),
    ] {
        assert_eq!(
            (reason.kind(), reason.to_string().as_str()),
            (kind, sentence)
        );
    }
}

/// Run it in release, with `--ignored`.
#[tokio::test]
#[ignore = "it takes minutes"]
async fn the_next_case_of_20_000_after_a_million_answers() {
    let clock = std::sync::Arc::new(ManualClock::default());
    let load = NextCaseLoad {
        cases: 20_000,
        students: 10_000,
        answers_of_each: 100,
        questions: 5_000,
    };
    let store = std::sync::Arc::new(MemoryStore::new());
    let speed = measure_next_case(store, clock, load).await.unwrap();
    assert!(speed.p95 < Duration::from_millis(10), "{speed:?}");
}

#[tokio::test]
async fn the_measurement_of_the_next_case_runs() {
    let clock = std::sync::Arc::new(ManualClock::default());
    let load = NextCaseLoad {
        cases: 50,
        students: 3,
        answers_of_each: 10,
        questions: 6,
    };
    let store = std::sync::Arc::new(MemoryStore::new());
    let speed = measure_next_case(store, clock, load).await.unwrap();
    assert!(speed.p50 <= speed.p95 && speed.p95 <= speed.max);
}
