use std::process::{Command, Output};

use medcards_tests::pg::{Cluster, Installed};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::deck;
use crate::harness::{Home, Launch, Server, Student, example, send, until, uuid_v7};

/// How a server that is asked to stop may end: within the patience of service managers.
const STOP_SECONDS_MAX: u64 = 20;

/// A password that must not be found in anything that is written.
const PASSWORD: &str = "a-password-of-nobody";

fn cluster() -> Cluster {
    Cluster::start(&Installed::oldest(), &[])
}

/// The same address with a password, which this server does not ask for.
fn with_password(url: &str) -> String {
    url.replacen("postgres@", &format!("postgres:{PASSWORD}@"), 1)
}

/// Answers the next case, and returns the path and form with which it can be sent again.
async fn answer(student: &Student) -> (String, Value) {
    let case = student.get("/v1/cases/next").await.expect(200);
    let form = json!({"id": uuid_v7(), "options": [case["options"][0]["key"]]});
    let path = format!("/v1/cases/{}/answers", case["id"].as_str().unwrap());
    student.post(&path, &form).await.expect(201);
    (path, form)
}

async fn readiness(server: &Server) -> u16 {
    send(server.client().get("/readyz")).await.status
}

/// The line of the banner with this name.
fn line(server: &Server, name: &str) -> String {
    let output = server.output();
    let line = output
        .lines()
        .find(|line| line.trim_start().starts_with(name));
    line.unwrap_or_else(|| panic!("no line {name}: {output}"))
        .to_owned()
}

#[tokio::test]
async fn servers_on_one_database_take_each_others_guests_and_answers() {
    let home = Home::postgres();
    let (first, other_folder) = (home.launch().start().await, TempDir::new().unwrap());
    let other = home
        .launch()
        .with("MEDCARDS_DATA", &other_folder.path().to_string_lossy());
    let other = other.start().await;
    assert!(
        line(&first, "deck").ends_with("72 new"),
        "{}",
        first.output()
    );
    assert!(
        line(&other, "deck").ends_with(" 0 new"),
        "{}",
        other.output()
    );

    let guest = first.client().guest().await;
    let (path, form) = answer(&guest).await;
    let there = guest.at(other.url());
    assert_eq!(
        there.post(&path, &form).await.status,
        200,
        "it is the same answer"
    );
    assert_eq!(there.walk("/v1/me/answers?").await.len(), 1);
    let stats = there.get("/v1/me/stats").await.expect(200);
    assert_eq!(stats["answered"], 1);
}

/// Whoever is given a token by one should not be told by the other that it is not good.
#[tokio::test]
async fn guests_of_a_server_with_another_secret_are_strangers() {
    let home = Home::postgres();
    let (first, other_folder) = (home.launch().start().await, TempDir::new().unwrap());
    let other = home
        .launch()
        .with("MEDCARDS_JWT_SECRET", "")
        .with("MEDCARDS_DATA", &other_folder.path().to_string_lossy());
    let other = other.start().await;
    assert!(
        line(&other, "tokens").contains("set MEDCARDS_JWT_SECRET, the same for each"),
        "{}",
        other.output()
    );
    let guest = first.client().guest().await;
    let refused = guest.at(other.url()).get("/v1/me/stats").await;
    assert_eq!(refused.problem(401), "token_invalid");
}

#[tokio::test]
async fn a_folder_that_served_a_file_gets_the_deck_in_a_database_that_has_cases() {
    let (home, folder) = (Home::postgres(), TempDir::new().unwrap());
    let name = folder.path().to_string_lossy().into_owned();
    let on_file = Launch::on(folder.path()).start().await;
    assert!(line(&on_file, "store").contains("SQLite file"));
    on_file.stop().await;

    let case = json!({
        "id": "1", "source": "test", "stem": "Which?", "answer_keys": ["A"],
        "options": [{"key": "A", "text": "This"}, {"key": "B", "text": "That"}],
    });
    let imported = import(&home, &case).await;
    assert!(imported.status.success(), "{imported:?}");
    let server = home.launch().with("MEDCARDS_DATA", &name).start().await;
    assert!(line(&server, "store").contains("PostgreSQL 127.0.0.1:"));
    assert!(
        line(&server, "deck").ends_with("72 new"),
        "{}",
        server.output()
    );
    assert_eq!(cases(&server).await.len(), 73);
    server.stop().await;

    let again = Launch::on(folder.path()).start().await;
    assert!(
        line(&again, "deck").ends_with(" 0 new"),
        "{}",
        again.output()
    );
}

async fn cases(server: &Server) -> Vec<Value> {
    server.client().student().walk("/v1/cases?limit=100").await
}

/// Runs the import of one record on the store of a server.
async fn import(home: &Home, record: &Value) -> Output {
    let file = home.folder().join("cases.jsonl");
    std::fs::write(&file, record.to_string()).unwrap();
    let program = example("import");
    let mut command = Command::new(program);
    for (name, value) in home.settings() {
        command.env(name, value);
    }
    command.arg(file).arg("--data").arg(home.folder());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    output.await.unwrap()
}

#[tokio::test]
async fn cases_are_imported_while_the_server_runs() {
    for home in [Home::postgres(), Home::postgres_behind_a_pooler()] {
        let server = home.launch().start().await;
        let (_, mut record) = deck::records().swap_remove(0);
        let case = cases(&server).await;
        let case = case
            .iter()
            .find(|case| case["source"]["external_id"] == record.id);
        let case_id = case.unwrap()["id"].as_str().unwrap().to_owned();
        record.stem.push_str(" Choose the best.");
        let imported = import(&home, &serde_json::to_value(&record).unwrap()).await;
        assert!(imported.status.success(), "{imported:?}");
        assert!(String::from_utf8_lossy(&imported.stdout).contains("new versions of known cases"));

        let path = format!("/v1/cases/{case_id}");
        let shown = server.client().student().get(&path).await.expect(200);
        assert_eq!(shown["stem"], record.stem.as_str());
        server.stop().await;
        let again = home.launch().start().await;
        let shown = again.client().student().get(&path).await.expect(200);
        assert_eq!(
            shown["stem"],
            record.stem.as_str(),
            "the deck leaves it as it is"
        );
    }
}

/// A store that is away is told apart from a mistake, and nothing has to be started again.
#[tokio::test]
async fn a_server_is_ready_again_as_soon_as_its_database_is() {
    let cluster = cluster();
    let database = cluster.fresh_database();
    let folder = TempDir::new().unwrap();
    let launch = Launch::on(folder.path()).with("MEDCARDS_STORE", &database.url());
    let server = launch.start().await;
    let student = server.client().student();
    let (path, form) = answer(&student).await;
    let feedback = format!("/v1/answers/{}/feedback", form["id"].as_str().unwrap());
    student.get(&feedback).await.expect(200);
    assert_eq!(readiness(&server).await, 200);

    for is_killed in [false, true] {
        match is_killed {
            false => cluster.stop(),
            true => cluster.kill(),
        }
        let refused = send(server.client().get("/readyz")).await;
        assert_eq!(refused.problem(503), "not_ready");
        student.get(&feedback).await.expect(200);
        assert_eq!(send(server.client().get("/healthz")).await.status, 200);
        for refused in [
            student.post(&path, &form).await,
            student.get("/v1/me/answers").await,
        ] {
            assert_eq!(refused.problem(503), "unavailable");
            assert_eq!(refused.headers["retry-after"], "1");
        }
        cluster.start_again();
        until("the server is ready", async || {
            (readiness(&server).await == 200).then_some(())
        })
        .await;
        assert_eq!(
            student.post(&path, &form).await.status,
            200,
            "the answer is there"
        );
    }
    // A student who sends an answer meanwhile sends it again.
    cluster.kill();
    let form = json!({"id": uuid_v7(), "options": form["options"]});
    student.post(&path, &form).await.problem(503);
    cluster.start_again();
    let sent = until("the answer is taken", async || {
        let reply = student.post(&path, &form).await;
        (reply.status != 503).then_some(reply.status)
    });
    assert!(matches!(sent.await, 200 | 201));
    assert_eq!(student.walk("/v1/me/answers?").await.len(), 2);
    server.stop().await;
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_not_ready_and_holds_up_no_stop() {
    let cluster = cluster();
    let database = cluster.fresh_database();
    let folder = TempDir::new().unwrap();
    let launch = Launch::on(folder.path()).with("MEDCARDS_STORE", &database.url());
    let server = launch.start().await;
    cluster.suspend();
    assert_eq!(readiness(&server).await, 503);
    let student = server.client().student();
    let path = "/v1/cases/next";
    let waiting = tokio::spawn(async move { student.client.get(path).send().await });
    let began = std::time::Instant::now();
    server.terminate();
    server.exit().await;
    let took = began.elapsed().as_secs();
    assert!(took < STOP_SECONDS_MAX, "it took {took} s");
    drop(waiting.await);
    cluster.resume();
}

#[tokio::test]
async fn a_password_is_in_nothing_that_is_written() {
    let cluster = cluster();
    let database = cluster.fresh_database();
    let replica = cluster.replica();
    let url = with_password(&database.url());
    let folder = TempDir::new().unwrap();
    let launch = |store: &str| {
        Launch::on(folder.path())
            .with("MEDCARDS_STORE", store)
            .with("MEDCARDS_LOG", "trace")
    };
    let replicas = with_password(&replica.url(database.name()));
    let server = launch(&url)
        .with("MEDCARDS_REPLICAS", &replicas)
        .start()
        .await;
    let place = format!(
        "PostgreSQL 127.0.0.1:{}/{}",
        cluster.port(),
        database.name()
    );
    let store = line(&server, "store");
    assert!(store.ends_with(&format!("{place} (1 replica)")), "{store}");
    answer(&server.client().student()).await;
    assert!(!server.output().contains(PASSWORD), "{}", server.output());
    server.stop().await;

    for (store, words) in [
        (
            url.replace(database.name(), "no_such_database"),
            "no such database",
        ),
        (url.replace("//postgres:", "//nobody:"), "nobody"),
        (url.replace("127.0.0.1", "127.0.0.1:port"), "MEDCARDS_STORE"),
        (url.replace('@', "/@"), "MEDCARDS_STORE"),
    ] {
        let (code, said) = launch(&store).fail().await;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words) && !said.contains(PASSWORD), "{said}");
    }
}
