use std::sync::Arc;
use std::time::Duration;

use medcards_core::testing::{ManualClock, NextCaseLoad, measure_next_case};

use crate::fresh;

/// Run it in release, with `--ignored`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it takes minutes"]
async fn the_next_case_of_20_000_after_a_million_answers() {
    let (store, _folder) = fresh::store().await;
    let load = NextCaseLoad {
        cases: 20_000,
        students: 10_000,
        answers_of_each: 100,
        questions: 5_000,
    };
    let clock = Arc::new(ManualClock::default());
    let speed = measure_next_case(Arc::new(store), clock, load).await;
    let speed = speed.unwrap();
    assert!(speed.p95 < Duration::from_millis(10), "{speed:?}");
}
