use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use medcards_core::limit::{LimitDecision, LimitKey, LimitedCall, WindowCounts, decide};
use medcards_core::{Error, ErrorKind, Result, Timestamp};
use redis::Script;

use super::super::duration::micros;
use super::Redis;

const OPERATION: &str = "count against limits";

static COUNT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("count.lua")));
static REFUND: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("refund.lua")));

/// What the script says of one counter, in bytes: the number of its window (8), what was allowed in it
/// and in the one before (4 each), and the microseconds since it began (8).
const COUNTER_LEN: usize = 24;

/// What Redis decided on the calls of one name.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) decisions: Vec<LimitDecision>,
    /// In which window each was counted.
    windows: Vec<u64>,
}

impl Counted {
    pub(super) fn is_refused(&self) -> bool {
        self.decisions.iter().any(|decision| !decision.is_allowed)
    }
}

/// Counts calls of one name, all or none.
pub(super) async fn count(
    redis: &Redis,
    calls: &[&LimitedCall],
    now: Option<Timestamp>,
) -> Result<Counted> {
    let mut script = COUNT.prepare_invoke();
    match now {
        // A clock before 1970 is broken: it stands still at the epoch.
        Some(now) => script.arg(now.as_microsecond().max(0)),
        None => script.arg(""),
    };
    for call in calls {
        script
            .key(counter(redis, call))
            .arg(window_us(call))
            .arg(call.quota.limit())
            .arg(call.cost);
    }
    let answer: Vec<u8> = redis.script(OPERATION, redis.patience(), &script).await?;
    read(calls, &answer)
}

/// Takes back what was counted.
pub(super) async fn refund(redis: &Redis, calls: &[&LimitedCall], counted: &Counted) -> Result<()> {
    let mut script = REFUND.prepare_invoke();
    for (call, window) in calls.iter().zip(&counted.windows) {
        script.key(counter(redis, call)).arg(*window).arg(call.cost);
    }
    redis
        .script("take back what was counted", redis.patience(), &script)
        .await
}

/// Reads the answer of the script. The decisions are made again by the formula that all limiters
/// have, so that it cannot drift from that of the script without being noticed.
fn read(calls: &[&LimitedCall], answer: &[u8]) -> Result<Counted> {
    let wrong = |what: &'static str| Error::new(ErrorKind::Unexpected, OPERATION, what);
    let (is_counted, counters) = answer
        .split_first()
        .ok_or_else(|| wrong("the script answers nothing"))?;
    let (counters, rest) = counters.as_chunks::<COUNTER_LEN>();
    if counters.len() != calls.len() || !rest.is_empty() {
        return Err(wrong("the script answers for other calls"));
    }
    let mut counted = Counted {
        decisions: Vec::with_capacity(calls.len()),
        windows: Vec::with_capacity(calls.len()),
    };
    for (call, counter) in calls.iter().zip(counters) {
        let (numbers, _) = counter.as_chunks::<4>();
        let [
            window_high,
            window_low,
            current,
            previous,
            elapsed_high,
            elapsed_low,
        ] = std::array::from_fn(|at| u32::from_be_bytes(numbers[at]));
        let wide = |high, low| u64::from(high) << 32 | u64::from(low);
        let elapsed = Duration::from_micros(wide(elapsed_high, elapsed_low));
        let counts = WindowCounts { current, previous };
        let decision = decide(&call.quota, counts, elapsed, call.cost);
        counted.decisions.push(decision);
        counted.windows.push(wide(window_high, window_low));
    }
    if counted.is_refused() == (*is_counted == 1) {
        return Err(wrong("the script decides by another formula"));
    }
    Ok(counted)
}

fn window_us(call: &LimitedCall) -> u64 {
    micros(call.quota.window())
}

/// The name of the counter. The scope comes last: what is in it can neither end the tag nor read
/// like another part.
fn counter(redis: &Redis, call: &LimitedCall) -> String {
    let (window_us, scope) = (window_us(call), call.key.scope());
    redis.key(tag(&call.key), format_args!("limit:{window_us}:{scope}"))
}

/// The name of a key, written so that no two are the same, none ends the tag, and none is empty.
fn tag(key: &LimitKey) -> Cow<'_, str> {
    let name = key.name();
    if name.is_empty() {
        // An empty tag is none. No other name becomes this.
        return Cow::Borrowed("%");
    }
    if name.bytes().all(is_plain) {
        return Cow::Borrowed(name);
    }
    let mut tag = String::with_capacity(3 * name.len());
    for byte in name.bytes() {
        if is_plain(byte) {
            tag.push(char::from(byte));
        } else {
            // Writing to a string never fails.
            let _ = write!(tag, "%{byte:02X}");
        }
    }
    Cow::Owned(tag)
}

/// Whether a byte of a name may stand in a tag as it is.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.:_".contains(&byte)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use medcards_core::limit::Quota;
    use medcards_core::testing::SAMPLE_START;
    use medcards_tests::redis::{RedisServer, fresh_namespace};

    use super::*;
    use crate::RedisConfig;

    const MINUTE: Duration = Duration::from_mins(1);

    /// Whatever happened since, what is taken back is what was counted and no more.
    #[tokio::test]
    async fn what_is_taken_back_leaves_the_window_that_it_was_counted_in() {
        let config = RedisConfig::new(&RedisServer::shared().url()).unwrap();
        let config = config
            .with_namespace(fresh_namespace())
            .with_patience(Duration::from_secs(5));
        let redis = Redis::connect(config).await.unwrap();
        let call = |cost| LimitedCall {
            key: LimitKey::new("scope", "a"),
            quota: Quota::per_minute(10),
            cost,
        };
        let remaining = async |windows: u32| {
            let now = Some(SAMPLE_START + windows * MINUTE);
            let counted = count(&redis, &[&call(0)], now).await.unwrap();
            counted.decisions[0].remaining
        };
        let count_at = async |windows: u32, cost| {
            let now = Some(SAMPLE_START + windows * MINUTE);
            count(&redis, &[&call(cost)], now).await.unwrap()
        };
        // In the same window, in the next, and when it weighs no more.
        let counted = count_at(0, 4).await;
        refund(&redis, &[&call(4)], &counted).await.unwrap();
        assert_eq!(remaining(0).await, 10);
        let counted = count_at(0, 4).await;
        count_at(1, 1).await;
        assert_eq!(remaining(1).await, 5);
        refund(&redis, &[&call(4)], &counted).await.unwrap();
        assert_eq!(remaining(1).await, 9);
        count_at(3, 1).await;
        refund(&redis, &[&call(4)], &counted).await.unwrap();
        assert_eq!(remaining(3).await, 9);
        // A counter that was lost meanwhile gives nothing away.
        refund(&redis, &[&call(4)], &count_at(9, 0).await)
            .await
            .unwrap();
        assert_eq!(remaining(9).await, 10);
    }

    #[test]
    fn no_name_ends_its_tag_or_reads_like_another() {
        let names = [
            "",
            "%",
            "%25",
            "a",
            "A",
            "a}",
            "a}:b",
            "{a}",
            "a b",
            "a%20b",
            "a\n",
            "a\0",
            "é",
            "%C3%A9",
            "2001:db8:1:2::",
            "a*",
            "a?",
        ];
        let tags: HashSet<_> = names
            .iter()
            .map(|name| tag(&LimitKey::new("scope", name)).into_owned())
            .collect();
        assert_eq!(tags.len(), names.len());
        for tag in tags {
            assert!(!tag.is_empty());
            assert!(tag.bytes().all(|byte| byte.is_ascii_graphic()), "{tag}");
            assert!(!tag.contains(['{', '}']), "{tag}");
        }
    }
}
