use medcards_core::case::{CaseVersion, KeyCorrection, OptionSet};
use medcards_core::event::EventBody;
use medcards_core::jiff::civil::date;
use medcards_core::jiff::{Span, ToSpan};
use medcards_core::learning::user_stats::{
    Dashboard, SPECIALTIES_PER_USER_MAX, TOPICS_PER_USER_MAX, TREND_DAYS, Tally,
    UserStatsProjection, UserStatsRow,
};
use medcards_core::notice::NoticeBody;
use medcards_core::view::{Announced, CaseFact, Facts, Folded, fold};
use medcards_core::{Timestamp, UserId};

use super::{answer, answers, at, case, facts, stored_len_max, user};

const NOON: &str = "2026-03-02T12:00:00Z";

fn dashboard(folded: &Folded<UserStatsRow>, user_id: UserId, now: Timestamp) -> Dashboard {
    let rows = Dashboard::keys(user_id).map(|key| folded.rows.get(&key).cloned());
    Dashboard::read(rows.iter().flatten(), now)
}

#[test]
fn different_cases_are_counted_once_however_many_there_are() {
    for cases in [1_u32, 63, 64, 65, 500] {
        let twice = (0..cases).chain((0..cases).rev());
        let log = twice.map(|n| answer(user(1), case(n), 0, at(NOON)));
        let folded = fold(UserStatsProjection::new(), &answers(log), &facts(cases));
        let seen = dashboard(&folded, user(1), at(NOON));
        assert_eq!(seen.cases, u64::from(cases));
        assert_eq!(seen.total.answers, u64::from(cases) * 2);
    }
}

#[test]
fn who_answers_a_version_after_its_key_was_corrected_is_told_how_it_counts() {
    let correction = KeyCorrection {
        number: 1,
        case_id: case(0),
        version: CaseVersion::FIRST,
        right: OptionSet::from_iter([1]),
        corrected_in: CaseVersion::FIRST.next(),
        corrected_at: at(NOON),
    };
    let mut facts = Facts::new(&[correction]);
    let fact = CaseFact::new("First", "", 4, OptionSet::from_iter([0]));
    facts.insert(case(0), CaseVersion::FIRST, fact);
    let given = [(1, 0), (2, 0), (3, 1), (4, 2)];
    let mut events = answers(given.map(|(n, chosen)| answer(user(n), case(0), chosen, at(NOON))));
    let mut corrected = events[0].clone();
    corrected.user_id = UserId::EVERYONE;
    corrected.body = EventBody::KeyCorrected { correction };
    events.insert(1, corrected);
    let folded = fold(UserStatsProjection::new(), &events, &facts);
    let told = folded.announced.into_iter().map(|(_, it)| match it {
        Announced::Notice { user_id, body, .. } => (user_id, body),
        Announced::Job(job) => panic!("{job:?}"),
    });
    let regraded = |is_correct| NoticeBody::Regraded {
        case_id: case(0),
        version: CaseVersion::FIRST,
        is_correct,
    };
    // The first answered before, and the last is wrong by either key.
    let expected = [(user(2), regraded(false)), (user(3), regraded(true))];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

#[test]
fn a_user_of_every_case_has_rows_of_some_kilobytes() {
    let log = (0..20_000).map(|n| answer(user(1), case(n), 0, at(NOON)));
    let folded = fold(UserStatsProjection::new(), &answers(log), &facts(20_000));
    assert_eq!(dashboard(&folded, user(1), at(NOON)).cases, 20_000);
    assert!(stored_len_max(&folded) < 10_000);
}

#[test]
fn what_has_no_room_is_gathered_and_nothing_is_lost() {
    let specialties = SPECIALTIES_PER_USER_MAX as u32 + 5;
    let topics = TOPICS_PER_USER_MAX as u32 + 7;
    let mut facts = Facts::default();
    let right = OptionSet::from_iter([0]);
    for n in 0..topics {
        let fact = CaseFact::new("First", &format!("Topic {n}"), 4, right);
        facts.insert(case(n), CaseVersion::FIRST, fact);
    }
    for n in 0..specialties {
        let fact = CaseFact::new(&format!("Specialty {n}"), "", 4, right);
        facts.insert(case(topics + n), CaseVersion::FIRST, fact);
    }
    let log = (0..topics + specialties).map(|n| answer(user(1), case(n), n as usize % 2, at(NOON)));
    let folded = fold(UserStatsProjection::new(), &answers(log), &facts);
    assert!(stored_len_max(&folded) < 5_000);
    let seen = dashboard(&folded, user(1), at(NOON));
    assert_eq!(seen.specialties.len(), SPECIALTIES_PER_USER_MAX);
    assert_eq!(seen.other_specialties.answers, 6);
    let first = &seen.specialties[0];
    assert_eq!(&*first.name, "first");
    assert_eq!(first.topics.len(), TOPICS_PER_USER_MAX);
    assert_eq!(first.other_topics.answers, 7);
    let sum = |tallies: Vec<Tally>| {
        tallies
            .iter()
            .map(|it| (it.answers, it.right))
            .fold((0, 0), |(answers, right), it| {
                (answers + it.0, right + it.1)
            })
    };
    let mut parts: Vec<_> = seen.specialties.iter().map(|it| it.total).collect();
    parts.push(seen.other_specialties);
    assert_eq!(sum(parts), (seen.total.answers, seen.total.right));
}

#[test]
fn the_trend_is_the_same_in_whatever_order_answers_arrive() {
    let days = [0_i64, 1, 6, 7, 89, 90, 91, 200, 364, 365, 400];
    let on = |day: i64| at(NOON).checked_sub(Span::new().hours(24 * day)).unwrap();
    let make = |days: &mut dyn Iterator<Item = &i64>| {
        let log: Vec<_> = days
            .zip(0..)
            .map(|(day, n)| answer(user(1), case(n % 3), (*day % 2) as usize, on(*day)))
            .collect();
        let folded = fold(UserStatsProjection::new(), &answers(log), &facts(3));
        dashboard(&folded, user(1), at(NOON))
    };
    let (forwards, backwards) = (make(&mut days.iter()), make(&mut days.iter().rev()));
    assert_eq!(forwards.days, backwards.days);
    assert_eq!(forwards.weeks, backwards.weeks);
    assert_eq!(forwards.days.len(), 5, "of the last {TREND_DAYS} days");
    assert_eq!(forwards.days[4].date, date(2026, 3, 2));
    let last = forwards.weeks.last().unwrap();
    assert_eq!((last.date, last.answers), (date(2026, 3, 2), 1), "a Monday");
    let before = &forwards.weeks[forwards.weeks.len() - 2];
    assert_eq!((before.date, before.answers), (date(2026, 2, 23), 3));
    let first = &forwards.weeks[0];
    assert_eq!(first.date, date(2025, 8, 11), "200 days ago");
}

#[test]
fn a_trend_that_nobody_added_to_grows_old() {
    let log = answers([answer(user(1), case(0), 0, at(NOON))]);
    let folded = fold(UserStatsProjection::new(), &log, &facts(1));
    for (hours, days, weeks) in [
        (0, 1, 1),
        (89 * 24, 1, 1),
        (90 * 24, 0, 1),
        (364 * 24, 0, 0),
    ] {
        let now = at(NOON).checked_add(hours.hours()).unwrap();
        let seen = dashboard(&folded, user(1), now);
        assert_eq!(
            (seen.days.len(), seen.weeks.len()),
            (days, weeks),
            "{hours}"
        );
    }
}

#[test]
fn a_percentile_needs_twenty_answers_and_counts_half_of_the_equals() {
    // Of ten users the nth has n right answers of twenty, and again of the next twenty, on the way to
    // which the share moves; an eleventh has nineteen answers.
    let of = |n: u32, all: u32| {
        (0..all).map(move |k| answer(user(n), case(k), usize::from(k % 20 >= n), at(NOON)))
    };
    let log = (1..=10).flat_map(|n| of(n, 40)).chain(of(11, 19));
    let folded = fold(UserStatsProjection::new(), &answers(log), &facts(40));
    let percentile = |n: u32| dashboard(&folded, user(n), at(NOON)).percentile;
    assert_eq!(percentile(1), Some(5.0));
    assert_eq!(percentile(7), Some(65.0));
    assert_eq!(percentile(10), Some(95.0));
    assert_eq!(percentile(11), None);
    assert_eq!(percentile(12), None, "nobody knows this user");
}

#[test]
fn a_corrected_key_counts_from_the_first_answer() {
    let log = answers((0..3).map(|n| answer(user(1), case(n), 1, at(NOON))));
    let correction = KeyCorrection {
        number: 1,
        case_id: case(1),
        version: CaseVersion::FIRST,
        right: OptionSet::from_iter([1]),
        corrected_in: CaseVersion::FIRST.next(),
        corrected_at: at(NOON),
    };
    let mut facts = Facts::new([&correction]);
    for n in 0..3 {
        let fact = CaseFact::new("", "", 4, OptionSet::from_iter([0]));
        facts.insert(case(n), CaseVersion::FIRST, fact);
    }
    let folded = fold(UserStatsProjection::new(), &log, &facts);
    let seen = dashboard(&folded, user(1), at(NOON));
    assert_eq!((seen.total.answers, seen.total.right), (3, 1));
    assert_eq!(seen.specialties[0].total.right, 1);
}

#[test]
fn each_of_several_that_are_right_after_all_is_right_where_one_could_be_chosen() {
    let corrections = [0, 1].map(|n| KeyCorrection {
        number: u64::from(n) + 1,
        case_id: case(n),
        version: CaseVersion::FIRST,
        right: OptionSet::from_iter([0, 1]),
        corrected_in: CaseVersion::FIRST.next(),
        corrected_at: at(NOON),
    });
    let mut facts = Facts::new(&corrections);
    for (n, right) in [vec![0], vec![0, 2]].into_iter().enumerate() {
        let fact = CaseFact::new("", "", 4, OptionSet::from_iter(right));
        facts.insert(case(n as u32), CaseVersion::FIRST, fact);
    }
    for (n, right) in [(0, [true, true, false]), (1, [false; 3])] {
        for (chosen, is_right) in right.into_iter().enumerate() {
            let log = [answer(user(1), case(n), chosen, at(NOON))];
            let folded = fold(UserStatsProjection::new(), &answers(log), &facts);
            let seen = dashboard(&folded, user(1), at(NOON));
            assert_eq!(seen.total.right, u64::from(is_right), "case {n}, {chosen}");
        }
    }
}

#[test]
fn an_answer_to_an_unknown_version_is_set_aside() {
    let log = answers([answer(user(1), case(7), 0, at(NOON))]);
    let folded = fold(UserStatsProjection::new(), &log, &facts(1));
    assert_eq!(folded.set_aside.len(), 1);
    assert!(folded.rows.is_empty());
}

#[test]
fn times_are_counted_as_far_as_somebody_was_there() {
    let timed = |time_ms| {
        let mut it = answer(user(1), case(0), 0, at(NOON));
        it.time_to_answer_ms = time_ms;
        it
    };
    let log = answers([Some(1_000), None, Some(u32::MAX)].map(timed));
    let folded = fold(UserStatsProjection::new(), &log, &facts(1));
    let total = dashboard(&folded, user(1), at(NOON)).total;
    assert_eq!((total.answers, total.timed, total.time_ms), (3, 2, 601_000));
}
