use std::sync::Arc;
use std::time::Duration;

use medcards_cache::RedisCache;
use medcards_core::ErrorKind;
use medcards_core::cache::{Cache, CacheEntry};
use medcards_core::feedback::FeedbackKey;
use medcards_core::testing::{ManualClock, SAMPLE_START, sample_key};
use medcards_core::time::{Clock, SystemClock};
use medcards_tests::redis::RedisServer;

use crate::forgetting::entry_until;

use super::places::{connected, patient, process_on, raw, until};

pub(super) const HOUR: Duration = Duration::from_hours(1);

/// An entry that lives for an hour by the machine's clock.
pub(super) fn entry(text: &str) -> Arc<CacheEntry> {
    entry_until(text, SystemClock::new().now() + HOUR)
}

pub(super) async fn text(cache: &impl Cache, key: &FeedbackKey) -> Option<String> {
    let hit = cache.get(key).await.expect("Redis is there");
    hit.map(|hit| hit.entry.feedback().text.clone())
}

pub(super) fn cache_on(redis: medcards_cache::Redis) -> RedisCache {
    RedisCache::new(redis, Arc::new(SystemClock::new()))
}

/// The hash in which the entries of a case are.
pub(super) fn hash(key: &FeedbackKey) -> String {
    format!("medcards:{{{}}}:feedback1", key.case_id)
}

fn millis_left(raw: &mut redis::Connection, key: &FeedbackKey) -> i64 {
    redis::cmd("PTTL")
        .arg(hash(key))
        .query(raw)
        .expect("the server runs")
}

fn of_prompt(n: u32, prompt: u32) -> FeedbackKey {
    FeedbackKey {
        prompt_version: medcards_core::ai::PromptVersion::new(prompt),
        ..sample_key(n)
    }
}

#[tokio::test]
async fn an_entry_is_not_found_when_its_time_is_over_and_leaves() {
    let server = RedisServer::start();
    let clock = Arc::new(ManualClock::default());
    let cache = RedisCache::new(
        process_on(&server.url()).await,
        Arc::clone(&clock) as Arc<dyn Clock>,
    );
    let mut raw = raw(&server);
    let (short, long) = (sample_key(1), of_prompt(1, 2));
    let at = |hours| SAMPLE_START + HOUR * hours;
    cache
        .put(short.clone(), entry_until("short", at(1)))
        .await
        .unwrap();
    assert!((1..=3_600_000).contains(&millis_left(&mut raw, &short)));
    cache
        .put(long.clone(), entry_until("long", at(3)))
        .await
        .unwrap();
    cache
        .put(short.clone(), entry_until("short", at(1)))
        .await
        .unwrap();
    let left = millis_left(&mut raw, &short);
    assert!(
        (7_200_000..=10_800_000).contains(&left),
        "as the longest: {left}"
    );
    clock.advance(HOUR);
    assert_eq!(text(&cache, &short).await, None);
    assert_eq!(text(&cache, &long).await.as_deref(), Some("long"));
    let many = cache
        .get_many(&[short.clone(), long.clone()])
        .await
        .unwrap();
    assert_eq!(
        many.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true]
    );
    cache
        .put(sample_key(2), entry_until("too late", at(1)))
        .await
        .unwrap();
    assert_eq!(
        millis_left(&mut raw, &sample_key(2)),
        -2,
        "it was not written"
    );
    // The next put of the case finds the one whose time is over.
    cache
        .put(of_prompt(1, 3), entry_until("new", at(2)))
        .await
        .unwrap();
    let fields: Vec<String> = redis::cmd("HKEYS")
        .arg(hash(&short))
        .query(&mut raw)
        .unwrap();
    assert_eq!(fields.len(), 2, "{fields:?}");
}

#[tokio::test]
async fn nothing_stays_without_an_end() {
    let server = RedisServer::start();
    let cache = cache_on(process_on(&server.url()).await);
    for n in 0..50 {
        cache.put(sample_key(n), entry("Words.")).await.unwrap();
    }
    cache.remove(&sample_key(1)).await.unwrap();
    cache.purge_case(sample_key(2).case_id).await.unwrap();
    let mut raw = raw(&server);
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut raw).unwrap();
    assert!(keys.len() >= 48);
    for key in keys {
        let left: i64 = redis::cmd("PTTL").arg(&key).query(&mut raw).unwrap();
        assert!(left > 0, "{key} stays for ever");
    }
}

#[tokio::test]
async fn a_case_does_not_grow_without_bound() {
    let server = RedisServer::start();
    let cache = cache_on(process_on(&server.url()).await);
    let mut raw = raw(&server);
    for prompt in 0..600 {
        let key = of_prompt(1, prompt);
        cache.put(key.clone(), entry("Words.")).await.unwrap();
        assert!(text(&cache, &key).await.is_some(), "the newest is there");
        let len: u32 = redis::cmd("HLEN").arg(hash(&key)).query(&mut raw).unwrap();
        assert!(len <= 256, "{len} entries");
    }
    assert!(millis_left(&mut raw, &sample_key(1)) > 0);
}

#[tokio::test]
async fn what_cannot_be_read_is_a_miss_that_is_counted() {
    let server = RedisServer::start();
    let cache = cache_on(process_on(&server.url()).await);
    let mut raw = raw(&server);
    let key = sample_key(1);
    cache.put(key.clone(), entry("Words.")).await.unwrap();
    let (field, good): (String, Vec<u8>) = {
        let mut all: Vec<(String, Vec<u8>)> = redis::cmd("HGETALL")
            .arg(hash(&key))
            .query(&mut raw)
            .unwrap();
        all.remove(0)
    };
    let newer = [&[9], &good[1..]].concat();
    let damaged = [&good[..20], &[0xff, 0xff], &good[22..]].concat();
    let mut unreadable = 0;
    for bad in [newer, damaged, good[..good.len() / 2].to_vec(), Vec::new()] {
        redis::cmd("HSET")
            .arg(hash(&key))
            .arg(&field)
            .arg(bad)
            .exec(&mut raw)
            .unwrap();
        assert_eq!(text(&cache, &key).await, None);
        unreadable += 1;
        assert_eq!(cache.counts().unreadable, unreadable);
    }
    cache.put(key.clone(), entry("New words.")).await.unwrap();
    assert_eq!(text(&cache, &key).await.as_deref(), Some("New words."));
    // What another program left there is an error that says so.
    redis::cmd("SET")
        .arg(hash(&key))
        .arg("else")
        .exec(&mut raw)
        .unwrap();
    assert_eq!(
        cache.get(&key).await.unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[tokio::test]
async fn a_full_server_is_not_away() {
    let server = RedisServer::start_with(&[("maxmemory", "1"), ("maxmemory-policy", "noeviction")]);
    let redis = process_on(&server.url()).await;
    let cache = cache_on(redis.clone());
    for _ in 0..20 {
        let error = cache.put(sample_key(1), entry("Words.")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Full, "{error}");
        assert_eq!(text(&cache, &sample_key(1)).await, None);
    }
    assert!(!redis.is_away() && redis.counts().opened == 0);
}

#[tokio::test]
async fn a_server_that_hangs_is_waited_for_a_few_times_and_then_not_at_all() {
    let server = RedisServer::start();
    let config = patient(&server.url()).with_patience(Duration::from_millis(50));
    let redis = connected(config).await;
    let cache = cache_on(redis.clone());
    server.suspend();
    let mut kinds = Vec::new();
    for _ in 0..40 {
        kinds.push(cache.get(&sample_key(1)).await.unwrap_err().kind());
    }
    let timeouts = kinds
        .iter()
        .filter(|kind| **kind == ErrorKind::Timeout)
        .count();
    let away = kinds
        .iter()
        .filter(|kind| **kind == ErrorKind::Unavailable)
        .count();
    assert!(timeouts <= 8, "{kinds:?}");
    assert_eq!(timeouts + away, 40, "{kinds:?}");
    assert_eq!(kinds.last(), Some(&ErrorKind::Unavailable));
    let counts = redis.counts();
    assert_eq!(counts.opened, 1);
    assert_eq!(counts.refused as usize, away);
    server.resume();
    until("it is found again", async || {
        cache.get(&sample_key(1)).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_server_that_forgot_the_scripts_is_told_them_again() {
    let server = RedisServer::start();
    let cache = cache_on(process_on(&server.url()).await);
    let mut raw = raw(&server);
    for n in 1..=3 {
        redis::cmd("SCRIPT").arg("FLUSH").exec(&mut raw).unwrap();
        let words = format!("Words {n}.");
        cache.put(sample_key(n), entry(&words)).await.unwrap();
        assert_eq!(text(&cache, &sample_key(n)).await, Some(words));
    }
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query(&mut raw)
        .unwrap();
    let calls_of = |name: &str| {
        let name = format!("cmdstat_{name}:calls=");
        stats
            .lines()
            .find_map(|line| line.strip_prefix(&name)?.split(',').next())
            .map(str::to_owned)
    };
    assert_eq!(
        calls_of("hset").as_deref(),
        Some("3"),
        "each is carried out once"
    );
    assert_eq!(calls_of("script|load"), None, "without a call of its own");
}

#[tokio::test]
async fn dropped_calls_disturb_no_other() {
    let server = RedisServer::start();
    let cache = cache_on(process_on(&server.url()).await);
    for n in 0..200 {
        cache
            .put(sample_key(n), entry(&format!("Words {n}.")))
            .await
            .unwrap();
    }
    for n in 0..200 {
        let (first, second) = (sample_key(n), sample_key((n + 7) % 200));
        let dropped = cache.get(&first);
        // Polled once, so that it is under way.
        tokio::select! { biased; _ = dropped => {} () = std::future::ready(()) => {} }
        assert_eq!(
            text(&cache, &second).await,
            Some(format!("Words {}.", (n + 7) % 200))
        );
    }
}

#[tokio::test]
async fn what_is_counted_is_what_happened() {
    let server = RedisServer::start();
    let cache = cache_on(process_on(&server.url()).await);
    cache.put(sample_key(1), entry("Words.")).await.unwrap();
    cache
        .put(sample_key(2), entry(&"Words again. ".repeat(500)))
        .await
        .unwrap();
    cache
        .put(sample_key(3), entry(&"x".repeat(2 << 20)))
        .await
        .unwrap();
    for n in 1..=3 {
        let _ = cache.get(&sample_key(n)).await.unwrap();
    }
    let counts = cache.counts();
    assert_eq!(
        (counts.puts, counts.put_failures, counts.compressed),
        (2, 1, 1)
    );
    assert_eq!((counts.hits, counts.misses, counts.unreadable), (2, 1, 0));
    assert_eq!(counts.bytes_read, counts.bytes_written);
    assert!(counts.bytes_written < 2_000);
}
