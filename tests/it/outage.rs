//! Days on which nobody could answer break no streak.

use std::time::Duration;

use medcards_core::Timestamp;
use medcards_core::time::{Clock, SystemClock};
use serde_json::{Value, json};

use crate::harness::{Home, Student, admin_token, is_learnt, on_each_store, uuid_v7_of};

on_each_store!(
    an_outage_mends_the_streaks_that_it_broke,
    an_outage_that_cannot_be_is_refused_and_changes_nothing,
);

const DAY: Duration = Duration::from_hours(24);

/// Noon in UTC so many days before the day of `now`.
fn noon(now: Timestamp, days_ago: u32) -> Timestamp {
    let day_s = DAY.as_secs() as i64;
    let midnight = Timestamp::from_second(now.as_second().div_euclid(day_s) * day_s).unwrap();
    midnight - DAY * days_ago + DAY / 2
}

/// Answers a case at each of these instants, as an app that was offline tells it.
async fn answer_at(student: &Student, instants: impl IntoIterator<Item = Timestamp>) {
    let cases = student.walk("/v1/cases?limit=100").await;
    for (case, instant) in cases.iter().zip(instants) {
        let form = json!({"id": uuid_v7_of(instant), "options": [case["options"][0]["key"]]});
        let path = format!("/v1/cases/{}/answers", case["id"].as_str().unwrap());
        student.post(&path, &form).await.expect(201);
    }
}

async fn streak(student: &Student) -> [u64; 4] {
    let streak = student.get("/v1/me/streak").await.expect(200);
    ["days", "longest", "freezes_left", "freezes_used"].map(|name| streak[name].as_u64().unwrap())
}

/// The last day of these is yesterday, so that no streak ends while the test runs.
async fn an_outage_mends_the_streaks_that_it_broke(home: Home) {
    let server = home.launch().start().await;
    let now = SystemClock::new().now();
    let admin = server.client().holder(admin_token());
    let [broken, other, early] = [(); 3].map(|()| server.client().student());
    // Five days, three missed, six days.
    let days = (10..15).chain(1..7).rev();
    answer_at(&broken, days.map(|ago| noon(now, ago))).await;
    // Missed a day that is none of the outage.
    answer_at(&other, [5, 3, 2, 1].map(|ago| noon(now, ago))).await;
    // The oldest that an app may tell of.
    answer_at(&early, [89, 88].map(|ago| noon(now, ago))).await;
    is_learnt(&home, &server).await;
    assert_eq!(streak(&broken).await, [6, 6, 0, 0]);
    assert_eq!(streak(&other).await, [3, 3, 0, 0]);
    assert_eq!(streak(&early).await, [0, 2, 0, 0]);

    // Two of the three days: still broken.
    let declare = async |began_at: Timestamp, ended_at: Timestamp| {
        let form = json!({"began_at": began_at.to_string(), "ended_at": ended_at.to_string()});
        let declared = admin.post("/v1/admin/outages", &form).await;
        assert_eq!(declared.status, 202, "{declared:?}");
        is_learnt(&home, &server).await;
    };
    declare(noon(now, 9), noon(now, 8)).await;
    assert_eq!(streak(&broken).await, [6, 6, 0, 0]);
    // All three: one streak of eleven days, whose seventh gave a freeze.
    declare(noon(now, 8), noon(now, 7)).await;
    assert_eq!(streak(&broken).await, [11, 11, 1, 0]);
    assert_eq!(streak(&other).await, [3, 3, 0, 0]);
    assert_eq!(streak(&early).await, [0, 2, 0, 0]);
}

async fn an_outage_that_cannot_be_is_refused_and_changes_nothing(home: Home) {
    let server = home.launch().start().await;
    let now = SystemClock::new().now();
    let student = server.client().student();
    let admin = server.client().holder(admin_token());
    let at = |ago: Duration| (now - ago).to_string();
    let span =
        |began: Duration, ended: Duration| json!({"began_at": at(began), "ended_at": at(ended)});
    let ahead = json!({"began_at": at(DAY), "ended_at": (now + DAY).to_string()});
    for (form, code) in [
        (ahead, "invalid_field"),
        (span(DAY, DAY), "invalid_field"),
        (span(DAY, DAY * 2), "invalid_field"),
        (span(DAY * 40, DAY), "invalid_field"),
        (
            json!({"began_at": "yesterday", "ended_at": at(DAY)}),
            "invalid_field",
        ),
        (json!({"began_at": at(DAY)}), "invalid_field"),
        (
            json!({"began_at": at(DAY * 2), "ended_at": at(DAY), "for": "me"}),
            "unknown_field",
        ),
    ] {
        let refused = admin.post("/v1/admin/outages", &form).await;
        assert_eq!(refused.problem(422), code, "{form}");
    }
    let form = span(DAY * 2, DAY);
    let refused = student.post("/v1/admin/outages", &form).await;
    assert_eq!(refused.problem(403), "role_missing");
    is_learnt(&home, &server).await;
    let views = admin.get("/v1/admin/views").await.expect(200);
    let position = |view: &Value| view["current"]["position"].clone();
    let mut positions = views["items"].as_array().unwrap().iter().map(position);
    assert!(positions.all(|it| it == "0:0"), "the log is empty: {views}");
}
