use std::hint::black_box;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use criterion::Criterion;
use medcards_benches::compare::{Comparison, compare};
use medcards_benches::report::{Report, Target};
use medcards_benches::{Bench, WARM_KEYS, raw_moka};
use medcards_cache::MokaCache;
use medcards_core::cache::Cache;
use medcards_core::memory::MemoryCache;
use medcards_core::time::SystemClock;

/// One thread, as many as this machine has cores for, and far more.
const THREADS: [usize; 3] = [1, 2, 16];

pub(crate) fn run(criterion: &mut Criterion, report: &mut Report) {
    let moka: Arc<dyn Cache> = Arc::new(MokaCache::builder(Arc::new(SystemClock::new())).build());
    let memory: Arc<dyn Cache> = Arc::new(MemoryCache::new(64 << 20));
    for (ours, cache) in [
        ("resolve_local(MokaCache)", moka),
        ("resolve_local(MemoryCache)", memory),
    ] {
        run_over(criterion, report, ours, cache);
    }
}

fn run_over(criterion: &mut Criterion, report: &mut Report, ours: &str, cache: Arc<dyn Cache>) {
    let runtime = medcards_benches::compare::runtime();
    let (bench, requests) = runtime.block_on(async {
        let bench = Bench::new(Arc::clone(&cache))
            .await
            .expect("memory has no errors");
        let requests = bench.warm().await;
        bench.put_again(&requests).await;
        (bench, requests)
    });
    let raw = raw_moka(&*cache, &requests);
    for threads in THREADS {
        compare(
            criterion,
            report,
            &Comparison {
                work: &format!("local_hit/{threads} threads"),
                ours,
                baseline: "moka get",
                pieces: threads as u64,
                target: Target::TimeAtMost(1.5),
            },
            |hits| {
                on_threads(threads, hits, |n| {
                    drop(black_box(raw.get(black_box(&requests[n].key))))
                })
            },
            |hits| {
                on_threads(threads, hits, |n| {
                    drop(black_box(
                        bench.resolver.resolve_local(black_box(&requests[n])),
                    ));
                })
            },
        );
    }
}

/// Lets each thread do that many hits, walking through the warm keys from places of their own.
fn on_threads(threads: usize, hits: u64, hit: impl Fn(usize) + Sync) -> Duration {
    let walk = |first: usize| {
        let hits = hits as usize;
        for n in first..first + hits {
            hit(n & (WARM_KEYS - 1));
        }
    };
    if threads == 1 {
        let started = Instant::now();
        walk(0);
        return started.elapsed();
    }
    let barrier = Barrier::new(threads + 1);
    thread::scope(|scope| {
        let walkers: Vec<_> = (0..threads)
            .map(|thread| {
                let (walk, barrier) = (&walk, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    walk(thread * WARM_KEYS / 16);
                })
            })
            .collect();
        barrier.wait();
        let started = Instant::now();
        walkers
            .into_iter()
            .for_each(|walker| walker.join().expect("a walker does not panic"));
        started.elapsed()
    })
}
