use axum::body::Body;
use axum::http::Method;
use medcards_core::case::{CaseRecord, OptionOrdering};
use medcards_core::testing::sample_record;
use serde_json::{Value, json};

use crate::world::{World, request};

/// The names of all fields, however deep.
fn field_names(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| field_names(item, names)),
        Value::Object(fields) => {
            for (name, value) in fields {
                names.push(name.clone());
                field_names(value, names);
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn nothing_a_student_sees_before_answering_tells_which_option_is_right() {
    let world = World::new().await;
    let case_id = world.publish(4).await;
    let token = world.guest().await;
    for path in [
        "/v1/cases",
        "/v1/cases?q=sample",
        "/v1/cases/next",
        &format!("/v1/cases/{case_id}"),
    ] {
        let reply = world.get(&token, path).await;
        let mut names = Vec::new();
        field_names(&reply.expect(200), &mut names);
        for secret in [
            "explanation",
            "answer_keys",
            "correct_options",
            "is_correct",
            "references",
            "tags",
        ] {
            assert!(
                !names.iter().any(|name| name == secret),
                "{path} has {secret}"
            );
        }
        for secret in [
            "What finding",
            "is explained by",
            "Written for tests",
            "tag0",
        ] {
            assert!(!reply.text().contains(secret), "{path} says {secret:?}");
        }
    }
}

#[tokio::test]
async fn a_case_has_the_shape_that_clients_rely_on() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let token = world.guest().await;
    let mut case = world
        .get(&token, &format!("/v1/cases/{case_id}"))
        .await
        .expect(200);
    case["options"]
        .as_array_mut()
        .unwrap()
        .sort_by_key(|option| option["key"].to_string());
    let option =
        |n: u32, key: &str| json!({"key": key, "text": format!("Finding {n} of sample 0")});
    let expected = json!({
        "id": case_id,
        "version": 1,
        "lang": "en",
        "stem": "Which finding fits sample 0 best?",
        "vignette": [{"label": "History", "text": "A person of 20 years has been unwell for two days."}],
        "options": [option(1, "A"), option(2, "B"), option(3, "C"), option(4, "D")],
        "multi": false,
        "specialty": "Cardiology",
        "topic": "Rhythm",
        "difficulty": "medium",
        "media": [],
        "source": {"name": "samples", "external_id": "sample-0", "licence": "CC0-1.0"},
    });
    assert_eq!(case, expected);
}

#[tokio::test]
async fn the_order_of_options_is_the_students_own_and_stays() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let path = format!("/v1/cases/{case_id}");
    let mut orders = Vec::new();
    for _ in 0..12 {
        let token = world.guest().await;
        let first = world.get(&token, &path).await.expect(200)["options"].clone();
        assert_eq!(world.get(&token, &path).await.expect(200)["options"], first);
        let listed = world.get(&token, "/v1/cases").await.expect(200);
        assert_eq!(listed["items"][0]["options"], first);
        let next = world.get(&token, "/v1/cases/next").await.expect(200);
        assert_eq!(next["options"], first);
        orders.push(first);
    }
    assert!(
        orders.iter().any(|order| *order != orders[0]),
        "all students see one order"
    );
}

#[tokio::test]
async fn a_copy_is_current_until_a_new_version_or_another_student_comes() {
    let world = World::new().await;
    let case_id = world.publish(1).await;
    let path = format!("/v1/cases/{case_id}");
    let token = world.guest().await;
    let tag = world.get(&token, &path).await.header("etag").to_owned();

    let again = async |token: &str, tag: &str| {
        let mut request = request(Method::GET, &path, Some(token), Body::empty());
        request
            .headers_mut()
            .insert("if-none-match", tag.parse().unwrap());
        world.send(request).await
    };
    for (given, status) in [
        (tag.as_str(), 304),
        ("*", 304),
        (&format!("\"other\", W/{tag}"), 304),
        ("\"other\"", 200),
        ("", 200),
    ] {
        let reply = again(&token, given).await;
        assert_eq!(reply.status, status, "{given}");
        assert_eq!(reply.header("etag"), tag);
        assert_eq!(reply.header("cache-control"), "private, no-cache");
        assert_eq!(reply.body.is_empty(), status == 304);
    }

    let mut tags = Vec::new();
    for _ in 0..12 {
        tags.push(
            world
                .get(&world.guest().await, &path)
                .await
                .header("etag")
                .to_owned(),
        );
    }
    assert!(
        tags.iter().any(|other| *other != tag),
        "another order has the same tag"
    );

    // Fixed options have one order in all versions, so that only the version tells them apart.
    for (version, stem) in [
        (2, "Which finding fits better now?"),
        (3, "Which fits best today?"),
    ] {
        let tag = world.get(&token, &path).await.header("etag").to_owned();
        let record = CaseRecord {
            stem: stem.to_owned(),
            option_ordering: Some(OptionOrdering::Fixed),
            ..sample_record(0)
        };
        let (store, contents) = (world.medcards.store(), vec![record.try_into().unwrap()]);
        store.publish(contents, world.medcards.now()).await.unwrap();
        assert_eq!(again(&token, &tag).await.expect(200)["version"], version);
        let before = world
            .get(&token, &format!("{path}?version={}", version - 1))
            .await;
        assert_eq!(before.expect(200)["version"], version - 1);
        assert_eq!(before.header("etag"), tag);
    }
    world
        .get(&token, &format!("{path}?version=4"))
        .await
        .expect_problem(404, "case_not_found");
}

#[tokio::test]
async fn filters_and_searches_find_what_they_name() {
    let world = World::new().await;
    world.publish(3).await;
    let mut french = sample_record(9);
    (french.lang, french.specialty) = ("fr".parse().unwrap(), Some("Néphrologie".to_owned()));
    let contents = vec![french.try_into().unwrap()];
    world
        .medcards
        .store()
        .publish(contents, world.medcards.now())
        .await
        .unwrap();
    let token = world.guest().await;
    for (query, found) in [
        ("", 4),
        ("?", 4),
        ("?q=&specialty=&lang=&cursor=&limit=", 4),
        ("?specialty=cardiology", 3),
        ("?specialty=n%C3%A9phrologie", 1),
        ("?lang=fr", 1),
        ("?lang=FR&specialty=Cardiology", 0),
        ("?q=finding+sample", 4),
        ("?q=nephrologie", 1),
        ("?q=unheard", 0),
        ("?q=%20", 0),
    ] {
        let page = world
            .get(&token, &format!("/v1/cases{query}"))
            .await
            .expect(200);
        assert_eq!(page["items"].as_array().unwrap().len(), found, "{query}");
    }
    let path = "/v1/cases/next?lang=de";
    world
        .get(&token, path)
        .await
        .expect_problem(404, "no_case_left");
}
