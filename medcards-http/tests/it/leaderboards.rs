use std::sync::Arc;
use std::time::Duration;

use medcards_core::leaderboard::BoardFeed;
use medcards_core::memory::{MemoryLeaderboards, MemoryStore};
use medcards_core::testing::{ManualClock, sample_record};
use medcards_http::{Guests, HttpConfig};
use serde_json::{Value, json};

use crate::world::{SECRET, World};

/// A world with leaderboards, and what feeds them.
struct Arena {
    world: World,
    feed: BoardFeed,
}

impl Arena {
    async fn new() -> Self {
        Self::with(|config| config).await
    }

    async fn with(configure: impl FnOnce(HttpConfig) -> HttpConfig) -> Self {
        let clock = Arc::new(ManualClock::default());
        let boards = Arc::new(MemoryLeaderboards::new(clock));
        let shared = Arc::clone(&boards) as _;
        let world = World::with(|config| configure(config.with_leaderboards(shared))).await;
        let feed = BoardFeed::new(Arc::clone(world.medcards.store()), boards);
        let this = Self { world, feed };
        this.catch_up().await;
        this
    }

    async fn catch_up(&self) {
        while !self.feed.step().await.unwrap().is_caught_up {}
    }

    /// Publishes a case of a specialty, of which `A` is right, and returns its id.
    async fn case(&self, specialty: &str) -> String {
        let mut record = sample_record(0);
        record.id = format!("of {specialty}");
        record.specialty = Some(specialty.to_owned());
        let content = vec![record.try_into().unwrap()];
        let medcards = &self.world.medcards;
        let published = medcards.store().publish(content, medcards.now()).await;
        published.unwrap()[0].case_id.to_string()
    }

    async fn answer(&self, token: &str, case_id: &str, key: &str) {
        let path = format!("/v1/cases/{case_id}/answers");
        let form = json!({"options": [key]});
        self.world.post(token, &path, &form).await.expect(201);
        // So that ids do not sort by chance.
        self.world.clock.advance(Duration::from_millis(1));
    }

    async fn get(&self, token: &str, path: &str) -> Value {
        self.world.get(token, path).await.expect(200)
    }
}

/// Rank, points and whether it is me.
fn plain(standings: &Value) -> Vec<(u64, u64, bool)> {
    let plain = |standing: &Value| {
        let number = |name: &str| standing[name].as_u64().unwrap();
        let is_me = standing["is_me"].as_bool().unwrap();
        (number("rank"), number("points"), is_me)
    };
    standings.as_array().unwrap().iter().map(plain).collect()
}

#[tokio::test]
async fn students_see_the_board_their_rank_and_their_neighbours() {
    let arena = Arena::new().await;
    let (heart, brain) = (
        arena.case("Cardiology").await,
        arena.case("Neurology").await,
    );
    let mut tokens = Vec::new();
    for points in [3, 1, 2, 2] {
        let token = arena.world.guest().await;
        for _ in 0..points {
            arena.answer(&token, &heart, "A").await;
        }
        arena.answer(&token, &brain, "B").await;
        tokens.push(token);
    }
    arena.answer(&tokens[1], &brain, "A").await;
    arena.catch_up().await;

    let me = &tokens[2];
    let board = arena.get(me, "/v1/leaderboards/all-time").await;
    let all: Vec<_> = plain(&board["standings"]);
    let ranks: Vec<_> = all
        .iter()
        .map(|(rank, points, _)| (*rank, *points))
        .collect();
    assert_eq!(ranks, [(1, 3), (2, 2), (2, 2), (2, 2)]);
    assert_eq!(all.iter().filter(|(.., is_me)| *is_me).count(), 1);
    assert_eq!(board["period"], "all-time");
    assert_eq!(board["specialty"], Value::Null);
    assert_eq!(
        (&board["members"], &board["is_complete"]),
        (&json!(4), &json!(true))
    );

    let board = arena
        .get(me, "/v1/leaderboards/week?specialty=CARDIOLOGY&limit=2")
        .await;
    assert_eq!(board["period"], "2026-W03");
    assert_eq!(board["specialty"], "cardiology");
    assert_eq!(board["members"], 4);
    assert_eq!(plain(&board["standings"]).len(), 2);

    let path = "/v1/me/leaderboards/2026-W03?specialty=cardiology&neighbours=1";
    let mine = arena.get(&tokens[1], path).await;
    assert_eq!(plain(&mine["above"]), [(2, 2, false)]);
    assert_eq!(mine["me"]["rank"], 4);
    assert_eq!(mine["me"]["is_me"], true);
    assert_eq!(mine["below"], json!([]));
    let mine = arena.get(&tokens[0], "/v1/me/leaderboards/week").await;
    assert_eq!(mine["above"], json!([]));
    assert_eq!(plain(&mine["below"]), [(2, 2, false), (2, 2, false)]);

    let cohort = arena.get(me, "/v1/me/cohort").await;
    assert_eq!(
        (&cohort["week"], &cohort["number"]),
        (&json!("2026-W03"), &json!(1))
    );
    assert_eq!(plain(&cohort["standings"]).len(), 4);
}

#[tokio::test]
async fn whoever_has_no_point_sees_so() {
    let arena = Arena::new().await;
    let case_id = arena.case("Cardiology").await;
    let token = arena.world.guest().await;
    arena.answer(&token, &case_id, "B").await;
    arena.catch_up().await;
    let mine = arena.get(&token, "/v1/me/leaderboards/week").await;
    assert_eq!((&mine["me"], &mine["members"]), (&Value::Null, &json!(0)));
    assert_eq!((&mine["above"], &mine["below"]), (&json!([]), &json!([])));
    let cohort = arena.get(&token, "/v1/me/cohort").await;
    assert_eq!(
        (&cohort["number"], &cohort["standings"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(cohort["is_complete"], true);
    let board = arena.get(&token, "/v1/leaderboards/2025-W01").await;
    assert_eq!(
        (&board["members"], &board["standings"]),
        (&json!(0), &json!([]))
    );
}

#[tokio::test]
async fn users_are_named_by_aliases_that_tell_nothing() {
    let arena = Arena::new().await;
    let case_id = arena.case("Cardiology").await;
    let (one, two) = (arena.world.guest().await, arena.world.guest().await);
    arena.answer(&one, &case_id, "A").await;
    arena.answer(&two, &case_id, "A").await;
    arena.catch_up().await;
    let alias = async |token: &str, path: &str| {
        let reply = arena.get(token, path).await;
        reply["me"]["alias"].as_str().unwrap().to_owned()
    };
    let week = alias(&one, "/v1/me/leaderboards/week").await;
    let all_time = alias(&one, "/v1/me/leaderboards/all-time").await;
    let other = alias(&two, "/v1/me/leaderboards/week").await;
    assert_eq!(week, all_time);
    assert_ne!(week, other);
    for path in [
        "/v1/leaderboards/week",
        "/v1/me/leaderboards/week",
        "/v1/me/cohort",
    ] {
        let reply = arena.world.get(&one, path).await;
        let text = reply.text();
        assert!(text.contains(&week) && text.contains(&other), "{text}");
        for token in [&one, &two] {
            let user = arena.get(token, "/v1/me").await;
            let id = user["user_id"].as_str().unwrap();
            assert!(!text.contains(id), "{path} tells ids");
            let bare = id.replace('-', "");
            assert!(!bare.contains(&week) && !bare.contains(&other));
        }
    }
}

/// A user of a known id has the same alias on every server with the same secret, and another with
/// another.
#[tokio::test]
async fn aliases_depend_on_the_secret_alone() {
    let user = "0190b7a8-1c5e-7000-8000-000000000001";
    let alias = async |secret: Option<&str>| {
        let arena = Arena::with(|config| match secret {
            Some(secret) => config.with_alias_secret(secret),
            None => config,
        })
        .await;
        let claims = json!({"sub": user, "exp": arena.world.in_an_hour()});
        let token = crate::world::sign_with_secret(&claims);
        let case_id = arena.case("Cardiology").await;
        arena.answer(&token, &case_id, "A").await;
        arena.catch_up().await;
        let mine = arena.get(&token, "/v1/me/leaderboards/week").await;
        mine["me"]["alias"].as_str().unwrap().to_owned()
    };
    let by_default = alias(None).await;
    assert_eq!(by_default, alias(Some(SECRET)).await);
    let other = "another secret of more than 32 bytes";
    assert_ne!(by_default, alias(Some(other)).await);
    assert_eq!(by_default.len(), 8);
}

#[tokio::test]
async fn what_is_no_board_is_a_clear_problem() {
    let arena = Arena::new().await;
    let token = arena.world.guest().await;
    let long = "x".repeat(900);
    for (path, code) in [
        ("/v1/leaderboards/month", "invalid_parameter"),
        ("/v1/leaderboards/2026-W54", "invalid_parameter"),
        ("/v1/leaderboards/%ff", "invalid_parameter"),
        (
            "/v1/leaderboards/all-time%2Fcardiology",
            "invalid_parameter",
        ),
        ("/v1/leaderboards/week?limit=0", "invalid_parameter"),
        ("/v1/leaderboards/week?limit=101", "invalid_parameter"),
        ("/v1/leaderboards/week?limit=-1", "invalid_parameter"),
        (
            "/v1/leaderboards/week?limit=99999999999",
            "invalid_parameter",
        ),
        ("/v1/leaderboards/week?specialty=a%00b", "invalid_parameter"),
        ("/v1/leaderboards/week?neighbours=2", "unknown_parameter"),
        ("/v1/me/leaderboards/nobody", "invalid_parameter"),
        (
            "/v1/me/leaderboards/week?neighbours=11",
            "invalid_parameter",
        ),
        ("/v1/me/leaderboards/week?limit=1", "unknown_parameter"),
        ("/v1/me/cohort?week=2026-W01", "unknown_parameter"),
        (
            &format!("/v1/leaderboards/week?specialty={long}"),
            "invalid_parameter",
        ),
    ] {
        let reply = arena.world.get(&token, path).await;
        let problem = reply.expect_problem(400, code);
        assert!(problem["errors"][0]["detail"].is_string(), "{problem}");
    }
    for path in [
        "/v1/leaderboards",
        "/v1/leaderboards/",
        "/v1/me/leaderboards",
    ] {
        let reply = arena.world.get(&token, path).await;
        reply.expect_problem(404, "route_not_found");
    }
    arena.get(&token, "/v1/leaderboards/2026%2DW03").await;
    arena
        .get(&token, "/v1/me/leaderboards/week?neighbours=0")
        .await;
}

#[tokio::test]
async fn a_server_without_leaderboards_says_so() {
    let world = World::without_coach().await;
    let token = world.guest().await;
    for path in [
        "/v1/leaderboards/week",
        "/v1/me/leaderboards/all-time",
        "/v1/me/cohort",
    ] {
        let reply = world.get(&token, path).await;
        reply.expect_problem(404, "leaderboards_disabled");
    }
}

/// Else each server would name users in its own way.
#[cfg(feature = "jwks")]
#[tokio::test]
async fn leaderboards_without_any_secret_are_refused() {
    let clock = Arc::new(ManualClock::default());
    let store = Arc::new(MemoryStore::new());
    let medcards = medcards_core::app::Medcards::builder(store).build().await;
    let boards = Arc::new(MemoryLeaderboards::new(clock));
    let config = || {
        HttpConfig::new()
            .with_jwks_url("http://127.0.0.1:9/keys")
            .with_guests(Guests::Disabled)
            .with_leaderboards(Arc::clone(&boards) as _)
    };
    let medcards = medcards.unwrap();
    let error = medcards_http::router(medcards.clone(), config()).unwrap_err();
    assert!(error.to_string().contains("alias secret"), "{error}");
    let config = config().with_alias_secret(SECRET);
    medcards_http::router(medcards, config).unwrap();
}

#[tokio::test]
async fn an_administrator_has_all_boards_built_anew() {
    let arena = Arena::new().await;
    let case = arena.case("Cardiology").await;
    let guest = arena.world.guest().await;
    arena.answer(&guest, &case, "A").await;
    arena.catch_up().await;
    let before = arena.get(&guest, "/v1/leaderboards/all-time").await;
    let rebuild = "/v1/admin/leaderboards/rebuild";
    let refused = arena.world.post(&guest, rebuild, &json!({})).await;
    assert_eq!(refused.status, 403);

    let edition = async || {
        arena
            .feed
            .boards()
            .progress()
            .await
            .unwrap()
            .current
            .unwrap()
    };
    let old = edition().await.edition;
    let admin = arena.world.admin();
    let reply = arena.world.post(&admin, rebuild, &json!({})).await;
    assert_eq!(reply.status, 202);
    assert_eq!(arena.get(&guest, "/v1/leaderboards/all-time").await, before);
    arena.catch_up().await;
    assert_ne!(edition().await.edition, old);
    assert_eq!(arena.get(&guest, "/v1/leaderboards/all-time").await, before);
}
