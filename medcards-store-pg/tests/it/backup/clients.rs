use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use medcards_core::answer::{Answer, AnswerStore, RecordOutcome};
use medcards_core::event::{EventLog, LogPosition};
use medcards_store_pg::PgStore;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::FIRST_AFTERWARDS;
use crate::place::{answer, answers_of, at, events_by_answer, until, user};

/// How many clients answer while backups are taken and servers die.
const CLIENTS: u32 = 8;

/// How long a client thinks: enough to leave the processor to the backup.
const THINKS: Duration = Duration::from_millis(3);

/// How many answers before something happens make it happen to a busy server.
pub(super) const ENOUGH: usize = 200;

/// An answer as its client remembers it.
pub(super) struct Sent {
    pub(super) answer: Answer,
    pub(super) at: Instant,
    pub(super) acknowledged: Option<Instant>,
}

/// What each client has sent, in order. Each sends the next answer when it was told of the last, so
/// a server that forgets one of them must forget all after it.
pub(super) struct Ledger(Vec<Vec<Sent>>);

pub(super) struct Answering {
    stop: CancellationToken,
    acknowledged: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Sent>>>,
}

impl Answering {
    pub(super) fn start(store: &PgStore) -> Self {
        let stop = CancellationToken::new();
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let client = |n| {
            let (store, stop) = (store.clone(), stop.clone());
            let acknowledged = Arc::clone(&acknowledged);
            tokio::spawn(async move {
                let mut sent = Vec::new();
                for second in 0.. {
                    if stop.is_cancelled() {
                        break;
                    }
                    let answer = answer(n, at(second));
                    let begun = Instant::now();
                    let mut recorded = store.record_answer(answer.clone()).await;
                    while recorded.is_err() && !stop.is_cancelled() {
                        sleep(THINKS).await;
                        recorded = store.record_answer(answer.clone()).await;
                    }
                    sent.push(Sent {
                        answer,
                        at: begun,
                        acknowledged: recorded.is_ok().then(Instant::now),
                    });
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                    sleep(THINKS).await;
                }
                sent
            })
        };
        Self {
            clients: (0..CLIENTS).map(client).collect(),
            stop,
            acknowledged,
        }
    }

    /// Waits until the clients have got so many acknowledgements more.
    pub(super) async fn go_on(&self, answers: usize) {
        let wanted = self.acknowledged.load(Ordering::Relaxed) + answers;
        until("answers are acknowledged", async || {
            (self.acknowledged.load(Ordering::Relaxed) >= wanted).then_some(())
        })
        .await;
    }

    pub(super) async fn end(self) -> Ledger {
        self.stop.cancel();
        let mut sent = Vec::new();
        for client in self.clients {
            sent.push(client.await.unwrap());
        }
        Ledger(sent)
    }
}

impl Ledger {
    pub(super) fn all(&self) -> impl Iterator<Item = &Sent> {
        self.0.iter().flatten()
    }

    pub(super) fn acknowledged(&self) -> impl Iterator<Item = (Instant, &Answer)> {
        self.all()
            .filter_map(|sent| Some((sent.acknowledged?, &sent.answer)))
    }

    /// Checks that the store has of each client the first so many answers, as they were sent, with one
    /// event each; returns those that it has not.
    pub(super) async fn audit(&self, store: &PgStore) -> Vec<&Sent> {
        let mut events = events_by_answer(store).await;
        events.retain(|(user_id, _), _| *user_id != user(FIRST_AFTERWARDS));
        let mut missing = Vec::new();
        let mut stored_count = 0;
        for (client, sent) in (0..).zip(&self.0) {
            let stored: HashMap<_, _> = answers_of(store, user(client))
                .await
                .unwrap()
                .into_iter()
                .map(|answer| (answer.id, answer))
                .collect();
            let (kept, lost) = sent.split_at(stored.len());
            for sent in kept {
                let answer = &sent.answer;
                let found = stored.get(&answer.id);
                assert_eq!(found, Some(answer), "a later one is there");
                let name = (answer.user_id, answer.id);
                assert_eq!(events.get(&name), Some(&1), "the events of {name:?}");
            }
            stored_count += kept.len();
            missing.extend(lost);
        }
        assert_eq!(events.len(), stored_count, "each event has its answer");
        missing
    }

    /// Sends again what a restored server has not, and checks that its log goes on where it ended.
    pub(super) async fn go_on(&self, store: &PgStore, missing: &[&Sent]) {
        let end = end_of_log(store).await;
        for sent in missing {
            let recorded = store.record_answer(sent.answer.clone()).await.unwrap();
            assert_eq!(recorded.outcome, RecordOutcome::Created);
        }
        let mut new = 0;
        let mut after = end;
        until("the log goes on with what was sent again", async || {
            for event in store.read_events(after, usize::MAX).await.unwrap() {
                assert!(event.position > after);
                after = event.position;
                new += 1;
            }
            (new == missing.len()).then_some(())
        })
        .await;
        assert_eq!(self.audit(store).await.len(), 0);
    }
}

async fn end_of_log(store: &PgStore) -> LogPosition {
    let mut end = LogPosition::START;
    while let Some(last) = store.read_events(end, usize::MAX).await.unwrap().last() {
        end = last.position;
    }
    end
}
