use std::collections::BTreeMap;
use std::time::Duration;

use clap::ValueEnum;
use medcards::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// How far shares may add up beyond one, because decimal fractions do not add up exactly.
const SHARE_SLACK: f64 = 1e-9;

/// The standard deviations between the median of a normal distribution and its 95th percentile.
const P95_DEVIATIONS: f64 = 1.644_853_6;

/// The longest wait that a script may ask for: none means anything beyond a day.
const WAIT_MS_MAX: u64 = 24 * 60 * 60 * 1_000;

/// The longest reply that a script may ask for, so that a slip of the hand does not fill the memory.
const REPLY_WORDS_MAX: u32 = 20_000;

/// What a simulator does. Each field left out of its JSON has its default, which is to answer well
/// and at once.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "tests write it with `..Script::default()`"
)]
pub struct Script {
    /// The same script with the same seed treats the n-th call in the same way. Default: 0.
    pub seed: u64,
    /// The key that calls must bring. Default: none, and any call is let in.
    pub key: Option<String>,
    /// The median wait for the first token, in milliseconds. Default: 0.
    pub first_token_p50_ms: u64,
    /// The wait that one in twenty calls exceeds; waits are then log-normal. Default: none, and
    /// every wait is the median.
    pub first_token_p95_ms: Option<u64>,
    /// How fast a reply is written; 0 is at once. Default: 0.
    pub tokens_per_second: u32,
    /// How many words a reply has, as near as its sentences allow. Default: none, and feedback has
    /// the 120 to 180 words that its prompt asks for.
    pub reply_words: Option<u32>,
    /// What shares of the calls are treated in which way, 0 to 1 each and together. Default: none,
    /// and all go well.
    pub shares: BTreeMap<Behaviour, f64>,
    /// How the next calls are treated, before any share counts. Default: empty.
    pub next: Vec<Behaviour>,
    /// The `retry-after` of [`Behaviour::RateLimited`], in seconds. Default: 1.
    pub retry_after_seconds: u64,
    /// The wait of [`Behaviour::SlowFirstByte`], in milliseconds. Default: 30,000.
    pub slow_first_byte_ms: u64,
    /// The wait of [`Behaviour::Stall`], in milliseconds. Default: 60,000.
    pub stall_ms: u64,
    /// The rate limits. Default: none.
    pub limits: Limits,
    /// The shortest beginning of a prompt that is cached, in tokens. Default: 1,024.
    pub cache_tokens_min: u64,
    /// What becomes of batches.
    pub batch: BatchScript,
}

impl Default for Script {
    fn default() -> Self {
        Self {
            seed: 0,
            key: None,
            first_token_p50_ms: 0,
            first_token_p95_ms: None,
            tokens_per_second: 0,
            reply_words: None,
            shares: BTreeMap::new(),
            next: Vec::new(),
            retry_after_seconds: 1,
            slow_first_byte_ms: 30_000,
            stall_ms: 60_000,
            limits: Limits::default(),
            cache_tokens_min: 1_024,
            batch: BatchScript::default(),
        }
    }
}

impl Script {
    /// Checks that every share is one and every wait can be.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], saying which field must be what.
    pub fn check(&self) -> Result<()> {
        let shares = self.shares.values().copied();
        let batch = [self.batch.errored, self.batch.expired];
        if shares.clone().chain(batch).any(|share| !is_share(share)) {
            return Err(wrong("every share must be from 0 to 1"));
        }
        if shares.sum::<f64>() > 1.0 + SHARE_SLACK || batch.iter().sum::<f64>() > 1.0 + SHARE_SLACK
        {
            return Err(wrong("shares must add up to no more than 1"));
        }
        let waits = [
            self.first_token_p50_ms,
            self.first_token_p95_ms.unwrap_or(0),
            self.slow_first_byte_ms,
            self.stall_ms,
            self.batch.cancel_ms,
            self.retry_after_seconds.saturating_mul(1_000),
        ];
        if waits.into_iter().any(|wait| wait > WAIT_MS_MAX) {
            return Err(wrong("every wait must be no more than a day"));
        }
        if self
            .first_token_p95_ms
            .is_some_and(|p95| p95 < self.first_token_p50_ms)
        {
            return Err(wrong(
                "first_token_p95_ms must be no less than first_token_p50_ms",
            ));
        }
        // A month is the longest that a batch of any provider takes.
        if self.batch.duration_ms.max(self.batch.window_ms) > 31 * WAIT_MS_MAX {
            return Err(wrong("batch times must be no more than 31 days"));
        }
        if self
            .reply_words
            .is_some_and(|words| words > REPLY_WORDS_MAX)
        {
            return Err(wrong("reply_words must be no more than 20000"));
        }
        if self
            .limits
            .all()
            .into_iter()
            .flatten()
            .any(|limit| limit == 0)
        {
            return Err(wrong("a rate limit must be at least 1, or left out"));
        }
        Ok(())
    }

    /// How a call is treated by the shares alone.
    pub(super) fn behaviour(&self, chance: &mut fastrand::Rng) -> Behaviour {
        let mut left = chance.f64();
        for (behaviour, share) in &self.shares {
            if left < *share {
                return *behaviour;
            }
            left -= share;
        }
        Behaviour::Good
    }

    /// How long the first token of a call takes.
    pub(super) fn first_token(&self, chance: &mut fastrand::Rng) -> Duration {
        let median = self.first_token_p50_ms as f64;
        let Some(p95) = self.first_token_p95_ms.filter(|_| median > 0.0) else {
            return Duration::from_millis(self.first_token_p50_ms);
        };
        let deviation = (p95 as f64 / median).ln() / P95_DEVIATIONS;
        let wait_ms = median * (deviation * normal(chance)).exp();
        Duration::from_secs_f64((wait_ms / 1e3).min(WAIT_MS_MAX as f64 / 1e3))
    }

    /// How long so many tokens take to be written.
    pub(super) fn writing(&self, tokens: u64) -> Duration {
        match self.tokens_per_second {
            0 => Duration::ZERO,
            speed => Duration::from_secs_f64(tokens as f64 / f64::from(speed)),
        }
    }
}

/// How one call is treated. Its words may be parted by `_` or `-`; JSON that is told has `_`.
#[derive(
    Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, ValueEnum,
)]
#[serde(rename_all = "snake_case", try_from = "String")]
#[non_exhaustive]
pub enum Behaviour {
    /// The connection is cut in the midst of the reply.
    Cut,
    /// What should be JSON is not, in the midst of a stream or in place of a whole reply.
    Garbage,
    /// The call goes well.
    Good,
    /// A page in HTML with status 200, as from a proxy in between.
    Html,
    /// The reply stops half-way, as if it had reached its most tokens.
    MaxTokens,
    /// Status 529, or 503 in the dialect of OpenAI.
    Overloaded,
    /// An overloaded error in the midst of a stream that began with 200; a whole reply is overloaded
    /// from the start.
    OverloadedMidStream,
    /// Status 429 with `retry-after`.
    RateLimited,
    /// Status 429 without `retry-after`.
    RateLimitedBare,
    /// The model refuses to answer.
    Refusal,
    /// The connection is closed without an answer.
    Refused,
    /// Status 500.
    ServerError,
    /// The answer begins late.
    SlowFirstByte,
    /// Status 429 because the money is spent, which no wait mends.
    SpendLimit,
    /// The reply stops half-way for long, and then goes on.
    Stall,
    /// The reply breaks the rules of the prompt: it is too short, names a letter or invents a value.
    Unfit,
    /// The reply names an option by a letter.
    UnfitLetter,
    /// The reply gives a laboratory value that the case does not have.
    UnfitNumber,
    /// The reply is too short.
    UnfitShort,
}

impl Behaviour {
    /// The name in JSON and in counts.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Cut => "cut",
            Self::Garbage => "garbage",
            Self::Good => "good",
            Self::Html => "html",
            Self::MaxTokens => "max_tokens",
            Self::Overloaded => "overloaded",
            Self::OverloadedMidStream => "overloaded_mid_stream",
            Self::RateLimited => "rate_limited",
            Self::RateLimitedBare => "rate_limited_bare",
            Self::Refusal => "refusal",
            Self::Refused => "refused",
            Self::ServerError => "server_error",
            Self::SlowFirstByte => "slow_first_byte",
            Self::SpendLimit => "spend_limit",
            Self::Stall => "stall",
            Self::Unfit => "unfit",
            Self::UnfitLetter => "unfit_letter",
            Self::UnfitNumber => "unfit_number",
            Self::UnfitShort => "unfit_short",
        }
    }
}

impl TryFrom<String> for Behaviour {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = Self::from_str(&name.replace('_', "-"), false);
        known.map_err(|what| format!("{what}; --help has all ways"))
    }
}

/// Rate limits a minute. What was used comes back evenly over the minute.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "three limits")]
pub struct Limits {
    /// Calls. Default: no limit.
    pub requests_per_minute: Option<u64>,
    /// Tokens of prompts, without those that the cache had. Default: no limit.
    pub input_tokens_per_minute: Option<u64>,
    /// Tokens of replies. Default: no limit.
    pub output_tokens_per_minute: Option<u64>,
}

impl Limits {
    pub(super) const fn all(self) -> [Option<u64>; 3] {
        [
            self.requests_per_minute,
            self.input_tokens_per_minute,
            self.output_tokens_per_minute,
        ]
    }
}

/// What becomes of batches that are created from now on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::exhaustive_structs,
    reason = "tests write it with `..BatchScript::default()`"
)]
pub struct BatchScript {
    /// How long all items of a batch take, in milliseconds; they are done evenly over this time.
    /// Default: 0.
    pub duration_ms: u64,
    /// After what time a batch expires with what is not done, in milliseconds. Default: 24 hours.
    pub window_ms: u64,
    /// How long cancelling takes, in milliseconds. Default: 0.
    pub cancel_ms: u64,
    /// The share of items that fail on the server's side. Default: 0.
    pub errored: f64,
    /// The share of items that expire although the others are done. Default: 0.
    pub expired: f64,
    /// How the next calls about batches and files are treated. [`Behaviour::Cut`] does what was
    /// asked and loses the answer; what is about the text of a reply goes well. Default: empty.
    pub next: Vec<Behaviour>,
}

impl Default for BatchScript {
    fn default() -> Self {
        Self {
            duration_ms: 0,
            window_ms: 24 * 60 * 60 * 1_000,
            cancel_ms: 0,
            errored: 0.0,
            expired: 0.0,
            next: Vec::new(),
        }
    }
}

fn is_share(share: f64) -> bool {
    (0.0..=1.0).contains(&share)
}

fn wrong(what: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "read the script of a simulator", what)
}

/// A number of the standard normal distribution, by the method of Box and Muller.
fn normal(chance: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - chance.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * chance.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_tokens_follow_the_median_and_the_95th_percentile() {
        let script = Script {
            first_token_p50_ms: 400,
            first_token_p95_ms: Some(1_600),
            ..Script::default()
        };
        let mut chance = fastrand::Rng::with_seed(1);
        let mut waits: Vec<_> = (0..20_000)
            .map(|_| script.first_token(&mut chance))
            .collect();
        waits.sort();
        let (p50, p95) = (waits[10_000].as_millis(), waits[19_000].as_millis());
        assert!((380..420).contains(&p50), "{p50}");
        assert!((1_500..1_700).contains(&p95), "{p95}");
    }

    #[test]
    fn shares_are_kept_to() {
        let script = Script {
            shares: [(Behaviour::Cut, 0.25), (Behaviour::Unfit, 0.5)].into(),
            ..Script::default()
        };
        let mut chance = fastrand::Rng::with_seed(1);
        let mut counts = BTreeMap::<_, u32>::new();
        for _ in 0..10_000 {
            *counts.entry(script.behaviour(&mut chance)).or_default() += 1;
        }
        assert!(
            (2_300..2_700).contains(&counts[&Behaviour::Cut]),
            "{counts:?}"
        );
        assert!(
            (4_800..5_200).contains(&counts[&Behaviour::Unfit]),
            "{counts:?}"
        );
        assert!(
            (2_300..2_700).contains(&counts[&Behaviour::Good]),
            "{counts:?}"
        );
    }

    #[test]
    fn scripts_that_cannot_be_are_refused() {
        for script in [
            r#"{"shares": {"cut": 1.5}}"#,
            r#"{"shares": {"cut": 0.6, "stall": 0.6}}"#,
            r#"{"batch": {"errored": 0.6, "expired": 0.6}}"#,
            r#"{"stall_ms": 999999999999}"#,
            r#"{"retry_after_seconds": 18446744073709551615}"#,
            r#"{"first_token_p50_ms": 500, "first_token_p95_ms": 400}"#,
            r#"{"limits": {"requests_per_minute": 0}}"#,
            r#"{"reply_words": 4000000000}"#,
        ] {
            let read: Script = serde_json::from_str(script).unwrap();
            assert_eq!(
                read.check().unwrap_err().kind(),
                ErrorKind::Invalid,
                "{script}"
            );
        }
        for script in [r#"{"share": {}}"#, r#"{"next": ["explode"]}"#] {
            assert!(serde_json::from_str::<Script>(script).is_err(), "{script}");
        }
    }

    #[test]
    fn every_behaviour_is_counted_under_its_name_in_json() {
        for behaviour in Behaviour::value_variants() {
            let json = serde_json::to_value(behaviour).unwrap();
            assert_eq!(json, behaviour.name());
        }
    }

    #[test]
    fn every_behaviour_is_read_as_the_command_line_and_as_json_name_it() {
        for behaviour in Behaviour::value_variants() {
            let of_the_help = behaviour.to_possible_value().unwrap();
            for name in [of_the_help.get_name(), behaviour.name()] {
                let script = serde_json::json!({ "next": [name], "shares": { name: 0.5 } });
                let script: Script = serde_json::from_value(script).unwrap();
                assert_eq!(script.next, [*behaviour], "{name}");
                assert_eq!(script.shares[behaviour], 0.5, "{name}");
            }
        }
    }
}
