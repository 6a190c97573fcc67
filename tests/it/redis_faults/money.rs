//! One budget for several servers.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join_all};
use medcards_core::jiff::tz::TimeZone;
use medcards_core::spend::SpendScope;
use medcards_core::store::Store;
use medcards_core::time::{Clock, SystemClock};
use medcards_tests::redis::RedisServer;

use tokio::sync::watch;
use tokio::time::sleep;

use super::load::Choice;
use super::{assert_spent, choices, is_without_money, report};
use crate::harness::{CALL_COST, Fleet, Model, Mood, SERVERS, until};

/// How many ask at once, for different feedback each.
const CALLERS: usize = 64;

/// What may be spent, in millionths of a dollar.
const BUDGET: u64 = 40 * CALL_COST;

/// More than is set aside for any of these calls, which have some kilobytes of prompt.
const DEAREST: u64 = 12_000;

/// Asks for the feedback on each of the choices at once, the servers in turn, and returns who wrote
/// each.
async fn origins(fleet: &Fleet, choices: &[Choice]) -> Vec<String> {
    let asking = choices.iter().enumerate().map(|(n, choice)| async move {
        let server = &fleet.servers[n % SERVERS];
        let student = server.client().student();
        let answer = student.answer(&choice.case_id, &[&choice.option]).await;
        let feedback = student
            .feedback(answer.expect(201)["id"].as_str().unwrap())
            .await;
        assert!(!feedback["text"].as_str().unwrap().is_empty(), "{feedback}");
        let origin = feedback["origin"].as_str().unwrap().to_owned();
        assert!(
            origin == "live" || is_without_money(&feedback),
            "{feedback}"
        );
        origin
    });
    join_all(asking).await
}

/// How often the database is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Looks at the day and the month in the database, over and over, until it is told to stop: at no
/// moment is more spent and set aside than may be. Returns how often it looked, and the most it saw.
async fn look_on(store: Arc<dyn Store>, is_over: watch::Receiver<bool>) -> (u64, u64) {
    let (mut looks, mut most) = (0, 0);
    while !*is_over.borrow() {
        let today = SystemClock::new().now().to_zoned(TimeZone::UTC).date();
        let sums = store.sums(&SpendScope::of(today, None, None)).await;
        for sum in sums.unwrap() {
            let used = sum.spent.get() + sum.set_aside.get();
            assert!(used <= BUDGET, "{sum:?} of {BUDGET}");
            most = most.max(used);
        }
        looks += 1;
        // The servers share this machine.
        sleep(LOOK_INTERVAL).await;
    }
    (looks, most)
}

/// Redis is killed while the first wave is under way, if it is given.
async fn three_servers_never_spend_more_than_one_may(redis: &str, killed: Option<&RedisServer>) {
    let model = Model::start(Mood::Writes).await;
    let budget = format!("$0.{BUDGET:06}/day,$0.{BUDGET:06}/month");
    let fleet = Fleet::start(redis, &model, &[("MEDCARDS_SPEND_BUDGET", &budget)]).await;
    let choices = choices(&fleet).await;
    let (over, is_over) = watch::channel(false);
    let watching = tokio::spawn(look_on(fleet.home.store().await, is_over));
    let mut calls = 0;
    let mut authored = 0;
    for (n, wave) in choices.chunks(CALLERS).enumerate() {
        let killing = async {
            if let Some(redis) = killed.filter(|_| n == 0) {
                until("the first calls are made", async || {
                    (model.calls() > 0).then_some(())
                })
                .await;
                redis.kill();
            }
        };
        let (origins, ()) = join(origins(&fleet, wave), killing).await;
        let live = origins.iter().filter(|origin| *origin == "live").count();
        authored += origins
            .iter()
            .filter(|origin| *origin == "authored")
            .count();
        assert_eq!(model.calls(), calls + live as u64, "{origins:?}");
        calls = model.calls();
        assert_spent(&fleet, &model, BUDGET).await;
    }
    // One after the other they get what is left, once all that was set aside is free.
    let mut turns = choices.iter().cycle();
    until("nothing is left for a call", async || {
        let choice = turns.next()?;
        let is_refused = origins(&fleet, std::slice::from_ref(choice)).await == ["authored"];
        let left = BUDGET - model.calls() * CALL_COST;
        (is_refused && left < DEAREST).then_some(())
    })
    .await;
    assert_spent(&fleet, &model, BUDGET).await;
    over.send_replace(true);
    let (looks, most) = watching.await.unwrap();
    assert!(
        looks > 0 && most > BUDGET - DEAREST,
        "{looks} looks, {most}"
    );
    let calls = model.calls();
    assert!(calls > 0 && authored > CALLERS, "{calls} calls, {authored}");
    report(&format!(
        "three servers made {calls} calls for {} of {BUDGET} millionths of a dollar; the author \
         spoke {authored} times; {looks} looks saw {most} at most\n",
        calls * CALL_COST,
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_budget_is_not_exceeded_by_many_at_once() {
    let redis = RedisServer::start();
    three_servers_never_spend_more_than_one_may(&redis.url(), None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_budget_is_not_exceeded_while_redis_dies() {
    let redis = RedisServer::start();
    three_servers_never_spend_more_than_one_may(&redis.url(), Some(&redis)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_budget_is_not_exceeded_without_redis() {
    let redis = RedisServer::start();
    redis.kill();
    three_servers_never_spend_more_than_one_may(&redis.url(), None).await;
}
