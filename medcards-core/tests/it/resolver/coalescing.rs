//! One call per key: in this process, whoever comes and goes.

use futures_util::future::join_all;
use medcards_core::feedback::{Tier, TierOutcome};
use medcards_core::spend::MicroDollars;
use medcards_core::testing::{Gate, Script};

use super::Bench;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_concurrent_cold_requests_make_one_call() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench
        .provider
        .push(Script::deltas(["It is ", "the potassium."]).gated(&gate));

    let callers: Vec<_> = (0..10_000)
        .map(|_| {
            let (resolver, request) = (bench.resolver.clone(), bench.request(1));
            tokio::spawn(async move { resolver.resolve(&request).await })
        })
        .collect();
    while bench.resolver.counts().shared_flights < 9_999 {
        tokio::task::yield_now().await;
    }
    gate.open();
    let resolutions: Vec<_> = join_all(callers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();

    assert_eq!(bench.provider.calls(), 1);
    assert!(
        resolutions
            .iter()
            .all(|r| r.text() == "It is the potassium.")
    );
    assert!(resolutions.iter().all(|r| r.tier() == Tier::Live));
    let payers = resolutions
        .iter()
        .filter(|r| r.cost() > MicroDollars::ZERO)
        .count();
    assert_eq!(payers, 1, "one bears the cost");
    let savers = resolutions
        .iter()
        .filter(|r| r.saved() > MicroDollars::ZERO)
        .count();
    assert_eq!(savers, 9_999, "the others save it");

    bench.settled().await;
    assert_eq!(bench.resolve(1).await.tier(), Tier::Local);
}

#[tokio::test]
async fn a_caller_that_hangs_up_changes_nothing_for_the_others() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench
        .provider
        .push(Script::deltas(["It is ", "the potassium."]).gated(&gate));

    let first = tokio::spawn({
        let (resolver, request) = (bench.resolver.clone(), bench.request(1));
        async move { resolver.resolve(&request).await }
    });
    bench.provider.called(1).await;
    let second = tokio::spawn({
        let (resolver, request) = (bench.resolver.clone(), bench.request(1));
        async move { resolver.resolve(&request).await }
    });
    while bench.resolver.counts().shared_flights < 1 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    gate.open();

    assert_eq!(second.await.unwrap().text(), "It is the potassium.");
    assert_eq!(bench.provider.calls(), 1);
}

#[tokio::test]
async fn a_generation_is_kept_although_all_callers_have_gone() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench
        .provider
        .push(Script::deltas(["It is ", "the potassium."]).gated(&gate));

    let only = tokio::spawn({
        let (resolver, request) = (bench.resolver.clone(), bench.request(1));
        async move { resolver.resolve(&request).await }
    });
    bench.provider.called(1).await;
    only.abort();
    let _ = only.await;
    gate.open();
    bench.settled().await;

    let resolution = bench.resolve(1).await;
    assert_eq!(
        (resolution.tier(), resolution.text()),
        (Tier::Local, "It is the potassium.")
    );
    assert_eq!(bench.provider.calls(), 1);
    assert_eq!(
        bench.spent().await,
        resolution.saved(),
        "it is booked all the same"
    );
}

#[tokio::test]
async fn different_keys_do_not_wait_for_each_other() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(["slow"]).gated(&gate));
    bench.provider.push(Script::deltas(["quick"]));

    let slow = tokio::spawn({
        let (resolver, request) = (bench.resolver.clone(), bench.request(1));
        async move { resolver.resolve(&request).await }
    });
    bench.provider.called(1).await;
    assert_eq!(bench.resolve(2).await.text(), "quick");
    gate.open();
    assert_eq!(slow.await.unwrap().text(), "slow");
}

#[tokio::test]
async fn generations_beyond_the_limit_get_the_authored_explanation() {
    let mut config = medcards_core::feedback::ResolverConfig::default();
    config.generations_max = 1;
    let bench = Bench::with(config).await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(["slow"]).gated(&gate));

    let slow = tokio::spawn({
        let (resolver, request) = (bench.resolver.clone(), bench.request(1));
        async move { resolver.resolve(&request).await }
    });
    bench.provider.called(1).await;
    let refused = bench.resolve(2).await;
    assert_eq!(refused.tier(), Tier::Authored);
    assert_eq!(
        refused.trace().outcome(Tier::Live).map(TierOutcome::as_str),
        Some("busy")
    );

    gate.open();
    slow.await.unwrap();
    bench.settled().await;
    assert_eq!(
        bench.resolve(2).await.tier(),
        Tier::Live,
        "being busy is not remembered"
    );
}
