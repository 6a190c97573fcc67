use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use medcards_core::answer::AnswerStore;
use medcards_core::case::{CaseStore, CaseVersion};
use medcards_core::conformance::transfer::{self, assert_same, fill};
use medcards_core::event::{EventLog, LogPosition, ReaderName};
use medcards_core::feedback::PrecomputedStore;
use medcards_core::testing::{
    SAMPLE_START, sample_answer, sample_case, sample_content, sample_feedback, sample_key,
    sample_user_id,
};
use medcards_core::transfer::{Inventory, Part};
use medcards_core::{ErrorKind, Timestamp};
use medcards_store_pg::{HalfMoved, Keeping, PgConfig, PgStore};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use medcards_tests::pg::{Cluster, Database, Installed};
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{Home, Server, Student, example, is_learnt, until};

/// How often a move is killed, unless `MEDCARDS_KILLS` says otherwise.
const KILLS: u64 = 10;

/// How many students a server is moved with, and how many answers each gives.
const STUDENTS: usize = 3;
const ANSWERS_PER_STUDENT: usize = 25;

/// How many answers are moved by the move that is killed.
const ANSWERS_UNDER_KILLS: u32 = 4_000;

/// The program, built once for all tests of this process.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| example("move"));

/// A SQLite file and an empty database.
struct Ends {
    folder: TempDir,
    database: Database,
}

impl Ends {
    fn new() -> Self {
        let cluster = Cluster::shared(Installed::oldest().major());
        Self {
            folder: TempDir::new().unwrap(),
            database: cluster.fresh_database(),
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("medcards.sqlite")
    }

    async fn source(&self) -> SqliteStore {
        SqliteStore::open(SqliteConfig::new(self.file()))
            .await
            .unwrap()
    }

    /// A file with so many answers, closed.
    async fn filled(answers: u32) -> Self {
        let ends = Self::new();
        let source = ends.source().await;
        fill(&source, answers).await;
        source.close().await;
        ends
    }

    fn config(&self) -> PgConfig {
        PgConfig::new(&self.database.url())
            .unwrap()
            .with_keeping(Keeping::Elsewhere)
    }

    /// The move, to be given more arguments.
    fn moving(&self, arguments: &[&str]) -> Command {
        move_command(&self.file(), &self.database.url(), arguments)
    }

    /// Runs the move to its end; returns how it ended and what it said.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        run(&mut self.moving(arguments))
    }

    /// The address of the database by the socket of its cluster: over TCP, small steps wait most of
    /// their time for acknowledgements of packets, and a kill would nearly always meet that wait.
    fn socket(&self) -> String {
        let cluster = Cluster::shared(Installed::oldest().major());
        let data = cluster.data_folder();
        let folder = data.parent().unwrap();
        format!("{}?host={}", self.database.url(), folder.display())
    }

    fn rows(&self, table: &str) -> u64 {
        let count = self.database.psql(&format!("select count(*) from {table}"));
        count.parse().unwrap()
    }
}

fn move_command(file: &Path, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(&*PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MEDCARDS_") {
            command.env_remove(name);
        }
    }
    command
        .arg("--from")
        .arg(file)
        .env("MEDCARDS_STORE", url)
        .args(arguments)
        .stdin(Stdio::null());
    command
}

fn run(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    let words = String::from_utf8(words).unwrap();
    (output.status.code().unwrap_or(-1), words)
}

async fn inventory(store: &PgStore) -> Inventory {
    Inventory::take(store, |_| None, |_, _| {}).await.unwrap()
}

/// Two stores for a check, and what they live in.
async fn pair() -> (SqliteStore, PgStore, Ends) {
    let ends = Ends::new();
    let config = ends.config().with_half_moved(HalfMoved::Taken);
    let target = PgStore::open(config).await.unwrap();
    (ends.source().await, target, ends)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_carried_once() {
    let (source, target, _ends) = pair().await;
    transfer::everything_is_carried_once(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_goes_on_where_it_was_dropped() {
    let (source, target, _ends) = pair().await;
    transfer::a_move_goes_on_where_it_was_dropped(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_step_is_written_once() {
    let (source, target, _ends) = pair().await;
    transfer::a_step_is_written_once(&source, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_belong_together_is_refused() {
    let (source, target, _ends) = pair().await;
    let (_source, other, _ends) = pair().await;
    transfer::what_does_not_belong_together_is_refused(&source, &target, &other).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_whole_deployment_moves_and_proves_it() {
    let ends = Ends::filled(3_000).await;
    let (code, words) = ends.run(&["--dry-run"]);
    assert_eq!(code, 0, "{words}");
    let tables = "select count(*) from pg_class where relname in ('users', 'medcards_migrations')";
    assert_eq!(ends.database.psql(tables), "0", "a dry run writes nothing");

    let report = ends.folder.path().join("report.json");
    let (code, words) = ends.run(&["--report", report.to_str().unwrap()]);
    assert_eq!(code, 0, "{words}");
    let report: Value = serde_json::from_slice(&std::fs::read(report).unwrap()).unwrap();
    assert_eq!(report["outcome"], "equal");
    assert_eq!(report["users"], 40);
    assert!(words.contains("the server builds them"), "{words}");
    let target = PgStore::open(ends.config()).await.unwrap();
    let before = inventory(&target).await;
    for arguments in [&[][..], &["--verify-only"], &["--dry-run"]] {
        let (code, words) = ends.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {words}");
    }
    assert!(before.compare(&inventory(&target).await).is_empty());

    let change = "update interactions set is_correct = not is_correct
                  where id = (select id from interactions order by id limit 1) returning user_id";
    let user = ends.database.psql(change);
    let (code, words) = ends.run(&["--verify-only"]);
    assert_eq!(code, 1, "{words}");
    assert!(words.contains(&format!("user {user}")), "{words}");

    // Last, because it also does the jobs of both.
    ends.database.psql(change);
    let source = ends.source().await;
    assert_same(&source, &target).await;
    source.close().await;
    target.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_learnt_before_a_move_is_learnt_again_after_it() {
    let before = Home::sqlite();
    let server = before.launch().start().await;
    let students: Vec<_> = (0..STUDENTS).map(|_| server.client().student()).collect();
    let cases = students[0].walk("/v1/cases?limit=100").await;
    for (n, student) in students.iter().enumerate() {
        for case in cases.iter().cycle().skip(n).take(ANSWERS_PER_STUDENT) {
            let key = case["options"][n % 2]["key"].as_str().unwrap();
            let id = case["id"].as_str().unwrap();
            student.answer(id, &[key]).await.expect(201);
        }
    }
    is_learnt(&before, &server).await;
    let learnt = learnt_of(&server, &students).await;
    server.stop().await;

    let after = Home::postgres();
    let file = before.folder().join("medcards.sqlite");
    let (code, words) = run(&mut move_command(&file, &after.database().url(), &[]));
    assert_eq!(code, 0, "{words}");
    let server = after.launch().start().await;
    is_learnt(&after, &server).await;
    assert_eq!(learnt_of(&server, &students).await, learnt);
    for of_student in learnt.chunks(LEARNT.len()) {
        let answered = &of_student[0]["total"]["answered"];
        assert_eq!(*answered, ANSWERS_PER_STUDENT, "{of_student:?}");
    }
    server.stop().await;
}

/// What a student asks of what was learnt.
const LEARNT: [&str; 3] = ["/v1/me/dashboard", "/v1/me/badges", "/v1/me/streak"];

async fn learnt_of(server: &Server, students: &[Student]) -> Vec<Value> {
    let mut learnt = Vec::new();
    for student in students {
        for path in LEARNT {
            learnt.push(student.at(server.url()).get(path).await.expect(200));
        }
    }
    learnt
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_was_changed_is_noticed() {
    let ends = Ends::filled(200).await;
    let (code, words) = ends.run(&[]);
    assert_eq!(code, 0, "{words}");
    let target = PgStore::open(ends.config()).await.unwrap();
    let before = inventory(&target).await;
    let first = "where ctid = (select ctid from";
    for (part, table, change) in [
        (
            Part::Cases,
            "case_versions",
            "set content = content || '{\"topic\": \"other\"}'",
        ),
        (Part::Users, "users", "set settings = '{}'"),
        (
            Part::Feedback,
            "precomputed_feedback",
            "set reviewed_at = null",
        ),
        (
            Part::SpendDays,
            "spend_days",
            "set set_aside = set_aside + 1",
        ),
        (
            Part::Reservations,
            "spend_reservations",
            "set settled = not settled",
        ),
        (
            Part::SpendScopes,
            "spend_scopes",
            "set set_aside = set_aside + 1",
        ),
        (Part::SpendTotals, "spend_totals", "set saved = saved + 1"),
        (Part::Answers, "interactions_2026_01", "set confidence = 1"),
        (
            Part::Events,
            "events",
            "set recorded_at = recorded_at + '1 us'",
        ),
        (
            Part::Cursors,
            "cursors",
            "set transaction_id = '1', sequence = 1",
        ),
        (Part::ChatTurns, "chat_turns", "set attempt = attempt + 1"),
        (
            Part::ChatSummaries,
            "chat_summaries",
            "set text = text || '.'",
        ),
        (
            Part::SharedAnswers,
            "shared_answers",
            "set case_version = case_version + 1",
        ),
    ] {
        // The cursor of the figures is not compared.
        let row = match part {
            Part::Feedback => "where reviewed_at is not null",
            Part::Cursors => "where reader = 'at-end'",
            _ => "",
        };
        let copy = format!("create table kept as select * from {table}");
        let put_back = format!(
            "truncate {table}; insert into {table} overriding system value select * from kept;
             drop table kept"
        );
        ends.database.psql(&copy);
        ends.database.psql(&format!(
            "update {table} {change} {first} {table} {row} limit 1)"
        ));
        let differences = before.compare(&inventory(&target).await);
        assert_eq!(differences.parts, [part]);
        let is_of_user = matches!(
            part,
            Part::Users | Part::Answers | Part::Events | Part::ChatTurns | Part::ChatSummaries
        );
        assert_eq!(differences.user_count, u64::from(is_of_user), "{part}");
        ends.database.psql(&put_back);
    }
    assert!(before.compare(&inventory(&target).await).is_empty());
    target.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_goes_on_and_writes_no_row_twice() {
    let kills = std::env::var("MEDCARDS_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let ends = Ends::filled(ANSWERS_UNDER_KILLS).await;
    let steps = ["--rows-per-step", "5"];
    let written = "select coalesce(sum(rows), 0) from transfer_parts";
    let has_begun = "select to_regclass('transfer_parts') is not null";
    let rows = || -> u64 {
        match ends.database.psql(has_begun).as_str() {
            "t" => ends.database.psql(written).parse().unwrap(),
            _ => 0,
        }
    };
    // Each answer has an event, and what is beside them is little.
    let total = 2 * u64::from(ANSWERS_UNDER_KILLS);
    for kill in 1..=kills {
        let wanted = (rows() + 1).max(total * kill / (kills + 2));
        let mut moving = move_command(&ends.file(), &ends.socket(), &steps);
        let mut child = moving.stdout(Stdio::null()).spawn().unwrap();
        until("some rows are moved", async || {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "the move ended before it was killed");
            (rows() >= wanted).then_some(())
        })
        .await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let opened = PgStore::open(ends.config()).await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::Conflict);

    // The same file with one answer more is not what was begun.
    let copy = ends.folder.path().join("copy.sqlite");
    std::fs::copy(ends.file(), &copy).unwrap();
    let changed = SqliteStore::open(SqliteConfig::new(&copy)).await.unwrap();
    let answer = sample_answer(sample_user_id(1), &sample_case(1), SAMPLE_START);
    changed.record_answer(answer).await.unwrap();
    changed.close().await;
    let (code, words) = run(&mut move_command(&copy, &ends.database.url(), &[]));
    assert_eq!(code, 2, "{words}");
    assert!(words.contains("an earlier state"), "{words}");

    let (code, words) = ends.run(&steps);
    assert_eq!(code, 0, "{words}");
    assert_eq!(ends.rows("interactions"), u64::from(ANSWERS_UNDER_KILLS));
    let source = ends.source().await;
    let target = PgStore::open(ends.config()).await.unwrap();
    assert_same(&source, &target).await;
    target.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_postgres_cannot_keep_are_named_and_nothing_is_written() {
    let ends = Ends::new();
    let source = ends.source().await;
    source
        .publish(vec![sample_content(0)], SAMPLE_START)
        .await
        .unwrap();
    let mut late = sample_answer(sample_user_id(1), &sample_case(0), SAMPLE_START);
    late.created_at = "2026-02-01T00:00:00Z".parse().unwrap();
    let old: Timestamp = "1999-12-31T00:00:00Z".parse().unwrap();
    let old = sample_answer(sample_user_id(2), &sample_case(0), old);
    let mut many = sample_answer(sample_user_id(3), &sample_case(0), SAMPLE_START);
    many.case_version = CaseVersion::new(u32::MAX).unwrap();
    for answer in [&late, &old, &many] {
        source.record_answer(answer.clone()).await.unwrap();
    }
    source
        .put_feedback(&sample_key(1), &sample_feedback("a\0b"))
        .await
        .unwrap();
    let reader = ReaderName::new("stats").unwrap();
    source
        .move_cursor(&reader, LogPosition::START, LogPosition::START)
        .await
        .unwrap();
    source.close().await;
    for arguments in [&["--dry-run"][..], &[]] {
        let (code, words) = ends.run(arguments);
        assert_eq!(code, 1, "{words}");
        let named = [late.id.to_string(), old.id.to_string(), many.id.to_string()];
        let named = named.iter().map(String::as_str);
        for name in named.chain(["feedback fk1/", "cursor of reader stats", "5 rows"]) {
            assert!(words.contains(name), "{name} is not in: {words}");
        }
        let tables = "select count(*) from pg_class where relname = 'users'";
        assert_eq!(ends.database.psql(tables), "0");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_cannot_be_done_says_what_to_do() {
    let ends = Ends::new();
    let says = |(code, words): (i32, String), what: &str| {
        assert_eq!(code, 2, "{words}");
        assert!(words.contains(what), "{words}");
    };
    says(ends.run(&[]), "there is no file");
    let source = ends.source().await;
    says(ends.run(&[]), "Stop the server");
    source.close().await;
    says(ends.run(&["--verify-only"]), "nothing to compare");
    let target = PgStore::open(ends.config()).await.unwrap();
    target
        .publish(vec![sample_content(0)], SAMPLE_START)
        .await
        .unwrap();
    target.close().await;
    for arguments in [&[][..], &["--dry-run"], &["--verify-only"]] {
        says(ends.run(arguments), "has data of its own (cases)");
    }
    let nowhere = "postgres://postgres@127.0.0.1:1/medcards";
    says(
        run(&mut move_command(&ends.file(), nowhere, &[])),
        "the server",
    );
}
