use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;

use medcards_examples::simulator::{BatchScript, Script, Simulator};
use serde_json::{Value, json};

use crate::harness::{Claims, Home, Launch, Server, Student, example, until, uuid_v7};

/// The program, built once for all tests of this process.
static PROGRAM: LazyLock<std::path::PathBuf> = LazyLock::new(|| example("precompute"));

/// How many students answer the same, so that a forecast expects more of them.
const STUDENTS: usize = 12;

/// How many cases they answer.
const CASES: usize = 4;

/// How long batches take unless they are finished by hand: longer than any test.
const BATCH_MS: u64 = 60 * 60 * 1_000;

/// The settings of the model, for the server and the program alike.
fn model_settings(simulator: &Simulator) -> Vec<(&'static str, String)> {
    vec![
        ("MEDCARDS_AI", "anthropic".to_owned()),
        ("MEDCARDS_AI_URL", simulator.base_url()),
        ("MEDCARDS_AI_KEY", "a-key-that-nobody-checks".to_owned()),
        ("MEDCARDS_AI_MODEL", "claude-haiku-4-5".to_owned()),
    ]
}

fn with_model(launch: Launch, simulator: &Simulator) -> Launch {
    let settings = model_settings(simulator);
    let with = |launch: Launch, (name, value): &(&str, String)| launch.with(name, value);
    settings.iter().fold(launch, with)
}

/// The program on a home, with the model, and with nothing else from the environment of the tests.
struct Precompute<'a> {
    home: &'a Home,
    simulator: &'a Simulator,
}

impl Precompute<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&*PROGRAM);
        for (name, _) in std::env::vars_os() {
            let name_read = name.to_string_lossy().to_ascii_uppercase();
            if name_read.starts_with("MEDCARDS_") || name_read.ends_with("_PROXY") {
                command.env_remove(name);
            }
        }
        let folder: &Path = self.home.folder();
        command.env("MEDCARDS_DATA", folder);
        for (name, value) in self.home.settings() {
            command.env(name, value);
        }
        for (name, value) in model_settings(self.simulator) {
            command.env(name, value);
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    /// Runs it to its end, which must be good, and returns what it wrote.
    async fn run(&self, arguments: &[&str]) -> String {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap());
        let output = output.await.unwrap();
        let words = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {words}");
        words
    }

    fn spawn(&self, arguments: &[&str]) -> Running {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::inherit());
        Running(command.spawn().unwrap())
    }
}

/// A program that is killed at the latest when the test ends.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Students who all choose alike in the same cases; one of them, and the answers of that one.
async fn class(server: &Server) -> (Student, Vec<(String, String)>) {
    let first = server.client().student();
    let listed = first.walk("/v1/cases?limit=100").await;
    let cases: Vec<Value> = listed.into_iter().take(CASES).collect();
    let mut answers = Vec::new();
    for number in 0..STUDENTS {
        let student = match number {
            0 => first.clone(),
            _ => server.client().student(),
        };
        for case in &cases {
            let id = case["id"].as_str().unwrap();
            let shown = student.get(&format!("/v1/cases/{id}")).await.expect(200);
            // The same option for all, whatever the order in which they see them.
            let options = shown["options"].as_array().unwrap().iter();
            let chosen = options.min_by_key(|option| option["text"].to_string());
            let key = chosen.unwrap()["key"].as_str().unwrap();
            let answer = student.answer(id, &[key]).await.expect(201);
            if number == 0 {
                answers.push((id.to_owned(), answer["id"].as_str().unwrap().to_owned()));
            }
        }
    }
    (first, answers)
}

fn reviewer(server: &Server) -> Student {
    let claims = Claims::of(&uuid_v7()).with("role", json!("reviewer"));
    server.client().holder(claims.sign())
}

#[tokio::test]
async fn feedback_is_bought_once_although_the_program_is_killed_on_sqlite() {
    feedback_is_bought_once_although_the_program_is_killed(Home::sqlite()).await;
}

#[tokio::test]
async fn feedback_is_bought_once_although_the_program_is_killed_on_postgres() {
    feedback_is_bought_once_although_the_program_is_killed(Home::postgres()).await;
}

async fn feedback_is_bought_once_although_the_program_is_killed(home: Home) {
    let slow = Script {
        batch: BatchScript {
            duration_ms: BATCH_MS,
            ..BatchScript::default()
        },
        ..Script::default()
    };
    let simulator = Simulator::start(slow).await.unwrap();
    // The deck comes in, and students answer it.
    let server = home.launch().start().await;
    let (student, answers) = class(&server).await;
    server.stop().await;

    let program = Precompute {
        home: &home,
        simulator: &simulator,
    };
    program.run(&["plan"]).await;
    program.run(&["run", "--dry-run"]).await;
    assert_eq!(simulator.counts().batches.created, 0, "a plan buys nothing");
    let running = program.spawn(&["run", "--yes", "--poll", "1s"]);
    until("the provider has a batch", async || {
        (simulator.counts().batches.created > 0).then_some(())
    })
    .await;
    drop(running);
    let status = program.run(&["status"]).await;
    assert!(!status.contains("no batch is open"), "{status}");
    // Killed once more, while it goes on.
    let asked = simulator.counts().calls.clone();
    let running = program.spawn(&["resume", "--poll", "1s"]);
    until("it asks the provider how far the batch is", async || {
        (simulator.counts().calls != asked).then_some(())
    })
    .await;
    drop(running);
    simulator.finish_batches();
    let report = program.run(&["resume", "--poll", "1s"]).await;
    assert!(report.contains("written"), "{report}");
    let status = program.run(&["status"]).await;
    assert!(status.contains("no batch is open"), "{status}");
    let batches = simulator.counts().batches;
    assert_eq!(
        (batches.created, batches.repeated_items),
        (1, 0),
        "{batches:?}"
    );
    assert!(
        batches.items >= u64::try_from(CASES).unwrap(),
        "{batches:?}"
    );

    // The students who chose so read it, at no cost, and no model is asked.
    let server = with_model(home.launch(), &simulator).start().await;
    let student = student.at(server.url());
    for (case_id, answer_id) in &answers {
        let feedback = student.feedback(answer_id).await;
        assert_eq!(feedback["tier"], "precomputed", "{case_id}: {feedback}");
        assert_eq!(feedback["cost_microdollars"], 0);
        assert_eq!(feedback["review"], "unreviewed");
    }
    let calls = simulator.counts().all_calls_of("POST /v1/messages");
    assert_eq!(calls, 0, "all of it was bought before");
    assert_reviewed(&server, &student, &answers).await;
    assert_precomputed(&server, batches.items).await;
    server.stop().await;
}

/// The queue has what was bought; what is withdrawn is shown to nobody, what is approved stays.
async fn assert_reviewed(server: &Server, student: &Student, answers: &[(String, String)]) {
    let reviewer = reviewer(server);
    let queue = reviewer.walk("/v1/admin/feedback?limit=7").await;
    for item in &queue {
        assert_eq!(item["origin"], "batch", "{item}");
        assert_eq!(item["model"], "claude-haiku-4-5", "{item}");
    }
    let mut gone = Vec::new();
    for ((case_id, answer_id), decision) in answers.iter().zip(["withdraw", "approve"]) {
        let shown = student.feedback(answer_id).await;
        let mut items = queue.iter();
        let item = items.find(|item| item["text"] == shown["text"]);
        let item = item.unwrap_or_else(|| panic!("{case_id} is not in the queue: {shown}"));
        assert_eq!(item["case"]["id"], case_id.as_str());
        let form = json!({"key": item["key"], "decision": decision});
        let reviewed = reviewer.post("/v1/admin/feedback/review", &form).await;
        reviewed.expect(200);
        let after = student.feedback(answer_id).await;
        if decision == "withdraw" {
            assert_eq!(after["tier"], "authored", "{after}");
            assert_ne!(after["text"], shown["text"]);
        } else {
            assert_eq!(
                (&after["review"], &after["text"]),
                (&json!("approved"), &shown["text"])
            );
        }
        gone.push(item["key"].clone());
    }
    let left = reviewer.walk("/v1/admin/feedback?").await;
    assert_eq!(left.len(), queue.len() - gone.len());
    assert!(left.iter().all(|item| !gone.contains(&item["key"])));
}

/// The budget tells what was paid for it.
async fn assert_precomputed(server: &Server, items: u64) {
    let admin = server.client().holder(crate::harness::admin_token());
    let spend = admin.get("/v1/admin/spend").await.expect(200);
    let scopes = spend["budget"]["scopes"].as_array().unwrap();
    let scope = scopes.iter().find(|scope| scope["scope"] == "precompute");
    let scope = scope.unwrap();
    assert!(
        scope["spent_microdollars"].as_u64().unwrap() >= items,
        "{spend}"
    );
    assert_eq!(scope["set_aside_microdollars"], 0, "{spend}");
}
