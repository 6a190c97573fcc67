//! What caches do when a primary is lost under load.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use medcards_cache::RedisCache;
use medcards_core::ErrorKind;
use medcards_core::cache::Cache;
use medcards_core::feedback::FeedbackKey;
use medcards_core::testing::sample_key;
use medcards_tests::redis::{RedisCluster, RedisServer, Sentinels};
use tokio::task::JoinSet;

use super::cache::{cache_on, entry, hash, text};
use super::places::{connected, patient, until};
use super::tiered::{process, put};

/// Short, so that a node that does not answer is soon given up.
const SHORT_PATIENCE: Duration = Duration::from_millis(200);

async fn cache_at(url: &str) -> RedisCache {
    let config = patient(url).with_patience(SHORT_PATIENCE);
    cache_on(connected(config).await)
}

/// Callers who put and look all the time.
struct Load {
    seen: Arc<Seen>,
    callers: JoinSet<()>,
}

#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    done: AtomicU64,
    failed: AtomicU64,
    /// Errors that say neither that Redis is away nor that it is slow.
    surprises: Mutex<Vec<String>>,
}

impl Load {
    /// So many callers, the n-th of whom uses the n-th of the keys, in turn.
    fn start(cache: &RedisCache, callers: usize, keys: &[FeedbackKey]) -> Self {
        let seen = Arc::<Seen>::default();
        let calls = |key: &FeedbackKey| call_on(cache.clone(), key.clone(), Arc::clone(&seen));
        Self {
            callers: keys.iter().cycle().take(callers).map(calls).collect(),
            seen,
        }
    }

    fn done(&self) -> u64 {
        self.seen.done.load(Ordering::Relaxed)
    }

    fn failed(&self) -> u64 {
        self.seen.failed.load(Ordering::Relaxed)
    }

    /// Waits until so many more calls have succeeded.
    async fn goes_on(&self, calls: u64) {
        let before = self.done();
        until("calls succeed", async || self.done() >= before + calls).await;
    }

    /// Ends it, and looks at how calls have failed.
    async fn end(mut self) {
        self.seen.is_over.store(true, Ordering::Relaxed);
        while let Some(ended) = self.callers.join_next().await {
            ended.expect("no caller panics");
        }
        let surprises = self.seen.surprises.lock().expect("nobody panicked");
        assert!(surprises.is_empty(), "{:?}", surprises.first());
    }
}

async fn call_on(cache: RedisCache, key: FeedbackKey, seen: Arc<Seen>) {
    while !seen.is_over.load(Ordering::Relaxed) {
        let put = cache.put(key.clone(), entry("Words.")).await;
        let got = cache.get(&key).await.map(drop);
        for ended in [put, got] {
            let count = match ended {
                Ok(()) => &seen.done,
                Err(error) => {
                    let kind = error.kind();
                    if !matches!(kind, ErrorKind::Timeout | ErrorKind::Unavailable) {
                        let mut surprises = seen.surprises.lock().expect("nobody panicked");
                        surprises.push(format!("{error:?}"));
                    }
                    &seen.failed
                }
            };
            count.fetch_add(1, Ordering::Relaxed);
        }
        tokio::task::yield_now().await;
    }
}

/// The replica that takes over has not heard of a removal: neither that the words are gone, nor the
/// notice of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_that_lost_the_end_of_the_log_brings_no_removed_words_back() {
    let sentinels = Sentinels::start();
    let url = sentinels.url();
    let (one, other) = (process(&url).await, process(&url).await);
    let load = Load::start(&cache_at(&url).await, 8, &[sample_key(7), sample_key(8)]);
    load.goes_on(100).await;
    let (key, kept) = (sample_key(1), sample_key(2));
    put(&one, &key, "Old words.").await;
    put(&one, &kept, "Words.").await;
    assert!(text(&other, &key).await.is_some());
    assert!(text(&other, &kept).await.is_some());
    let has_words = |server: &RedisServer| server.command(&["EXISTS", &hash(&key)]) == "1";
    until("the replica has the words", async || {
        has_words(sentinels.replica())
    })
    .await;

    // From now on the replica hears nothing.
    let primary = sentinels.primary();
    primary.command(&["ACL", "SETUSER", "default", "-psync", "-sync"]);
    primary.command(&["CLIENT", "KILL", "TYPE", "replica"]);
    let heard = other.removals_heard();
    one.remove(&key).await.expect("the primary is there");
    until("the other heard of it", async || {
        other.removals_heard() > heard && other.get_local(&key).is_none()
    })
    .await;
    assert!(
        has_words(sentinels.replica()),
        "it has heard of the removal"
    );
    let clears = other.counts().near_clears;
    sentinels.kill_primary();

    until("some calls fail", async || load.failed() > 0).await;
    sentinels.wait_until_writable();
    load.goes_on(100).await;
    until(
        "the other knows that it may have missed something",
        async || other.counts().near_clears > clears && other.get_local(&kept).is_none(),
    )
    .await;
    until("the removal is repeated", async || {
        !has_words(sentinels.primary())
    })
    .await;
    for cache in [&one, &other] {
        assert_eq!(text(cache, &key).await, None);
    }
    load.end().await;
}

/// Where the other nodes serve although some slots are nobody's (`cluster-require-full-coverage no`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_node_of_a_cluster_takes_only_its_own_keys_and_they_come_back() {
    let cluster = RedisCluster::start();
    for node in cluster.nodes() {
        node.command(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]);
    }
    let lost = sample_key(0);
    let port = cluster.primary_of(&hash(&lost)).port();
    let mut others = (1..).map(sample_key);
    let kept = others.find(|key| cluster.primary_of(&hash(key)).port() != port);
    let kept = kept.expect("there are three nodes");
    let cache = cache_at(&cluster.url()).await;
    let of_kept = Load::start(&cache, 4, std::slice::from_ref(&kept));
    let of_lost = Load::start(&cache, 4, std::slice::from_ref(&lost));
    of_kept.goes_on(100).await;
    of_lost.goes_on(100).await;

    // Whoever would take over does not yet.
    let replica = cluster.replica_of(&hash(&lost));
    until("the replica has the words", async || {
        replica.command(&["DBSIZE"]) != "0"
    })
    .await;
    replica.suspend();
    cluster.kill_primary_of(&hash(&lost));
    let failed = of_lost.failed();
    until("its keys fail", async || of_lost.failed() > failed + 10).await;
    let done = of_lost.done();
    of_kept.goes_on(500).await;
    assert_eq!(
        of_lost.done(),
        done,
        "there is nobody who could have done it"
    );

    replica.resume();
    cluster.wait_ok();
    of_lost.goes_on(100).await;
    of_kept.goes_on(100).await;
    assert_eq!(text(&cache, &lost).await.as_deref(), Some("Words."));
    for load in [of_kept, of_lost] {
        load.end().await;
    }
}
