use std::sync::Arc;
use std::time::Duration;

use medcards_core::ai::{AiFailure, BatchItem, Reply, StopReason};
use medcards_core::case::CaseStore;
use medcards_core::feedback::{
    FeedbackKey, Origin, PrecomputedStore, Review, ReviewDecision, ReviewState, Tier,
};
use medcards_core::memory::MemoryStore;
use medcards_core::precompute::{
    Advance, BatchReport, BatchStore, Demand, Forecast, ForecastConfig, KeyStatus, PlannedKey,
    PrecomputeConfig, Precomputer, SeenAnswer, WaitReason,
};
use medcards_core::spend::{
    MicroDollars, SpendBudget, SpendLedger, SpendQuery, SpendScope, SpendSum, TokenUsage,
};
use medcards_core::testing::{
    ManualClock, PlainPrompt, SAMPLE_START, ScriptedBatches, ScriptedProvider, sample_content,
    sample_user_id,
};
use medcards_core::time::Clock;
use medcards_core::user::Locale;
use medcards_core::{BatchId, Error, ErrorKind};

use super::fuse::{Fuse, Fused, FusedProvider, When};

const DAY: Duration = Duration::from_hours(24);
const NO_LIMIT: MicroDollars = MicroDollars::MAX;

/// What outlives a process: the store, and the provider.
struct World {
    store: MemoryStore,
    batches: ScriptedBatches,
    clock: Arc<ManualClock>,
    keys: Vec<PlannedKey>,
}

impl World {
    /// Three cases, the first two options of which are to be written.
    async fn new() -> Self {
        Self::answering(|batches| batches).await
    }

    async fn answering(with: impl FnOnce(ScriptedBatches) -> ScriptedBatches) -> Self {
        let store = MemoryStore::new();
        let clock = Arc::new(ManualClock::default());
        let batches = with(ScriptedBatches::new(Arc::clone(&clock) as _));
        let mut world = Self {
            store,
            batches,
            clock,
            keys: Vec::new(),
        };
        let contents = (0..3).map(sample_content).collect();
        let published = world
            .store
            .publish(contents, SAMPLE_START)
            .await
            .expect("it works");
        let process = world.process(&Fuse::new(None), SpendBudget::default());
        for publication in published {
            let case = world.store.find_case(publication.case_id, None).await;
            let case = case.expect("it works").expect("it works");
            for option in 0..2 {
                let key = FeedbackKey {
                    case_id: case.id,
                    case_version: case.version,
                    chosen: [option].into_iter().collect(),
                    locale: Locale::ENGLISH,
                    prompt_version: medcards_core::ai::PromptVersion::new(1),
                    model: "sample-model-1".parse().expect("it works"),
                };
                world.keys.push(PlannedKey {
                    cost: process.cost(&case, &key).expect("it works"),
                    key,
                    demand: Demand::default(),
                    live_calls: 1.0,
                });
            }
        }
        world
    }

    fn process(&self, fuse: &Arc<Fuse>, spend_budget: SpendBudget) -> Precomputer {
        let fused = |inner| {
            Arc::new(Fused {
                inner,
                fuse: Arc::clone(fuse),
            })
        };
        let provider = FusedProvider {
            provider: ScriptedProvider::new(),
            batches: Fused {
                inner: self.batches.clone(),
                fuse: Arc::clone(fuse),
            },
        };
        let store = self.store.clone();
        Precomputer::new(
            PrecomputeConfig {
                spend_budget,
                ..PrecomputeConfig::default()
            },
            Arc::new(store.clone()),
            fused(store.clone()),
            fused(store.clone()),
            fused(store),
            Arc::new(provider),
            Arc::new(PlainPrompt::default()),
            Arc::clone(&self.clock) as _,
        )
        .expect("it works")
    }

    fn alone(&self) -> Precomputer {
        self.process(&Fuse::new(None), SpendBudget::default())
    }

    /// Goes on with a batch until it is closed, letting time pass and the provider work.
    async fn drive(&self, process: &Precomputer, batch: BatchId) -> Option<BatchReport> {
        for _ in 0..10 {
            match process.advance(batch).await.expect("it works") {
                Advance::Closed(report) => return Some(report),
                Advance::Refused => return None,
                Advance::Waiting(WaitReason::Provider { .. }) => self.batches.end_all(),
                Advance::Waiting(_) => {
                    self.clock.advance(Duration::from_mins(15));
                    self.batches.end_all();
                }
            }
        }
        panic!("the batch is never closed");
    }

    /// What a program does when it is started: what is open first, then what is missing.
    async fn run(&self, process: &Precomputer) {
        for record in process.open_batches().await.expect("it works") {
            self.drive(process, record.id).await;
        }
        let mut missing = Vec::new();
        for planned in &self.keys {
            if self
                .store
                .find_feedback(&planned.key)
                .await
                .expect("it works")
                .is_none()
            {
                missing.push(planned.clone());
            }
        }
        if !missing.is_empty() {
            let begun = process.begin(&missing, NO_LIMIT).await.expect("it works");
            self.drive(process, begun.batch.expect("it works")).await;
        }
    }

    async fn sum(&self) -> SpendSum {
        let month = SpendScope::Month(
            self.clock
                .now()
                .to_zoned(jiff_utc())
                .date()
                .first_of_month(),
        );
        self.store.sums(&[month]).await.expect("it works")[0]
    }

    /// Everything is there, was bought once, and is booked.
    async fn assert_done_once(&self, what: &str) {
        for planned in &self.keys {
            let kept = self
                .store
                .find_feedback(&planned.key)
                .await
                .expect("it works");
            let kept = kept.unwrap_or_else(|| panic!("{what}: {} is missing", planned.key));
            assert_eq!(kept.origin, Origin::Batch, "{what}");
            assert_eq!(kept.review, ReviewState::Unreviewed, "{what}");
        }
        let bought = self.batches.item_names();
        assert_eq!(bought.len(), self.keys.len(), "{what}: {bought:?}");
        let sum = self.sum().await;
        assert_eq!(sum.set_aside, MicroDollars::ZERO, "{what}");
        assert_eq!(sum.spent, self.batches.billed(), "{what}");
        assert_eq!(
            self.store.list_open_batches(9).await.expect("it works"),
            [],
            "{what}"
        );
    }
}

fn jiff_utc() -> medcards_core::jiff::tz::TimeZone {
    medcards_core::jiff::tz::TimeZone::UTC
}

#[tokio::test]
async fn a_plan_is_written_kept_and_paid_at_the_price_of_batches() {
    let world = World::new().await;
    let process = world.alone();
    let begun = process
        .begin(&world.keys, NO_LIMIT)
        .await
        .expect("it works");
    assert_eq!(begun.done, 6);
    let batch = begun.batch.expect("it works");
    let reserved: MicroDollars = world.keys.iter().map(|key| key.cost.batch_max).sum();
    assert_eq!(world.sum().await.set_aside, reserved);
    let waiting = process.advance(batch).await.expect("it works");
    let reason = WaitReason::Provider { done: 0, total: 6 };
    assert_eq!(waiting, Advance::Waiting(reason));
    let report = world.drive(&process, batch).await.expect("it works");
    assert_eq!((report.len, report.written), (6, 6));
    assert_eq!(
        (report.cost, report.reserved),
        (world.batches.billed(), reserved)
    );
    world.assert_done_once("undisturbed").await;
    let query = SpendQuery {
        from: medcards_core::jiff::civil::Date::MIN,
        to: medcards_core::jiff::civil::Date::MAX,
        by_case: false,
    };
    let rows = world.store.totals(&query).await.expect("it works");
    assert_eq!((rows.len(), rows[0].tier), (1, Tier::Precomputed));
    let kept = world
        .store
        .find_feedback(&world.keys[0].key)
        .await
        .expect("it works");
    let each = kept.expect("it works").cost;
    assert!(each > MicroDollars::ZERO && each < world.keys[0].cost.live);
}

/// The heart of the matter: a process that is killed before or after any call of any backend.
#[tokio::test]
async fn killed_at_any_step_it_goes_on_and_pays_once() {
    let undisturbed = {
        let world = World::new().await;
        let fuse = Fuse::new(None);
        world
            .run(&world.process(&fuse, SpendBudget::default()))
            .await;
        world.assert_done_once("undisturbed").await;
        fuse.calls()
    };
    assert!(
        undisturbed > 15,
        "{undisturbed} steps are too few to be all"
    );
    for step in 1..=undisturbed {
        for when in [When::Before, When::After] {
            let world = World::new().await;
            let fuse = Fuse::new(Some((step, when)));
            let process = world.process(&fuse, SpendBudget::default());
            tokio::select! {
                () = world.run(&process) => panic!("step {step} was never taken"),
                () = fuse.blown() => {}
            }
            drop(process);
            world.run(&world.alone()).await;
            world
                .assert_done_once(&format!("killed {when:?} step {step}"))
                .await;
        }
    }
}

#[tokio::test]
async fn killed_twice_at_any_two_steps_it_pays_once() {
    for first in 1..=24 {
        for second in 1..=24 {
            let world = World::new().await;
            for step in [first, second] {
                let fuse = Fuse::new(Some((step, When::After)));
                let process = world.process(&fuse, SpendBudget::default());
                tokio::select! {
                    () = world.run(&process) => {}
                    () = fuse.blown() => {}
                }
            }
            world.run(&world.alone()).await;
            world
                .assert_done_once(&format!("killed after {first}, then {second}"))
                .await;
        }
    }
}

#[tokio::test]
async fn an_orphan_in_progress_is_waited_for_and_not_bought_again() {
    let world = World::new().await;
    let process = world.alone();
    // Another program's batch, and ours, whose name was lost.
    let batch = process
        .begin(&world.keys, NO_LIMIT)
        .await
        .expect("it works")
        .batch;
    let batch = batch.expect("it works");
    let items = world.batches.item_names();
    drop(process);
    // The same intent in a store that never heard the name.
    let lost = World {
        store: MemoryStore::new(),
        batches: world.batches.clone(),
        clock: Arc::clone(&world.clock),
        keys: world.keys.clone(),
    };
    let contents = (0..3).map(sample_content).collect();
    lost.store
        .publish(contents, SAMPLE_START)
        .await
        .expect("it works");
    let record = world
        .store
        .find_batch(batch)
        .await
        .expect("it works")
        .expect("it works");
    let intent = medcards_core::precompute::BatchIntent {
        id: record.id,
        model: record.model,
        keys: world.store.batch_keys(batch).await.expect("it works"),
        reservation: record.reservation,
        day: record.day,
        amount: record.amount,
        opened_at: record.opened_at,
    };
    lost.store.open_batch(&intent).await.expect("it works");
    lost.store
        .claim_batch(batch, 0, world.clock.now())
        .await
        .expect("it works");
    let process = lost.alone();
    for _ in 0..3 {
        // Long after the patience, because it is in progress and may be ours.
        world.clock.advance(Duration::from_hours(2));
        let waiting = process.advance(batch).await.expect("it works");
        assert!(matches!(
            waiting,
            Advance::Waiting(WaitReason::Submission { .. })
        ));
    }
    world.batches.end_all();
    let report = process.advance(batch).await.expect("it works");
    assert!(matches!(report, Advance::Closed(report) if report.len == 6));
    assert_eq!(
        world.batches.item_names(),
        items,
        "nothing was bought again"
    );
}

#[tokio::test]
async fn rejected_and_failed_replies_are_counted_and_not_kept() {
    let world = World::answering(|batches| {
        batches.with_answers(|item: &BatchItem| {
            let usage = TokenUsage {
                input: 100,
                output: 50,
                ..TokenUsage::default()
            };
            let reply = Reply {
                text: "Words that may be shown.".to_owned(),
                stop: StopReason::Complete,
                usage,
                model: "sample-model-1".parse().expect("it works"),
                cost: MicroDollars::ZERO,
            };
            match item.name.rsplit_once('-').expect("it works").1 {
                "0" => Ok(Reply {
                    stop: StopReason::Refusal,
                    ..reply
                }),
                "1" => Ok(Reply {
                    text: String::new(),
                    ..reply
                }),
                "2" => Ok(Reply {
                    model: "another-model".parse().expect("it works"),
                    ..reply
                }),
                "3" => {
                    let error = Error::new(ErrorKind::Unavailable, "write", "it expired");
                    Err(AiFailure::free(error))
                }
                _ => Ok(reply),
            }
        })
    })
    .await;
    let process = world.alone();
    let batch = process
        .begin(&world.keys, NO_LIMIT)
        .await
        .expect("it works")
        .batch;
    let report = world
        .drive(&process, batch.expect("it works"))
        .await
        .expect("it works");
    assert_eq!(report.written, 2);
    let rejected: Vec<_> = report.rejected.into_iter().collect();
    let expected = [
        ("another model answered".to_owned(), 1),
        ("the model refused".to_owned(), 1),
        ("the reply is too short".to_owned(), 1),
    ];
    assert_eq!(rejected, expected);
    assert_eq!(
        report.failed.into_iter().collect::<Vec<_>>(),
        [("it expired".to_owned(), 1)]
    );
    // Five replies of 100 tokens read at 0.5 and 50 written at 2.5 micro-dollars.
    assert_eq!(report.cost, MicroDollars::new(5 * 175));
    assert_eq!(world.sum().await.spent, report.cost);
    for (n, planned) in world.keys.iter().enumerate() {
        let kept = world
            .store
            .find_feedback(&planned.key)
            .await
            .expect("it works");
        assert_eq!(kept.is_some(), n > 3, "{n}");
    }
}

#[tokio::test]
async fn what_a_reviewer_withdrew_meanwhile_stays_withdrawn() {
    let world = World::new().await;
    let process = world.alone();
    let key = &world.keys[0].key;
    let feedback = medcards_core::testing::sample_feedback("Wrong words.");
    world
        .store
        .put_feedback(key, &feedback)
        .await
        .expect("it works");
    let batch = process
        .begin(&world.keys, NO_LIMIT)
        .await
        .expect("it works")
        .batch;
    let review = Review {
        decision: ReviewDecision::Withdraw,
        reviewer: sample_user_id(1),
        reviewed_at: SAMPLE_START,
    };
    world
        .store
        .review_feedback(key, review)
        .await
        .expect("it works");
    world
        .drive(&process, batch.expect("it works"))
        .await
        .expect("it works");
    let kept = world
        .store
        .find_feedback(key)
        .await
        .expect("it works")
        .expect("it works");
    assert_eq!(kept.review, ReviewState::Withdrawn);
    assert_eq!(kept.text, "Wrong words.");
}

#[tokio::test]
async fn two_processes_at_once_buy_each_key_once() {
    let world = Arc::new(World::new().await);
    let both = [world.alone(), world.alone()].map(|process| {
        let world = Arc::clone(&world);
        tokio::spawn(async move {
            process
                .begin(&world.keys, NO_LIMIT)
                .await
                .expect("it works")
        })
    });
    let mut begun = Vec::new();
    for one in both {
        begun.push(one.await.expect("it works"));
    }
    let batches: Vec<_> = begun.iter().filter_map(|begun| begun.batch).collect();
    assert_eq!(batches.len(), 1, "{begun:?}");
    world.drive(&world.alone(), batches[0]).await;
    world.assert_done_once("two at once").await;
}

#[tokio::test]
async fn two_processes_that_resume_at_once_hand_in_once() {
    let world = Arc::new(World::new().await);
    let fuse = Fuse::new(Some((3, When::After)));
    let process = world.process(&fuse, SpendBudget::default());
    tokio::select! {
        () = world.run(&process) => panic!("it was to be stopped"),
        () = fuse.blown() => {}
    }
    let open = world.store.list_open_batches(9).await.expect("it works");
    let batch = open[0].id;
    let both = [world.alone(), world.alone()].map(|process| {
        tokio::spawn(async move { process.advance(batch).await.expect("it works") })
    });
    for one in both {
        one.await.expect("it works");
    }
    world.drive(&world.alone(), batch).await;
    world.assert_done_once("resumed by two").await;
    assert_eq!(world.batches.created(), 1);
}

#[tokio::test]
async fn the_spend_budget_is_kept_and_what_it_allows_is_bought() {
    let world = World::new().await;
    let each = world.keys[0].cost.batch_max;
    // Enough for two, and three are asked for after six.
    let budget = SpendBudget::of_day(each + each + MicroDollars::new(10));
    let process = world.process(&Fuse::new(None), budget);
    let begun = process
        .begin(&world.keys, NO_LIMIT)
        .await
        .expect("it works");
    assert!((1..=2).contains(&begun.done), "{begun:?}");
    let sum = world.sum().await;
    assert!(sum.set_aside <= each + each + MicroDollars::new(10));
    world
        .drive(&process, begun.batch.expect("it works"))
        .await
        .expect("it works");

    let nothing = world.process(&Fuse::new(None), SpendBudget::of_day(MicroDollars::ZERO));
    let begun = nothing
        .begin(&world.keys[3..], NO_LIMIT)
        .await
        .expect("it works");
    assert_eq!((begun.batch, begun.done), (None, 0));
    assert_eq!(
        world.store.list_open_batches(9).await.expect("it works"),
        []
    );
    assert_eq!(world.sum().await.set_aside, MicroDollars::ZERO);
}

#[tokio::test]
async fn no_more_is_bought_than_the_limit_of_the_run() {
    let world = World::new().await;
    let process = world.alone();
    let limit = world.keys[0].cost.batch_max + world.keys[1].cost.batch_max;
    let begun = process.begin(&world.keys, limit).await.expect("it works");
    assert_eq!(begun.done, 2);
    let begun = process.begin(&world.keys[2..], MicroDollars::ZERO).await;
    assert_eq!(begun.expect("it works").batch, None);
}

#[tokio::test]
async fn a_cancelled_batch_frees_its_money_and_its_keys() {
    let world = World::new().await;
    let process = world.alone();
    let batch = process
        .begin(&world.keys, NO_LIMIT)
        .await
        .expect("it works")
        .batch;
    let batch = batch.expect("it works");
    let Advance::Closed(report) = process.cancel(batch).await.expect("it works") else {
        panic!("it is closed");
    };
    assert_eq!((report.written, report.cost), (0, MicroDollars::ZERO));
    assert_eq!(world.sum().await, SpendSum::default());
    world.run(&process).await;
    world
        .assert_done_once("bought after it was cancelled")
        .await;
}

#[tokio::test]
async fn a_batch_cancelled_while_nobody_knows_whether_it_exists_is_let_go() {
    for step in 1..=8 {
        let world = World::new().await;
        let fuse = Fuse::new(Some((step, When::After)));
        let process = world.process(&fuse, SpendBudget::default());
        tokio::select! {
            () = world.run(&process) => panic!("it was to be stopped"),
            () = fuse.blown() => {}
        }
        let process = world.alone();
        for record in process.open_batches().await.expect("it works") {
            for _ in 0..9 {
                if let Advance::Closed(_) = process.cancel(record.id).await.expect("it works") {
                    break;
                }
                world.clock.advance(Duration::from_mins(15));
                world.batches.end_all();
            }
        }
        assert_eq!(
            world.store.list_open_batches(9).await.expect("it works"),
            []
        );
        let sum = world.sum().await;
        assert_eq!(sum.set_aside, MicroDollars::ZERO, "after step {step}");
        assert_eq!(sum.spent, world.batches.billed(), "after step {step}");
    }
}

#[tokio::test]
async fn a_batch_of_yesterday_that_nobody_claimed_is_let_go() {
    let world = World::new().await;
    // Stopped when the money is set aside: list, open, find, reserve.
    let fuse = Fuse::new(Some((4, When::After)));
    let process = world.process(&fuse, SpendBudget::default());
    tokio::select! {
        () = world.run(&process) => panic!("it was to be stopped"),
        () = fuse.blown() => {}
    }
    assert!(world.sum().await.set_aside > MicroDollars::ZERO);
    world.clock.advance(DAY);
    let open = world.store.list_open_batches(9).await.expect("it works");
    let closed = world.alone().advance(open[0].id).await.expect("it works");
    assert!(matches!(closed, Advance::Closed(report) if report.cost == MicroDollars::ZERO));
    assert_eq!(world.sum().await, SpendSum::default());
    assert_eq!(world.batches.created(), 0);
}

#[tokio::test]
async fn a_batch_claimed_yesterday_that_was_never_handed_in_is_let_go() {
    let world = World::new().await;
    // Stopped when it is claimed: list, open, find, reserve, claim.
    let fuse = Fuse::new(Some((5, When::After)));
    let process = world.process(&fuse, SpendBudget::default());
    tokio::select! {
        () = world.run(&process) => panic!("it was to be stopped"),
        () = fuse.blown() => {}
    }
    let open = world.store.list_open_batches(9).await.expect("it works");
    assert_eq!(open[0].attempt, 1);
    world.clock.advance(DAY);
    let closed = world.alone().advance(open[0].id).await.expect("it works");
    assert!(matches!(closed, Advance::Closed(report) if report.cost == MicroDollars::ZERO));
    assert_eq!(
        world.batches.created(),
        0,
        "another day's budget did not allow it"
    );
    assert_eq!(world.sum().await, SpendSum::default());
}

#[tokio::test]
async fn candidates_say_what_is_there_under_way_withdrawn_and_given_up() {
    let refusing = |item: &BatchItem| {
        let usage = TokenUsage::default();
        let is_first = item.name.ends_with("-0");
        Ok(Reply {
            text: "Words.".to_owned(),
            stop: match is_first {
                true => StopReason::Refusal,
                false => StopReason::Complete,
            },
            usage,
            model: "sample-model-1".parse().expect("it works"),
            cost: MicroDollars::ZERO,
        })
    };
    let world = World::answering(|batches| batches.with_answers(refusing)).await;
    let process = world.alone();
    let key = |n: usize| &world.keys[n].key;
    let mut forecast = Forecast::new(ForecastConfig::default()).expect("it works");
    for planned in &world.keys {
        for _ in 0..9 {
            forecast.see(&SeenAnswer {
                case_id: planned.key.case_id,
                case_version: planned.key.case_version,
                chosen: planned.key.chosen,
                is_correct: false,
                locale: None,
                edition: planned.key.prompt_version,
                at: world.clock.now(),
            });
        }
    }
    // The first is refused twice, and the second written.
    for _ in 0..2 {
        let begun = process
            .begin(&world.keys[..1], NO_LIMIT)
            .await
            .expect("it works");
        world.drive(&process, begun.batch.expect("it works")).await;
    }
    let filler = [&world.keys[..1], &world.keys[1..2]].concat();
    let begun = process.begin(&filler, NO_LIMIT).await.expect("it works");
    world.drive(&process, begun.batch.expect("it works")).await;
    let feedback = medcards_core::testing::sample_feedback("Wrong words.");
    world
        .store
        .put_feedback(key(2), &feedback)
        .await
        .expect("it works");
    let review = Review {
        decision: ReviewDecision::Withdraw,
        reviewer: sample_user_id(1),
        reviewed_at: SAMPLE_START,
    };
    world
        .store
        .review_feedback(key(2), review)
        .await
        .expect("it works");
    process
        .begin(&world.keys[3..4], NO_LIMIT)
        .await
        .expect("it works");

    let candidates = process
        .candidates(&forecast, 7 * DAY, |_| {})
        .await
        .expect("it works");
    let status = |n: usize| {
        let found = candidates.iter().find(|candidate| candidate.key == *key(n));
        found.expect("it is expected").status
    };
    let expected = [
        KeyStatus::GivenUp,
        KeyStatus::Kept,
        KeyStatus::Withdrawn,
        KeyStatus::InBatch,
        KeyStatus::Missing,
        KeyStatus::Missing,
    ];
    assert_eq!([0, 1, 2, 3, 4, 5].map(status), expected);
    let all = candidates.len();
    assert_eq!(all, 12, "each option of each case, also those nobody took");
    let missing = candidates
        .iter()
        .filter(|candidate| candidate.status == KeyStatus::Missing);
    assert!(missing.clone().count() > 1);
    assert!(missing.into_iter().all(|candidate| {
        let cost = candidate.cost;
        cost.batch < cost.live && cost.batch < cost.batch_max
    }));
}

#[tokio::test]
async fn a_provider_without_batches_is_refused() {
    let store = Arc::new(MemoryStore::new());
    let refused = Precomputer::new(
        PrecomputeConfig::default(),
        Arc::clone(&store) as _,
        Arc::clone(&store) as _,
        Arc::clone(&store) as _,
        store,
        Arc::new(ScriptedProvider::new()),
        Arc::new(PlainPrompt::default()),
        Arc::new(ManualClock::default()),
    );
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
}
