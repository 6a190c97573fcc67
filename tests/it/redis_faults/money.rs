//! One budget for several servers.

use futures_util::future::join_all;
use medcards_tests::redis::RedisServer;

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

async fn three_servers_never_spend_more_than_one_may(redis: &str) {
    let model = Model::start(Mood::Writes).await;
    let budget = format!("$0.{BUDGET:06}/day");
    let fleet = Fleet::start(redis, &model, &[("MEDCARDS_SPEND_BUDGET", &budget)]).await;
    let choices = choices(&fleet).await;
    let mut calls = 0;
    let mut authored = 0;
    for wave in choices.chunks(CALLERS) {
        let origins = origins(&fleet, wave).await;
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
    let calls = model.calls();
    assert!(calls > 0 && authored > CALLERS, "{calls} calls, {authored}");
    report(&format!(
        "three servers made {calls} calls for {} of {BUDGET} millionths of a dollar; the author \
         spoke {authored} times\n",
        calls * CALL_COST,
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_budget_is_not_exceeded_by_many_at_once() {
    let redis = RedisServer::start();
    three_servers_never_spend_more_than_one_may(&redis.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_budget_is_not_exceeded_without_redis() {
    let redis = RedisServer::start();
    redis.kill();
    three_servers_never_spend_more_than_one_may(&redis.url()).await;
}
