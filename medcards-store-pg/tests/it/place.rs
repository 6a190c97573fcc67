use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use medcards_core::answer::{Answer, AnswerStore, RecordedAnswer};
use medcards_core::case::{Case, CaseStore};
use medcards_core::event::{EventBody, EventLog, LogPosition};
use medcards_core::store::{Consistency, PageLimit};
use medcards_core::testing::{SAMPLE_START, sample_answer, sample_content, sample_user_id};
use medcards_core::{AnswerId, Result, Timestamp, UserId};
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use medcards_tests::pg::{Cluster, Database, Installed};
use tokio::time::{Instant, sleep};

/// How long anything may take before it counts as hung, on a machine that also compiles.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often a condition is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The oldest server there is: 15 where `./tests/run` did its work.
pub(crate) fn oldest() -> &'static Cluster {
    Cluster::shared(Installed::oldest().major())
}

/// The newest server there is: 18 where `./tests/run` did its work.
pub(crate) fn newest() -> &'static Cluster {
    let all = Installed::all();
    Cluster::shared(all.last().expect("a server is installed").major())
}

/// The configuration of a store that leaves the looking-after to the test.
pub(crate) fn config(url: &str) -> PgConfig {
    PgConfig::new(url).unwrap().with_keeping(Keeping::Elsewhere)
}

/// A store on a fresh database of the oldest server.
pub(crate) async fn fresh() -> (PgStore, Database) {
    let database = fresh_database(oldest()).await;
    let store = PgStore::open(config(&database.url())).await.unwrap();
    (store, database)
}

/// A fresh database in the present format, which is made once and copied.
pub(crate) async fn fresh_database(cluster: &'static Cluster) -> Database {
    static TEMPLATES: OnceLock<tokio::sync::Mutex<HashMap<u16, Database>>> = OnceLock::new();
    let mut templates = TEMPLATES.get_or_init(Default::default).lock().await;
    if let Entry::Vacant(vacant) = templates.entry(cluster.port()) {
        let template = cluster.fresh_database();
        let store = PgStore::open(config(&template.url())).await.unwrap();
        store.close().await;
        drop(store);
        until("nobody is connected to the template", async || {
            let count = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
            (template.psql(count).trim() == "1").then_some(())
        })
        .await;
        vacant.insert(template);
    }
    cluster.fresh_database_from(templates[&cluster.port()].name())
}

/// Waits until the condition gives something, and panics with `what` when patience ends.
pub(crate) async fn until<T>(what: &str, mut condition: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} for: {what}");
        sleep(LOOK_INTERVAL).await;
    }
}

pub(crate) fn user(n: u32) -> UserId {
    sample_user_id(n)
}

/// That many seconds into the samples.
pub(crate) fn at(seconds: i64) -> Timestamp {
    SAMPLE_START + Duration::from_secs(seconds.unsigned_abs())
}

pub(crate) fn instant(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// Publishes the first sample cases.
pub(crate) async fn publish(store: &PgStore, count: u32) -> Vec<Arc<Case>> {
    let contents = (0..count).map(sample_content).collect();
    let mut cases = Vec::new();
    for publication in store.publish(contents, SAMPLE_START).await.unwrap() {
        let case = store.find_case(publication.case_id, None).await.unwrap();
        cases.push(case.unwrap());
    }
    cases
}

/// An answer to some case that nobody published, which a store takes all the same.
pub(crate) fn answer(n: u32, at: Timestamp) -> Answer {
    sample_answer(user(n), &medcards_core::testing::sample_case(n % 7), at)
}

pub(crate) async fn record(store: &PgStore, answer: &Answer) -> RecordedAnswer {
    store.record_answer(answer.clone()).await.unwrap()
}

/// All answers of a user.
pub(crate) async fn answers_of(store: &PgStore, user_id: UserId) -> Result<Vec<Answer>> {
    let mut answers = Vec::new();
    let mut after = None;
    loop {
        let page = store
            .list_answers(
                user_id,
                after.as_ref(),
                PageLimit::MAX,
                &Consistency::Strong,
            )
            .await?;
        answers.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(answers),
        }
    }
}

/// How often each answer stands in the log.
pub(crate) async fn events_by_answer(store: &PgStore) -> HashMap<(UserId, AnswerId), u32> {
    let mut counts = HashMap::new();
    let mut after = LogPosition::START;
    loop {
        let events = store.read_events(after, usize::MAX).await.unwrap();
        let Some(last) = events.last() else {
            return counts;
        };
        after = last.position;
        for event in events {
            if let EventBody::AnswerRecorded { answer } = event.body {
                *counts.entry((answer.user_id, answer.id)).or_default() += 1;
            }
        }
    }
}

/// What a client knows: what it sent, and what was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct ClientLedger {
    pub(crate) acknowledged: Vec<Answer>,
    pub(crate) unknown: Vec<Answer>,
}

impl ClientLedger {
    pub(crate) fn merge(&mut self, other: Self) {
        self.acknowledged.extend(other.acknowledged);
        self.unknown.extend(other.unknown);
    }

    /// Every acknowledged answer is stored once, as it was sent, with one event; every other one is
    /// stored with one event or not at all. Sent again, all are.
    pub(crate) async fn audit(&self, store: &PgStore) {
        let events = events_by_answer(store).await;
        for answer in &self.acknowledged {
            let name = (answer.user_id, answer.id);
            let found = store
                .find_answer(answer.user_id, answer.id, &Consistency::Strong)
                .await
                .unwrap();
            assert_eq!(
                found.as_ref(),
                Some(answer),
                "an acknowledged answer is lost"
            );
            assert_eq!(events.get(&name), Some(&1), "the events of {name:?}");
        }
        for answer in &self.unknown {
            let name = (answer.user_id, answer.id);
            let found = store
                .find_answer(answer.user_id, answer.id, &Consistency::Strong)
                .await
                .unwrap();
            let stored = u32::from(found.is_some());
            let logged = events.get(&name).copied().unwrap_or(0);
            assert_eq!(stored, logged, "half an answer: {name:?}");
        }
        let known = self.acknowledged.len() + self.unknown.len();
        assert!(events.len() <= known, "more events than answers were sent");
        for answer in &self.unknown {
            record(store, answer).await;
        }
        let events = events_by_answer(store).await;
        assert_eq!(events.len(), known);
        assert!(events.values().all(|count| *count == 1));
    }
}

/// Clients that answer as fast as they are acknowledged, each for a user of its own, until `stop`.
pub(crate) async fn answer_until(
    store: &PgStore,
    clients: u32,
    stop: &tokio_util::sync::CancellationToken,
) -> ClientLedger {
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..clients {
        let (store, stop) = (store.clone(), stop.clone());
        tasks.spawn(async move {
            let mut ledger = ClientLedger::default();
            for second in 0.. {
                if stop.is_cancelled() {
                    break;
                }
                let answer = answer(n, at(second));
                match store.record_answer(answer.clone()).await {
                    Ok(recorded) => {
                        assert_eq!(recorded.answer, answer);
                        ledger.acknowledged.push(answer);
                    }
                    Err(error) => {
                        assert!(error.is_retryable(), "{error}");
                        ledger.unknown.push(answer);
                        // A client that is told to come again comes again after a while.
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            }
            ledger
        });
    }
    let mut ledger = ClientLedger::default();
    for one in tasks.join_all().await {
        ledger.merge(one);
    }
    ledger
}
