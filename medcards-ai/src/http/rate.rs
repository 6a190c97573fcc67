use std::sync::Arc;
use std::sync::{Mutex, PoisonError};

use medcards_core::ai::{RateLimit, RateLimits};
use medcards_core::time::Clock;
use medcards_core::{Timestamp, jiff::SignedDuration};
use reqwest::header::HeaderMap;

/// The longest time until a limit is there again that is believed: the longest window is a day.
const RESET_MAX: SignedDuration = SignedDuration::from_hours(24);

/// What a server last said of how much it may still be asked.
#[derive(Debug)]
pub(super) struct RateMemory {
    clock: Arc<dyn Clock>,
    last: Mutex<RateLimits>,
}

impl RateMemory {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        let last = Mutex::default();
        Self { clock, last }
    }

    /// Takes over what the headers of an answer say; what they leave out stays.
    pub(super) fn note(&self, headers: &HeaderMap) {
        let now = self.clock.now();
        let told = |kind: &str| limit(headers, kind, now);
        let told = RateLimits {
            requests: told("requests"),
            tokens: told("tokens"),
            input_tokens: told("input-tokens"),
            output_tokens: told("output-tokens"),
        };
        if told == RateLimits::default() {
            return;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = RateLimits {
            requests: told.requests.or(last.requests),
            tokens: told.tokens.or(last.tokens),
            input_tokens: told.input_tokens.or(last.input_tokens),
            output_tokens: told.output_tokens.or(last.output_tokens),
        };
    }

    /// What it said, if it said anything yet.
    pub(super) fn last(&self) -> Option<RateLimits> {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        (last != RateLimits::default()).then_some(last)
    }
}

/// One limit, if the headers tell all of it, under the names of either interface: gateways use both
/// in front of either.
fn limit(headers: &HeaderMap, kind: &str, now: Timestamp) -> Option<RateLimit> {
    let anthropic = |what: &str| text(headers, &format!("anthropic-ratelimit-{kind}-{what}"));
    let openai = |what: &str| text(headers, &format!("x-ratelimit-{what}-{kind}"));
    let told = |what: &str| anthropic(what).or_else(|| openai(what));
    let reset = told("reset")?;
    let resets_in = match reset.parse::<Timestamp>() {
        Ok(at) => at.duration_since(now),
        Err(_) => duration(reset)?,
    };
    let resets_in = resets_in.clamp(SignedDuration::ZERO, RESET_MAX);
    Some(RateLimit {
        limit: told("limit")?.parse().ok()?,
        remaining: told("remaining")?.parse().ok()?,
        resets_at: now.checked_add(resets_in).ok()?,
    })
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

/// Reads `6m0s`, `1.5s`, `20ms`, `1h2m3s`; a bare number is seconds.
fn duration(text: &str) -> Option<SignedDuration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return SignedDuration::try_from_secs_f64(seconds).ok();
    }
    let mut total = SignedDuration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let is_digit = |char: char| char.is_ascii_digit() || char == '.';
        let (number, after) = rest.split_at(rest.find(|char| !is_digit(char))?);
        let end = after.find(is_digit).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let unit_seconds = match unit {
            "d" => 86_400.0,
            "h" => 3_600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let seconds = number.parse::<f64>().ok()? * unit_seconds;
        total = total.checked_add(SignedDuration::try_from_secs_f64(seconds).ok()?)?;
        rest = after;
    }
    (!text.is_empty()).then_some(total)
}
