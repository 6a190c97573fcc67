use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use medcards_ai::FeedbackTemplate;
use medcards_core::ai::{FeedbackPrompt, Rejection, Reply, StopReason};
use medcards_core::case::{Case, CaseRecord, CaseVersion, names_option_letter, search_words};
use medcards_core::feedback::FeedbackKey;
use medcards_core::spend::{MicroDollars, TokenUsage};
use medcards_core::user::Level;
use medcards_core::{CaseId, Timestamp};
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::harness::{Launch, Server, Student, admin_token, example, send};

/// Names the folder with the files; `tests/real-data` sets it.
const FOLDER: &str = "MEDCARDS_REAL_DATA";

/// The files of multiple-choice cases, with how many records and how many cases each has: one French
/// case stands there twice, word for word.
const FILES: [(&str, usize, usize); 4] = [
    ("frenchmedmcqa_train.jsonl", 2_171, 2_170),
    ("medmcqa_dev_a.jsonl", 2_906, 2_906),
    ("mmlu_medical_test.jsonl", 1_089, 1_089),
    ("pubmedqa_test.jsonl", 500, 500),
];

/// How many records these are.
const RECORDS: usize = 6_666;

/// How many cases.
const CASES: usize = 6_665;

/// How many of them are French.
const FRENCH: usize = 2_170;

/// A file of stations of an examination, which are no cases, with how many it has.
const STATIONS: (&str, usize) = ("agentclinic_medqa_osce.jsonl", 214);

/// How many students answer at once.
const STUDENTS: usize = 16;

#[expect(
    clippy::print_stderr,
    reason = "a skipped test says so, and figures are what it is run for"
)]
fn say(words: &str) {
    eprintln!("{words}");
}

/// The folder with the files, or `None` after saying that nothing is tested.
fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os(FOLDER).map(PathBuf::from);
    if folder.is_none() {
        say(&format!(
            "SKIPPED: set {FOLDER} to a folder of real cases, or run ./tests/real-data"
        ));
    }
    folder
}

/// Records, by source and id.
type Records = BTreeMap<(String, String), CaseRecord>;

/// The records of the four files.
fn records(folder: &Path) -> Records {
    let mut records = BTreeMap::new();
    for (file, ..) in FILES {
        for line in std::fs::read_to_string(folder.join(file)).unwrap().lines() {
            let record: CaseRecord = serde_json::from_str(line).unwrap();
            records.insert((record.source.clone(), record.id.clone()), record);
        }
    }
    assert_eq!(records.len(), CASES, "each has a name of its own");
    records
}

async fn import(admin: &Student, file: PathBuf) -> Value {
    let request = admin
        .client
        .post("/v1/admin/cases")
        .bearer_auth(&admin.token);
    let request = request.header("content-type", "application/x-ndjson");
    send(request.body(std::fs::read(file).unwrap()))
        .await
        .expect(200)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_real_cases_are_imported_listed_searched_and_answered() {
    let Some(files) = folder() else { return };
    let folder = TempDir::new().unwrap();
    let server = Launch::on(folder.path()).start().await;
    let admin = server.client().holder(admin_token());
    for turn in ["imported", "imported again"] {
        let started = Instant::now();
        for (file, records, cases) in FILES {
            let report = import(&admin, files.join(file)).await;
            let created = if turn == "imported" { cases } else { 0 };
            assert_eq!(report["created"], created, "{file}");
            assert_eq!(report["unchanged"], records - created, "{file}");
            assert_eq!(
                (&report["updated"], &report["rejected"]),
                (&0.into(), &0.into()),
                "{file}"
            );
            say(&format!(
                "{file}: {records} records {turn}, notices {}",
                report["notices"]
            ));
        }
        let seconds = started.elapsed().as_secs_f64();
        say(&format!(
            "{RECORDS} records {turn} over HTTP in {seconds:.1} s"
        ));
    }
    assert_stations_refused(&import(&admin, files.join(STATIONS.0)).await["errors"]);

    let student = server.client().student();
    let shown = assert_listed(&student).await;
    let records = records(&files);
    assert_found(&student, &records).await;
    answer_all(&server, shown, records).await;
    server.stop().await;
}

fn assert_stations_refused(errors: &Value) {
    let errors = errors.as_array().unwrap();
    assert_eq!(errors.len(), STATIONS.1);
    for error in errors {
        assert!(
            error["reason"].as_str().unwrap().contains("OSCE"),
            "{error}"
        );
    }
}

/// The real cases as a student sees them, by walking all pages.
async fn assert_listed(student: &Student) -> Vec<Value> {
    let started = Instant::now();
    let mut cases = student.walk("/v1/cases?limit=100").await;
    say(&format!(
        "{} cases listed in {:.1} s",
        cases.len(),
        started.elapsed().as_secs_f64()
    ));
    let ids: BTreeSet<_> = cases
        .iter()
        .map(|case| case["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids.len(), cases.len(), "no case is listed twice");
    assert!(
        cases.iter().all(|case| case["version"] == 1),
        "nothing has changed in between"
    );
    cases.retain(|case| case["source"]["name"] != "medcards-deck");
    assert_eq!(cases.len(), CASES);
    let french = student.walk("/v1/cases?limit=100&lang=fr").await;
    assert_eq!(french.len(), FRENCH);
    assert!(french.iter().all(|case| case["lang"] == "fr"));
    cases
}

/// A search finds the cases that have its words, however their accents are written, and no other.
async fn assert_found(student: &Student, records: &Records) {
    for words in [
        "méningite",
        "MENINGITE",
        "hépatique",
        "diabete sucre",
        "Diabète sucré",
        "vitamin b12",
    ] {
        let query = words.replace(' ', "%20");
        let listed = student
            .walk(&format!("/v1/cases?limit=100&q={query}"))
            .await;
        let real = listed
            .iter()
            .filter(|case| case["source"]["name"] != "medcards-deck");
        let found: BTreeSet<_> = real.map(name_of).collect();
        let wanted = records
            .iter()
            .filter(|(_, record)| has_words(record, &search_words(words)));
        let wanted: BTreeSet<_> = wanted.map(|(name, _)| name.clone()).collect();
        say(&format!("{} cases have {words:?}", found.len()));
        assert!(!wanted.is_empty(), "{words}");
        assert_eq!(found, wanted, "{words}");
    }
}

/// Whether each of the words begins a word of the case, by going through all its text.
fn has_words(record: &CaseRecord, words: &[String]) -> bool {
    let vignette = record
        .vignette
        .iter()
        .flat_map(|field| [&field.label, &field.text]);
    let options = record.options.iter().map(|option| &option.text);
    let names = record.specialty.iter().chain(&record.topic);
    let texts = vignette.chain(options).chain(names).chain([&record.stem]);
    let there: BTreeSet<String> = texts
        .flat_map(|text| {
            text.split(|c: char| !c.is_alphanumeric() && !('\u{300}'..='\u{36f}').contains(&c))
        })
        .flat_map(search_words)
        .collect();
    words
        .iter()
        .all(|word| there.iter().any(|one| one.starts_with(word)))
}

/// The source of a shown case, and its name within it.
fn name_of(case: &Value) -> (String, String) {
    let text = |name: &str| case["source"][name].as_str().unwrap().to_owned();
    (text("name"), text("external_id"))
}

/// Answers each case once right and once wrong, and reads the feedback of both.
async fn answer_all(server: &Server, mut shown: Vec<Value>, records: Records) {
    let started = Instant::now();
    let several = records
        .values()
        .filter(|record| record.answer_keys.len() > 1)
        .count();
    let mut students = JoinSet::new();
    let share = shown.len().div_ceil(STUDENTS);
    while !shown.is_empty() {
        let cases = shown.split_off(shown.len().saturating_sub(share));
        let named = cases.into_iter().map(|case| {
            let record = records[&name_of(&case)].clone();
            (case, record)
        });
        let named: Vec<_> = named.collect();
        let student = server.client().student();
        students.spawn(async move {
            for (case, record) in &named {
                answer_both_ways(&student, case, record).await;
            }
            let stats = student.get("/v1/me/stats").await.expect(200);
            assert_eq!(stats["answered"], 2 * named.len());
            assert_eq!(stats["correct"], named.len());
            assert_eq!(stats["cases"], named.len());
            named.len()
        });
    }
    let answered: usize = students.join_all().await.into_iter().sum();
    assert_eq!(answered, CASES);
    say(&format!(
        "{} answers, each with its feedback, {several} cases with several right options, in {:.1} s",
        2 * answered,
        started.elapsed().as_secs_f64()
    ));
}

async fn answer_both_ways(student: &Student, case: &Value, record: &CaseRecord) {
    let right: Vec<&str> = record.answer_keys.iter().map(String::as_str).collect();
    for (keys, is_correct) in [(right.clone(), true), (wrong_keys(record), false)] {
        let case_id = case["id"].as_str().unwrap();
        let answer = student.answer(case_id, &keys).await.expect(201);
        assert_eq!(answer["is_correct"], is_correct, "{}", record.id);
        let told = answer["correct_options"].as_array().unwrap().iter();
        let told: BTreeSet<_> = told.map(|key| key.as_str().unwrap()).collect();
        assert_eq!(told, right.iter().copied().collect(), "{}", record.id);
        let feedback = student.feedback(answer["id"].as_str().unwrap()).await;
        assert_eq!(feedback["tier"], "authored");
        let chosen = record
            .options
            .iter()
            .find(|option| option.key == keys[0])
            .unwrap();
        let text = feedback["text"].as_str().unwrap();
        assert!(text.contains(chosen.text.trim()), "{}: {text}", record.id);
    }
}

/// A wrong option; or where all are right, all but one.
fn wrong_keys(record: &CaseRecord) -> Vec<&str> {
    let is_right = |key: &String| record.answer_keys.contains(key);
    match record.options.iter().find(|option| !is_right(&option.key)) {
        Some(option) => vec![&option.key],
        None => record.answer_keys[1..].iter().map(String::as_str).collect(),
    }
}

/// Runs the import program on files.
fn run_import(data: &Path, rejects: &Path, files: &[PathBuf]) -> Output {
    let mut command = Command::new(example("import"));
    command
        .args(files)
        .arg("--data")
        .arg(data)
        .arg("--rejects")
        .arg(rejects);
    command.output().unwrap()
}

#[tokio::test]
async fn the_import_program_brings_in_the_same_cases_once() {
    let Some(files) = folder() else { return };
    let folder = TempDir::new().unwrap();
    let rejects = folder.path().join("rejected.jsonl");
    let data = folder.path().join("data");
    let cases = FILES.map(|(file, ..)| files.join(file));
    for turn in ["imported", "imported again"] {
        let started = Instant::now();
        let output = run_import(&data, &rejects, &cases);
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{words}{errors}");
        say(&format!(
            "{words}{RECORDS} records {turn} by the program in {:.1} s",
            started.elapsed().as_secs_f64()
        ));
    }
    let output = run_import(&data, &rejects, &[files.join(STATIONS.0)]);
    assert_ne!(output.status.code(), Some(0), "stations are no cases");
    let rejected = std::fs::read_to_string(&rejects).unwrap();
    let reasons = rejected
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    assert_stations_refused(&reasons.collect::<Vec<_>>().into());

    let server = Launch::on(&data).start().await;
    let shown = assert_listed(&server.client().student()).await;
    assert_eq!(shown.len(), CASES);
    server.stop().await;
}

/// What an author wrote, on one line and short enough for a reply.
fn on_one_line(explanation: &str) -> String {
    let mut line = String::new();
    for word in explanation.split_whitespace() {
        if line.len() + word.len() > 1_500 {
            break;
        }
        line.push_str(word);
        line.push(' ');
    }
    line
}

/// What the template says of a text of an author as if a model had written it.
fn judged(record: CaseRecord, written: &str) -> Result<String, Rejection> {
    let content = record.into_content().unwrap().0;
    let right = content.right_options();
    let wrong = (0..content.options().len()).find(|position| !right.contains(*position));
    let chosen = [wrong.expect("an option is wrong")].into_iter().collect();
    let named = |set: medcards_core::case::OptionSet| {
        let options = set.positions().map(|at| &content.options()[at].text);
        let quoted: Vec<String> = options.map(|text| format!("“{text}”")).collect();
        quoted.join(" and ")
    };
    let text = format!(
        "You chose {}, which tempts.\n\n{written}\n\nWhat is right is {}.\n\nKeep it in mind.",
        named(chosen),
        named(right)
    );
    let template = FeedbackTemplate::new();
    let case = Case {
        id: CaseId::new(Timestamp::UNIX_EPOCH),
        version: CaseVersion::FIRST,
        published_at: Timestamp::UNIX_EPOCH,
        content,
    };
    let key = FeedbackKey {
        case_id: case.id,
        case_version: case.version,
        chosen,
        locale: case.content.locale(),
        prompt_version: template.version(Level::default()),
        model: "author".parse().unwrap(),
    };
    let reply = Reply {
        text,
        stop: StopReason::Complete,
        usage: TokenUsage::default(),
        model: key.model.clone(),
        cost: MicroDollars::ZERO,
    };
    template.check(&case, &key, &reply)
}

/// Explanations that name no letter, as if they were replies: to a case that has them no number of
/// theirs is new, to one that has lost them those are new that are not in the question as well.
#[test]
fn numbers_of_real_explanations_are_known_to_cases_that_have_them_alone() {
    const INVENTED: Rejection =
        Rejection::Unfit("the reply has a number that the case does not have");
    let Some(files) = folder() else { return };
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    let [mut texts, mut with_digits, mut new] = [0_usize; 3];
    for record in records(&files).into_values() {
        let Some(written) = record.explanation.as_deref().map(on_one_line) else {
            continue;
        };
        if names_option_letter(&written) || record.options.len() == record.answer_keys.len() {
            continue;
        }
        texts += 1;
        with_digits += usize::from(written.contains(|char: char| char.is_ascii_digit()));
        let judgement = judged(record.clone(), &written);
        assert_ne!(judgement, Err(INVENTED), "{}: {written}", record.id);
        if let Err(rejection) = judgement {
            *kinds.entry(rejection.to_string()).or_default() += 1;
        }
        let bare = CaseRecord {
            explanation: None,
            ..record
        };
        new += usize::from(judged(bare, &written) == Err(INVENTED));
    }
    say(&format!(
        "{texts} explanations without letters, {with_digits} of them with digits: {new} would be \
         rejected for numbers if the case did not have them; rejected for other reasons: {kinds:?}"
    ));
    assert!(texts > 1_000, "the files have them");
    assert!(new * 10 > with_digits, "numbers of their own are noticed");
    let rejected: usize = kinds.values().sum();
    assert!(rejected * 20 < texts, "good prose is kept: {kinds:?}");
}
