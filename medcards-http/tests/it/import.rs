use axum::body::Body;
use axum::http::Method;
use bytes::Bytes;
use medcards_core::ErrorKind;
use medcards_core::testing::{Operation, sample_record};
use medcards_http::import::{RecordLine, RecordLines};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::world::{Reply, World, request};

fn record(n: u32) -> Value {
    serde_json::to_value(sample_record(n)).unwrap()
}

async fn import_as(world: &World, kind: &str, body: impl Into<Body>) -> Reply {
    let token = world.admin();
    let mut request = request(Method::POST, "/v1/admin/cases", Some(&token), body.into());
    request
        .headers_mut()
        .insert("content-type", kind.parse().unwrap());
    world.send(request).await
}

async fn import(world: &World, body: impl Into<Body>) -> Reply {
    import_as(world, "application/x-ndjson", body).await
}

#[tokio::test]
async fn bad_lines_are_reported_and_the_others_imported() {
    let world = World::new().await;
    let mut strange = record(2);
    (strange["raw"], strange["options"][1]["weight"]) = (json!({"a": 1}), json!(3));
    let mut lettered = record(3);
    lettered["explanation"] = json!("Ans. is B");
    let long = format!("{{\"id\": \"{}\"}}", "x".repeat(300_000));
    let mut body = b"\xef\xbb\xbf".to_vec();
    for line in [
        record(1).to_string().as_bytes(),
        b"",
        b"nonsense",
        b"{\"id\": \"\xff\"}",
        strange.to_string().as_bytes(),
        json!({"id": "o-1", "OSCE_Examination": {"Patient_Actor": {}}})
            .to_string()
            .as_bytes(),
        b"[\"id\", \"source\"]",
        long.as_bytes(),
        lettered.to_string().as_bytes(),
        b"{\"id\": \"9\"}",
    ] {
        body.extend_from_slice(line);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(record(4).to_string().as_bytes());

    let report = import(&world, body.clone()).await.expect(200);
    let counts = |report: &Value| {
        ["created", "updated", "unchanged", "rejected"].map(|name| report[name].as_u64().unwrap())
    };
    assert_eq!(counts(&report), [4, 0, 0, 6]);
    assert_eq!(
        report["notices"],
        json!({"names_letter": 1, "unknown_field": 2})
    );
    assert_eq!(
        report["unknown_fields"],
        json!({"options.*.weight": 1, "raw": 1})
    );
    let lines: Vec<_> = report["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| &error["line"])
        .collect();
    assert_eq!(lines, [3, 4, 6, 7, 8, 10]);
    assert!(
        report["errors"][2]["reason"]
            .as_str()
            .unwrap()
            .contains("OSCE")
    );
    let items = report["items"].as_array().unwrap();
    let item = |n: usize| {
        (
            &items[n]["line"],
            &items[n]["external_id"],
            &items[n]["outcome"],
        )
    };
    assert_eq!(item(0), (&json!(1), &json!("sample-1"), &json!("created")));
    assert_eq!(item(3), (&json!(11), &json!("sample-4"), &json!("created")));

    assert_eq!(
        counts(&import(&world, body).await.expect(200)),
        [0, 0, 4, 6]
    );
    let mut changed = record(1);
    changed["stem"] = json!("Which finding fits sample 1 best now?");
    let report = import(&world, changed.to_string()).await.expect(200);
    assert_eq!(
        (counts(&report), &report["items"][0]["version"]),
        ([0, 1, 0, 0], &json!(2))
    );
}

#[tokio::test]
async fn a_single_record_may_stand_on_several_lines() {
    let world = World::new().await;
    let pretty = serde_json::to_string_pretty(&record(1)).unwrap();
    let report = import_as(&world, "application/json", pretty)
        .await
        .expect(200);
    assert_eq!(
        (&report["created"], &report["rejected"]),
        (&json!(1), &json!(0))
    );
    let lines = format!("{}\n{}\n", record(2), record(3));
    let report = import_as(&world, "application/json; charset=utf-8", lines)
        .await
        .expect(200);
    assert_eq!(
        (&report["created"], &report["rejected"]),
        (&json!(2), &json!(0))
    );
    let many = (0..600)
        .map(|n| format!("{}\n", record(n)))
        .collect::<String>();
    assert!(many.len() > RecordLines::LINE_BYTES_MAX);
    let report = import_as(&world, "application/json", many)
        .await
        .expect(200);
    assert_eq!(
        (&report["created"], &report["unchanged"]),
        (&json!(597), &json!(3))
    );
}

#[tokio::test]
async fn an_import_without_lines_or_of_another_type_is_refused() {
    let world = World::new().await;
    for body in ["", "\n\n  \r\n", "\u{feff}"] {
        import(&world, body).await.expect_problem(400, "empty_body");
    }
    import_as(&world, "text/csv", "id")
        .await
        .expect_problem(415, "unsupported_media_type");
    let guest = world.guest().await;
    world
        .post(&guest, "/v1/admin/cases", &record(1))
        .await
        .expect_problem(403, "role_missing");
}

#[tokio::test]
async fn an_import_that_breaks_off_says_how_far_it_came() {
    let world = World::with(|config| config.with_import_bytes_max(400_000)).await;
    let line = |n: u32| Ok::<_, std::io::Error>(Bytes::from(format!("{}\n", record(n))));
    let endless = Body::from_stream(futures_util::stream::iter((0..).map(line)));
    let problem = import(&world, endless)
        .await
        .expect_problem(413, "body_too_large");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("up to line 256"),
        "{problem}"
    );

    let broken = (0..300)
        .map(line)
        .chain([Err(std::io::Error::other("reset"))]);
    let broken = Body::from_stream(futures_util::stream::iter(broken));
    let problem = import(&world, broken)
        .await
        .expect_problem(400, "body_unreadable");
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("up to line 256"),
        "{problem}"
    );

    world.plan.fail_next(Operation::Publish, 1, ErrorKind::Full);
    let problem = import(&world, record(999).to_string())
        .await
        .expect_problem(507, "storage_full");
    assert!(
        problem["detail"].as_str().unwrap().contains("up to line 0"),
        "{problem}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_nothing_more_is_given_up() {
    let world = World::new().await;
    let silent =
        Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
    import(&world, silent).await.expect_problem(408, "timeout");
}

/// What a reader makes of bytes that come in these pieces.
fn read(pieces: &[&[u8]]) -> Vec<(u64, Result<String, String>)> {
    let mut lines = RecordLines::new();
    let mut read = Vec::new();
    let seen = |line: RecordLine| {
        let record = line.record.map(|case| format!("{case:?}"));
        (line.number, record.map_err(|error| error.to_string()))
    };
    for piece in pieces {
        lines.push(piece);
        while let Some(line) = lines.next_line() {
            read.push(seen(line));
        }
    }
    read.extend(lines.finish().map(seen));
    read
}

proptest! {
    /// Where the bytes are cut changes nothing.
    #[test]
    fn lines_do_not_depend_on_how_the_bytes_arrive(
        parts in proptest::collection::vec(
            prop_oneof![
                Just(record(1).to_string().into_bytes()),
                Just(b"\n".to_vec()),
                Just(b"\r\n".to_vec()),
                Just(vec![b'x'; RecordLines::LINE_BYTES_MAX]),
                Just(vec![b' '; RecordLines::LINE_BYTES_MAX - 1]),
                Just(b"\xef\xbb\xbf".to_vec()),
                proptest::collection::vec(any::<u8>(), 0..20),
            ],
            0..12,
        ),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..8),
    ) {
        let whole = parts.concat();
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(whole.len() + 1)).collect();
        cuts.extend([0, whole.len()]);
        cuts.sort_unstable();
        let pieces: Vec<_> = cuts.windows(2).map(|cut| &whole[cut[0]..cut[1]]).collect();
        prop_assert_eq!(read(&pieces), read(&[&whole]));
    }
}
