//! Buying batches at a provider that cannot be reached.

use std::sync::Arc;
use std::time::Duration;

use medcards_ai::FeedbackTemplate;
use medcards_core::ErrorKind;
use medcards_core::ai::{AiProvider, FeedbackPrompt};
use medcards_core::case::CaseStore;
use medcards_core::feedback::FeedbackKey;
use medcards_core::jiff::tz::TimeZone;
use medcards_core::memory::MemoryStore;
use medcards_core::precompute::{BatchStore, Demand, PlannedKey, PrecomputeConfig, Precomputer};
use medcards_core::spend::{MicroDollars, SpendLedger, SpendScope, SpendSum};
use medcards_core::testing::{ManualClock, SAMPLE_START, sample_content};
use medcards_core::time::Clock;
use medcards_core::user::{Level, Locale};

use crate::sample;

#[tokio::test]
async fn a_batch_that_cannot_be_sent_sets_no_money_aside() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let store = MemoryStore::new();
    let clock = Arc::new(ManualClock::default());
    let template = FeedbackTemplate::new();
    let provider = Arc::new(sample::anthropic(&url));
    let precomputer = Precomputer::new(
        PrecomputeConfig::default(),
        Arc::new(store.clone()),
        Arc::new(store.clone()),
        Arc::new(store.clone()),
        Arc::new(store.clone()),
        Arc::clone(&provider) as _,
        Arc::new(template),
        Arc::clone(&clock) as _,
    )
    .unwrap();
    let contents = vec![sample_content(0)];
    let published = store.publish(contents, SAMPLE_START).await.unwrap();
    let case = store.find_case(published[0].case_id, None).await.unwrap();
    let case = case.unwrap();
    let key = FeedbackKey {
        case_id: case.id,
        case_version: case.version,
        chosen: [0].into_iter().collect(),
        locale: Locale::ENGLISH,
        prompt_version: template.version(Level::default()),
        model: provider.model().clone(),
    };
    let planned = PlannedKey {
        cost: precomputer.cost(&case, &key).unwrap(),
        key,
        demand: Demand::default(),
        live_calls: 1.0,
    };
    assert!(planned.cost.batch_max > MicroDollars::ZERO);
    // As often as it is tried.
    for _ in 0..2 {
        let begun = precomputer.begin(std::slice::from_ref(&planned), MicroDollars::MAX);
        assert_eq!(begun.await.unwrap_err().kind(), ErrorKind::Busy);
        assert_eq!(store.list_open_batches(9).await.unwrap(), []);
        let today = clock.now().to_zoned(TimeZone::UTC).date();
        let today = SpendScope::Day(today);
        assert_eq!(store.sums(&[today]).await.unwrap(), [SpendSum::default()]);
        clock.advance(Duration::from_secs(60));
    }
}
