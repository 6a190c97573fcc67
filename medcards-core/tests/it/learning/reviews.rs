use std::path::Path;

use medcards_core::answer::{Answer, Confidence};
use medcards_core::event::Event;
use medcards_core::jiff::ToSpan;
use medcards_core::learning::reviews::{
    DueReview, RECENT_REVIEWS_MAX, Rating, ReviewRow, ReviewsProjection,
};
use medcards_core::view::{Facts, fold};
use medcards_core::{CaseId, Timestamp, UserId};
use proptest::prelude::*;

use super::{answer, answers, at, case, stored_len_max, user};

/// When the first review of each test is.
const START: &str = "2026-01-05T08:00:00Z";

/// How far a stability may lie from that of another implementation, relatively, and a difficulty or a
/// retrievability absolutely: they compute with fewer or more digits.
const TOLERANCE: f64 = 1e-5;

/// An answer that says so much of the student's memory, so many days and minutes after the start.
fn review(rating: u64, days: i64, minutes: i64) -> Answer {
    let instant = at(START) + (days * 24).hours() + minutes.minutes();
    let (chosen, confidence, time_ms) = match rating {
        1 => (1, 90, 5_000),
        2 => (0, 20, 5_000),
        3 => (0, 60, 5_000),
        _ => (0, 90, 5_000),
    };
    Answer {
        confidence: Confidence::try_from(confidence).ok(),
        time_to_answer_ms: Some(time_ms),
        ..answer(user(1), case(1), chosen, instant)
    }
}

/// Answers of these ratings, each so many days after the one before.
fn sequence(steps: &[(u64, i64)]) -> Vec<Answer> {
    let mut days = 0;
    let made = (0..).zip(steps).map(|(minutes, (rating, waited))| {
        days += waited;
        review(*rating, days, minutes)
    });
    made.collect()
}

fn row(log: &[Event], user_id: UserId, case_id: CaseId) -> ReviewRow {
    let folded = fold(ReviewsProjection::new(), log, &Facts::default());
    assert!(folded.set_aside.is_empty(), "{:?}", folded.set_aside);
    folded.rows[&DueReview::key(user_id, case_id)].clone()
}

fn read(row: &ReviewRow, now: Timestamp) -> DueReview {
    DueReview::read(&DueReview::key(user(1), case(1)), row, now).expect("it is of a case")
}

fn check(what: &str, steps: &[(u64, i64)], stability: f64, difficulty: f64, known: &[(i64, f64)]) {
    let row = row(&answers(sequence(steps)), user(1), case(1));
    let last_at = read(&row, at(START)).last_at;
    let memory = read(&row, last_at).memory;
    let off = (f64::from(memory.stability) - stability).abs() / stability;
    assert!(
        off <= TOLERANCE,
        "{what}: stability {memory:?}, not {stability}"
    );
    let off = (f64::from(memory.difficulty) - difficulty).abs();
    assert!(
        off <= TOLERANCE,
        "{what}: difficulty {memory:?}, not {difficulty}"
    );
    for (days, known) in known {
        let is = read(&row, last_at + (days * 24).hours()).retrievability;
        let off = (is - known).abs();
        assert!(
            off <= TOLERANCE,
            "{what}: {is} after {days} days, not {known}"
        );
    }
}

/// Ten sequences as three other implementations compute them: rating and days waited of each review,
/// then stability, difficulty, and the retrievability after 7 and after 180 days.
#[test]
fn memories_are_those_of_the_reference_implementations() {
    type Row = (&'static [(u64, i64)], f64, f64, f64, f64);
    let table: &[Row] = &[
        (&[(1, 0)], 0.2120000, 6.4133000, 0.5822354, 0.3544923),
        (
            &[(2, 0), (4, 1)],
            7.3855116,
            3.4641143,
            0.9036406,
            0.6091507,
        ),
        (
            &[(2, 0), (1, 2), (3, 21)],
            3.9306463,
            8.3654819,
            0.8557667,
            0.5543158,
        ),
        (
            &[(1, 0), (3, 365), (2, 60), (2, 0)],
            28.4899118,
            8.3898621,
            0.9672691,
            0.7376605,
        ),
        (
            &[(3, 0), (3, 5), (2, 180), (1, 17), (3, 22)],
            15.4172579,
            8.2459946,
            0.9448071,
            0.6778719,
        ),
        (
            &[(3, 0), (4, 13), (3, 0), (2, 180), (1, 60), (3, 5)],
            10.6967775,
            8.0037681,
            0.9264205,
            0.6431849,
        ),
        (
            &[
                (4, 0),
                (4, 21),
                (3, 90),
                (3, 0),
                (1, 3),
                (1, 365),
                (2, 60),
                (3, 21),
            ],
            15.8782044,
            9.3126075,
            0.9461165,
            0.6807064,
        ),
        (
            &[
                (1, 0),
                (3, 13),
                (3, 13),
                (2, 34),
                (3, 34),
                (1, 2),
                (3, 3),
                (3, 34),
                (3, 34),
            ],
            32.8854772,
            9.1469673,
            0.9711980,
            0.7516993,
        ),
        (
            &[
                (3, 0),
                (3, 0),
                (3, 90),
                (3, 0),
                (4, 0),
                (3, 34),
                (4, 3),
                (1, 34),
                (2, 2),
                (3, 13),
            ],
            19.3297072,
            7.9988223,
            0.9542320,
            0.6997471,
        ),
        (
            &[
                (1, 0),
                (3, 1),
                (4, 1),
                (1, 90),
                (4, 1),
                (3, 3),
                (3, 180),
                (2, 34),
                (3, 3),
                (3, 1),
                (2, 0),
                (3, 2),
            ],
            77.7505998,
            8.9871559,
            0.9870421,
            0.8330384,
        ),
    ];
    for (steps, stability, difficulty, week, half_year) in table {
        let known = [(7, *week), (180, *half_year)];
        check(
            &format!("{steps:?}"),
            steps,
            *stability,
            *difficulty,
            &known,
        );
    }
}

/// A thousand sequences through three implementations, where `MEDCARDS_REFERENCE_DATA` names the folder.
#[test]
fn memories_are_those_of_a_thousand_reference_sequences() {
    let Ok(folder) = std::env::var("MEDCARDS_REFERENCE_DATA") else {
        eprintln!("SKIPPED: MEDCARDS_REFERENCE_DATA is not set to the folder of the sequences");
        return;
    };
    for name in ["fsrsrs_6.6.2", "pyfsrs_6.3.2", "tsfsrs_5.4.2"] {
        let path = Path::new(&folder).join(format!("fsrs6_{name}.jsonl"));
        let text = std::fs::read_to_string(&path).unwrap();
        let mut checked = 0;
        for line in text.lines() {
            let sequence: serde_json::Value = serde_json::from_str(line).unwrap();
            let Some(steps) = sequence["steps"].as_array() else {
                continue;
            };
            let given: Vec<_> = steps
                .iter()
                .map(|it| {
                    let days = it["delta_t_days"].as_i64().unwrap();
                    (it["rating"].as_u64().unwrap(), days)
                })
                .collect();
            let known: Vec<_> = sequence["retrievability_after"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|it| (it["days"].as_i64().unwrap(), it["r"].as_f64().unwrap()))
                .collect();
            let what = format!("{name} {}", sequence["id"]);
            for (index, step) in steps.iter().enumerate() {
                let is_last = index + 1 == steps.len();
                let known = if is_last { &known[..] } else { &[] };
                let of = |field: &str| step[field].as_f64().unwrap();
                check(
                    &what,
                    &given[..=index],
                    of("stability"),
                    of("difficulty"),
                    known,
                );
            }
            checked += 1;
        }
        assert_eq!(checked, 1_000, "of {name}");
    }
}

#[test]
fn an_answer_says_how_well_the_case_is_remembered() {
    for (chosen, confidence, time_ms, rating) in [
        (1, Some(100), Some(1_000), Rating::Again),
        (1, None, None, Rating::Again),
        (0, None, Some(1_000), Rating::Good),
        (0, Some(0), Some(1_000), Rating::Hard),
        (0, Some(40), None, Rating::Hard),
        (0, Some(41), Some(1_000), Rating::Good),
        (0, Some(79), Some(1_000), Rating::Good),
        (0, Some(80), Some(30_000), Rating::Easy),
        (0, Some(80), Some(30_001), Rating::Good),
        (0, Some(100), None, Rating::Good),
    ] {
        let given = Answer {
            confidence: confidence.and_then(|it| Confidence::try_from(it).ok()),
            time_to_answer_ms: time_ms,
            ..answer(user(1), case(1), chosen, at(START))
        };
        assert_eq!(Rating::of(&given, chosen == 0), rating, "{given:?}");
    }
}

#[test]
fn a_review_is_due_after_whole_days_and_never_on_the_same_day() {
    for (rating, days) in [(1, 1), (2, 1), (3, 2), (4, 8)] {
        let row = row(&answers([review(rating, 0, 0)]), user(1), case(1));
        let due_at = at(START) + (days * 24).hours();
        assert_eq!(
            read(&row, at(START)).due_at,
            due_at,
            "after rating {rating}"
        );
    }
}

#[test]
fn the_shelf_of_a_student_has_what_is_due_in_order() {
    use medcards_core::view::Projection;

    let projection = ReviewsProjection::new();
    let log = answers([
        answer(user(1), case(1), 0, at(START)),
        answer(user(1), case(2), 1, at(START)),
        answer(user(2), case(3), 1, at(START)),
    ]);
    let folded = fold(projection.clone(), &log, &Facts::default());
    let due = |now: Timestamp| {
        let query = DueReview::query(user(1), now, 10);
        let mut shelf: Vec<_> = folded
            .rows
            .iter()
            .filter_map(|(key, row)| Some((projection.place(key, row)?, key)))
            .filter(|(place, key)| key.owner == query.owner && *place <= query.to)
            .collect();
        shelf.sort_unstable();
        shelf
            .iter()
            .filter_map(|(_, key)| key.item.id())
            .collect::<Vec<_>>()
    };
    let (good, wrong) = (*case(1).as_uuid(), *case(2).as_uuid());
    assert!(due(at(START)).is_empty());
    assert!(due(at(START) + 24.hours() - 1.millisecond()).is_empty());
    assert_eq!(due(at(START) + 24.hours()), [wrong]);
    assert_eq!(due(at(START) + 48.hours()), [wrong, good]);
}

#[test]
fn days_are_rounded() {
    // (hours between, days that FSRS is told)
    for (hours, days) in [(0, 0), (11, 0), (12, 1), (23, 1), (24, 1), (35, 1), (36, 2)] {
        let log = answers([review(3, 0, 0), review(3, 0, hours * 60)]);
        let told = answers([review(3, 0, 0), review(3, days, 0)]);
        let (is, as_told) = (row(&log, user(1), case(1)), row(&told, user(1), case(1)));
        let now = at(START);
        assert_eq!(
            read(&is, now).memory,
            read(&as_told, now).memory,
            "{hours} hours"
        );
    }
}

#[test]
fn an_answer_that_comes_far_too_late_is_counted_and_moves_nothing() {
    let steps = [(3, 0), (3, 3), (1, 9), (3, 1), (4, 20), (3, 30)];
    let mut all = sequence(&steps);
    let before = row(&answers(all.clone()), user(1), case(1));
    let late = Answer {
        created_at: at(START) + 1.hour(),
        ..review(1, 0, 0)
    };
    all.push(late);
    let after = row(&answers(all), user(1), case(1));
    let now = at(START);
    let (before, after) = (read(&before, now), read(&after, now));
    assert_eq!((after.memory, after.due_at), (before.memory, before.due_at));
    assert_eq!((before.answers, before.lapses), (6, 1));
    assert_eq!((after.answers, after.lapses), (7, 2));
}

#[test]
fn a_row_stays_small() {
    let steps: Vec<_> = (0..200).map(|n| (1 + n % 4, n as i64 % 40)).collect();
    let log = answers(sequence(&steps));
    let folded = fold(ReviewsProjection::new(), &log, &Facts::default());
    assert!(stored_len_max(&folded) <= 70);
}

proptest! {
    /// What a device held back is put among what came before it.
    #[test]
    fn answers_that_come_late_make_the_same_memory(
        steps in prop::collection::vec((1_u64..=4, 0_i64..60), 1..12),
        moved in 0_usize..12,
        late in 1..=RECENT_REVIEWS_MAX,
    ) {
        let in_order = sequence(&steps);
        let mut shuffled = in_order.clone();
        let from = moved % shuffled.len();
        let held = shuffled.remove(from);
        shuffled.insert((from + late).min(shuffled.len()), held);
        let log = (answers(in_order), answers(shuffled));
        let rows = (row(&log.0, user(1), case(1)), row(&log.1, user(1), case(1)));
        prop_assert_eq!(read(&rows.0, at(START)), read(&rows.1, at(START)));
    }

    #[test]
    fn a_memory_is_always_a_number(
        steps in prop::collection::vec((1_u64..=4, -40_000_i64..40_000), 1..40),
    ) {
        let all = steps.iter().map(|(rating, days)| review(*rating, *days, 0));
        let row = row(&answers(all), user(1), case(1));
        let seen = read(&row, at(START));
        prop_assert!(seen.memory.stability > 0.0 && seen.memory.stability.is_finite());
        prop_assert!((1.0..=10.0).contains(&seen.memory.difficulty));
        prop_assert!((0.0..=1.0).contains(&seen.retrievability));
        prop_assert!(seen.due_at > seen.last_at);
    }
}
