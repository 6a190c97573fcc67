use std::hint::black_box;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use criterion::Criterion;
use medcards_benches::answers::at_once;
use medcards_benches::compare::{Comparison, compare};
use medcards_benches::report::{Report, Target};
use medcards_cache::{MokaCache, RedisCache, TieredCache};
use medcards_core::Timestamp;
use medcards_core::cache::{Cache, CacheEntry, Lifetime};
use medcards_core::feedback::{FeedbackKey, Tier};
use medcards_core::testing::{sample_feedback, sample_key};
use medcards_core::time::{Clock, SystemClock};
use redis::aio::MultiplexedConnection;

use crate::{CLIENTS, Place};

/// How many different feedbacks are asked for. A power of two, so that walking costs a mask.
const KEYS: usize = 1_024;

/// The texts whose hits are compared: a short feedback, as models write it, and a long one.
const WORDS: [u32; 2] = [150, 600];

const NEAR: &str = "redis_near_hit";

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    let work = |words: u32, clients: u64| format!("redis_far_hit/{words} words/{clients} clients");
    let works = WORDS
        .into_iter()
        .flat_map(|words| CLIENTS.map(|clients| work(words, clients)));
    let Some(place) = Place::start(works.chain([NEAR.to_owned()])) else {
        return;
    };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let far = RedisCache::new(place.redis.clone(), Arc::clone(&clock));
    for words in WORDS {
        let payload_bytes = place
            .runtime
            .block_on(fill(&place, &far, words, clock.now()));
        report.remark(format!("{words} words are {payload_bytes} bytes in Redis"));
        for clients in CLIENTS {
            compare(
                criterion,
                report,
                &Comparison {
                    work: &work(words, clients),
                    ours: "RedisCache",
                    baseline: "raw GET",
                    pieces: clients,
                    target: Target::RateAtLeast(0.9),
                },
                |rounds| place.runtime.block_on(by_hand(&place.raw, rounds, clients)),
                |rounds| place.runtime.block_on(by_cache(&far, rounds, clients)),
            );
        }
    }
    near(criterion, report, &place, far, &clock);
}

/// The keys that are asked for, made once: making one takes longer than asking for it.
static ALL_KEYS: LazyLock<Vec<FeedbackKey>> =
    LazyLock::new(|| (0..KEYS as u32).map(sample_key).collect());

fn key(n: usize) -> &'static FeedbackKey {
    &ALL_KEYS[n & (KEYS - 1)]
}

/// A text of so many words, drawn from a vocabulary of some thousand.
fn text(words: u32) -> String {
    let mut random = fastrand::Rng::with_seed(u64::from(words));
    let mut vocabulary = fastrand::Rng::with_seed(1);
    let vocabulary: Vec<String> = (0..4_000)
        .map(|_| {
            let len = vocabulary.usize(2..11);
            (0..len).map(|_| vocabulary.lowercase()).collect()
        })
        .collect();
    // Most words of a text are of the few that all texts have.
    let word = |_| &*vocabulary[random.usize(..4_000) * random.usize(..4_000) / 4_000];
    let words: Vec<&str> = (0..words).map(word).collect();
    words.join(" ")
}

/// Puts all keys into the cache, and the bytes that it made of each where the other way looks.
async fn fill(place: &Place, far: &RedisCache, words: u32, now: Timestamp) -> usize {
    let hours = |hours| now + Duration::from_hours(hours);
    let lifetime = Lifetime {
        fresh_until: hours(22),
        revalidate_until: hours(23),
        keep_until: hours(24),
    };
    let written_before = far.counts().bytes_written;
    for n in 0..KEYS {
        let entry = CacheEntry::new(sample_feedback(&text(words)), lifetime);
        let put = far.put(key(n).clone(), Arc::new(entry)).await;
        put.expect("the server takes it");
    }
    let written = far.counts().bytes_written - written_before;
    let payload_bytes = written as usize / KEYS;
    let mut raw = place.raw.clone();
    for n in 0..KEYS {
        let value = vec![b'x'; payload_bytes];
        let mut command = redis::cmd("SET");
        command.arg(name_by_hand(n)).arg(value);
        let () = command.query_async(&mut raw).await.expect("it is taken");
    }
    payload_bytes
}

fn name_by_hand(n: usize) -> String {
    format!("hand:{}", key(n))
}

async fn by_cache(far: &RedisCache, rounds: u64, clients: u64) -> Duration {
    at_once(clients, |client| {
        let far = far.clone();
        async move {
            for round in 0..rounds {
                let hit = far.get(key((client * 17 + round) as usize)).await;
                let hit = hit.expect("the server answers").expect("it was put");
                assert_eq!(black_box(hit).tier, Tier::Remote);
            }
        }
    })
    .await
}

async fn by_hand(raw: &MultiplexedConnection, rounds: u64, clients: u64) -> Duration {
    at_once(clients, |client| {
        let mut raw = raw.clone();
        async move {
            for round in 0..rounds {
                let mut command = redis::cmd("GET");
                command.arg(name_by_hand((client * 17 + round) as usize));
                let bytes: Vec<u8> = command.query_async(&mut raw).await.expect("it answers");
                assert!(!black_box(bytes).is_empty());
            }
        }
    })
    .await
}

/// A hit in this process, with Redis behind it and without.
fn near(
    criterion: &mut Criterion,
    report: &mut Report,
    place: &Place,
    far: RedisCache,
    clock: &Arc<dyn Clock>,
) {
    let alone = MokaCache::builder(Arc::clone(clock)).build();
    let tiered = place.runtime.block_on(async {
        let near = MokaCache::builder(Arc::clone(clock)).build();
        let tiered = TieredCache::new(near, far);
        // It begins by finding out where the log of removals ends, and forgets what it has till then.
        tokio::time::sleep(Duration::from_secs(1)).await;
        for n in 0..KEYS {
            let hit = tiered.get(key(n)).await.expect("the server answers");
            let hit = hit.expect("it was put");
            alone
                .put(key(n).clone(), hit.entry)
                .await
                .expect("memory takes it");
        }
        tiered
    });
    compare(
        criterion,
        report,
        &Comparison {
            work: NEAR,
            ours: "TieredCache",
            baseline: "MokaCache",
            pieces: 1,
            target: Target::TimeAtMost(1.1),
        },
        |hits| walk(hits, |key| alone.get_local(key).is_some()),
        |hits| walk(hits, |key| tiered.get_local(key).is_some()),
    );
}

fn walk(hits: u64, hit: impl Fn(&FeedbackKey) -> bool) -> Duration {
    let started = Instant::now();
    for n in 0..hits as usize {
        assert!(black_box(hit(black_box(key(n)))));
    }
    started.elapsed()
}
