use std::collections::BTreeMap;
use std::time::Duration;

use medcards_core::answer::{Answer, Confidence};
use medcards_core::case::{CaseVersion, KeyCorrection, OptionSet};
use medcards_core::event::{CaseCalibration, Event, EventBody};
use medcards_core::learning::ability::{
    AREAS_PER_USER_MAX, AbilityModel, AbilityProjection, AbilityRow, CaseDifficulty, CaseMemory,
    Encounter, Mastery, UserAbility, case_key, memory_key, user_key,
};
use medcards_core::view::{CaseFact, Facts, Folded, Projection, ProjectionRow, RowKey, fold};
use medcards_core::{ErrorKind, Timestamp, UserId};
use proptest::prelude::*;

use super::{answer, answers, at, case, facts, log, user};

const START: &str = "2026-01-15T08:00:00Z";
const MINUTE: Duration = Duration::from_mins(1);
const DAY: Duration = Duration::from_hours(24);

fn view(events: &[Event], facts: &Facts) -> Folded<AbilityRow> {
    fold(AbilityProjection::new(), events, facts)
}

fn user_row(view: &Folded<AbilityRow>, n: u32) -> &UserAbility {
    let row = view.rows.get(&user_key(user(n)));
    row.and_then(AbilityRow::user).expect("the user answered")
}

fn case_row(view: &Folded<AbilityRow>, n: u32) -> &CaseDifficulty {
    let row = view.rows.get(&case_key(case(n)));
    row.and_then(AbilityRow::case).expect("the case is known")
}

fn memory_row(view: &Folded<AbilityRow>, user_n: u32, case_n: u32) -> &CaseMemory {
    let row = view.rows.get(&memory_key(user(user_n), case(case_n)));
    row.and_then(AbilityRow::memory).expect("it was answered")
}

/// The chance that a user gets a case of cardiology right.
fn chance(view: &Folded<AbilityRow>, user_n: u32, case_n: u32, now: Timestamp) -> f64 {
    let row = |key: RowKey| view.rows.get(&key);
    let encounter = Encounter {
        user: row(user_key(user(user_n))).and_then(AbilityRow::user),
        case: row(case_key(case(case_n))).and_then(AbilityRow::case),
        memory: row(memory_key(user(user_n), case(case_n))).and_then(AbilityRow::memory),
        specialty: "cardiology",
        topic: "rhythm",
        at: now,
    };
    AbilityModel::default().predict(&encounter).chance
}

/// Answers of a user to different cases, a minute apart, right or wrong as listed.
fn series(user_n: u32, first_case: u32, right: &[bool]) -> Vec<Answer> {
    let one = |(n, is_right): (u32, &bool)| {
        let chosen = usize::from(!is_right);
        answer(
            user(user_n),
            case(first_case + n),
            chosen,
            at(START) + MINUTE * n,
        )
    };
    (0..).zip(right).map(one).collect()
}

#[test]
fn right_answers_raise_what_is_expected_and_wrong_ones_lower_it() {
    let facts = facts(100);
    let now = at(START) + DAY;
    let expected =
        |right: &[bool]| chance(&view(&answers(series(0, 0, right)), &facts), 0, 99, now);
    let nothing = expected(&[]);
    assert!(expected(&[true; 10]) > expected(&[true; 3]));
    assert!(expected(&[true; 3]) > nothing);
    assert!(expected(&[false; 3]) < nothing);
    assert!(expected(&[false; 10]) < expected(&[false; 3]));
    assert!((0.6..0.7).contains(&nothing), "{nothing} of anybody");
}

#[test]
fn the_more_answers_the_surer_and_the_smaller_the_steps() {
    let facts = facts(100);
    let general = |count: usize| {
        let right: Vec<_> = (0..count).map(|n| n % 3 != 0).collect();
        user_row(&view(&answers(series(0, 0, &right)), &facts), 0).general
    };
    let deviations = [0, 1, 5, 20, 80].map(|count| match count {
        0 => AbilityModel::default().new_user().general.deviation(),
        count => general(count).deviation(),
    });
    assert!(
        deviations.is_sorted_by(|one, next| one > next),
        "{deviations:?}"
    );
    let step = |count: usize| (general(count + 1).mean - general(count).mean).abs();
    assert!(step(1) > step(10) && step(10) > step(70));
}

#[test]
fn a_case_that_few_get_right_is_hard_and_a_right_answer_to_it_counts_more() {
    let facts = facts(100);
    let mut given = Vec::new();
    for n in 10..60 {
        given.push(answer(user(n), case(0), 1, at(START)));
        given.push(answer(user(n), case(1), 0, at(START)));
    }
    let before = view(&answers(given.clone()), &facts);
    let (hard, easy) = (case_row(&before, 0), case_row(&before, 1));
    assert!(hard.average_chance() < 0.3 && easy.average_chance() > 0.85);
    assert_eq!((hard.answers, hard.calibrated_from), (50, 0));
    let after = |case_n| {
        let one = answer(user(0), case(case_n), 0, at(START) + DAY);
        let all = given.iter().cloned().chain([one]);
        user_row(&view(&answers(all), &facts), 0).general.mean
    };
    assert!(after(0) > after(1) * 2.0, "{} and {}", after(0), after(1));
}

#[test]
fn strength_in_one_specialty_says_less_of_another() {
    let mut facts = facts(100);
    for n in 50..100 {
        let fact = CaseFact::new("Neurology", "Gait", 4, OptionSet::from_iter([0]));
        facts.insert(case(n), CaseVersion::FIRST, fact);
    }
    let most: Vec<_> = (0..30).map(|n| n % 5 != 3).collect();
    let mut given = series(0, 0, &most);
    given.extend(series(0, 50, &[false; 30]));
    let view = view(&answers(given), &facts);
    let able = |specialty, topic| {
        let now = at(START) + DAY;
        AbilityModel::default().ability(user_row(&view, 0), specialty, topic, now)
    };
    let (heart, nerves) = (able("cardiology", "rhythm"), able("neurology", "gait"));
    let unknown = able("surgery", "knots");
    assert!(heart.mean > unknown.mean && unknown.mean > nerves.mean);
    assert!(able("cardiology", "").mean > unknown.mean);
    assert!(unknown.variance > heart.variance);
    let area = user_row(&view, 0).area("cardiology", "rhythm");
    let area = area.expect("it was answered");
    assert_eq!((area.answers, area.right, area.last_right), (30, 24, true));
    assert_eq!(user_row(&view, 0).areas.len(), 4);
}

#[test]
fn a_wrong_answer_teaches_and_is_forgotten_again() {
    let facts = facts(2);
    let once = view(&answers([answer(user(0), case(0), 1, at(START))]), &facts);
    let soon = chance(&once, 0, 0, at(START) + MINUTE);
    let later = chance(&once, 0, 0, at(START) + DAY * 3);
    let months = chance(&once, 0, 0, at(START) + DAY * 90);
    assert!(soon > later && later > months, "{soon}, {later}, {months}");

    let twice = [
        answer(user(0), case(0), 1, at(START)),
        answer(user(0), case(0), 0, at(START) + DAY),
    ];
    let twice = view(&answers(twice), &facts);
    let memory = memory_row(&twice, 0, 0);
    assert_eq!(
        (memory.answers, memory.right, memory.last_right),
        (2, 1, true)
    );
    assert_eq!(memory.last_at_ms, (at(START) + DAY).as_millisecond());
    assert!(chance(&twice, 0, 0, at(START) + DAY * 2) > later);
}

#[test]
fn mastery_rises_falls_with_a_wrong_answer_and_fades() {
    let facts = facts(300);
    let level = |given: &[bool], after: Duration| {
        let view = view(&answers(series(0, 0, given)), &facts);
        let user = user_row(&view, 0);
        let now = at(START) + MINUTE * given.len() as u32 + after;
        let of = |topic| Mastery::of(&AbilityModel::default(), user, "cardiology", topic, now);
        assert_eq!(
            Mastery::of(&AbilityModel::default(), user, "surgery", "", now),
            Mastery::NotStarted
        );
        of("rhythm")
    };
    let mut given = vec![true; 3];
    assert_eq!(
        level(&given, MINUTE),
        Mastery::Attempted,
        "of three answers"
    );
    given.resize(60, true);
    assert_eq!(level(&given, MINUTE), Mastery::Mastered);
    assert!(level(&given, DAY * 400) < Mastery::Mastered, "after a year");
    given.push(false);
    assert_eq!(level(&given, MINUTE), Mastery::Proficient, "after a miss");
    given.resize(90, false);
    assert_eq!(level(&given, MINUTE), Mastery::Attempted);
    assert!(level(&[true, false, true, true, true, false, true, true], MINUTE) < Mastery::Mastered);
}

fn calibration(case_n: u32, version: u32, answers: u64) -> CaseCalibration {
    CaseCalibration {
        case_id: case(case_n),
        version: CaseVersion::new(version).expect("versions begin at 1"),
        discrimination_millionths: 1_500_000,
        difficulty_millionths: 2_000_000,
        answers,
    }
}

fn calibrated(calibrations: Vec<CaseCalibration>) -> (UserId, EventBody) {
    let calibrated_at = at(START);
    let body = EventBody::CasesCalibrated {
        calibrations,
        calibrated_at,
    };
    (UserId::EVERYONE, body)
}

fn recorded(answer: Answer) -> (UserId, EventBody) {
    (answer.user_id, EventBody::AnswerRecorded { answer })
}

#[test]
fn a_calibration_takes_the_place_of_what_was_known_and_answers_move_on_from_it() {
    let facts = facts(2);
    let many = |n: u32| recorded(answer(user(n), case(0), 0, at(START)));
    let mut bodies: Vec<_> = (0..20).map(many).collect();
    bodies.push(calibrated(vec![
        calibration(0, 1, 400),
        calibration(1, 1, 0),
    ]));
    let events = log(bodies.clone());
    let found = case_row(&view(&events, &facts), 0).clone();
    assert!((found.difficulty.mean - 3.0).abs() < 1e-9, "{found:?}");
    assert!((found.discrimination - 1.5).abs() < 1e-9);
    assert_eq!((found.answers, found.calibrated_from), (20, 400));
    assert!(found.difficulty.deviation() < 0.3);
    let likely = AbilityProjection::new().likely_rows(&events[20], &Facts::default());
    assert_eq!(likely, [case_key(case(0)), case_key(case(1))]);

    bodies.push(recorded(answer(user(50), case(0), 0, at(START))));
    let moved = case_row(&view(&log(bodies), &facts), 0).clone();
    assert!(moved.difficulty.mean < found.difficulty.mean);
    assert_eq!((moved.answers, moved.calibrated_from), (21, 400));
}

#[test]
fn a_calibration_of_an_older_version_or_a_corrected_key_is_not_heard() {
    let second = CaseVersion::FIRST.next();
    let mut facts = Facts::new(&[KeyCorrection {
        number: 1,
        case_id: case(1),
        version: CaseVersion::FIRST,
        right: OptionSet::from_iter([1]),
        corrected_in: second,
        corrected_at: at(START),
    }]);
    for n in 0..2 {
        let fact = CaseFact::new("", "", 4, OptionSet::from_iter([0]));
        facts.insert(case(n), CaseVersion::FIRST, fact.clone());
        facts.insert(case(n), second, fact);
    }
    let mut newer = answer(user(0), case(0), 0, at(START));
    newer.case_version = second;
    let events = log([
        recorded(newer),
        recorded(answer(user(0), case(1), 0, at(START))),
        calibrated(vec![calibration(0, 1, 400), calibration(1, 1, 400)]),
    ]);
    let view = view(&events, &facts);
    for n in 0..2 {
        assert_eq!(case_row(&view, n).calibrated_from, 0, "case {n}");
    }
    assert_eq!(case_row(&view, 0).version, second);
    assert!(user_row(&view, 0).areas.is_empty(), "the cases name none");
}

#[test]
fn a_corrected_key_counts_as_if_it_had_been_right_at_first() {
    let given = |chosen| {
        let one = |n: u32| answer(user(n), case(0), chosen, at(START) + MINUTE * n);
        answers((0..10).map(one).collect::<Vec<_>>())
    };
    let mut corrected = Facts::new(&[KeyCorrection {
        number: 1,
        case_id: case(0),
        version: CaseVersion::FIRST,
        right: OptionSet::from_iter([1]),
        corrected_in: CaseVersion::FIRST.next(),
        corrected_at: at(START),
    }]);
    let fact = CaseFact::new("Cardiology", "Rhythm", 4, OptionSet::from_iter([0]));
    corrected.insert(case(0), CaseVersion::FIRST, fact);
    assert_eq!(
        view(&given(1), &corrected).rows,
        view(&given(0), &facts(1)).rows
    );
    assert_ne!(
        view(&given(1), &facts(1)).rows,
        view(&given(0), &facts(1)).rows
    );
}

#[test]
fn a_new_version_is_taken_to_resemble_the_one_before() {
    let mut facts = facts(1);
    let second = CaseVersion::FIRST.next();
    let fact = CaseFact::new("Cardiology", "Rhythm", 4, OptionSet::from_iter([0]));
    facts.insert(case(0), second, fact);
    let mut given: Vec<_> = (0..100)
        .map(|n| answer(user(n), case(0), 1, at(START)))
        .collect();
    let before = case_row(&view(&answers(given.clone()), &facts), 0).clone();
    let mut newer = answer(user(200), case(0), 1, at(START));
    newer.case_version = second;
    given.push(newer);
    let after = case_row(&view(&answers(given), &facts), 0).clone();
    assert_eq!((after.version, after.answers), (second, 101));
    assert!((after.difficulty.mean - before.difficulty.mean).abs() < 0.1);
    assert!(after.difficulty.deviation() > before.difficulty.deviation() + 0.5);
}

#[test]
fn an_answer_to_a_case_that_nobody_knows_is_set_aside() {
    let view = view(
        &answers([answer(user(0), case(7), 0, at(START))]),
        &facts(1),
    );
    assert_eq!(view.set_aside.len(), 1);
    assert!(view.rows.is_empty());
}

#[test]
fn areas_are_as_many_as_there_may_be_and_the_oldest_is_forgotten() {
    let count = AREAS_PER_USER_MAX as u32 + 20;
    let mut facts = Facts::default();
    for n in 0..count {
        let fact = CaseFact::new("", &format!("topic {n}"), 4, OptionSet::from_iter([0]));
        facts.insert(case(n), CaseVersion::FIRST, fact);
    }
    let view = view(&answers(series(0, 0, &vec![true; count as usize])), &facts);
    let user = user_row(&view, 0);
    assert_eq!(user.areas.len(), AREAS_PER_USER_MAX);
    assert!(user.area("", "topic 0").is_none() && user.area("", "topic 19").is_none());
    assert!(user.area("", "topic 20").is_some());
    assert!(user.area("", &format!("topic {}", count - 1)).is_some());
    let bytes = view.rows[&user_key(super::user(0))].to_bytes();
    let len = bytes.expect("it has a stored form").len();
    assert!(len < AREAS_PER_USER_MAX * 60, "{len} bytes");
}

#[test]
fn rows_are_read_as_they_were_written_and_belong_to_whom_they_name() {
    let view = view(&answers(series(0, 0, &[true, false, true])), &facts(3));
    assert_eq!(view.rows.len(), 1 + 3 + 3);
    for (key, row) in &view.rows {
        let bytes = row.to_bytes().expect("it has a stored form");
        assert_eq!(AbilityRow::from_bytes(&bytes).expect("it is one"), *row);
        let cut = AbilityRow::from_bytes(&bytes[..bytes.len() - 1]);
        assert_eq!(cut.expect_err("it is cut off").kind(), ErrorKind::Corrupt);
        let expected = match row {
            AbilityRow::User(_) => vec![user_key(user(0))],
            AbilityRow::Case(_) => (0..3).map(|n| case_key(case(n))).collect(),
            AbilityRow::Memory(_) => (0..3).map(|n| memory_key(user(0), case(n))).collect(),
        };
        assert!(expected.contains(key), "{key:?}");
    }
}

#[test]
fn very_many_right_answers_end_in_numbers() {
    let facts = facts(1);
    let mut folder = medcards_core::view::Folder::new(AbilityProjection::new());
    let given = answers([answer(user(0), case(0), 0, at(START))]);
    for _ in 0..200_000 {
        while let medcards_core::view::Applied::Missing(key) = folder.apply(&given[0], &facts) {
            folder.learn(key, None);
        }
    }
    let rows: BTreeMap<_, _> = folder
        .take_changed()
        .into_iter()
        .filter_map(|(key, row)| Some((key, row?)))
        .collect();
    check_finite(&rows);
    let user = rows[&user_key(user(0))].user().expect("it is a user's");
    assert_eq!(user.answers, 200_000);
    assert!(user.general.deviation() > 0.0);
}

fn check_finite(rows: &BTreeMap<RowKey, AbilityRow>) {
    let is_sound = |mean: f64, variance: f64| {
        mean.is_finite() && mean.abs() <= 12.0 && variance.is_finite() && variance > 0.0
    };
    for row in rows.values() {
        match row {
            AbilityRow::User(user) => {
                assert!(
                    is_sound(user.general.mean, user.general.variance),
                    "{user:?}"
                );
                assert!(is_sound(user.form.mean, user.form.variance), "{user:?}");
                for area in &user.areas {
                    assert!(is_sound(area.offset.mean, area.offset.variance), "{area:?}");
                    assert!(area.right <= area.answers, "{area:?}");
                }
            }
            AbilityRow::Case(case) => {
                assert!(
                    is_sound(case.difficulty.mean, case.difficulty.variance),
                    "{case:?}"
                );
                assert!((0.1..=4.0).contains(&case.discrimination), "{case:?}");
            }
            AbilityRow::Memory(memory) => {
                assert!(memory.familiarity.is_finite(), "{memory:?}");
                assert!(memory.right <= memory.answers, "{memory:?}");
            }
        }
    }
}

/// Any event: answers at any time, with any confidence, of few users and cases, and calibrations with
/// any numbers.
fn any_body() -> impl Strategy<Value = (UserId, EventBody)> {
    let instants = prop_oneof![
        Just(Timestamp::MIN.as_millisecond() + 1),
        Just(Timestamp::MAX.as_second() * 1_000),
        Just(0),
        1_700_000_000_000..1_800_000_000_000_i64,
    ];
    let answered = (0..4_u32, 0..4_u32, 0..2_usize, instants, 0..=100_u8);
    let answered = answered.prop_map(|(user_n, case_n, chosen, at_ms, percent)| {
        let mut given = answer(user(user_n), case(case_n), chosen, at(START));
        given.created_at = Timestamp::from_millisecond(at_ms).expect("it is in range");
        given.confidence = Confidence::try_from(percent).ok();
        recorded(given)
    });
    let numbers = prop_oneof![
        Just(i64::MIN),
        Just(i64::MAX),
        Just(0),
        -9_000_000..9_000_000_i64
    ];
    let found = (
        0..4_u32,
        1..4_u32,
        numbers.clone(),
        numbers,
        prop_oneof![Just(0), Just(u64::MAX), 1..10_000_u64],
    );
    let found = found.prop_map(|(case_n, version, slope, difficulty, from)| {
        calibrated(vec![CaseCalibration {
            discrimination_millionths: slope,
            difficulty_millionths: difficulty,
            ..calibration(case_n, version, from)
        }])
    });
    prop_oneof![8 => answered, 1 => found]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_happens_all_numbers_stay_numbers(
        bodies in prop::collection::vec(any_body(), 0..120),
        now_ms in Timestamp::MIN.as_millisecond() + 1..Timestamp::MAX.as_second() * 1_000,
    ) {
        let view = view(&log(bodies), &facts(4));
        prop_assert!(view.set_aside.is_empty());
        check_finite(&view.rows);
        let now = Timestamp::from_millisecond(now_ms).expect("it is in range");
        for (user_n, case_n) in (0..5).flat_map(|user_n| (0..5).map(move |it| (user_n, it))) {
            let expected = chance(&view, user_n, case_n, now);
            prop_assert!((0.0001..=0.9999).contains(&expected), "{expected}");
        }
        let users = view.rows.values().filter_map(AbilityRow::user);
        for user in users {
            let level = Mastery::of(&AbilityModel::default(), user, "cardiology", "rhythm", now);
            prop_assert!(level > Mastery::NotStarted);
        }
    }

    /// Users 0 and 1 answer cases 0 and 1, users 2 and 3 answer cases 2 and 3: in whatever order the
    /// two halves are woven, every row is the same.
    #[test]
    fn those_who_share_no_case_do_not_touch_each_other(
        given in prop::collection::vec((0..4_u32, 0..2_u32, 0..2_usize), 1..60),
        turns in prop::collection::vec(any::<bool>(), 60),
    ) {
        let one = |(n, (user_n, case_n, chosen)): (u32, &(u32, u32, usize))| {
            let case_n = case_n + user_n / 2 * 2;
            answer(user(*user_n), case(case_n), *chosen, at(START) + MINUTE * n)
        };
        let all: Vec<Answer> = (0..).zip(&given).map(one).collect();
        let (mut first, mut second): (Vec<_>, Vec<_>) = all
            .iter()
            .cloned()
            .partition(|it| it.user_id == user(0) || it.user_id == user(1));
        first.reverse();
        second.reverse();
        let mut woven = Vec::new();
        for turn in turns.iter().chain(&[true, false]).cycle() {
            let next = if *turn { first.pop() } else { second.pop() };
            woven.extend(next);
            if first.is_empty() && second.is_empty() {
                break;
            }
        }
        let facts = facts(4);
        let (straight, woven) = (view(&answers(all), &facts), view(&answers(woven), &facts));
        prop_assert_eq!(straight.rows, woven.rows);
    }
}
