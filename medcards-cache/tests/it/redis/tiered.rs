use std::time::Duration;

use medcards_cache::{RedisCache, TieredCache};
use medcards_core::ErrorKind;
use medcards_core::cache::Cache;
use medcards_core::feedback::{FeedbackKey, Tier};
use medcards_core::testing::sample_key;
use medcards_tests::redis::RedisServer;

use super::cache::{cache_on, entry, hash, text};
use super::conformance::{Tiered, moka, tiered_on};
use super::places::{process_on, raw, until};

/// What another process has.
pub(super) async fn process(url: &str) -> Tiered {
    let tiered = tiered_on(process_on(url).await);
    // It begins to listen with an empty memory.
    until("it listens", async || tiered.removals_heard() > 0).await;
    tiered
}

pub(super) async fn put(cache: &impl Cache, key: &FeedbackKey, text: &str) {
    cache.put(key.clone(), entry(text)).await.expect("it works");
}

async fn near_text(cache: &Tiered, key: &FeedbackKey) -> Option<String> {
    let entry = cache.get_local(key)?;
    Some(entry.feedback().text.clone())
}

#[tokio::test]
async fn what_one_process_puts_another_finds_and_keeps_nearby() {
    let server = RedisServer::start();
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    put(&one, &sample_key(1), "Words.").await;
    let tier = async || other.get(&sample_key(1)).await.unwrap().map(|hit| hit.tier);
    assert_eq!(tier().await, Some(Tier::Remote));
    assert_eq!(tier().await, Some(Tier::Local));
    put(&one, &sample_key(2), "More words.").await;
    let many = [sample_key(1), sample_key(2), sample_key(3)];
    let tiers = async || {
        let hits = other.get_many(&many).await.unwrap();
        hits.into_iter()
            .map(|hit| hit.map(|hit| hit.tier))
            .collect::<Vec<_>>()
    };
    assert_eq!(tiers().await, [Some(Tier::Local), Some(Tier::Remote), None]);
    assert_eq!(tiers().await, [Some(Tier::Local), Some(Tier::Local), None]);
    assert_eq!(other.counts().promotions, 2);
}

#[tokio::test]
async fn a_removal_reaches_every_process_both_ways() {
    let server = RedisServer::start();
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    let clears = other.counts().near_clears;
    for (from, to) in [(&one, &other), (&other, &one)] {
        for n in 1..=3 {
            put(from, &sample_key(n), "Words.").await;
            assert!(text(to, &sample_key(n)).await.is_some());
        }
        let heard = to.removals_heard();
        let own = from.removals_heard();
        from.remove(&sample_key(1)).await.unwrap();
        from.purge_case(sample_key(2).case_id).await.unwrap();
        for n in [1, 2] {
            until("it is gone nearby", async || {
                to.get_local(&sample_key(n)).is_none()
            })
            .await;
            assert_eq!(text(to, &sample_key(n)).await, None);
        }
        assert!(to.removals_heard() > heard);
        assert_eq!(
            from.removals_heard(),
            own,
            "what it removed itself it need not hear"
        );
        assert!(
            to.get_local(&sample_key(3)).is_some(),
            "and no other went with it"
        );
    }
    assert_eq!(other.counts().near_clears, clears);
}

#[tokio::test]
async fn a_flush_reaches_every_process() {
    let server = RedisServer::start();
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    put(&one, &sample_key(1), "Words.").await;
    assert!(text(&other, &sample_key(1)).await.is_some());
    let heard = other.removals_heard();
    let mut raw = raw(&server);
    redis::cmd("FLUSHALL").exec(&mut raw).unwrap();
    for cache in [&one, &other] {
        until("it is gone nearby", async || {
            cache.get_local(&sample_key(1)).is_none()
        })
        .await;
    }
    assert!(other.removals_heard() > heard);
    // And removals are heard as before.
    put(&one, &sample_key(2), "Words.").await;
    assert!(text(&other, &sample_key(2)).await.is_some());
    one.remove(&sample_key(2)).await.unwrap();
    until("it is gone nearby", async || {
        other.get_local(&sample_key(2)).is_none()
    })
    .await;
}

#[tokio::test]
async fn removed_words_do_not_come_back_with_the_server() {
    let server = RedisServer::start_with(&[("appendonly", "yes")]);
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    let key = sample_key(1);
    put(&one, &key, "Old words.").await;
    assert!(text(&other, &key).await.is_some());
    server.kill();
    let error = one.remove(&key).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_eq!(one.get_local(&key).map(drop), None);
    assert_eq!(one.counts().removals_pending, 1);
    // What others keep is theirs to put meanwhile, and is found nearby.
    put(&one, &sample_key(2), "Other words.").await;
    assert!(one.get_local(&sample_key(2)).is_some());
    server.start_again();
    until("the removal is carried out", async || {
        if let Ok(hit) = one.get(&key).await {
            assert!(hit.is_none(), "it came back");
        }
        one.counts().removals_pending == 0
    })
    .await;
    assert_eq!(text(&one, &key).await, None);
    until("the other heard of it", async || {
        other.get_local(&key).is_none()
    })
    .await;
    until("the other is connected", async || {
        other.get(&key).await.is_ok()
    })
    .await;
    assert_eq!(text(&other, &key).await, None);
}

#[tokio::test]
async fn who_cannot_hear_forgets_after_a_bounded_time_again_and_again() {
    let server = RedisServer::start();
    let far = cache_on(process_on(&server.url()).await);
    let cache = TieredCache::with_stale_max(moka(), far, Duration::from_secs(1));
    until("it listens", async || cache.removals_heard() > 0).await;
    put(&cache, &sample_key(1), "Words.").await;
    server.kill();
    for _ in 0..2 {
        let heard = cache.removals_heard();
        put(&cache, &sample_key(1), "Words.").await;
        until("it is forgotten", async || {
            cache.get_local(&sample_key(1)).is_none()
        })
        .await;
        assert!(cache.removals_heard() > heard);
    }
}

#[tokio::test]
async fn a_removal_that_a_failover_lost_is_repeated() {
    let server = RedisServer::start();
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    let key = sample_key(1);
    put(&one, &key, "Old words.").await;
    let mut raw = raw(&server);
    let hash = hash(&key);
    let dump: Vec<u8> = redis::cmd("DUMP").arg(&hash).query(&mut raw).unwrap();
    let sent = one.counts().removals_sent;
    one.remove(&key).await.unwrap();
    // As a replica would have it that did not hear of the removal.
    redis::pipe()
        .cmd("RESTORE")
        .arg(&hash)
        .arg(3_600_000)
        .arg(dump)
        .cmd("UNLINK")
        .arg("medcards:{removals}:1")
        .exec(&mut raw)
        .unwrap();
    until("it is gone again", async || {
        let is_there: bool = redis::cmd("EXISTS").arg(&hash).query(&mut raw).unwrap();
        !is_there
    })
    .await;
    until("it counted it", async || {
        one.counts().removals_sent == sent + 2
    })
    .await;
    until("it is gone nearby", async || {
        near_text(&other, &key).await.is_none()
    })
    .await;
}

#[tokio::test]
async fn removals_reach_others_through_a_full_server() {
    let server = RedisServer::start_with(&[("maxmemory-policy", "noeviction")]);
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    put(&one, &sample_key(1), "Words.").await;
    assert!(text(&other, &sample_key(1)).await.is_some());
    let mut raw = raw(&server);
    redis::cmd("CONFIG")
        .arg(("SET", "maxmemory", "1"))
        .exec(&mut raw)
        .unwrap();
    one.remove(&sample_key(1)).await.unwrap();
    until("it is gone nearby", async || {
        other.get_local(&sample_key(1)).is_none()
    })
    .await;
    assert_eq!(text(&other, &sample_key(1)).await, None);
}

/// A put that is refused leaves nothing to be removed: or else each would empty all memories.
#[tokio::test]
async fn a_full_server_leaves_what_is_kept_nearby() {
    let server = RedisServer::start_with(&[("maxmemory-policy", "noeviction")]);
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    put(&one, &sample_key(1), "Words.").await;
    assert!(other.get(&sample_key(1)).await.unwrap().is_some());
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let clears = [one.counts().near_clears, other.counts().near_clears];
    put(&one, &sample_key(2), "More words.").await;
    assert_eq!(one.counts().put_failures, 1);
    assert_eq!(one.counts().removals_pending, 0);
    // A removal that comes later reaches the other in the order of the log: before it, nothing did.
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    let heard = other.removals_heard();
    one.remove(&sample_key(3))
        .await
        .expect("there is room again");
    until("the other hears of it", async || {
        other.removals_heard() > heard
    })
    .await;
    assert_eq!(
        [one.counts().near_clears, other.counts().near_clears],
        clears
    );
    assert_eq!(
        near_text(&one, &sample_key(2)).await.as_deref(),
        Some("More words.")
    );
    assert_eq!(
        near_text(&other, &sample_key(1)).await.as_deref(),
        Some("Words.")
    );
}

#[tokio::test]
async fn a_put_that_nobody_waits_for_leaves_no_doubt() {
    let server = RedisServer::start();
    let cache = process(&server.url()).await;
    server.suspend();
    let dropped = cache.put(sample_key(1), entry("Words."));
    tokio::select! {
        _ = dropped => panic!("the server hangs"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    assert_eq!(
        cache.counts().removals_pending,
        1,
        "it may have been carried out"
    );
    server.resume();
    until("it is known to be gone", async || {
        cache.counts().removals_pending == 0
    })
    .await;
    assert!(cache.far().get(&sample_key(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_removal_that_nobody_waits_for_is_carried_out() {
    let server = RedisServer::start();
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    put(&one, &sample_key(1), "Words.").await;
    assert!(text(&other, &sample_key(1)).await.is_some());
    server.suspend();
    let key = sample_key(1);
    let dropped = one.remove(&key);
    tokio::select! {
        _ = dropped => panic!("the server hangs"),
        () = tokio::time::sleep(Duration::from_millis(50)) => {}
    }
    assert!(one.get_local(&key).is_none());
    server.resume();
    until("the other heard of it", async || {
        other.get_local(&key).is_none()
    })
    .await;
    until("it is carried out", async || {
        one.counts().removals_pending == 0
    })
    .await;
    assert_eq!(text(&other, &key).await, None);
}

/// Every order in which a removal, a put of old words and a look can meet.
mod orders {
    use std::collections::VecDeque;
    use std::fmt;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use medcards_cache::{FarCache, LogPage, LogPosition, Removal};
    use medcards_core::cache::{CacheEntry, CacheHit};
    use medcards_core::{CaseId, Error, Result};
    use tokio::sync::watch;

    use super::*;

    tokio::task_local! {
        static ACTOR: char;
    }

    /// A far cache whose calls happen in a given order. What listens in the background is deaf
    /// meanwhile.
    #[derive(Clone, Debug)]
    struct Ordered {
        inner: RedisCache,
        turns: Arc<watch::Sender<VecDeque<char>>>,
        is_deaf: Arc<AtomicBool>,
    }

    impl Ordered {
        async fn in_turn<T>(&self, call: impl Future<Output = T>) -> T {
            let Ok(actor) = ACTOR.try_with(|actor| *actor) else {
                return call.await;
            };
            let mut turns = self.turns.subscribe();
            let mine = turns.wait_for(|turns| turns.front().is_none_or(|turn| *turn == actor));
            drop(mine.await.expect("there is a sender"));
            let done = call.await;
            self.turns.send_modify(|turns| {
                turns.pop_front();
            });
            done
        }
    }

    impl fmt::Display for Ordered {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Ordered")
        }
    }

    #[async_trait]
    impl Cache for Ordered {
        fn get_local(&self, _key: &FeedbackKey) -> Option<Arc<CacheEntry>> {
            None
        }

        async fn get(&self, key: &FeedbackKey) -> Result<Option<CacheHit>> {
            self.in_turn(self.inner.get(key)).await
        }

        async fn get_many(&self, keys: &[FeedbackKey]) -> Result<Vec<Option<CacheHit>>> {
            self.inner.get_many(keys).await
        }

        async fn put(&self, key: FeedbackKey, entry: Arc<CacheEntry>) -> Result<()> {
            self.in_turn(self.inner.put(key, entry)).await
        }

        async fn remove(&self, key: &FeedbackKey) -> Result<()> {
            self.in_turn(self.inner.remove(key)).await
        }

        async fn purge_case(&self, case_id: CaseId) -> Result<()> {
            self.inner.purge_case(case_id).await
        }

        fn removals_heard(&self) -> u64 {
            self.inner.removals_heard()
        }

        fn has_heard_of(&self, key: &FeedbackKey, since: u64) -> bool {
            self.inner.has_heard_of(key, since)
        }
    }

    #[async_trait]
    impl FarCache for Ordered {
        fn is_away(&self) -> bool {
            self.inner.is_away()
        }

        async fn announce(&self, removal: &Removal, by: &str) -> Result<Option<LogPosition>> {
            self.in_turn(self.inner.announce(removal, by)).await
        }

        async fn announced_after(&self, position: Option<&LogPosition>) -> Result<LogPage> {
            if ACTOR.try_with(|_| ()).is_err() && self.is_deaf.load(Ordering::Acquire) {
                return Err(Error::new(ErrorKind::Unavailable, "listen", "it is deaf"));
            }
            self.in_turn(self.inner.announced_after(position)).await
        }
    }

    /// All orders of so many turns of each actor.
    fn orders(left: &[(char, usize)]) -> Vec<VecDeque<char>> {
        if left.iter().all(|(_, turns)| *turns == 0) {
            return vec![VecDeque::new()];
        }
        let mut all = Vec::new();
        for (at, (actor, turns)) in left.iter().enumerate() {
            if *turns == 0 {
                continue;
            }
            let mut rest = left.to_vec();
            rest[at].1 -= 1;
            for mut order in orders(&rest) {
                order.push_front(*actor);
                all.push(order);
            }
        }
        all
    }

    #[tokio::test]
    async fn removed_words_stay_nowhere_in_whatever_order() {
        let server = RedisServer::start();
        let turns = Arc::new(watch::Sender::new(VecDeque::new()));
        let is_deaf = Arc::new(AtomicBool::new(false));
        let mut caches = Vec::new();
        for _ in 0..3 {
            let far = Ordered {
                inner: cache_on(process_on(&server.url()).await),
                turns: Arc::clone(&turns),
                is_deaf: Arc::clone(&is_deaf),
            };
            let cache = TieredCache::new(moka(), far);
            until("it listens", async || cache.removals_heard() > 0).await;
            caches.push(cache);
        }
        is_deaf.store(true, Ordering::Release);
        let [remover, putter, looker] = &caches[..] else {
            unreachable!("there are three");
        };
        let all = orders(&[('r', 3), ('p', 2), ('l', 3)]);
        assert_eq!(all.len(), 560);
        for (n, order) in (0..).zip(&all) {
            let (key, other) = (sample_key(n), sample_key(10_000 + n));
            // Everybody has heard what was before.
            for cache in &caches {
                ACTOR.scope('-', put(cache, &other, "Words.")).await;
            }
            turns.send_replace(order.clone());
            // Announces, deletes, announces.
            let remove = ACTOR.scope('r', remover.remove(&key));
            // Read the words elsewhere before they were removed there, as the remover does first.
            let heard = putter.removals_heard();
            let put_old = async {
                // Writes, reads the log.
                ACTOR.scope('p', put(putter, &key, "Old words.")).await;
                if putter.has_heard_of(&key, heard) {
                    putter.remove(&key).await.expect("Redis is there");
                }
            };
            let look = ACTOR.scope('l', async {
                // Writes something else and reads the log, then looks.
                put(looker, &other, "Words.").await;
                let _ = looker.get(&key).await.expect("Redis is there");
            });
            let (removed, (), ()) = tokio::join!(remove, put_old, look);
            removed.expect("Redis is there");
            let far = putter.far().inner.get(&key).await.expect("Redis is there");
            assert!(far.is_none(), "order {order:?} leaves it far");
        }
        is_deaf.store(false, Ordering::Release);
        for (n, order) in (0..).zip(&all) {
            for cache in &caches {
                until(
                    &format!("order {order:?} leaves nothing nearby"),
                    async || cache.get_local(&sample_key(n)).is_none(),
                )
                .await;
            }
        }
    }
}

/// Another program wrote there, so that nobody could hear of a removal any more.
#[tokio::test]
async fn a_log_of_another_type_is_begun_anew() {
    const LOG: &str = "medcards:{removals}:1";
    let server = RedisServer::start();
    let (one, other) = (process(&server.url()).await, process(&server.url()).await);
    let key = sample_key(1);
    put(&one, &key, "Words.").await;
    assert!(text(&other, &key).await.is_some());
    let clears = other.counts().near_clears;
    server.command(&["SET", LOG, "of another program"]);
    until("everything nearby is forgotten", async || {
        other.counts().near_clears > clears && other.get_local(&key).is_none()
    })
    .await;
    assert_eq!(server.command(&["TYPE", LOG]), "stream");

    assert!(text(&other, &key).await.is_some());
    server.command(&["SET", LOG, "of another program"]);
    one.remove(&key).await.expect("the log is begun anew");
    until("it is gone nearby", async || {
        other.get_local(&key).is_none()
    })
    .await;
    assert_eq!(text(&other, &key).await, None);
}
