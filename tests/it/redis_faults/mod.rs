//! What happens to Redis while students study: no request fails because of it, nobody is allowed more
//! than is stated, and nothing is lost or comes back.

mod desk;
mod fault;
mod load;
mod money;
mod record;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use medcards_core::feedback::FeedbackKey;
use medcards_tests::redis::RedisServer;
use serde_json::Value;
use tokio::task::{block_in_place, spawn_blocking};

use self::desk::Desk;
use self::fault::{FailedOver, Fault, Filled, Flushed, Killed, NodeLost, Paused};
use self::load::{Choice, Load, QUOTA, Studied};
use self::record::Phase;
use crate::harness::{
    CALL_COST, Fleet, Model, Mood, SERVERS, Student, admin_token, figure, measure, until,
};
use crate::kill::logged_answers;

/// What may be spent, in millionths of a dollar: less than all choices cost.
const BUDGET: u64 = 200 * CALL_COST;

/// How many choices are made before it happens, and how many until it is over, so that live calls are
/// made all the time.
const OPEN: [usize; 2] = [60, 120];

/// How many requests end in each phase at least.
const REQUESTS: u64 = 500;

/// For how long a withdrawn feedback may be found elsewhere at most.
const STALE_MAX: Duration = Duration::from_secs(60);

macro_rules! faults {
    ($($name:ident: $fault:ty,)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            nobody_is_hurt_by::<$fault>(stringify!($name)).await;
        }
    )*};
}

faults! {
    redis_is_killed_and_comes_back_empty: Killed,
    redis_is_paused: Paused,
    redis_is_full: Filled,
    redis_is_flushed: Flushed,
    the_sentinels_fail_over: FailedOver,
    a_node_of_the_cluster_is_lost: NodeLost,
}

async fn nobody_is_hurt_by<F: Fault>(name: &str) {
    let fault = Arc::new(spawn_blocking(F::start).await.unwrap());
    let model = Model::start(Mood::Writes).await;
    let scene = Scene::set(&fault.url(), &model).await;
    let choices = scene.choices[1..].to_vec();
    let mut load = Load::begin(&scene.fleet, choices.clone(), OPEN[0]);
    load.goes_on(REQUESTS).await;
    let calls_before = model.calls();

    load.records().turn_to(Phase::During);
    load.open(OPEN[1]);
    block_in_place(|| fault.happen());
    let happened = Instant::now();
    if F::IS_NOTICED {
        until("all servers notice it", async || {
            let away = scene.fleet.total("medcards_redis_is_away").await;
            (away == SERVERS as u64).then_some(())
        })
        .await;
    }
    scene.desk.withdraw(&scene.key).await;
    let withdrawn = Instant::now();
    load.goes_on(REQUESTS).await;
    let ending = Arc::clone(&fault);
    spawn_blocking(move || ending.end()).await.unwrap();
    let lasted = happened.elapsed();
    let calls_during = model.calls();
    assert!(calls_during > calls_before, "live calls go on");

    load.records().turn_to(Phase::After);
    load.open(choices.len());
    let (back, gone) = tokio::join!(scene.redis_is_used_again(), async {
        scene.withdrawn_is_gone().await;
        withdrawn.elapsed()
    });
    assert!(gone <= STALE_MAX, "withdrawn words were found for {gone:?}");
    until("the money is spent", async || {
        (load.without_money() > 0).then_some(())
    })
    .await;
    load.goes_on(REQUESTS).await;
    let studied = load.end().await;
    let away = away_seconds(&scene.fleet).await;
    report(&format!(
        "{name}: lasted {lasted:.1?}, servers counted Redis as away for {away:.1?} s, were connected \
         {back:.1?} after its end, withdrawn words were gone after {gone:.1?}; {} live calls for {} \
         of {BUDGET} millionths of a dollar\n{}",
        model.calls(),
        model.calls() * CALL_COST,
        load.records().figures(),
    ));

    let failures = load.records().failures();
    assert!(
        failures.is_empty(),
        "{} failed: {failures:#?}",
        failures.len()
    );
    assert_limits_held(&load, 2 + F::LOSSES);
    scene.withdrawn_is_gone().await;
    assert_spent(&scene.fleet, &model, BUDGET).await;
    scene.assert_sessions(&studied).await;
    scene.assert_kept(studied).await;
}

/// Only those who hammer are refused, and they are allowed no more than so many quotas in a window.
fn assert_limits_held(load: &Load, quotas: u64) {
    let (limit, window) = QUOTA;
    let limited = load.records().limited();
    let who: Vec<_> = limited.keys().copied().collect();
    assert_eq!(who, Load::hammers().collect::<Vec<_>>(), "{limited:?}");
    for who in who {
        let allowed = load.records().most_allowed(who, window);
        let fair = limit / 2..=quotas * limit;
        assert!(fair.contains(&allowed), "{allowed} of {limit}");
        report(&format!(
            "  One who hammers was refused {} times, and allowed {allowed} in {window:?} at most, of \
             {limit}\n",
            limited[&who],
        ));
    }
}

/// Servers and what is known of them before anything happens.
struct Scene {
    fleet: Fleet,
    desk: Desk,
    /// All choices there are.
    choices: Vec<Choice>,
    /// The one of which the words are withdrawn, and where they are shown.
    key: FeedbackKey,
    witness: Student,
    path: String,
}

impl Scene {
    /// Starts the servers, and lets each keep the words that are to be withdrawn.
    async fn set(redis: &str, model: &Model) -> Self {
        let budget = format!("$0.{BUDGET:06}/day");
        let (limit, window) = QUOTA;
        let quota = format!("{limit}/{}s", window.as_secs());
        let settings = [
            ("MEDCARDS_SPEND_BUDGET", &*budget),
            ("MEDCARDS_RATE_LIMIT", &quota),
            ("MEDCARDS_LOGIN_LIMIT", "off"),
            ("MEDCARDS_AI_LIMIT", "off"),
        ];
        let fleet = Fleet::start(redis, model, &settings).await;
        let desk = Desk::open(fleet.home.store().await, redis).await;
        let choices = choices(&fleet).await;
        let witness = fleet.student();
        let Choice { case_id, option } = &choices[0];
        let answer = witness.answer(case_id, &[option]).await.expect(201);
        let path = format!("/v1/answers/{}/feedback", answer["id"].as_str().unwrap());
        for server in &fleet.servers {
            let witness = witness.at(server.url());
            until("each server has the words", async || {
                let feedback = witness.get(&path).await.expect(200);
                assert_eq!(feedback["origin"], "live", "{feedback}");
                (feedback["tier"] == "local").then_some(())
            })
            .await;
        }
        // The servers and the desk.
        let processes = SERVERS as u64 + 1;
        until("the servers know of each other", async || {
            let known = fleet.total("medcards_redis_processes").await;
            (known == processes * SERVERS as u64).then_some(())
        })
        .await;
        Self {
            key: desk.only_key_of(case_id).await,
            fleet,
            desk,
            choices,
            witness,
            path,
        }
    }

    /// Waits until each server counts in Redis, and finds feedback and sessions there. Returns how
    /// long it took until each was connected.
    async fn redis_is_used_again(&self) -> Duration {
        const COUNTED: u64 = 20;
        const OWN: &str = "medcards_limit_decisions_total{place=\"process\"}";
        const USES: [&str; 3] = [
            "medcards_limit_decisions_total{place=\"redis\"}",
            "medcards_redis_cache_looks_total{outcome=\"hit\"}",
            "medcards_session_lookups_total{from=\"redis\"}",
        ];
        let began = Instant::now();
        until("all servers are connected again", async || {
            let away = self.fleet.total("medcards_redis_is_away").await;
            (away == 0).then_some(())
        })
        .await;
        let connected = began.elapsed();
        for server in &self.fleet.servers {
            until("Redis counts the limits of a server again", async || {
                let before = [figure(server, USES[0]).await, figure(server, OWN).await];
                until("more is counted", async || {
                    (figure(server, USES[0]).await > before[0] + COUNTED).then_some(())
                })
                .await;
                // On a busy machine Redis may be too late for one of them.
                (figure(server, OWN).await < before[1] + COUNTED / 2).then_some(())
            })
            .await;
            for name in USES {
                let before = figure(server, name).await;
                until(name, async || {
                    (figure(server, name).await > before).then_some(())
                })
                .await;
            }
        }
        connected
    }

    /// Waits until no server shows the withdrawn words.
    async fn withdrawn_is_gone(&self) {
        until("withdrawn words are gone", async || {
            for server in &self.fleet.servers {
                let feedback = self.witness.at(server.url()).get(&self.path).await;
                if feedback.status == 429 || feedback.expect(200)["origin"] != "authored" {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// Sessions that ended before it happened stay ended, and the others go on, at all servers.
    async fn assert_sessions(&self, studied: &[Studied]) {
        let mut ended = 0;
        for one in studied {
            let tokens = one.ended_before.iter().map(|token| (token, 401));
            let tokens = tokens.chain(one.session.iter().map(|token| (token, 200)));
            for (token, status) in tokens {
                for server in &self.fleet.servers {
                    let holder = server.client().holder(token);
                    let reply = until("nobody is limited", async || {
                        let reply = holder.get("/v1/me").await;
                        (reply.status != 429).then_some(reply)
                    })
                    .await;
                    assert_eq!(reply.status, status);
                }
                ended += usize::from(status == 401);
            }
        }
        assert!(ended > 0, "some sessions ended before");
    }

    /// Every answer that was acknowledged is in the log once.
    async fn assert_kept(self, studied: Vec<Studied>) {
        let logged = logged_answers(&*self.fleet.home.store().await).await;
        for one in studied {
            let mut mine: Vec<_> = logged
                .iter()
                .filter(|answer| answer.user_id.to_string() == one.student.user_id)
                .map(|answer| answer.id.to_string())
                .collect();
            mine.sort_unstable();
            assert_eq!(mine, one.answers.into_iter().collect::<Vec<_>>());
        }
    }
}

/// The ledger has booked every call of the model to the last millionth of a dollar, and no more than
/// may be spent.
async fn assert_spent(fleet: &Fleet, model: &Model, budget: u64) {
    let admin = fleet.servers[0].client().holder(admin_token());
    until("all calls are booked", async || {
        let reply = admin.get("/v1/admin/spend").await;
        if reply.status == 429 {
            return None;
        }
        let spent = reply.expect(200)["totals"]["cost_microdollars"].as_u64()?;
        assert!(spent <= budget, "{spent} of {budget}");
        (spent == model.calls() * CALL_COST).then_some(())
    })
    .await;
}

/// Whether the author's words were shown because there is no money for a model.
fn is_without_money(feedback: &Value) -> bool {
    let tiers = feedback["tiers"].as_array().unwrap();
    tiers
        .iter()
        .any(|tier| tier["outcome"] == "spend_budget_exhausted")
}

/// Every case with every option, but only the first one of the first case.
async fn choices(fleet: &Fleet) -> Vec<Choice> {
    let reader = fleet.student();
    let cases = reader.walk("/v1/cases?limit=100").await;
    let of_case = |case: &Value| {
        let case_id = case["id"].as_str().unwrap().to_owned();
        let options = case["options"].as_array().unwrap().clone();
        options.into_iter().map(move |option| Choice {
            case_id: case_id.clone(),
            option: option["key"].as_str().unwrap().to_owned(),
        })
    };
    let mut choices: Vec<_> = cases
        .iter()
        .map(|case| of_case(case).collect::<Vec<_>>())
        .collect();
    choices[0].truncate(1);
    choices.concat()
}

/// For how long each server could not reach Redis, in seconds.
async fn away_seconds(fleet: &Fleet) -> Vec<f64> {
    let away = fleet
        .servers
        .iter()
        .map(|server| measure(server, "medcards_redis_away_seconds"));
    join_all(away).await
}

#[expect(
    clippy::print_stderr,
    reason = "the figures are what the command is run for"
)]
fn report(figures: &str) {
    eprint!("{figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn withdrawn_words_are_gone_within_a_minute_though_redis_stays_away() {
    let redis = RedisServer::start();
    let model = Model::start(Mood::Writes).await;
    let scene = Scene::set(&redis.url(), &model).await;
    block_in_place(|| redis.kill());
    until("all servers notice it", async || {
        let away = scene.fleet.total("medcards_redis_is_away").await;
        (away == SERVERS as u64).then_some(())
    })
    .await;
    scene.desk.withdraw(&scene.key).await;
    let withdrawn = Instant::now();
    scene.withdrawn_is_gone().await;
    let gone = withdrawn.elapsed();
    // A quarter of a second until it is noticed, and what a look takes.
    assert!(gone <= STALE_MAX + Duration::from_secs(2), "{gone:?}");
    report(&format!(
        "withdrawn words were gone after {gone:.1?} without Redis\n"
    ));

    block_in_place(|| redis.start_again());
    until("all servers use Redis again", async || {
        let away = scene.fleet.total("medcards_redis_is_away").await;
        (away == 0).then_some(())
    })
    .await;
    scene.withdrawn_is_gone().await;
    assert_eq!(model.calls(), 1);
}
