//! Benches of what processes share in Redis, each beside the same work by the redis crate alone on
//! the same server.
//!
//! See `benches/README.md`.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use criterion::Criterion;
use medcards_benches::compare::{is_wanted, runtime};
use medcards_benches::report::Report;
use medcards_cache::{Redis, RedisConfig};
use medcards_tests::redis::RedisServer;
use redis::aio::MultiplexedConnection;

/// Feedback found beyond the process, and near after that.
mod cache;
/// A rank among a million.
mod leaderboard;
/// Calls that are counted.
mod limiter;

/// How many ask at once.
const CLIENTS: [u64; 2] = [1, 64];

fn main() -> ExitCode {
    // Far fewer resamples than usual: they only widen the interval of criterion's own line.
    let mut criterion = Criterion::default()
        .nresamples(10_000)
        .without_plots()
        .configure_from_args();
    let mut report = Report::default();
    cache::run(&mut criterion, &mut report);
    limiter::run(&mut criterion, &mut report);
    leaderboard::run(&mut criterion, &mut report);
    criterion.final_summary();
    report.print_table();
    ExitCode::SUCCESS
}

/// A server, and both ways to it.
struct Place {
    runtime: tokio::runtime::Runtime,
    redis: Redis,
    raw: MultiplexedConnection,
    // After those who are connected to it.
    _server: Arc<RedisServer>,
}

impl Place {
    /// Starts a server, if any of these works is asked for.
    fn start(mut works: impl Iterator<Item = String>) -> Option<Self> {
        if !works.any(|work| is_wanted(&work)) {
            return None;
        }
        let server = Arc::new(RedisServer::start());
        let runtime = runtime();
        let (redis, raw) = runtime.block_on(async {
            // A bench is about how fast it answers, not about whether it does in time.
            let config = RedisConfig::new(&server.url()).expect("the address is right");
            let redis = Redis::connect(config.with_patience(Duration::from_secs(5)));
            let raw = redis::Client::open(server.url()).expect("the address is right");
            let raw = raw.get_multiplexed_async_connection();
            (
                redis.await.expect("the server runs"),
                raw.await.expect("the server runs"),
            )
        });
        Some(Self {
            runtime,
            redis,
            raw,
            _server: server,
        })
    }
}
