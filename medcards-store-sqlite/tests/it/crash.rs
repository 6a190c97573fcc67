use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use medcards_core::AnswerId;
use medcards_core::answer::{AnswerStore, RecordOutcome};
use medcards_core::store::Consistency;
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use tokio::task::JoinSet;

use crate::fresh::{self, answer, answer_in, config, folder, path};

/// Set for a process that is to write until it is killed.
const FILE: &str = "MEDCARDS_TEST_CRASH_FILE";

/// How often a process is killed, and after how many acknowledgements: odd numbers, so that it is
/// at another point each time.
const KILLS: [usize; 6] = [1, 7, 131, 523, 1_009, 2_003];

#[tokio::test]
async fn every_acknowledged_answer_outlives_the_process_once() {
    let folder = folder();
    let mut acknowledged = Vec::new();
    for acknowledgements in KILLS {
        acknowledged.extend(write_and_kill(&path(folder.path()), acknowledgements));
    }
    assert!(acknowledged.len() >= KILLS.iter().sum());

    let store = SqliteStore::open(config(folder.path())).await.unwrap();
    let mut events_by_id: HashMap<AnswerId, usize> = HashMap::new();
    for event in fresh::events(&store).await {
        let answer = answer_in(&event);
        *events_by_id.entry(answer.id).or_default() += 1;
        let kept = store
            .find_answer(answer.user_id, answer.id, &Consistency::Strong)
            .await;
        assert_eq!(kept.unwrap(), Some(answer), "an event has its answer");
    }
    for id in acknowledged {
        assert_eq!(events_by_id.get(&id), Some(&1), "{id} was acknowledged");
    }
    assert!(
        events_by_id.values().all(|count| *count == 1),
        "no answer is there twice"
    );
    let again = fresh::events(&store).await.last().map(answer_in).unwrap();
    let again = store.record_answer(again).await.unwrap();
    assert_eq!(again.outcome, RecordOutcome::Repeated);
    store.close().await;
    fresh::assert_sound(&path(folder.path())).await;
}

/// Lets another process write, kills it after some acknowledgements, and returns all of them.
fn write_and_kill(file: &Path, acknowledgements: usize) -> Vec<AnswerId> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "crash::child_writes_until_killed",
            "--ignored",
            "--nocapture",
        ])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut acknowledged = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        // A line that the kill cut off was not heard by anyone.
        if output.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            break;
        }
        let Some((_, id)) = line.split_once("stored ") else {
            continue;
        };
        acknowledged.push(id.trim().parse().unwrap());
        if acknowledged.len() == acknowledgements {
            child.kill().unwrap();
        }
    }
    assert!(
        !child.wait().unwrap().success(),
        "the process was killed, it did not end"
    );
    acknowledged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "run by every_acknowledged_answer_outlives_the_process_once"]
async fn child_writes_until_killed() {
    let Some(file) = std::env::var_os(FILE) else {
        return;
    };
    let store = SqliteStore::open(SqliteConfig::new(file)).await.unwrap();
    let mut writers = JoinSet::new();
    for writer in 0..16 {
        let store = store.clone();
        writers.spawn(async move {
            for n in 0.. {
                let recorded = store
                    .record_answer(answer(writer * 1_000_000 + n))
                    .await
                    .unwrap();
                writeln!(std::io::stdout().lock(), "stored {}", recorded.answer.id).unwrap();
            }
        });
    }
    writers.join_all().await;
}
