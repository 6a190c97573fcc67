use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::ai::PromptVersion;
use medcards_core::answer::AnswerStore;
use medcards_core::case::{Case, CaseStore};
use medcards_core::memory::MemoryStore;
use medcards_core::precompute::{Demand, Forecast, ForecastConfig, LogReading, SeenAnswer};
use medcards_core::testing::{
    SAMPLE_START, sample_answer, sample_case, sample_content, sample_record, sample_user_id,
};
use medcards_core::user::{User, UserKind, UserStore};
use medcards_core::{ErrorKind, Timestamp};
use proptest::prelude::*;

const DAY: Duration = Duration::from_hours(24);

fn day(days: f64) -> Timestamp {
    SAMPLE_START + Duration::from_secs_f64(days * 86_400.0)
}

fn forecast() -> Forecast {
    Forecast::new(ForecastConfig::default()).expect("the default can work")
}

/// An answer to the `n`th sample case, whose right option is at `n % 4`.
fn seen(n: u32, option: usize, at: Timestamp) -> SeenAnswer {
    let case = sample_case(n);
    let chosen = [option].into_iter().collect();
    SeenAnswer {
        case_id: case.id,
        case_version: case.version,
        chosen,
        is_correct: case.is_correct(chosen),
        locale: None,
        edition: PromptVersion::new(1),
        at,
    }
}

/// What is expected of one option of a case within a day.
fn of_option(forecast: &Forecast, case: &Case, option: usize, now: Timestamp) -> Demand {
    let chosen = [option].into_iter().collect();
    let demand = forecast.demand(case, now, DAY);
    let found = demand.iter().find(|choice| choice.chosen == chosen);
    found.map(|choice| choice.demand).unwrap_or_default()
}

#[test]
fn a_steady_case_is_expected_at_its_pace() {
    let mut forecast = forecast();
    for quarter in 0..400 {
        forecast.see(&seen(0, 0, day(f64::from(quarter) / 4.0)));
    }
    let expected = forecast.answers_expected(&sample_case(0), day(100.0), 7 * DAY);
    assert!((27.0..29.0).contains(&expected), "{expected} of 28");
}

#[test]
fn a_short_log_says_as_much_of_the_pace_as_a_long_one() {
    let mut forecast = forecast();
    for quarter in 0..8 {
        forecast.see(&seen(0, 0, day(f64::from(quarter) / 4.0)));
    }
    let expected = forecast.answers_expected(&sample_case(0), day(2.0), 7 * DAY);
    assert!((25.0..31.0).contains(&expected), "{expected} of 28");
}

#[test]
fn what_is_long_past_counts_less() {
    let (mut early, mut late) = (forecast(), forecast());
    for answer in 0..50 {
        for other in 0..50 {
            let any = seen(1, 1, day(f64::from(other) * 2.0));
            early.see(&any);
            late.see(&any);
        }
        let within = f64::from(answer) / 10.0;
        early.see(&seen(0, 0, day(within)));
        late.see(&seen(0, 0, day(95.0 + within)));
    }
    let expected = |forecast: &Forecast| of_option(forecast, &sample_case(0), 0, day(100.0));
    let (early, late) = (expected(&early).expected, expected(&late).expected);
    assert!(early > 0.0 && early * 20.0 < late, "{early} and {late}");
}

#[test]
fn a_new_case_is_expected_as_often_as_the_mean_of_all() {
    let mut forecast = forecast();
    for answer in 0..1_000 {
        forecast.see(&seen(answer % 10, 0, day(f64::from(answer) / 10.0)));
    }
    let now = day(100.0);
    let new = Case {
        published_at: now,
        ..sample_case(77)
    };
    let old = sample_case(78);
    let mean = forecast.answers_expected(&sample_case(3), now, DAY);
    let new = forecast.answers_expected(&new, now, DAY);
    let old = forecast.answers_expected(&old, now, DAY);
    assert!((new / mean - 1.0).abs() < 0.1, "{new} and {mean}");
    assert!(old * 5.0 < new, "nobody answered it for 100 days: {old}");
}

#[test]
fn an_option_never_chosen_has_a_small_share_and_a_frequent_one_its_own() {
    let mut forecast = forecast();
    for answer in 0..100 {
        let option = if answer % 5 == 0 { 1 } else { 0 };
        forecast.see(&seen(0, option, day(f64::from(answer) / 10.0)));
    }
    let (case, now) = (sample_case(0), day(10.0));
    let all = forecast.answers_expected(&case, now, DAY);
    let shares = [0, 1, 2].map(|option| of_option(&forecast, &case, option, now).expected / all);
    assert!((shares[0] - 0.8).abs() < 0.05, "{shares:?}");
    assert!((shares[1] - 0.2).abs() < 0.05, "{shares:?}");
    assert!(shares[2] > 0.0 && shares[2] < 0.01, "{shares:?}");
}

#[test]
fn with_nothing_seen_nothing_is_expected() {
    assert_eq!(forecast().demand(&sample_case(0), day(1.0), DAY), []);
}

#[test]
fn of_several_right_options_the_right_set_and_those_chosen_are_expected() {
    let mut record = sample_record(0);
    record.answer_keys = vec!["A".into(), "C".into()];
    record.multi = Some(true);
    let case = Case {
        content: record.try_into().expect("it is well formed"),
        ..sample_case(0)
    };
    let mut forecast = forecast();
    forecast.see(&SeenAnswer {
        chosen: [1, 2].into_iter().collect(),
        is_correct: false,
        ..seen(0, 0, day(0.0))
    });
    let demand = forecast.demand(&case, day(0.0), DAY);
    let sets: Vec<_> = demand.iter().map(|choice| choice.chosen.bits()).collect();
    assert_eq!(sets, [0b101, 0b110]);
}

#[test]
fn languages_and_editions_are_told_apart_and_that_of_the_case_is_the_default() {
    let mut forecast = forecast();
    let french = "fr".parse().expect("it is a tag");
    for answer in 0..60 {
        let at = day(f64::from(answer) / 10.0);
        let plain = seen(0, 0, at);
        let english = Some(sample_case(0).content.locale());
        forecast.see(&plain);
        forecast.see(&SeenAnswer {
            locale: english,
            ..plain
        });
        if answer % 6 == 0 {
            let (locale, edition) = (Some(french), PromptVersion::new(7));
            forecast.see(&SeenAnswer {
                locale,
                edition,
                ..plain
            });
        }
    }
    let mut by_reader: BTreeMap<_, f64> = BTreeMap::new();
    for choice in forecast.demand(&sample_case(0), day(6.0), DAY) {
        let reader = (choice.locale.to_string(), choice.edition.get());
        *by_reader.entry(reader).or_default() += choice.demand.expected;
    }
    let readers: Vec<_> = by_reader.keys().cloned().collect();
    assert_eq!(readers, [("en".to_owned(), 1), ("fr".to_owned(), 7)]);
    let ratio = by_reader[&readers[0]] / by_reader[&readers[1]];
    assert!((10.0..14.0).contains(&ratio), "{ratio} of 12");
}

#[test]
fn choices_seldom_made_are_forgotten_when_there_are_too_many() {
    let config = ForecastConfig {
        choices_max: 100,
        ..ForecastConfig::default()
    };
    let mut forecast = Forecast::new(config).expect("it can work");
    for round in 0..50 {
        forecast.see(&seen(0, 0, day(f64::from(round))));
        for n in 0..40 {
            forecast.see(&seen(1 + round * 40 + n, 1, day(f64::from(round))));
            assert!(forecast.choices() <= 100, "{}", forecast.choices());
        }
    }
    let kept = of_option(&forecast, &sample_case(0), 0, day(50.0));
    assert!(kept.seen > 10.0, "{kept:?}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let good = ForecastConfig::default();
    for config in [
        ForecastConfig {
            half_life: Duration::ZERO,
            ..good
        },
        ForecastConfig {
            case_prior: 0.0,
            ..good
        },
        ForecastConfig {
            option_prior: f64::NAN,
            ..good
        },
        ForecastConfig {
            choices_max: 1,
            ..good
        },
    ] {
        let refused = Forecast::new(config).expect_err("it cannot work");
        assert_eq!(refused.kind(), ErrorKind::Invalid, "{config:?}");
    }
}

#[tokio::test]
async fn a_log_is_read_page_by_page_and_read_on() {
    let store = MemoryStore::new();
    let published = store.publish(vec![sample_content(0)], SAMPLE_START).await;
    let case_id = published.expect("it is well formed")[0].case_id;
    let case: Arc<Case> = store.find_case(case_id, None).await.unwrap().unwrap();
    let (one, other) = (sample_user_id(1), sample_user_id(2));
    for user_id in [one, other] {
        let user = User::new(user_id, UserKind::Guest, SAMPLE_START);
        store.ensure_user(user).await.unwrap();
    }
    let mut settings = medcards_core::user::UserSettings::default();
    settings.locale = Some("fr".parse().unwrap());
    store
        .update_settings(other, settings, SAMPLE_START)
        .await
        .unwrap();
    let record = async |from: std::ops::Range<i64>| {
        for n in from {
            let user_id = if n % 2 == 0 { one } else { other };
            let answer =
                sample_answer(user_id, &case, SAMPLE_START + Duration::from_secs(n as u64));
            store.record_answer(answer).await.unwrap();
        }
    };
    let edition = |settings: &medcards_core::user::UserSettings| {
        PromptVersion::new(if settings.locale.is_some() { 2 } else { 1 })
    };
    let (mut forecast, mut reading) = (forecast(), LogReading::new());
    let mut pages = Vec::new();
    record(0..2_500).await;
    reading
        .read_on(&store, &mut forecast, edition, |seen| pages.push(seen))
        .await
        .unwrap();
    assert_eq!(forecast.answers(), 2_500);
    assert_eq!(pages.len(), 3, "{pages:?}");
    record(2_500..2_600).await;
    reading
        .read_on(&store, &mut forecast, edition, |_| {})
        .await
        .unwrap();
    assert_eq!(forecast.answers(), 2_600);
    let demand = forecast.demand(&case, SAMPLE_START + DAY, DAY);
    let readers: std::collections::BTreeSet<_> = demand
        .iter()
        .filter(|choice| choice.demand.seen > 0.0)
        .map(|choice| (choice.locale.to_string(), choice.edition.get()))
        .collect();
    let expected = [("en".to_owned(), 1), ("fr".to_owned(), 2)];
    assert_eq!(readers.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn a_guess_is_less_certain_than_the_same_rate_that_was_seen() {
    let of = |seen| Demand {
        expected: 0.7,
        seen,
    };
    let (guessed, known) = (of(0.0).chance(), of(1e9).chance());
    assert!((known - (1.0 - (-0.7_f64).exp())).abs() < 1e-6, "{known}");
    assert!(guessed < known, "{guessed} and {known}");
}

proptest! {
    #[test]
    fn nothing_expected_is_negative_and_choices_add_up_to_their_case(
        answers in prop::collection::vec((0_u32..6, 0_usize..4, 0.0_f64..60.0), 0..200),
        after in 0.0_f64..60.0,
    ) {
        let mut forecast = forecast();
        for (n, option, at) in &answers {
            forecast.see(&seen(*n, *option, day(*at)));
        }
        let now = day(60.0 + after);
        for n in 0..8 {
            let case = sample_case(n);
            let all = forecast.answers_expected(&case, now, DAY);
            prop_assert!(all.is_finite() && all >= 0.0);
            let mut sum = 0.0;
            for choice in forecast.demand(&case, now, DAY) {
                prop_assert!(choice.demand.expected >= 0.0);
                prop_assert!((0.0..=1.0).contains(&choice.demand.chance()));
                prop_assert!(choice.demand.chance() <= choice.demand.expected + 1e-12);
                sum += choice.demand.expected;
            }
            prop_assert!(sum <= all * (1.0 + 1e-9), "{sum} of {all}");
        }
    }

    #[test]
    fn another_answer_never_makes_its_choice_less_expected(
        answers in prop::collection::vec((0_u32..6, 0_usize..4, 0.0_f64..60.0), 1..200),
    ) {
        let mut forecast = forecast();
        for (n, option, at) in &answers {
            forecast.see(&seen(*n, *option, day(*at)));
        }
        let (n, option, _) = answers[0];
        let (case, now) = (sample_case(n), day(60.0));
        let before = of_option(&forecast, &case, option, now);
        forecast.see(&seen(n, option, now));
        let after = of_option(&forecast, &case, option, now);
        prop_assert!(after.expected >= before.expected * (1.0 - 1e-9), "{before:?} {after:?}");
        prop_assert!(after.seen > before.seen);
    }

    #[test]
    fn the_same_answers_give_the_same_figures(
        answers in prop::collection::vec((0_u32..6, 0_usize..4, 0.0_f64..60.0), 1..100),
    ) {
        let read = || {
            let mut forecast = forecast();
            for (n, option, at) in &answers {
                forecast.see(&seen(*n, *option, day(*at)));
            }
            (0..6).map(|n| forecast.demand(&sample_case(n), day(61.0), DAY)).collect::<Vec<_>>()
        };
        prop_assert_eq!(read(), read());
    }

    #[test]
    fn more_time_brings_more_chance(expected in 0.0_f64..50.0, seen in 0.0_f64..100.0, part in 0.0_f64..1.0) {
        let demand = Demand { expected, seen };
        prop_assert!(demand.chance_within(part) <= demand.chance() + 1e-12);
    }
}
