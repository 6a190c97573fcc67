use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_guest_answers_a_case_reads_feedback_and_sees_totals() {
    let world = World::new().await;
    world.publish(3).await;
    let token = world.guest().await;

    let list = world.get(&token, "/v1/cases?limit=2").await.expect(200);
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    let cursor = list["next_cursor"].as_str().unwrap();
    let rest = world
        .get(&token, &format!("/v1/cases?limit=2&cursor={cursor}"))
        .await
        .expect(200);
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    assert_eq!(rest["next_cursor"], json!(null));

    let next = world.get(&token, "/v1/cases/next").await.expect(200);
    assert!(next["because"].as_str().unwrap().starts_with("because "));
    let case_id = next["id"].as_str().unwrap();
    let chosen = next["options"][1]["key"].as_str().unwrap();

    let answers = format!("/v1/cases/{case_id}/answers");
    let form = json!({"options": [chosen], "time_to_answer_ms": 4_200, "confidence": 70});
    let reply = world.post(&token, &answers, &form).await;
    let answer = reply.expect(201);
    assert_eq!(answer["options"], json!([chosen]));
    assert_eq!(answer["explanations"].as_array().unwrap().len(), 4);
    assert_eq!(
        reply.header("location"),
        answer["feedback_url"].as_str().unwrap()
    );
    let is_correct = answer["correct_options"] == json!([chosen]);
    assert_eq!(answer["is_correct"], is_correct);

    let feedback_url = answer["feedback_url"].as_str().unwrap();
    let live = world.get(&token, feedback_url).await.expect(200);
    assert_eq!(live["tier"], "live");
    let local = world.get(&token, feedback_url).await.expect(200);
    assert_eq!(
        (&local["tier"], &local["text"]),
        (&json!("local"), &live["text"])
    );
    assert_eq!(local["saved_microdollars"], live["cost_microdollars"]);

    let stats = world.get(&token, "/v1/me/stats").await.expect(200);
    assert_eq!(
        stats,
        json!({"answered": 1, "correct": u64::from(is_correct), "cases": 1})
    );
    let mine = world.get(&token, "/v1/me/answers").await.expect(200);
    assert_eq!(mine["items"][0]["id"], answer["id"]);
    assert_eq!(mine["items"][0]["options"], json!([chosen]));
    assert_eq!(mine["items"][0]["confidence"], 70);
    assert_eq!(mine["items"][0]["time_to_answer_ms"], 4_200);

    let after = world.get(&token, "/v1/cases/next").await.expect(200);
    assert_ne!(after["id"], next["id"]);
}

#[tokio::test]
async fn settings_change_one_by_one_and_null_brings_back_the_default() {
    let world = World::new().await;
    let token = world.guest().await;
    let path = "/v1/me/settings";
    for (change, time_zone, locale, level) in [
        (json!({}), "UTC", json!(null), "clinical"),
        (
            json!({"time_zone": "Europe/Paris"}),
            "Europe/Paris",
            json!(null),
            "clinical",
        ),
        (
            json!({"locale": "pt-br"}),
            "Europe/Paris",
            json!("pt-BR"),
            "clinical",
        ),
        (
            json!({"level": "resident"}),
            "Europe/Paris",
            json!("pt-BR"),
            "resident",
        ),
        (
            json!({"time_zone": null}),
            "UTC",
            json!("pt-BR"),
            "resident",
        ),
        (json!({"locale": null}), "UTC", json!(null), "resident"),
        (json!({"level": null}), "UTC", json!(null), "clinical"),
    ] {
        let mut request = crate::world::request(
            axum::http::Method::PATCH,
            path,
            Some(&token),
            change.to_string().into(),
        );
        request
            .headers_mut()
            .insert("content-type", "application/json".parse().unwrap());
        let changed = world.send(request).await.expect(200);
        assert_eq!(
            (&changed["time_zone"], &changed["locale"], &changed["level"]),
            (&json!(time_zone), &locale, &json!(level))
        );
        assert_eq!(
            world.get(&token, "/v1/me").await.expect(200),
            changed,
            "{change}"
        );
    }
}

#[tokio::test]
async fn feedback_follows_the_chosen_language() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let path = format!("/v1/cases/{case_id}/answers");
    let answer = world
        .post(&token, &path, &json!({"options": ["B"]}))
        .await
        .expect(201);
    let feedback_url = answer["feedback_url"].as_str().unwrap();
    let english = world.get(&token, feedback_url).await.expect(200);

    let body = json!({"locale": "fr"}).to_string();
    let mut request = crate::world::request(
        axum::http::Method::PATCH,
        "/v1/me/settings",
        Some(&token),
        body.into(),
    );
    request
        .headers_mut()
        .insert("content-type", "application/json".parse().unwrap());
    world.send(request).await.expect(200);
    let french = world.get(&token, feedback_url).await.expect(200);
    assert_eq!(
        french["tier"], "live",
        "another language is another feedback"
    );
    assert_eq!(
        (&english["tier"], world.provider.calls()),
        (&json!("live"), 2)
    );
}

#[tokio::test]
async fn feedback_follows_the_chosen_level() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let path = format!("/v1/cases/{case_id}/answers");
    let answer = world
        .post(&token, &path, &json!({"options": ["B"]}))
        .await
        .expect(201);
    let feedback_url = answer["feedback_url"].as_str().unwrap();
    let mut seen = Vec::new();
    for level in [json!(null), json!("resident"), json!("clinical")] {
        let mut request = crate::world::request(
            axum::http::Method::PATCH,
            "/v1/me/settings",
            Some(&token),
            json!({"level": level}).to_string().into(),
        );
        request
            .headers_mut()
            .insert("content-type", "application/json".parse().unwrap());
        world.send(request).await.expect(200);
        let feedback = world.get(&token, feedback_url).await.expect(200);
        seen.push((feedback["prompt_version"].as_u64(), world.provider.calls()));
    }
    assert_eq!(
        seen,
        [(Some(1), 1), (Some(2_001), 2), (Some(1), 2)],
        "another level is another feedback, and null is the default level"
    );
}
