use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use medcards_benches::compare::{Comparison, compare, runtime};
use medcards_benches::report::{Report, Target};
use medcards_benches::{Bench, without_upkeep};
use medcards_core::CaseId;
use medcards_core::feedback::FeedbackRequest;
use medcards_core::memory::MemoryCache;
use medcards_core::testing::{Gate, SAMPLE_START, Script, sample_case};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinSet;

/// How many want one cold feedback at once: a lecture hall, many times over.
const CALLERS: u64 = 10_000;

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    let runtime = runtime();
    let cache = Arc::new(MemoryCache::new(64 << 20));
    let bench = runtime.block_on(Bench::with_config(cache, without_upkeep()));
    let bench = bench.expect("memory has no errors");
    let request = bench.request(Arc::new(sample_case(0)));
    let mut cold_rounds = 0;
    let comparison = |baseline| Comparison {
        work: "coalescing/10000 callers",
        ours: "resolve",
        baseline,
        pieces: CALLERS,
        target: Target::None,
    };
    let mut ours = |rounds: u64| {
        cold_rounds += rounds;
        runtime.block_on(repeat(rounds, || resolve_cold(&bench, &request)))
    };
    let once_cell = |rounds| runtime.block_on(repeat(rounds, fill_once_cell));
    compare(
        criterion,
        report,
        &comparison("tokio OnceCell"),
        once_cell,
        &mut ours,
    );
    let moka = moka::future::Cache::<FeedbackRequestKey, Arc<str>>::new(1 << 20);
    let moka = |rounds| runtime.block_on(repeat(rounds, || fill_moka(&moka, &request)));
    compare(
        criterion,
        report,
        &comparison("moka try_get_with"),
        moka,
        &mut ours,
    );
    if cold_rounds > 0 {
        let calls = bench.provider.calls();
        let verdict = if calls == cold_rounds { "ok" } else { "MISSED" };
        report.remark(format!(
            "coalescing: {calls} live calls for {cold_rounds} x {CALLERS} cold requests \
             (target one each): {verdict}"
        ));
    }
}

type FeedbackRequestKey = medcards_core::feedback::FeedbackKey;

async fn repeat<F: Future<Output = Duration>>(
    rounds: u64,
    mut round: impl FnMut() -> F,
) -> Duration {
    let mut took = Duration::ZERO;
    for _ in 0..rounds {
        took += round().await;
    }
    took
}

/// A request for a key that nobody has asked for.
fn cold(request: &FeedbackRequest) -> FeedbackRequest {
    let mut request = request.clone();
    request.key.case_id = CaseId::new(SAMPLE_START);
    request
}

/// The model answers when all callers have been started, as a slow one does.
async fn resolve_cold(bench: &Bench, request: &FeedbackRequest) -> Duration {
    let request = Arc::new(cold(request));
    let gate = Gate::new();
    let words = "Compare the choice with the history once more, and name the finding against it.";
    bench.provider.push(Script::deltas([words]).gated(&gate));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (resolver, request) = (bench.resolver.clone(), Arc::clone(&request));
        callers.spawn(async move { resolver.resolve(&request).await.text().len() });
    }
    gate.open();
    joined(callers, started).await
}

async fn fill_once_cell() -> Duration {
    let (cell, gate) = (Arc::new(OnceCell::new()), Arc::new(Semaphore::new(0)));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (cell, gate) = (Arc::clone(&cell), Arc::clone(&gate));
        callers.spawn(async move { cell.get_or_init(|| generate(gate)).await.len() });
    }
    gate.close();
    joined(callers, started).await
}

async fn fill_moka(
    cache: &moka::future::Cache<FeedbackRequestKey, Arc<str>>,
    request: &FeedbackRequest,
) -> Duration {
    let key = cold(request).key;
    let gate = Arc::new(Semaphore::new(0));
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let (cache, key, gate) = (cache.clone(), key.clone(), Arc::clone(&gate));
        callers.spawn(async move {
            let text = cache
                .try_get_with(key, async { Ok::<_, ()>(generate(gate).await) })
                .await;
            text.expect("it does not fail").len()
        });
    }
    gate.close();
    joined(callers, started).await
}

async fn generate(gate: Arc<Semaphore>) -> Arc<str> {
    // A closed semaphore is an open gate.
    let _ = gate.acquire().await;
    "Compare the choice with the history once more, and name the finding against it.".into()
}

async fn joined(mut callers: JoinSet<usize>, started: Instant) -> Duration {
    while let Some(length) = callers.join_next().await {
        assert!(
            length.expect("a caller does not panic") > 0,
            "everyone gets words"
        );
    }
    started.elapsed()
}
