use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::Method;
use medcards_http::ProblemCode;
use serde_json::Value;

use crate::feedback::answered;
use crate::world::{World, request};

async fn document(world: &World) -> Value {
    world
        .send(request(Method::GET, "/openapi.json", None, Body::empty()))
        .await
        .expect(200)
}

#[tokio::test]
async fn the_contract_changes_only_on_purpose() {
    insta::assert_json_snapshot!(document(&World::new().await).await);
}

#[tokio::test]
async fn every_documented_route_exists_and_takes_its_methods() {
    let world = World::new().await;
    let document = document(&world).await;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            let real = path.replace(['{', '}'], "");
            let method: Method = method.to_uppercase().parse().unwrap();
            let reply = world
                .send(request(method.clone(), &real, None, Body::empty()))
                .await;
            let code = reply.json()["code"].clone();
            assert_ne!(code, "route_not_found", "{method} {path}");
            assert_ne!(code, "method_not_allowed", "{method} {path}");
            seen += 1;
        }
    }
    assert_eq!(seen, 50);
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    fn references(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| references(item, found)),
            Value::Object(fields) => {
                found.extend(
                    fields
                        .get("$ref")
                        .and_then(Value::as_str)
                        .map(str::to_owned),
                );
                fields.values().for_each(|value| references(value, found));
            }
            _ => {}
        }
    }
    let document = document(&World::new().await).await;
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(!found.is_empty());
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
}

#[tokio::test]
async fn what_is_written_by_hand_is_as_described() {
    let world = World::new().await;
    let token = world.guest().await;
    let url = answered(&world, &token).await;
    let feedback = world.get(&token, &url).await.expect(200);
    let schema = document(&world).await["components"]["schemas"]["Feedback"].clone();
    let required: BTreeSet<_> = schema["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    let sent: BTreeSet<_> = feedback
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert!(required.is_subset(&sent), "{required:?} {sent:?}");
    let described: BTreeSet<_> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert!(sent.is_subset(&described), "{sent:?} {described:?}");
}

#[tokio::test]
async fn all_codes_are_in_the_contract_in_alphabetical_order() {
    let document = document(&World::new().await).await;
    let codes: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    assert!(codes.is_sorted(), "{codes:?}");
    let described = document["components"]["schemas"]["ProblemCode"].to_string();
    for code in codes {
        assert!(described.contains(&format!("\"{code}\"")), "{code}");
    }
}

#[tokio::test]
async fn the_page_for_people_needs_no_network() {
    let world = World::new().await;
    let get = async |path: &str| {
        world
            .send(request(Method::GET, path, None, Body::empty()))
            .await
    };
    let redirect = get("/docs").await;
    assert_eq!(
        (redirect.status.as_u16(), redirect.header("location")),
        (308, "docs/")
    );
    let page = get("/docs/").await;
    page.expect(200);
    assert!(page.header("content-type").starts_with("text/html"));
    assert!(
        !page.text().contains("http://") && !page.text().contains("https://"),
        "{}",
        page.text()
    );
    let script = get("/docs/swagger-initializer.js").await;
    assert!(
        script.text().contains("../openapi.json"),
        "{}",
        script.text()
    );
    get("/docs/swagger-ui-bundle.js").await.expect(200);
}
