//! Answers to be recorded, and callers who record them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use medcards_core::answer::{Answer, AnswerStore};
use medcards_core::case::Case;
use medcards_core::testing::{SAMPLE_START, sample_answer, sample_case, sample_user_id};
use tokio::task::JoinSet;

/// How many different users answer.
pub const USERS: u32 = 1_000;

/// How many different cases are answered.
pub const CASES: u32 = 200;

/// Makes answers, each by the next user to the next case, a millisecond after the one before.
///
/// Cloning it gives another handle on the same row of answers.
#[derive(Clone, Debug)]
pub struct Answers {
    cases: Arc<[Case]>,
    next: Arc<AtomicU32>,
}

impl Answers {
    /// Begins with the first user.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cases: (0..CASES).map(sample_case).collect(),
            next: Arc::default(),
        }
    }

    /// The next answer.
    #[must_use]
    pub fn make(&self) -> Answer {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let case = &self.cases[(n % CASES) as usize];
        sample_answer(
            sample_user_id(n % USERS),
            case,
            SAMPLE_START + Duration::from_millis(n.into()),
        )
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self::new()
    }
}

/// Lets as many callers at once each record so many answers, and says how long that took.
///
/// # Panics
/// If the store fails: what is measured then is not what was meant.
pub async fn record<S: AnswerStore + Clone>(
    store: &S,
    answers: &Answers,
    rounds: u64,
    callers: u64,
) -> Duration {
    at_once(callers, |_| {
        let (store, answers) = (store.clone(), answers.clone());
        async move {
            for _ in 0..rounds {
                store
                    .record_answer(answers.make())
                    .await
                    .expect("the store takes answers");
            }
        }
    })
    .await
}

/// Runs as many callers at once, and says how long all took.
///
/// # Panics
/// If a caller does.
pub async fn at_once<F: Future<Output = ()> + Send + 'static>(
    callers: u64,
    call: impl Fn(u64) -> F,
) -> Duration {
    let started = Instant::now();
    let mut tasks: JoinSet<()> = (0..callers).map(call).collect();
    while let Some(done) = tasks.join_next().await {
        done.expect("a caller does not panic");
    }
    started.elapsed()
}
