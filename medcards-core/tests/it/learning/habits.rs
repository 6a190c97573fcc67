use medcards_core::answer::Answer;
use medcards_core::event::{Event, EventBody};
use medcards_core::jiff::civil::DateTime;
use medcards_core::jiff::tz;
use medcards_core::jiff::{Timestamp, ToSpan};
use medcards_core::learning::habits::{
    ACTIVE_RUNS_MAX, BadgeFact, BadgeRule, BadgeStanding, HabitsProjection, HabitsRow, OUTAGES_MAX,
    Streak, ZONE_CHANGES_MAX,
};
use medcards_core::notice::NoticeBody;
use medcards_core::user::{User, UserKind, UserSettings};
use medcards_core::view::{Announced, Award, Folded, Projection, fold};
use medcards_core::{ErrorKind, UserId};
use proptest::prelude::*;

use super::{answer, at, case, facts, log, stored_len_max, user};

/// Something that happens to the one user of a test.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    /// An answer at this instant, or at this time in a zone, such as `2026-03-01T12:00 Europe/Paris`.
    Answer(&'a str),
    /// The user is in this zone from an instant on.
    Zone(&'a str, &'a str),
    /// Students could not answer between these instants.
    Outage(&'a str, &'a str),
}

use Step::{Answer as A, Outage as O, Zone as Z};

/// An instant, written as one or as a time in a zone; the first of two with the same time.
fn when(text: &str) -> Timestamp {
    let Some((time, zone)) = text.split_once(' ') else {
        return at(text);
    };
    let time: DateTime = time.parse().expect("the test names a time");
    let zone = tz::TimeZone::get(zone).expect("the machine knows the zone");
    let zoned = zone.to_ambiguous_zoned(time).compatible();
    zoned.expect("the time is there").timestamp()
}

fn settings(zone: &str) -> UserSettings {
    let user = User::new(user(1), UserKind::Guest, Timestamp::UNIX_EPOCH);
    let mut settings = user.settings;
    settings.time_zone = zone.parse().expect("it has the form of a zone");
    settings
}

fn body(step: &Step<'_>) -> (UserId, EventBody) {
    match *step {
        A(text) => {
            let answer = answer(user(1), case(0), 0, when(text));
            (user(1), EventBody::AnswerRecorded { answer })
        }
        Z(text, zone) => (
            user(1),
            EventBody::SettingsChanged {
                settings: settings(zone),
                changed_at: when(text),
            },
        ),
        O(began, ended) => (
            UserId::EVERYONE,
            EventBody::OutageDeclared {
                began_at: when(began),
                ended_at: when(ended),
                declared_at: when(ended),
            },
        ),
    }
}

fn folded(steps: &[Step<'_>]) -> Folded<HabitsRow> {
    fold(
        HabitsProjection::new(),
        &log(steps.iter().map(body)),
        &facts(1),
    )
}

fn read(folded: &Folded<HabitsRow>, now: Timestamp) -> Streak {
    stored_len_max(folded);
    let keys = Streak::keys(user(1));
    Streak::read(keys.iter().filter_map(|key| folded.rows.get(key)), now)
}

fn streak(steps: &[Step<'_>], now: &str) -> Streak {
    read(&folded(steps), when(now))
}

/// Answers on so many days in a row at a time of a zone, the last one on this date.
fn daily(last: &str, days: i64, time: &str, zone: &str) -> Vec<String> {
    let last: medcards_core::jiff::civil::Date = last.parse().expect("it is a date");
    let day = |n: i64| {
        format!(
            "{}T{time} {zone}",
            last.checked_sub(n.days()).expect("it exists")
        )
    };
    (0..days).rev().map(day).collect()
}

/// Checks how many days a streak has at an instant, and how many the longest had.
fn check(what: &str, steps: &[Step<'_>], now: &str, days: u32, longest: u32) {
    let is = streak(steps, now);
    assert_eq!((is.days, is.longest), (days, longest), "{what}: {is:?}");
}

const UTC: &str = "UTC";

#[test]
fn days_follow_each_other_where_the_student_is() {
    // what happens, at which instant it is looked at, days of the streak, days of the longest
    let table: &[(&str, &[Step<'_>], &str, u32, u32)] = &[
        ("nothing yet", &[], "2026-03-01T12:00:00Z", 0, 0),
        (
            "a day",
            &[A("2026-03-01T12:00:00Z")],
            "2026-03-01T12:00:00Z",
            1,
            1,
        ),
        (
            "the day after",
            &[A("2026-03-01T12:00:00Z")],
            "2026-03-02T23:59:59Z",
            1,
            1,
        ),
        (
            "two days after",
            &[A("2026-03-01T12:00:00Z")],
            "2026-03-03T00:00:00Z",
            0,
            1,
        ),
        (
            "twice on a day is once",
            &[A("2026-03-01T00:00:00Z"), A("2026-03-01T23:59:59.999Z")],
            "2026-03-01T23:59:59.999Z",
            1,
            1,
        ),
        (
            "the last millisecond and the first",
            &[A("2026-03-01T23:59:59.999Z"), A("2026-03-02T00:00:00Z")],
            "2026-03-02T00:00:00Z",
            2,
            2,
        ),
        (
            "the same two in a zone where they are of one day",
            &[
                Z("2026-01-01T00:00:00Z", "Asia/Kolkata"),
                A("2026-03-01T23:59:59.999Z"),
                A("2026-03-02T00:00:00Z"),
            ],
            "2026-03-02T00:00:00Z",
            1,
            1,
        ),
        (
            "the last millisecond in a zone",
            &[
                Z("2026-01-01T00:00:00Z", "Asia/Kolkata"),
                A("2026-03-01T23:59:59.999 Asia/Kolkata"),
                A("2026-03-02T00:00:00 Asia/Kolkata"),
            ],
            "2026-03-02T00:00 Asia/Kolkata",
            2,
            2,
        ),
        (
            "a leap day",
            &[
                A("2028-02-28T12:00:00Z"),
                A("2028-02-29T12:00:00Z"),
                A("2028-03-01T12:00:00Z"),
            ],
            "2028-03-01T12:00:00Z",
            3,
            3,
        ),
        (
            "a leap day without an answer",
            &[A("2028-02-28T12:00:00Z"), A("2028-03-01T12:00:00Z")],
            "2028-03-01T12:00:00Z",
            1,
            1,
        ),
        (
            "no leap day",
            &[A("2026-02-28T12:00:00Z"), A("2026-03-01T12:00:00Z")],
            "2026-03-01T12:00:00Z",
            2,
            2,
        ),
        (
            "the year ends",
            &[A("2026-12-31T12:00:00Z"), A("2027-01-01T12:00:00Z")],
            "2027-01-01T12:00:00Z",
            2,
            2,
        ),
        (
            "the year ends earlier in Auckland",
            &[
                Z("2026-01-01T00:00:00Z", "Pacific/Auckland"),
                A("2026-12-31T10:59:59.999Z"),
                A("2026-12-31T11:00:00Z"),
            ],
            "2026-12-31T12:00:00Z",
            2,
            2,
        ),
        (
            "a zone that nobody knows is UTC",
            &[
                Z("2026-01-01T00:00:00Z", "Mars/Olympus_Mons"),
                A("2026-03-01T23:59:59.999Z"),
                A("2026-03-02T00:00:00Z"),
            ],
            "2026-03-02T00:00:00Z",
            2,
            2,
        ),
        (
            "a longer one before",
            &[
                A("2026-03-01T12:00:00Z"),
                A("2026-03-02T12:00:00Z"),
                A("2026-03-03T12:00:00Z"),
                A("2026-03-10T12:00:00Z"),
            ],
            "2026-03-11T12:00:00Z",
            1,
            3,
        ),
        (
            "a device that was offline fills the gap",
            &[
                A("2026-03-01T12:00:00Z"),
                A("2026-03-04T12:00:00Z"),
                A("2026-03-03T12:00:00Z"),
                A("2026-03-02T12:00:00Z"),
            ],
            "2026-03-04T12:00:00Z",
            4,
            4,
        ),
        (
            "what was held back counts in the zone of then",
            &[
                Z("2026-01-01T00:00:00Z", "Asia/Tokyo"),
                A("2026-03-02T08:00 Asia/Tokyo"),
                Z("2026-03-02T12:00 Asia/Tokyo", "UTC"),
                // The evening of 28 February in UTC.
                A("2026-03-01T01:00 Asia/Tokyo"),
            ],
            "2026-03-02T12:00:00Z",
            2,
            2,
        ),
    ];
    for (what, steps, now, days, longest) in table {
        check(what, steps, now, *days, *longest);
    }
}

#[test]
fn a_day_on_which_the_clocks_change_is_a_day() {
    // zone, date of the change, and whether the day has 23 hours or 25; at midnight in the last ones
    for (zone, date, next) in [
        ("Europe/Berlin", "2026-03-29", "2026-03-30"),
        ("Europe/Berlin", "2026-10-25", "2026-10-26"),
        ("America/New_York", "2026-03-08", "2026-03-09"),
        ("America/New_York", "2026-11-01", "2026-11-02"),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-06"),
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-05"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-05"),
        ("America/Sao_Paulo", "2018-02-17", "2018-02-18"),
        ("Africa/Cairo", "2026-04-24", "2026-04-25"),
        ("America/Havana", "2026-11-01", "2026-11-02"),
    ] {
        let start = Z("2000-01-01T00:00:00Z", zone);
        let now = format!("{next}T22:00 {zone}");
        for time in ["03:30", "12:00", "23:59:59.999"] {
            let days = daily(next, 5, time, zone);
            let mut steps = vec![start];
            steps.extend(days.iter().map(|it| A(it)));
            check(&format!("{zone} {date} at {time}"), &steps, &now, 5, 5);

            // The day of the change is held against the student as any other is.
            let missed: Vec<_> = days.iter().filter(|it| !it.starts_with(date)).collect();
            let mut steps = vec![start];
            steps.extend(missed.iter().map(|it| A(it)));
            check(&format!("{zone} without {date}"), &steps, &now, 1, 3);
        }
        // At risk until the next day begins there.
        let before = daily(date, 1, "12:00", zone);
        let is = streak(&[start, A(&before[0])], &format!("{next}T12:00 {zone}"));
        let after: medcards_core::jiff::civil::Date = next.parse().unwrap();
        let ends = format!("{}T00:00 {zone}", after.tomorrow().unwrap());
        assert_eq!(is.at_risk_until, Some(when(&ends)), "{zone} {date}");
    }
}

#[test]
fn a_day_that_a_journey_skipped_or_cut_short_is_held_against_nobody() {
    const EAST: &str = "Pacific/Kiritimati"; // +14
    const WEST: &str = "Etc/GMT+12"; // -12
    let table: &[(&str, &[Step<'_>], &str, u32)] = &[
        (
            "from -12 to +14 a whole date is skipped",
            &[
                Z("2026-01-01T00:00:00Z", WEST),
                A("2026-03-01T22:00 Etc/GMT+12"),
                // 2 March 23:00 in the west is 4 March 01:00 in the east.
                A("2026-03-02T22:00 Etc/GMT+12"),
                Z("2026-03-02T23:00 Etc/GMT+12", EAST),
                A("2026-03-04T20:00 Pacific/Kiritimati"),
            ],
            "2026-03-04T21:00 Pacific/Kiritimati",
            3,
        ),
        (
            "from -12 to +14 two dates are cut short",
            &[
                Z("2026-01-01T00:00:00Z", WEST),
                A("2026-03-01T22:00 Etc/GMT+12"),
                // 2 March 10:00 in the west is 3 March 12:00 in the east.
                Z("2026-03-02T10:00 Etc/GMT+12", EAST),
                A("2026-03-04T20:00 Pacific/Kiritimati"),
            ],
            "2026-03-04T21:00 Pacific/Kiritimati",
            2,
        ),
        (
            "a whole date after the journey is held against the student",
            &[
                Z("2026-01-01T00:00:00Z", WEST),
                A("2026-03-01T22:00 Etc/GMT+12"),
                Z("2026-03-02T10:00 Etc/GMT+12", EAST),
                A("2026-03-05T20:00 Pacific/Kiritimati"),
            ],
            "2026-03-05T21:00 Pacific/Kiritimati",
            1,
        ),
        (
            "from +14 to -12 a date comes twice and counts once",
            &[
                Z("2026-01-01T00:00:00Z", EAST),
                A("2026-03-01T20:00 Pacific/Kiritimati"),
                A("2026-03-02T20:00 Pacific/Kiritimati"),
                // 2 March 21:00 in the east is 1 March 19:00 in the west.
                Z("2026-03-02T21:00 Pacific/Kiritimati", WEST),
                A("2026-03-01T20:00 Etc/GMT+12"),
                A("2026-03-02T20:00 Etc/GMT+12"),
                A("2026-03-03T20:00 Etc/GMT+12"),
            ],
            "2026-03-03T21:00 Etc/GMT+12",
            3,
        ),
        (
            "from +14 to -12 yesterday comes again and nothing breaks",
            &[
                Z("2026-01-01T00:00:00Z", EAST),
                A("2026-03-01T20:00 Pacific/Kiritimati"),
                A("2026-03-02T20:00 Pacific/Kiritimati"),
                Z("2026-03-02T21:00 Pacific/Kiritimati", WEST),
            ],
            "2026-03-02T23:00 Etc/GMT+12",
            2,
        ),
        (
            "three hours to the east cut no date short enough",
            &[
                Z("2026-01-01T00:00:00Z", "America/Los_Angeles"),
                A("2026-03-01T12:00 America/Los_Angeles"),
                Z("2026-03-02T12:00 America/Los_Angeles", "America/New_York"),
                A("2026-03-03T12:00 America/New_York"),
            ],
            "2026-03-03T12:00 America/New_York",
            1,
        ),
        (
            "a date that the zone itself skipped",
            &[
                Z("2011-01-01T00:00:00Z", "Pacific/Apia"),
                A("2011-12-29T12:00 Pacific/Apia"),
                A("2011-12-31T12:00 Pacific/Apia"),
            ],
            "2011-12-31T12:00 Pacific/Apia",
            2,
        ),
    ];
    for (what, steps, now, days) in table {
        check(what, steps, now, *days, *days.max(&1));
    }
}

#[test]
fn an_outage_mends_a_streak_whenever_it_is_declared() {
    // began, ended, and the days of a streak on 4 March whose 2 March is missing, in UTC
    let table = [
        (
            "2026-03-02T10:00:00Z",
            "2026-03-02T16:00:00Z",
            3,
            "a quarter of the date",
        ),
        (
            "2026-03-02T10:00:00Z",
            "2026-03-02T15:59:59Z",
            2,
            "less than a quarter",
        ),
        (
            "2026-03-02T23:30:00Z",
            "2026-03-03T02:00:00Z",
            3,
            "its last half hour",
        ),
        (
            "2026-03-02T23:31:00Z",
            "2026-03-03T02:00:00Z",
            2,
            "less of its last hours",
        ),
        (
            "2026-03-02T21:00:00Z",
            "2026-03-02T21:30:00Z",
            3,
            "half an hour of the evening",
        ),
        (
            "2026-03-02T20:30:00Z",
            "2026-03-02T21:29:00Z",
            2,
            "before the evening",
        ),
        (
            "2026-03-01T20:00:00Z",
            "2026-03-04T08:00:00Z",
            3,
            "days on end",
        ),
        (
            "2026-03-01T00:00:00Z",
            "2026-03-02T00:00:00Z",
            2,
            "of the day before",
        ),
    ];
    let answers = [
        A("2026-03-01T12:00:00Z"),
        A("2026-03-03T12:00:00Z"),
        A("2026-03-04T12:00:00Z"),
    ];
    for (began, ended, days, what) in table {
        for place in 0..=answers.len() {
            let mut steps = answers.to_vec();
            steps.insert(place, O(began, ended));
            check(what, &steps, "2026-03-04T12:00:00Z", days, days);
        }
    }
}

#[test]
fn an_outage_is_of_the_dates_that_each_student_had_then() {
    // Six hours of 2 March in Tokyo, of which UTC has three on the day before.
    let outage = O("2026-03-01T21:00:00Z", "2026-03-02T03:00:00Z");
    let of = |zone: &str| {
        let days = [
            format!("2026-03-01T12:00 {zone}"),
            format!("2026-03-03T12:00 {zone}"),
        ];
        let steps = [
            Z("2026-01-01T00:00:00Z", zone),
            A(&days[0]),
            A(&days[1]),
            outage,
        ];
        streak(&steps, &days[1]).days
    };
    assert_eq!(of("Asia/Tokyo"), 2);
    assert_eq!(of(UTC), 1);
}

#[test]
fn outages_in_parts_count_together_and_not_twice() {
    let days = [A("2026-03-01T12:00:00Z"), A("2026-03-03T12:00:00Z")];
    for (outages, expected) in [
        // Two of three hours.
        (
            [
                O("2026-03-02T03:00:00Z", "2026-03-02T06:00:00Z"),
                O("2026-03-02T10:00:00Z", "2026-03-02T13:00:00Z"),
            ],
            2,
        ),
        // Four hours, said twice.
        (
            [
                O("2026-03-02T03:00:00Z", "2026-03-02T07:00:00Z"),
                O("2026-03-02T03:00:00Z", "2026-03-02T07:00:00Z"),
            ],
            1,
        ),
        // Five hours, in two that overlap.
        (
            [
                O("2026-03-02T05:00:00Z", "2026-03-02T08:00:00Z"),
                O("2026-03-02T03:00:00Z", "2026-03-02T06:00:00Z"),
            ],
            1,
        ),
    ] {
        let steps: Vec<_> = days.into_iter().chain(outages).collect();
        check(
            "in parts",
            &steps,
            "2026-03-03T12:00:00Z",
            expected,
            expected,
        );
    }
}

#[test]
fn an_outage_that_is_none_is_set_aside() {
    let table = [
        ("2026-03-02T10:00:00Z", "2026-03-02T10:00:00Z"),
        ("2026-03-02T10:00:00Z", "2026-03-01T10:00:00Z"),
        ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00.001Z"),
    ];
    for (began, ended) in table {
        let folded = folded(&[O(began, ended)]);
        assert_eq!(folded.set_aside.len(), 1, "{began} to {ended}");
        assert!(folded.rows.is_empty());
    }
}

#[test]
fn freezes_are_earned_every_seven_days_and_used_by_themselves() {
    // days in a row, days missed after them, then: days, freezes left and used on the last missed day + 1
    for (active, missed, days, left, used) in [
        (6, 1, 0, 0, 0),
        (7, 0, 7, 1, 0),
        (7, 1, 7, 0, 1),
        (7, 2, 0, 0, 0),
        (14, 2, 14, 0, 2),
        (14, 1, 14, 1, 1),
        (13, 2, 0, 0, 0),
        (70, 0, 70, 2, 0),
        (70, 2, 70, 0, 2),
        (70, 3, 0, 0, 0),
    ] {
        let given = daily("2026-06-10", active, "12:00", UTC);
        let steps: Vec<_> = given.iter().map(|it| A(it)).collect();
        let now = at("2026-06-11T08:00:00Z") + (24 * missed).hours();
        let is = read(&folded(&steps), now);
        let found = (is.days, is.freezes_left, is.freezes_used);
        assert_eq!(found, (days, left, used), "{active} days, {missed} missed");
        assert_eq!(is.longest, active as u32);
    }
}

#[test]
fn a_frozen_streak_goes_on_and_earns_again() {
    let mut given = daily("2026-06-10", 7, "12:00", UTC);
    given.extend(daily("2026-06-18", 7, "12:00", UTC)); // 11 June is missing.
    let steps: Vec<_> = given.iter().map(|it| A(it)).collect();
    let is = streak(&steps, "2026-06-18T12:00:00Z");
    assert_eq!((is.days, is.freezes_left, is.freezes_used), (14, 1, 1));
    // A device that was offline saves the freeze.
    let steps: Vec<_> = steps
        .into_iter()
        .chain([A("2026-06-11T12:00:00Z")])
        .collect();
    let is = streak(&steps, "2026-06-18T12:00:00Z");
    assert_eq!((is.days, is.freezes_left, is.freezes_used), (15, 2, 0));
}

#[test]
fn a_streak_is_at_risk_until_the_day_ends_where_the_student_is() {
    let start = Z("2026-01-01T00:00:00Z", "America/New_York");
    let given = A("2026-03-01T12:00 America/New_York");
    let end = O(
        "2026-03-02T12:00 America/New_York",
        "2026-03-02T20:00 America/New_York",
    );
    let risk = |steps: &[Step<'_>], now: &str| streak(steps, now).at_risk_until;
    let (today, tomorrow) = (
        "2026-03-01T23:59 America/New_York",
        "2026-03-02T00:00 America/New_York",
    );
    assert_eq!(risk(&[start, given], today), None, "today is active");
    let ends = Some(when("2026-03-03T00:00 America/New_York"));
    assert_eq!(risk(&[start, given], tomorrow), ends);
    let later = Some(when("2026-03-04T00:00 America/New_York"));
    assert_eq!(
        risk(&[start, given, end], tomorrow),
        later,
        "the day does not count"
    );
    assert_eq!(risk(&[start], tomorrow), None, "there is none");
    assert_eq!(
        risk(&[start, given], "2026-03-03T12:00 America/New_York"),
        None,
        "it is lost"
    );
}

#[test]
fn today_is_the_one_where_the_student_is_now() {
    let steps = [
        Z("2026-01-01T00:00:00Z", "Pacific/Kiritimati"),
        A("2026-03-02T20:00 Pacific/Kiritimati"),
        Z("2026-03-02T21:00 Pacific/Kiritimati", "Etc/GMT+12"),
    ];
    // It is 1 March again, on which nothing happened, and 2 March counts already.
    let is = streak(&steps, "2026-03-01T20:00 Etc/GMT+12");
    assert_eq!(
        (is.days, is.is_active_today, is.at_risk_until),
        (1, false, None)
    );
    let is = streak(&steps, "2026-03-02T08:00 Etc/GMT+12");
    assert_eq!(
        (is.days, is.is_active_today, is.at_risk_until),
        (1, true, None)
    );
}

fn streak_notices(folded: &Folded<HabitsRow>) -> Vec<u32> {
    let days = |it: &Announced| match it {
        Announced::Notice {
            body: NoticeBody::Streak { days },
            ..
        } => Some(*days),
        _ => None,
    };
    folded
        .announced
        .iter()
        .filter_map(|(_, it)| days(it))
        .collect()
}

#[test]
fn a_student_is_told_when_a_day_makes_the_streak_longer() {
    let folded = folded(&[
        A("2026-03-01T12:00:00Z"),
        A("2026-03-01T13:00:00Z"),
        A("2026-03-02T12:00:00Z"),
        // A new one begins.
        A("2026-03-04T12:00:00Z"),
        // Long ago: it makes no streak longer that goes on.
        A("2026-02-01T12:00:00Z"),
        // What was missing.
        A("2026-03-03T12:00:00Z"),
    ]);
    assert_eq!(streak_notices(&folded), [1, 2, 1, 4]);
}

fn rule(name: &str, fact: BadgeFact, at_least: u64) -> BadgeRule {
    BadgeRule {
        name: name.into(),
        title: "For a test".into(),
        fact,
        at_least,
    }
}

#[test]
fn badges_are_awarded_once_when_their_facts_are_there() {
    let rules = vec![
        rule("one", BadgeFact::Answers, 1),
        rule("three-right", BadgeFact::RightAnswers, 3),
        rule("row", BadgeFact::RightInARow, 2),
        rule("days", BadgeFact::ActiveDays, 2),
        rule("streak", BadgeFact::StreakDays, 2),
        rule("special", BadgeFact::Specialties, 1),
        rule("never", BadgeFact::Answers, 100),
    ];
    let given = [
        (0, "2026-03-01T12:00:00Z"),
        (1, "2026-03-01T12:01:00Z"),
        (0, "2026-03-03T12:00:00Z"),
        (0, "2026-03-04T12:00:00Z"),
        (0, "2026-03-05T12:00:00Z"),
    ];
    let bodies = given.map(|(chosen, text)| {
        let answer = answer(user(1), case(0), chosen, at(text));
        (user(1), EventBody::AnswerRecorded { answer })
    });
    let projection = HabitsProjection::with_rules(rules.clone()).unwrap();
    let folded = fold(projection, &log(bodies), &facts(1));
    let awarded: Vec<_> = folded.awards.iter().map(|it| (&*it.badge, it.at)).collect();
    let expected = [
        ("one", "2026-03-01T12:00:00Z"),
        ("special", "2026-03-01T12:00:00Z"),
        ("days", "2026-03-03T12:00:00Z"),
        ("three-right", "2026-03-04T12:00:00Z"),
        ("row", "2026-03-04T12:00:00Z"),
        ("streak", "2026-03-04T12:00:00Z"),
    ];
    assert_eq!(awarded, expected.map(|(name, text)| (name, at(text))));

    let award = Award {
        badge: "never".to_owned(),
        at: at("2026-01-01T00:00:00Z"),
    };
    let keys = Streak::keys(user(1));
    let rows: Vec<_> = keys.iter().filter_map(|key| folded.rows.get(key)).collect();
    let now = at("2026-03-05T12:00:00Z");
    let standings = BadgeStanding::read_all(&rules, rows.iter().copied(), &[award], now);
    let progress: Vec<_> = standings.iter().map(|it| it.progress).collect();
    assert_eq!(progress, [5, 4, 3, 4, 3, 1, 5]);
    let held: Vec<_> = standings.iter().map(|it| it.awarded_at.is_some()).collect();
    assert_eq!(held, [false, false, false, false, false, false, true]);
}

#[test]
fn an_award_is_asked_for_once_in_an_edition() {
    use medcards_core::view::{Applied, Folder};

    let mut folder = Folder::new(HabitsProjection::new());
    let mut asked = 0;
    let given = daily("2026-06-10", 40, "12:00", UTC);
    let steps: Vec<_> = given.iter().map(|it| body(&A(it))).collect();
    let awards = fold(HabitsProjection::new(), &log(steps.clone()), &facts(1))
        .awards
        .len();
    for event in &log(steps) {
        loop {
            match folder.apply(event, &facts(1)) {
                Applied::Missing(key) => folder.learn(key, None),
                Applied::Done { awards, .. } => {
                    asked += awards.len();
                    break;
                }
                Applied::SetAside(reason) => panic!("{reason}"),
            }
        }
    }
    assert_eq!(asked, awards);
    assert!(awards >= 4, "a first answer, days and streaks");
}

#[test]
fn other_rules_make_another_version_and_bad_ones_are_refused() {
    let version =
        |rules: &[BadgeRule]| HabitsProjection::with_rules(rules.to_vec()).map(|it| it.version());
    let built_in = BadgeRule::built_in();
    assert_eq!(
        version(&built_in).unwrap(),
        HabitsProjection::new().version()
    );
    let mut titled = built_in.clone();
    titled[0].title = "Another title".into();
    assert_eq!(
        version(&titled).unwrap(),
        version(&built_in).unwrap(),
        "nobody is awarded a title"
    );
    let mut harder = built_in.clone();
    harder[0].at_least += 1;
    assert_ne!(version(&harder).unwrap(), version(&built_in).unwrap());
    assert_ne!(
        version(&built_in[1..]).unwrap(),
        version(&built_in).unwrap()
    );

    let one = rule("one", BadgeFact::Answers, 1);
    for bad in [
        vec![rule("Not A Name", BadgeFact::Answers, 1)],
        vec![rule("nothing", BadgeFact::Answers, 0)],
        vec![one.clone(), one],
        (0..65)
            .map(|n| rule(&format!("n{n}"), BadgeFact::Answers, 1))
            .collect(),
    ] {
        assert_eq!(version(&bad).unwrap_err().kind(), ErrorKind::Invalid);
    }
}

#[test]
fn rows_stay_small_and_old_runs_become_numbers() {
    let begin = at("2020-01-01T12:00:00Z");
    let mut bodies: Vec<_> = (0..2_000_i64)
        .map(|n| {
            let answer = answer(user(1), case(0), 0, begin + (48 * n).hours());
            (user(1), EventBody::AnswerRecorded { answer })
        })
        .collect();
    for n in 0..200_i64 {
        let zone = if n % 2 == 0 {
            "Europe/Berlin"
        } else {
            "Asia/Tokyo"
        };
        let body = EventBody::SettingsChanged {
            settings: settings(zone),
            changed_at: begin + (24 * n).hours(),
        };
        bodies.push((user(1), body));
        let outage = EventBody::OutageDeclared {
            began_at: begin + (24 * n).hours(),
            ended_at: begin + (24 * n + 1).hours(),
            declared_at: begin,
        };
        bodies.extend([
            (UserId::EVERYONE, outage.clone()),
            (UserId::EVERYONE, outage),
        ]);
    }
    const { assert!(ZONE_CHANGES_MAX < 200 && OUTAGES_MAX <= 200 && ACTIVE_RUNS_MAX < 2_000) };
    let folded = fold(HabitsProjection::new(), &log(bodies), &facts(1));
    assert!(folded.set_aside.is_empty());
    assert!(stored_len_max(&folded) < 3_500);
    let rows = Streak::keys(user(1)).map(|key| folded.rows.get(&key).cloned());
    let rules = [rule("days", BadgeFact::ActiveDays, 1)];
    let now = begin + (48 * 1_999).hours();
    let standings = BadgeStanding::read_all(&rules, rows.iter().flatten(), &[], now);
    assert_eq!(standings[0].progress, 2_000, "no day is lost");
}

/// Events of any order and of any instant.
fn any_log() -> impl Strategy<Value = Vec<Event>> {
    let zones = [
        "Europe/Berlin",
        "Pacific/Kiritimati",
        "Etc/GMT+12",
        "No/Where",
        "UTC",
    ];
    let any_instant = -377_705_023_201_i64..=253_402_207_200;
    let near = 1_767_225_600_i64..1_798_761_600;
    let seconds = prop_oneof![9 => near, 1 => any_instant];
    let step = (0_u8..8, seconds, 0_i64..400_000, 0_usize..zones.len());
    let body = move |(kind, second, len, zone): (u8, i64, i64, usize)| {
        let instant = Timestamp::from_second(second).unwrap_or(Timestamp::UNIX_EPOCH);
        match kind {
            0 => body_of_zone(zones[zone], instant),
            1 => {
                let ended_at = instant.checked_add(len.seconds()).unwrap_or(instant);
                let outage = EventBody::OutageDeclared {
                    began_at: instant,
                    ended_at,
                    declared_at: ended_at,
                };
                (UserId::EVERYONE, outage)
            }
            _ => body_of_answer(instant),
        }
    };
    prop::collection::vec(step, 0..60).prop_map(move |steps| log(steps.into_iter().map(body)))
}

fn body_of_zone(zone: &str, changed_at: Timestamp) -> (UserId, EventBody) {
    let settings = settings(zone);
    let body = EventBody::SettingsChanged {
        settings,
        changed_at,
    };
    (user(1), body)
}

fn body_of_answer(instant: Timestamp) -> (UserId, EventBody) {
    // An id has no instant before 1970.
    let answer = Answer {
        created_at: instant,
        ..answer(user(1), case(0), 0, Timestamp::UNIX_EPOCH)
    };
    (user(1), EventBody::AnswerRecorded { answer })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_order_of_events_breaks_a_row(events in any_log(), now in -377_705_023_201_i64..=253_402_207_200) {
        let folded = fold(HabitsProjection::new(), &events, &facts(1));
        for it in &folded.set_aside {
            prop_assert!(it.reason != "the projection panicked", "{:?}", it);
        }
        let is = read(&folded, Timestamp::from_second(now).unwrap());
        prop_assert!(is.days <= is.longest && is.freezes_left <= 2);
    }

    #[test]
    fn answers_give_the_same_streak_in_whatever_order_they_arrive(
        (given, shuffled) in prop::collection::vec(0_i64..60 * 24, 1..80)
            .prop_flat_map(|hours| (Just(hours.clone()), Just(hours).prop_shuffle())),
        outage in 0_i64..60 * 24,
    ) {
        let begin = at("2026-02-20T00:00:00Z");
        let make = |hours: &[i64]| {
            let mut bodies = vec![
                body_of_zone("Europe/Berlin", begin),
                body_of_zone("Pacific/Kiritimati", begin + 500.hours()),
                body_of_zone("Etc/GMT+12", begin + 900.hours()),
            ];
            bodies.extend(hours.iter().map(|hour| body_of_answer(begin + hour.hours())));
            let declared = EventBody::OutageDeclared {
                began_at: begin + outage.hours(),
                ended_at: begin + (outage + 30).hours(),
                declared_at: begin,
            };
            bodies.push((UserId::EVERYONE, declared));
            read(&fold(HabitsProjection::new(), &log(bodies), &facts(1)), begin + 1_440.hours())
        };
        prop_assert_eq!(make(&given), make(&shuffled));
    }
}
