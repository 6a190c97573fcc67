use std::time::Duration;

use jiff::Timestamp;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::ResolverConfig;
use crate::cache::Lifetime;
use crate::feedback::FeedbackKey;

/// How long a feedback that is cached now may be served.
///
/// The jitter is a function of key and time, so that keys cached at one moment expire at many.
pub(super) fn lifetime(config: &ResolverConfig, key: &FeedbackKey, now: Timestamp) -> Lifetime {
    let seed = u64::from(key.chosen.bits()) ^ now.as_microsecond().unsigned_abs().rotate_left(32);
    let random = xxh3_64_with_seed(key.case_id.as_bytes(), seed);
    let fresh_until = now + jittered(config.ttl, config.ttl_jitter_percent, random);
    let revalidate_until = fresh_until + config.grace;
    let keep_until = revalidate_until + config.stale_on_failure;
    Lifetime {
        fresh_until,
        revalidate_until,
        keep_until,
    }
}

/// `ttl` times a factor between `1 - percent/100` and `1 + percent/100`.
fn jittered(ttl: Duration, percent: u8, random: u64) -> Duration {
    let percent = f64::from(percent) / 100.0;
    let share = random as f64 / u64::MAX as f64;
    ttl.mul_f64(1.0 - percent + 2.0 * percent * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_percentage() {
        let ttl = Duration::from_secs(1_000);
        for (random, seconds) in [(0, 900), (u64::MAX / 2, 1_000), (u64::MAX, 1_100)] {
            assert_eq!(
                jittered(ttl, 10, random).as_secs_f64().round() as u64,
                seconds
            );
        }
        assert_eq!(jittered(ttl, 0, 42), ttl);
    }
}
