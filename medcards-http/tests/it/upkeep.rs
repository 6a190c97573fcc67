use std::time::Duration;

use medcards_core::event::{EventBody, EventLog, LogPosition};
use medcards_core::job::{Effects, JobKind, JobOutcome, JobQueue, NewJob, Settlement};
use medcards_core::view::{ViewName, ViewStore};
use serde_json::{Value, json};

use crate::world::World;

/// Makes a view whole, as its runner does.
async fn view(world: &World, name: &str) {
    let (store, now) = (&world.memory, world.medcards.now());
    let name = ViewName::new(name).unwrap();
    let begun = store.begin_edition(&name, 3, 0, now).await.unwrap();
    let number = begun.next.unwrap().number;
    assert!(store.switch(&name, number).await.unwrap());
}

/// Jobs that were given up, in the order of their ids.
async fn dead(world: &World, count: usize) -> Vec<String> {
    let (store, now) = (&world.memory, world.medcards.now());
    let kind = JobKind::new("mail").unwrap();
    let jobs = (0..count).map(|_| NewJob::new(kind.clone(), "secret", now));
    store.enqueue(jobs.collect(), now).await.unwrap();
    let lease = Duration::from_secs(60);
    let claimed = store.claim(&[kind], count, now, lease).await.unwrap();
    let mut ids: Vec<_> = claimed.iter().map(|job| job.id.to_string()).collect();
    let settlements = claimed.iter().map(|job| Settlement {
        claim: job.claim(),
        outcome: JobOutcome::Dead {
            reason: "refused".to_owned(),
        },
        effects: Effects::default(),
    });
    store.settle(settlements.collect(), now).await.unwrap();
    ids.sort();
    ids
}

#[tokio::test]
async fn views_are_shown_and_built_anew() {
    let world = World::new().await;
    let admin = world.admin();
    let views = async || world.get(&admin, "/v1/admin/views").await.expect(200)["items"].clone();
    assert_eq!(views().await, json!([]));
    view(&world, "user-stats").await;
    view(&world, "boards").await;
    let listed = views().await;
    let names = [&listed[0]["name"], &listed[1]["name"]];
    assert_eq!(names, [&json!("boards"), &json!("user-stats")]);
    assert_eq!(
        (&listed[0]["next"], &listed[0]["set_aside"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(listed[0]["current"]["version"], 3);
    assert_eq!(listed[0]["current"]["behind_events"], 0);

    let rebuild = async |name: &str| {
        let path = format!("/v1/admin/views/{name}/rebuild");
        world.post(&admin, &path, &json!({})).await
    };
    for _ in 0..2 {
        rebuild("boards").await.expect(202);
        let listed = views().await;
        let numbers = [&listed[0]["current"], &listed[0]["next"]].map(|it| it["edition"].as_i64());
        assert_eq!(numbers, [Some(2), Some(3)]);
        assert_eq!(listed[1]["next"], Value::Null);
    }
    for name in ["nobody", "BOARDS", "%ff", "a%2fb"] {
        rebuild(name).await.expect_problem(404, "view_not_found");
    }
}

#[tokio::test]
async fn an_event_that_a_view_lacks_is_counted() {
    let world = World::new().await;
    view(&world, "boards").await;
    let case_id = world.publish(1).await;
    let path = format!("/v1/cases/{case_id}/answers");
    let answer = json!({"options": ["A"]});
    world
        .post(&world.guest().await, &path, &answer)
        .await
        .expect(201);
    let listed = world
        .get(&world.admin(), "/v1/admin/views")
        .await
        .expect(200);
    assert_eq!(listed["items"][0]["current"]["behind_events"], 1);
}

#[tokio::test]
async fn jobs_are_counted_and_the_dead_are_put_back_or_forgotten() {
    let world = World::new().await;
    let admin = world.admin();
    let ids = dead(&world, 5).await;
    let counts = async || world.get(&admin, "/v1/admin/jobs").await.expect(200)["items"].clone();
    let expected = json!([{"kind": "mail", "due": 0, "later": 0, "dead": 5, "due_since": null}]);
    assert_eq!(counts().await, expected);

    let mut path = "/v1/admin/jobs/dead?limit=2".to_owned();
    let mut listed = Vec::new();
    loop {
        let reply = world.get(&admin, &path).await;
        assert!(!reply.text().contains("secret"));
        let page = reply.expect(200);
        for job in page["items"].as_array().unwrap() {
            assert_eq!(
                (&job["reason"], &job["attempts"]),
                (&json!("refused"), &json!(1))
            );
            listed.push(job["id"].as_str().unwrap().to_owned());
        }
        let Some(after) = page["next_after"].as_str() else {
            break;
        };
        path = format!("/v1/admin/jobs/dead?limit=2&after={after}");
    }
    assert_eq!(listed, ids);

    let decide = async |what: &str, ids: &[String]| {
        let path = format!("/v1/admin/jobs/{what}");
        let reply = world.post(&admin, &path, &json!({"ids": ids})).await;
        reply.expect(200)["count"].as_u64().unwrap()
    };
    let absent = world.answer_id().to_string();
    assert_eq!(
        decide("requeue", &[ids[0].clone(), absent.clone()]).await,
        1
    );
    assert_eq!(decide("discard", &ids[..2]).await, 1);
    assert_eq!(decide("discard", &[absent]).await, 0);
    let counts = counts().await;
    assert_eq!(
        (&counts[0]["due"], &counts[0]["dead"]),
        (&json!(1), &json!(3))
    );
}

#[tokio::test]
async fn an_outage_is_declared_within_reason() {
    let world = World::new().await;
    let admin = world.admin();
    let now = world.medcards.now();
    let declare = async |began_h: i64, ended_h: i64| {
        let at = |hours: i64| now - medcards_core::jiff::SignedDuration::from_hours(hours);
        let form = json!({"began_at": at(began_h), "ended_at": at(ended_h)});
        world.post(&admin, "/v1/admin/outages", &form).await
    };
    declare(30 * 24 + 5, 5).await.expect(202);
    declare(1, 0).await.expect(202);
    for (began_h, ended_h, field) in [
        (1, -1, "ended_at"),
        (1, 1, "began_at"),
        (1, 2, "began_at"),
        (30 * 24 + 6, 5, "began_at"),
    ] {
        let reply = declare(began_h, ended_h).await;
        let problem = reply.expect_problem(422, "invalid_field");
        assert_eq!(problem["errors"][0]["name"], field);
    }
    let form = json!({"began_at": "yesterday", "ended_at": now});
    let reply = world.post(&admin, "/v1/admin/outages", &form).await;
    reply.expect_problem(422, "invalid_field");

    let events = world
        .memory
        .read_events(LogPosition::START, 10)
        .await
        .unwrap();
    assert_eq!(events.len(), 2);
    assert!(matches!(
        events[1].body,
        EventBody::OutageDeclared { ended_at, declared_at, .. } if ended_at == now && declared_at == now
    ));
}

#[tokio::test]
async fn what_cannot_be_is_a_clear_problem() {
    let world = World::new().await;
    let admin = world.admin();
    for (path, code) in [
        ("/v1/admin/views?limit=1", "unknown_parameter"),
        ("/v1/admin/jobs?kind=mail", "unknown_parameter"),
        ("/v1/admin/jobs/dead?limit=0", "invalid_parameter"),
        ("/v1/admin/jobs/dead?limit=101", "invalid_parameter"),
        ("/v1/admin/jobs/dead?after=first", "invalid_parameter"),
    ] {
        world.get(&admin, path).await.expect_problem(400, code);
    }
    let many: Vec<_> = (0..101).map(|_| world.answer_id().to_string()).collect();
    for (body, code) in [
        (json!({}), "invalid_field"),
        (json!({"ids": []}), "invalid_field"),
        (json!({"ids": ["x"]}), "invalid_field"),
        (json!({"ids": many}), "invalid_field"),
        (json!({"ids": [many[0]], "all": true}), "unknown_field"),
    ] {
        for what in ["requeue", "discard"] {
            let reply = world
                .post(&admin, &format!("/v1/admin/jobs/{what}"), &body)
                .await;
            reply.expect_problem(422, code);
        }
    }
}

#[tokio::test]
async fn upkeep_is_for_admins_where_anything_is_learnt() {
    let ids = json!({"ids": ["0190b7a8-1c5e-7000-8000-000000000001"]});
    let outage = json!({"began_at": "2026-01-01T00:00:00Z", "ended_at": "2026-01-01T01:00:00Z"});
    let calls = [
        ("/v1/admin/views", None),
        ("/v1/admin/views/boards/rebuild", Some(json!({}))),
        ("/v1/admin/jobs", None),
        ("/v1/admin/jobs/dead", None),
        ("/v1/admin/jobs/requeue", Some(ids.clone())),
        ("/v1/admin/jobs/discard", Some(ids)),
        ("/v1/admin/outages", Some(outage)),
    ];
    let world = World::new().await;
    let without = World::without_coach().await;
    for (path, body) in calls {
        let call = async |world: &World, token: &str| match &body {
            None => world.get(token, path).await,
            Some(body) => world.post(token, path, body).await,
        };
        let guest = call(&world, &world.guest().await).await;
        guest.expect_problem(403, "role_missing");
        let reviewer = json!({"sub": "r", "role": "reviewer", "exp": world.in_an_hour()});
        let reviewer = call(&world, &crate::world::sign_with_secret(&reviewer)).await;
        reviewer.expect_problem(403, "role_missing");
        let absent = call(&without, &without.admin()).await;
        absent.expect_problem(404, "learning_disabled");
    }
}
