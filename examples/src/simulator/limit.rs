//! Rate limits, as plain data: what is left, and when there is enough again.

use std::time::Duration;

use super::script::Limits;

const MINUTE_US: f64 = 60e6;

/// What is left of the limits.
#[derive(Clone, Debug, Default)]
pub(super) struct Meters {
    requests: Option<Meter>,
    input_tokens: Option<Meter>,
    output_tokens: Option<Meter>,
}

/// A limit, what is left of it, and how long until all of it is there again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Level {
    pub(super) limit: u64,
    pub(super) remaining: u64,
    pub(super) full_in: Duration,
}

/// The levels that a reply tells in its headers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Levels {
    pub(super) requests: Option<Level>,
    pub(super) input_tokens: Option<Level>,
    pub(super) output_tokens: Option<Level>,
}

impl Levels {
    /// Both kinds of tokens together, as far as they have a limit.
    pub(super) fn tokens(&self) -> Option<Level> {
        match (self.input_tokens, self.output_tokens) {
            (Some(input), Some(output)) => Some(Level {
                limit: input.limit.saturating_add(output.limit),
                remaining: input.remaining.saturating_add(output.remaining),
                full_in: input.full_in.max(output.full_in),
            }),
            (input, output) => input.or(output),
        }
    }
}

/// What a call would exceed, and how long until it would not.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exceeded {
    pub(super) what: &'static str,
    pub(super) limit: u64,
    pub(super) wait: Duration,
}

impl Meters {
    pub(super) fn new(limits: Limits, now_us: u64) -> Self {
        let [requests, input_tokens, output_tokens] = limits
            .all()
            .map(|limit| limit.map(|limit| Meter::new(limit, now_us)));
        Self {
            requests,
            input_tokens,
            output_tokens,
        }
    }

    /// Takes a call and the tokens of its prompt, if there is room. The reply is paid afterwards.
    pub(super) fn take(&mut self, input_tokens: u64, now_us: u64) -> Result<(), Exceeded> {
        let wanted = [
            (&mut self.requests, 1, "requests"),
            (&mut self.input_tokens, input_tokens, "input tokens"),
            (&mut self.output_tokens, 1, "output tokens"),
        ];
        for (meter, amount, what) in wanted {
            let Some(meter) = meter else { continue };
            meter.refill(now_us);
            if let Some(wait) = meter.wait_for(amount) {
                let limit = meter.limit;
                return Err(Exceeded { what, limit, wait });
            }
        }
        if let Some(meter) = &mut self.requests {
            meter.left -= 1.0;
        }
        if let Some(meter) = &mut self.input_tokens {
            meter.left -= input_tokens as f64;
        }
        Ok(())
    }

    /// Takes the tokens of a reply, even beyond what is left.
    pub(super) fn take_output(&mut self, tokens: u64, now_us: u64) {
        if let Some(meter) = &mut self.output_tokens {
            meter.refill(now_us);
            meter.left -= tokens as f64;
        }
    }

    pub(super) fn levels(&mut self, now_us: u64) -> Levels {
        let level = |meter: &mut Option<Meter>| meter.as_mut().map(|meter| meter.level(now_us));
        Levels {
            requests: level(&mut self.requests),
            input_tokens: level(&mut self.input_tokens),
            output_tokens: level(&mut self.output_tokens),
        }
    }
}

#[derive(Clone, Debug)]
struct Meter {
    limit: u64,
    left: f64,
    at_us: u64,
}

impl Meter {
    fn new(limit: u64, now_us: u64) -> Self {
        Self {
            limit,
            left: limit as f64,
            at_us: now_us,
        }
    }

    fn refill(&mut self, now_us: u64) {
        let elapsed_us = now_us.saturating_sub(self.at_us) as f64;
        let limit = self.limit as f64;
        self.left = (self.left + elapsed_us / MINUTE_US * limit).min(limit);
        self.at_us = now_us;
    }

    /// How long until so much is there; `None` if it is.
    fn wait_for(&self, amount: u64) -> Option<Duration> {
        let missing = amount as f64 - self.left;
        (missing > 0.0).then(|| self.time_of(missing))
    }

    fn time_of(&self, amount: f64) -> Duration {
        Duration::from_secs_f64((amount / self.limit as f64 * 60.0).max(0.0))
    }

    fn level(&mut self, now_us: u64) -> Level {
        self.refill(now_us);
        Level {
            limit: self.limit,
            remaining: self.left.max(0.0) as u64,
            full_in: self.time_of(self.limit as f64 - self.left),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: u64, output: u64) -> Limits {
        Limits {
            requests_per_minute: Some(requests),
            input_tokens_per_minute: None,
            output_tokens_per_minute: Some(output),
        }
    }

    #[test]
    fn what_was_used_comes_back_over_a_minute() {
        let mut meters = Meters::new(limits(2, 1_000), 0);
        meters.take(1, 0).unwrap();
        meters.take(1, 0).unwrap();
        let exceeded = meters.take(1, 0).unwrap_err();
        assert_eq!((exceeded.what, exceeded.wait.as_secs()), ("requests", 30));
        meters.take(1, 30_000_000).unwrap();
        assert_eq!(meters.levels(90_000_000).requests.unwrap().remaining, 2);
    }

    #[test]
    fn a_reply_beyond_the_limit_shuts_out_the_next_call() {
        let mut meters = Meters::new(limits(100, 1_000), 0);
        meters.take(1, 0).unwrap();
        meters.take_output(1_500, 0);
        assert_eq!(meters.levels(0).output_tokens.unwrap().remaining, 0);
        let exceeded = meters.take(1, 0).unwrap_err();
        assert_eq!(exceeded.what, "output tokens");
        meters.take(1, 31_000_000).unwrap();
    }

    #[test]
    fn a_refused_call_takes_nothing() {
        let mut meters = Meters::new(limits(100, 1_000), 0);
        meters.take_output(1_000, 0);
        meters.take(1, 0).unwrap_err();
        assert_eq!(meters.levels(0).requests.unwrap().remaining, 100);
    }
}
