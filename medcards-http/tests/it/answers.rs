use medcards_core::case::CaseRecord;
use medcards_core::testing::sample_record;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn the_same_id_counts_once_and_gives_the_first_result() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let path = format!("/v1/cases/{case_id}/answers");
    let id = world.answer_id();
    let first = world
        .post(&token, &path, &json!({"id": id, "options": ["B"]}))
        .await
        .expect(201);
    let again = world
        .post(&token, &path, &json!({"id": id, "options": ["C"]}))
        .await;
    assert_eq!(again.expect(200), first);
    assert_eq!(
        again.header("location"),
        first["feedback_url"].as_str().unwrap()
    );
    assert_eq!(
        world.get(&token, "/v1/me/stats").await.expect(200)["answered"],
        1
    );

    let other = world.guest().await;
    let theirs = world
        .post(&other, &path, &json!({"id": id, "options": ["D"]}))
        .await;
    assert_eq!(
        theirs.expect(201)["options"],
        json!(["D"]),
        "ids are unique per user only"
    );
}

#[tokio::test]
async fn an_id_used_for_another_case_is_refused() {
    let world = World::new().await;
    world.publish(2).await;
    let token = world.guest().await;
    let list = world.get(&token, "/v1/cases").await.expect(200);
    let path = |n: usize| {
        format!(
            "/v1/cases/{}/answers",
            list["items"][n]["id"].as_str().unwrap()
        )
    };
    let form = json!({"id": world.answer_id(), "options": ["A"]});
    world.post(&token, &path(0), &form).await.expect(201);
    world
        .post(&token, &path(1), &form)
        .await
        .expect_problem(409, "id_reused");
}

#[tokio::test]
async fn explanations_come_in_the_order_shown_and_tell_right_from_wrong() {
    let world = World::new().await;
    let case_id = world.publish(3).await;
    let token = world.guest().await;
    let case = world
        .get(&token, &format!("/v1/cases/{case_id}"))
        .await
        .expect(200);
    let path = format!("/v1/cases/{case_id}/answers");
    let answer = world
        .post(&token, &path, &json!({"options": ["A"]}))
        .await
        .expect(201);

    assert_eq!(
        answer["is_correct"], true,
        "the first option of sample 0 is right"
    );
    assert_eq!(answer["correct_options"], json!(["A"]));
    let shown = case["options"].as_array().unwrap().iter();
    let explained = answer["explanations"].as_array().unwrap();
    for (option, explanation) in shown.zip(explained) {
        assert_eq!(option["key"], explanation["key"]);
        assert_eq!(explanation["is_correct"], option["key"] == "A");
        assert!(
            explanation["text"]
                .as_str()
                .unwrap()
                .starts_with("What finding")
        );
    }
    assert_eq!(
        answer["explanation"],
        "Sample 0 is explained by its history."
    );
    assert_eq!(answer["references"], json!(["Written for tests."]));
}

#[tokio::test]
async fn several_options_are_taken_where_several_may_be_chosen() {
    let world = World::new().await;
    let record = CaseRecord {
        answer_keys: vec!["A".into(), "C".into()],
        ..sample_record(0)
    };
    let contents = vec![record.try_into().unwrap()];
    let published = world
        .medcards
        .store()
        .publish(contents, world.medcards.now())
        .await
        .unwrap();
    let path = format!("/v1/cases/{}/answers", published[0].case_id);
    let token = world.guest().await;
    for (options, is_correct) in [
        (json!(["C", "A"]), true),
        (json!(["A"]), false),
        (json!(["A", "B", "C"]), false),
    ] {
        let answer = world
            .post(&token, &path, &json!({"options": options}))
            .await
            .expect(201);
        assert_eq!(answer["is_correct"], is_correct, "{options}");
    }
}

#[tokio::test]
async fn forms_that_cannot_be_answers_say_what_is_wrong() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let path = format!("/v1/cases/{case_id}/answers");
    let old = "01000000-0000-7000-8000-000000000000";
    for (form, status, code) in [
        (json!({"options": []}), 422, "invalid_answer"),
        (json!({"options": ["Z"]}), 422, "invalid_answer"),
        (json!({"options": ["A", "B"]}), 422, "invalid_answer"),
        (json!({"options": ["A", "A"]}), 422, "invalid_answer"),
        (
            json!({"options": ["A"], "id": "nope"}),
            422,
            "invalid_field",
        ),
        (
            json!({"options": ["A"], "id": uuid::Uuid::nil()}),
            422,
            "invalid_answer",
        ),
        (json!({"options": ["A"], "id": old}), 422, "invalid_answer"),
        (json!({"options": ["A"], "id": 7}), 422, "invalid_field"),
        (json!({"options": "A"}), 422, "invalid_field"),
        (json!({"options": [1]}), 422, "invalid_field"),
        (json!({}), 422, "invalid_field"),
        (json!([null, ["A"]]), 422, "invalid_field"),
        (json!("A"), 422, "invalid_field"),
        (json!(null), 422, "invalid_field"),
        (
            json!({"options": ["A"], "confidence": 101}),
            422,
            "invalid_field",
        ),
        (
            json!({"options": ["A"], "confidence": -1}),
            422,
            "invalid_field",
        ),
        (
            json!({"options": ["A"], "confidence": 0.5}),
            422,
            "invalid_field",
        ),
        (
            json!({"options": ["A"], "time_to_answer_ms": 4_294_967_296_u64}),
            422,
            "invalid_field",
        ),
        (
            json!({"options": ["A"], "case_version": 0}),
            422,
            "invalid_field",
        ),
        (
            json!({"options": ["A"], "case_version": 2}),
            404,
            "case_not_found",
        ),
        (
            json!({"options": ["A"], "confidense": 50}),
            422,
            "unknown_field",
        ),
    ] {
        let reply = world.post(&token, &path, &form).await;
        let problem = reply.expect_problem(status, code);
        if code == "unknown_field" {
            assert_eq!(problem["errors"][0]["name"], "confidense");
        }
    }
    assert_eq!(
        world.get(&token, "/v1/me/stats").await.expect(200)["answered"],
        0
    );
}

#[tokio::test]
async fn a_problem_never_repeats_what_was_sent() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let path = format!("/v1/cases/{case_id}/answers");
    let private = "my patient is called Jane Doe";
    for form in [
        json!({"options": private}),
        json!({"options": [private]}),
        json!({"options": ["A"], "id": private}),
        json!({"options": ["A"], "confidence": private}),
        json!({"options": ["A"], "confidence": format!("1, expected {private}")}),
        json!({"options": ["A"], "time_to_answer_ms": {"a": private}}),
        json!({"options": ["A"], (private.repeat(4)): 1}),
    ] {
        let reply = world.post(&token, &path, &form).await;
        assert!(reply.status.is_client_error());
        assert!(!reply.text().contains("Jane"), "{}", reply.text());
    }
}
