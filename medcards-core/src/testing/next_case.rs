use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::{ManualClock, build_view, sample_answer, sample_record, sample_user_id};
use crate::Result;
use crate::answer::AnswerStore;
use crate::app::Medcards;
use crate::case::{Case, CaseFilter, CaseStore};
use crate::learning::Learning;
use crate::learning::ability::AbilityProjection;
use crate::learning::reviews::ReviewsProjection;
use crate::learning::user_stats::UserStatsProjection;
use crate::store::{Consistency, LearningStore, Store};
use crate::time::Clock;
use crate::user::{User, UserKind, UserStore};
use crate::view::ViewStore;

/// How many answers are recorded at once, so that a store with group commit has groups.
const AT_ONCE: usize = 64;

/// Of how many topics the cases are, in five specialties.
const TOPICS: u32 = 100;

/// How much there is when the next case is measured.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the size of a measurement")]
pub struct NextCaseLoad {
    /// How many cases.
    pub cases: u32,
    /// How many students.
    pub students: u32,
    /// How many answers of each.
    pub answers_of_each: u32,
    /// How many times the next case is asked for.
    pub questions: u32,
}

/// How long the next case takes.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "what a measurement gives")]
pub struct NextCaseSpeed {
    /// Half are faster.
    pub p50: Duration,
    /// 95 of a hundred are faster.
    pub p95: Duration,
    /// The slowest.
    pub max: Duration,
}

/// Fills an empty store, builds the views that the next case is picked by, and measures how long it
/// takes to pick it, one student after the other.
///
/// # Errors
/// Those of the store.
pub async fn measure_next_case<S: Store + LearningStore>(
    store: Arc<S>,
    clock: Arc<ManualClock>,
    load: NextCaseLoad,
) -> Result<NextCaseSpeed> {
    let cases = publish(&*store, load.cases, &clock).await?;
    let all = (0..load.students).flat_map(|n| (0..load.answers_of_each).map(move |at| (n, at)));
    for n in 0..load.students {
        let user = User::new(sample_user_id(n), UserKind::Guest, clock.now());
        store.ensure_user(user).await?;
    }
    stream::iter(all)
        .map(|(n, at)| {
            let hash = (n * 7_919 + at).wrapping_mul(0x9e37_79b1) >> 7;
            let case = &cases[hash as usize % cases.len()];
            let ago = Duration::from_mins(u64::from(load.answers_of_each - at));
            let answer = sample_answer(sample_user_id(n), case, clock.now() - ago);
            store.record_answer(answer)
        })
        .buffer_unordered(AT_ONCE)
        .try_for_each(async |_| Ok(()))
        .await?;
    let log: Arc<dyn Store> = Arc::clone(&store) as _;
    let views: Arc<dyn ViewStore> = Arc::clone(&store) as _;
    build_view(UserStatsProjection::new(), &log, &views, &*clock).await?;
    build_view(AbilityProjection::new(), &log, &views, &*clock).await?;
    build_view(ReviewsProjection::new(), &log, &views, &*clock).await?;

    let medcards = Medcards::builder(log).clock(Arc::clone(&clock) as _);
    let learning = Learning::new(medcards.build().await?, store as _);
    learning.refresh_catalogue().await?;
    let mut taken = Vec::new();
    for question in 0..load.questions {
        // Some of a specialty, and half of them at a time when reviews are due.
        let specialty = (question % 3 == 0).then(|| format!("Specialty {}", question % 5));
        let filter = CaseFilter {
            specialty,
            ..CaseFilter::default()
        };
        if question == load.questions / 2 {
            clock.advance(Duration::from_hours(24 * 10));
        }
        let user_id = sample_user_id(question.wrapping_mul(31) % load.students.max(1));
        let begun_at = Instant::now();
        learning
            .next_case(user_id, &filter, &Consistency::Strong)
            .await?;
        taken.push(begun_at.elapsed());
    }
    taken.sort_unstable();
    let at = |percent: usize| {
        let place = taken.len() * percent / 100;
        taken
            .get(place)
            .or(taken.last())
            .copied()
            .unwrap_or_default()
    };
    Ok(NextCaseSpeed {
        p50: at(50),
        p95: at(95),
        max: at(100),
    })
}

async fn publish(
    store: &(impl CaseStore + ?Sized),
    count: u32,
    clock: &ManualClock,
) -> Result<Vec<Arc<Case>>> {
    let mut cases = Vec::new();
    for first in (0..count).step_by(500) {
        let content = |n: u32| {
            let mut record = sample_record(n);
            record.specialty = Some(format!("Specialty {}", n % 5));
            record.topic = Some(format!("Topic {}", n % TOPICS));
            record.try_into()
        };
        let contents = (first..count.min(first + 500)).map(content);
        let contents = contents.collect::<Result<_>>()?;
        for published in store.publish(contents, clock.now()).await? {
            cases.extend(store.find_case(published.case_id, None).await?);
        }
    }
    Ok(cases)
}
