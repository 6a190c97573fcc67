//! How many processes there are: each says regularly that it is alive.

use std::sync::LazyLock;
use std::time::Duration;

use redis::{Cmd, Script};
use tokio::time::sleep;

use super::Redis;
use super::duration::{jittered, millis};

/// How often a process says that it is alive.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// After how long without a word it is taken to be gone: three beats, so that one may be lost.
const GONE_AFTER: Duration = Duration::from_secs(15);

/// How long a beat may wait, as nobody waits for it.
const BEAT_PATIENCE: Duration = Duration::from_secs(1);

static BEAT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local time = redis.call('TIME')
         local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
         redis.call('ZADD', KEYS[1], now_ms + ARGV[2], ARGV[1])
         redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
         redis.call('PEXPIRE', KEYS[1], ARGV[2])
         return redis.call('ZCARD', KEYS[1])",
    )
});

fn key(redis: &Redis) -> String {
    redis.key("processes", "1")
}

/// Says that this process is alive, and counts the others, for ever.
pub(super) async fn beat(redis: Redis) {
    let key = key(&redis);
    let mut beat = BEAT.prepare_invoke();
    beat.key(key)
        .arg(redis.process_id())
        .arg(millis(GONE_AFTER));
    loop {
        match redis.script("count processes", BEAT_PATIENCE, &beat).await {
            Ok(count) => redis.set_processes(count),
            // What was known last is the best guess; the link has said that Redis is away.
            Err(error) => tracing::debug!(%error, "cannot count the processes"),
        }
        sleep(jittered(BEAT_INTERVAL)).await;
    }
}

/// Says that this process is gone.
pub(super) fn leaving(redis: &Redis) -> Cmd {
    let mut command = redis::cmd("ZREM");
    command.arg(key(redis)).arg(redis.process_id());
    command
}
