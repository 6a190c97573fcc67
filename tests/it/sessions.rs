use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Home, Server, Student, admin_token, on_each_store, send};

on_each_store!(a_session_outlives_a_server_that_is_killed_and_ends_when_its_user_says_so,);

/// Signs in: the session's id, and whoever holds its token.
async fn sign_in(student: &Student) -> (String, Student) {
    let begin = student.client.post("/v1/sessions");
    let begun = send(begin.bearer_auth(&student.token)).await.expect(201);
    let text = |name: &str| begun[name].as_str().unwrap().to_owned();
    (text("session"), student.client.holder(text("token")))
}

async fn sign_out(student: &Student, path: &str) -> u16 {
    let end = student.client.request("DELETE", path);
    send(end.bearer_auth(&student.token)).await.status
}

async fn assert_signed_out(student: &Student) {
    let refused = student.get("/v1/me").await;
    assert_eq!(refused.problem(401), "session_ended");
}

async fn sessions_of(student: &Student) -> Vec<Value> {
    student.walk("/v1/sessions?").await
}

async fn a_session_outlives_a_server_that_is_killed_and_ends_when_its_user_says_so(home: Home) {
    let server = home.launch().start().await;
    let guest = server.client().guest().await;
    let (phone_id, phone) = sign_in(&guest).await;
    let (laptop_id, laptop) = sign_in(&guest).await;
    let me = guest.get("/v1/me").await.expect(200);
    assert_eq!(phone.get("/v1/me").await.expect(200), me);
    let (_, admin) = sign_in(&server.client().holder(admin_token())).await;
    let refused = admin.get("/v1/admin/spend").await;
    assert_eq!(refused.problem(403), "role_missing");
    server.kill();

    let server = home.launch().start().await;
    let [guest, phone, laptop] = [guest, phone, laptop].map(|one| one.at(server.url()));
    assert_eq!(phone.get("/v1/me").await.expect(200), me);
    let listed = sessions_of(&laptop).await;
    let ids: Vec<_> = listed.iter().map(|one| one["id"].as_str()).collect();
    assert_eq!(ids, [Some(laptop_id.as_str()), Some(phone_id.as_str())]);
    assert_eq!(listed[0]["is_current"], true);
    let path = format!("/v1/sessions/{phone_id}");
    assert_eq!(sign_out(&laptop, &path).await, 204);
    assert_signed_out(&phone).await;
    server.kill();

    let server = home.launch().start().await;
    let [guest, phone, laptop] = [guest, phone, laptop].map(|one| one.at(server.url()));
    assert_signed_out(&phone).await;
    assert_eq!(laptop.get("/v1/me").await.expect(200), me);
    assert_eq!(sign_out(&guest, "/v1/sessions").await, 204);
    assert_signed_out(&laptop).await;
    assert_eq!(sessions_of(&guest).await, [Value::Null; 0]);
    server.stop().await;
}

/// Two servers on one database.
async fn pair(home: &Home, folder: &TempDir) -> [Server; 2] {
    [
        home.launch().start().await,
        home.launch_in(folder.path()).start().await,
    ]
}

#[tokio::test]
async fn who_signs_out_at_one_server_is_signed_out_at_the_other() {
    let home = Home::postgres_with_replicas();
    let folder = TempDir::new().unwrap();
    let [here, there] = pair(&home, &folder).await;
    let student = here.client().student();
    for _ in 0..10 {
        let (id, session) = sign_in(&student).await;
        let elsewhere = session.at(there.url());
        elsewhere.get("/v1/me").await.expect(200);
        let path = format!("/v1/sessions/{id}");
        assert_eq!(sign_out(&session, &path).await, 204);
        assert_signed_out(&elsewhere).await;
        assert_signed_out(&session).await;
    }
    let (_, session) = sign_in(&student).await;
    let elsewhere = session.at(there.url());
    assert_eq!(sign_out(&elsewhere, "/v1/sessions").await, 204);
    assert_signed_out(&session).await;
}
