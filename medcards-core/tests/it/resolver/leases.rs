//! One call per key for several processes, which here are several resolvers that share leases.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::join_all;
use medcards_core::ErrorKind;
use medcards_core::ai::Billed;
use medcards_core::feedback::{
    FeedbackEvent, FeedbackRequest, FeedbackResolver, Freshness, RequestAudience, Resolution,
    ResolverConfig, SkipReason, Tier, TierOutcome,
};
use medcards_core::lease::{FeedbackLeases, LeaseEnd, LeaseTurn};
use medcards_core::memory::{MemoryCache, MemoryLeases, MemoryStore};
use medcards_core::spend::MicroDollars;
use medcards_core::testing::{
    FaultPlan, Faulty, Gate, Operation, PlainPrompt, Script, ScriptedProvider, sample_case,
};
use medcards_core::time::SystemClock;
use medcards_core::user::{Level, Locale};

/// How long a holder is waited for. Signs of life come after a third of it.
const TTL: Duration = Duration::from_millis(600);

/// A resolver with nothing of its own but its cache.
struct Process {
    resolver: FeedbackResolver,
    faults: FaultPlan,
}

/// What several resolvers share.
struct Deployment {
    leases: MemoryLeases,
    store: MemoryStore,
    provider: ScriptedProvider,
    config: ResolverConfig,
    /// One cache for all instead of one each.
    cache: Option<MemoryCache>,
}

impl Deployment {
    fn new() -> Self {
        let mut config = ResolverConfig::default();
        // So that words come from the lease and not from the store.
        config.keep_generated = false;
        Self {
            leases: MemoryLeases::new(TTL, Arc::new(SystemClock::new())),
            store: MemoryStore::new(),
            provider: ScriptedProvider::new(),
            config,
            cache: None,
        }
    }

    async fn process(&self) -> Process {
        let faults = FaultPlan::new();
        let store = Arc::new(self.store.clone());
        let clock = Arc::new(SystemClock::new());
        let cache = self.cache.clone();
        let cache = Arc::new(cache.unwrap_or_else(|| MemoryCache::new(16 << 20)));
        let resolver = FeedbackResolver::builder(cache, Arc::clone(&store) as _, store, clock)
            .config(self.config.clone())
            .live(
                Arc::new(self.provider.clone()),
                Arc::new(PlainPrompt::default()),
            )
            .leases(Arc::new(Faulty::new(self.leases.clone(), faults.clone())))
            .build()
            .await
            .expect("the configuration is sound");
        Process { resolver, faults }
    }
}

impl Process {
    fn request(&self, n: u32) -> FeedbackRequest {
        let case = Arc::new(sample_case(n));
        let chosen = [0].into_iter().collect();
        FeedbackRequest {
            key: self
                .resolver
                .key(&case, chosen, Locale::ENGLISH, Level::default()),
            case,
            audience: RequestAudience::Shared,
            payer: None,
        }
    }

    async fn resolve(&self, n: u32) -> Resolution {
        self.resolver.resolve(&self.request(n)).await
    }

    /// The deltas and the whole text of one feedback as it is streamed, and whether it was replaced.
    async fn streamed(&self, n: u32) -> (Vec<String>, String, bool) {
        let mut deltas = Vec::new();
        let mut stream = self.resolver.resolve_stream(self.request(n));
        while let Some(event) = stream.next().await {
            match event {
                FeedbackEvent::Delta(delta) => deltas.push(delta.to_string()),
                FeedbackEvent::End(end) => {
                    return (deltas, end.resolution.text().to_owned(), end.is_replaced);
                }
            }
        }
        panic!("a stream has an end")
    }
}

fn outcome(resolution: &Resolution) -> Option<TierOutcome> {
    resolution.trace().outcome(Tier::Live)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_many_processes_make_one_call() {
    let deployment = Deployment::new();
    let gate = Gate::new();
    let script = Script::deltas(["It is ", "the potassium."]).gated(&gate);
    deployment.provider.push(script);
    let processes = [
        deployment.process().await,
        deployment.process().await,
        deployment.process().await,
    ];
    let callers: Vec<_> = (0..600)
        .map(|n| {
            let process = &processes[n % 3];
            let (resolver, request) = (process.resolver.clone(), process.request(1));
            tokio::spawn(async move { resolver.resolve(&request).await })
        })
        .collect();
    deployment.provider.called(1).await;
    let waiting = || -> u64 {
        let shared = |p: &Process| p.resolver.counts().shared_flights;
        processes.iter().map(shared).sum()
    };
    while waiting() < 597 {
        tokio::task::yield_now().await;
    }
    gate.open();
    let resolutions: Vec<_> = join_all(callers)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();

    assert_eq!(deployment.provider.calls(), 1);
    assert!(
        resolutions
            .iter()
            .all(|r| r.text() == "It is the potassium.")
    );
    let payers = resolutions.iter().filter(|r| r.cost() > MicroDollars::ZERO);
    assert_eq!(payers.count(), 1, "one bears the cost");
    let savers = resolutions
        .iter()
        .filter(|r| r.saved() > MicroDollars::ZERO);
    assert_eq!(savers.count(), 599, "the others save it");
    let count = |tier| resolutions.iter().filter(|r| r.tier() == tier).count();
    assert_eq!((count(Tier::Live), count(Tier::Remote)), (200, 400));
    let followed: u64 = processes
        .iter()
        .map(|p| p.resolver.counts().followed_calls)
        .sum();
    assert_eq!(followed, 2);
    for process in &processes {
        assert_eq!(process.resolve(1).await.tier(), Tier::Local, "all keep it");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_get_the_words_as_they_come() {
    let deployment = Deployment::new();
    let gate = Gate::new();
    let script = Script::deltas(["It is ", "the potassium."]).gated(&gate);
    deployment.provider.push(script);
    let [holder, follower] = [deployment.process().await, deployment.process().await];
    let held = tokio::spawn(async move { holder.streamed(1).await });
    deployment.provider.called(1).await;
    gate.admit(1);
    let mut stream = follower.resolver.resolve_stream(follower.request(1));
    // The gate is shut before the end, so these words are those of a call that goes on.
    let Some(FeedbackEvent::Delta(first)) = stream.next().await else {
        panic!("words come before the end")
    };
    assert_eq!(&*first, "It is ");
    gate.open();
    let rest: Vec<_> = stream.collect().await;
    let [FeedbackEvent::Delta(second), FeedbackEvent::End(end)] = &rest[..] else {
        panic!("one more delta and the end: {rest:?}")
    };
    assert_eq!(&**second, "the potassium.");
    assert!(!end.is_replaced);
    assert_eq!(end.resolution.tier(), Tier::Remote);
    assert_eq!(
        outcome(&end.resolution),
        Some(TierOutcome::Skipped(SkipReason::Followed))
    );
    assert_eq!(held.await.unwrap().1, "It is the potassium.");
    assert_eq!(deployment.provider.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_a_dead_holder_takes_over_and_replaces_its_words() {
    let mut deployment = Deployment::new();
    deployment.cache = Some(MemoryCache::new(16 << 20));
    deployment
        .provider
        .push(Script::deltas(["It is the sodium."]));
    let [one, two] = [deployment.process().await, deployment.process().await];
    // A process that took the lease, wrote half of a reply and was killed.
    let key = one.request(1).key;
    let Ok(LeaseTurn::Held(dead)) = deployment.leases.take(&key).await else {
        panic!("the lease is free")
    };
    let half: [Arc<str>; 1] = ["It is the pot".into()];
    deployment.leases.push(&dead, 0, &half).await.unwrap();
    let streams = [one.streamed(1), two.streamed(1)];
    for (deltas, text, is_replaced) in join_all(streams).await {
        assert_eq!(deltas, ["It is the pot"]);
        assert_eq!(text, "It is the sodium.");
        assert!(is_replaced);
    }
    assert_eq!(
        deployment.provider.calls(),
        1,
        "one takes over, the other follows"
    );
    let takeovers = [one, two].map(|process| process.resolver.counts().takeovers);
    assert_eq!(takeovers.iter().sum::<u64>(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_call_keeps_its_lease() {
    let deployment = Deployment::new();
    let gate = Gate::new();
    deployment
        .provider
        .push(Script::deltas(["It is ", "so."]).gated(&gate));
    let [holder, follower] = [deployment.process().await, deployment.process().await];
    let held = tokio::spawn(async move { holder.resolve(1).await });
    deployment.provider.called(1).await;
    let following = tokio::spawn(async move { follower.resolve(1).await });
    tokio::time::sleep(4 * TTL).await;
    assert_eq!(deployment.provider.calls(), 1);
    gate.open();
    assert_eq!(held.await.unwrap().text(), "It is so.");
    assert_eq!(following.await.unwrap().text(), "It is so.");
    assert_eq!(deployment.provider.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_failed_is_repeated_by_no_process() {
    let deployment = Deployment::new();
    deployment
        .provider
        .push(Script::fails(ErrorKind::Unavailable, Billed::Nothing));
    let [one, two] = [deployment.process().await, deployment.process().await];
    assert_eq!(one.resolve(1).await.tier(), Tier::Authored);
    let second = two.resolve(1).await;
    assert_eq!(second.tier(), Tier::Authored);
    assert_eq!(
        outcome(&second),
        Some(TierOutcome::Skipped(SkipReason::RecentFailure))
    );
    let late = deployment.process().await;
    assert_eq!(late.resolve(1).await.tier(), Tier::Authored);
    assert_eq!(deployment.provider.calls(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_may_not_call_gives_the_lease_back() {
    let mut deployment = Deployment::new();
    deployment.config.spend_budget.per_day = Some(MicroDollars::new(1));
    let poor = deployment.process().await;
    let skipped = poor.resolve(1).await;
    assert_eq!(
        outcome(&skipped),
        Some(TierOutcome::Skipped(SkipReason::SpendBudgetExhausted))
    );
    deployment.config.spend_budget.per_day = None;
    let rich = deployment.process().await;
    assert_eq!(rich.resolve(1).await.tier(), Tier::Live);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_leases_each_process_makes_its_own_call() {
    for operation in [
        Operation::TakeLease,
        Operation::PushWords,
        Operation::EndLease,
    ] {
        let deployment = Deployment::new();
        let process = deployment.process().await;
        process
            .faults
            .fail_every(operation, 1, ErrorKind::Unavailable);
        let resolution = process.resolve(1).await;
        assert_eq!(resolution.tier(), Tier::Live, "{operation:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_follow_any_more_makes_its_own_call() {
    let deployment = Deployment::new();
    let gate = Gate::new();
    deployment
        .provider
        .push(Script::deltas(["Their ", "words."]).gated(&gate));
    deployment.provider.push(Script::deltas(["My words."]));
    let [holder, follower] = [deployment.process().await, deployment.process().await];
    let held = tokio::spawn(async move { holder.resolve(1).await });
    deployment.provider.called(1).await;
    follower
        .faults
        .fail_every(Operation::FollowLease, 1, ErrorKind::Unavailable);
    assert_eq!(follower.resolve(1).await.text(), "My words.");
    gate.open();
    assert_eq!(held.await.unwrap().text(), "Their words.");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_lost_the_lease_serves_its_own_but_keeps_nothing() {
    let mut deployment = Deployment::new();
    deployment.config.keep_generated = true;
    let gate = Gate::new();
    deployment
        .provider
        .push(Script::deltas(["Old ", "words."]).gated(&gate));
    deployment.provider.push(Script::deltas(["New words."]));
    let [old, new] = [deployment.process().await, deployment.process().await];
    // Its signs of life do not arrive, as those of a process that is suspended.
    old.faults
        .fail_every(Operation::PushWords, 1, ErrorKind::Unavailable);
    let request = old.request(1);
    let resolver = old.resolver.clone();
    let held = tokio::spawn(async move { resolver.resolve(&request).await });
    deployment.provider.called(1).await;
    let taken_over = new.resolve(1).await;
    assert_eq!(taken_over.text(), "New words.");
    old.faults.clear();
    gate.open();
    let late = held.await.unwrap();
    assert_eq!(
        (late.text(), late.freshness()),
        ("Old words.", Freshness::Fresh)
    );
    while old.resolver.counts().flights > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        deployment.process().await.resolve(1).await.text(),
        "New words."
    );
    assert!(old.resolver.resolve_local(&old.request(1)).is_none());
    assert_eq!(deployment.provider.calls(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_never_ends_is_waited_for_no_longer_than_a_generation() {
    let mut deployment = Deployment::new();
    deployment.config.generation_deadline = 2 * TTL;
    let process = deployment.process().await;
    let key = process.request(1).key;
    let Ok(LeaseTurn::Held(lease)) = deployment.leases.take(&key).await else {
        panic!("the lease is free")
    };
    let leases = deployment.leases.clone();
    let alive = tokio::spawn(async move {
        loop {
            leases.push(&lease, 0, &[]).await.unwrap();
            tokio::time::sleep(TTL / 10).await;
        }
    });
    let resolution = process.resolve(1).await;
    assert_eq!(resolution.tier(), Tier::Authored);
    assert_eq!(
        outcome(&resolution),
        Some(TierOutcome::Failed(ErrorKind::Timeout))
    );
    alive.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_ends_the_wait_for_another_process() {
    let deployment = Deployment::new();
    let process = deployment.process().await;
    let key = process.request(1).key;
    let Ok(LeaseTurn::Held(lease)) = deployment.leases.take(&key).await else {
        panic!("the lease is free")
    };
    let (resolver, request) = (process.resolver.clone(), process.request(1));
    let waiting = tokio::spawn(async move { resolver.resolve(&request).await });
    while process.resolver.counts().flights == 0 {
        tokio::task::yield_now().await;
    }
    process
        .resolver
        .close(Duration::from_secs(20))
        .await
        .unwrap();
    assert_eq!(waiting.await.unwrap().tier(), Tier::Authored);
    deployment
        .leases
        .end(&lease, &LeaseEnd::Released)
        .await
        .unwrap();
}
