use std::collections::HashMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use medcards::feedback::{FeedbackKey, Resolution, ResolverCounts, Tier};
use medcards::spend::{MicroDollars, SpendRow};

use crate::Error;
use crate::model::Calls;

/// Into how many parts the time of the log is cut for the picture.
pub(crate) const SLICES: usize = 120;

/// What the replay counted by itself, without asking the resolver.
#[derive(Debug)]
pub(crate) struct Count {
    /// How many answers were recorded and got feedback.
    pub(crate) answers: u64,
    /// How many of these were recorded before, which none should be.
    pub(crate) repeated: u64,
    /// How many feedbacks each tier gave.
    pub(crate) tiers: [u64; Tier::ALL.len()],
    /// How many of the live ones shared a call that another had begun.
    pub(crate) followers: u64,
    /// What those who began a live call bore.
    pub(crate) borne: MicroDollars,
    /// What the others saved.
    pub(crate) saved: MicroDollars,
    /// What a call for every answer would have cost.
    pub(crate) live_only: MicroDollars,
    /// How long feedback took, in nanoseconds.
    pub(crate) feedback_ns: Histogram<u64>,
    /// How long recording took, in nanoseconds.
    pub(crate) record_ns: Histogram<u64>,
    /// The same over the time of the log.
    pub(crate) slices: Vec<Slice>,
    keys: HashMap<FeedbackKey, KeyCount>,
    window_ms: i64,
}

/// What happened in one part of the time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slice {
    /// How many feedbacks each tier gave.
    pub(crate) tiers: [u64; Tier::ALL.len()],
    /// What was spent up to its end.
    pub(crate) spent: MicroDollars,
    /// What a call for every answer would have cost up to its end.
    pub(crate) live_only: MicroDollars,
}

#[derive(Debug)]
struct KeyCount {
    cost: MicroDollars,
    window_began_ms: i64,
    windows: u64,
}

impl Count {
    /// Counts nothing yet. A window is the shortest time that a feedback is fresh.
    pub(crate) fn new(window: Duration) -> Result<Self, Error> {
        Ok(Self {
            answers: 0,
            repeated: 0,
            tiers: [0; Tier::ALL.len()],
            followers: 0,
            borne: MicroDollars::ZERO,
            saved: MicroDollars::ZERO,
            live_only: MicroDollars::ZERO,
            feedback_ns: Histogram::new(3)?,
            record_ns: Histogram::new(3)?,
            slices: vec![Slice::default(); SLICES],
            keys: HashMap::new(),
            window_ms: i64::try_from(window.as_millis())?,
        })
    }

    /// Counts a wish for a key. `cost` says what a call for it costs.
    pub(crate) fn wished(
        &mut self,
        key: FeedbackKey,
        now_ms: i64,
        cost: impl FnOnce(&FeedbackKey) -> MicroDollars,
    ) {
        let window_ms = self.window_ms;
        let count = self.keys.entry(key).or_insert_with_key(|key| KeyCount {
            cost: cost(key),
            window_began_ms: now_ms,
            windows: 1,
        });
        if now_ms - count.window_began_ms >= window_ms {
            count.window_began_ms = now_ms;
            count.windows += 1;
        }
        self.live_only += count.cost;
    }

    /// Counts a feedback that was given.
    pub(crate) fn resolved(&mut self, resolution: &Resolution, slice: usize) {
        let tier = resolution.tier();
        self.answers += 1;
        self.tiers[tier as usize] += 1;
        self.slices[slice].tiers[tier as usize] += 1;
        if tier == Tier::Live && resolution.cost() == MicroDollars::ZERO {
            self.followers += 1;
        }
        self.borne += resolution.cost();
        self.saved += resolution.saved();
    }

    /// How many different feedbacks were wished for.
    pub(crate) fn keys(&self) -> u64 {
        self.keys.len() as u64
    }

    /// How many times one of them was wished for after its last window had ended.
    ///
    /// No cache that keeps each for at least that long makes more calls.
    pub(crate) fn windows(&self) -> u64 {
        self.keys.values().map(|count| count.windows).sum()
    }

    fn tier(&self, tier: Tier) -> u64 {
        self.tiers[tier as usize]
    }

    /// How many live calls nobody waited for: they renewed what was served meanwhile.
    pub(crate) fn renewals(&self, calls: &Calls) -> u64 {
        calls
            .count
            .saturating_sub(self.tier(Tier::Live) - self.followers)
    }

    /// Compares what was counted here with the bill of the model, the counts of the resolver, and
    /// its ledger. `batches` is what batches cost, if none is under way.
    ///
    /// # Errors
    /// Every figure that differs, with both values.
    pub(crate) fn check(
        &self,
        calls: &Calls,
        batches: Option<MicroDollars>,
        counts: &ResolverCounts,
        ledger: &[SpendRow],
    ) -> Result<(), Error> {
        let mut wrong = Vec::new();
        let mut equal = |what: String, is: u64, should_be: u64| {
            if is != should_be {
                wrong.push(format!("{what}: {is}, but {should_be} were counted"));
            }
        };
        for tier in Tier::ALL {
            let served = self.tier(tier);
            equal(
                format!("resolver, {tier} tier"),
                counts.served[tier as usize],
                served,
            );
            let rows = ledger.iter().filter(|row| row.tier == tier);
            let booked = rows.map(|row| row.resolutions).sum();
            equal(format!("ledger, {tier} tier"), booked, served);
        }
        let cost: MicroDollars = ledger.iter().map(|row| row.cost).sum();
        let saved: MicroDollars = ledger.iter().map(|row| row.saved).sum();
        if let Some(batches) = batches {
            let billed = calls.cost + batches;
            equal(
                "ledger, micro-dollars spent".to_owned(),
                cost.get(),
                billed.get(),
            );
        }
        equal(
            "ledger, micro-dollars saved".to_owned(),
            saved.get(),
            self.saved.get(),
        );
        equal(
            "resolver, live calls".to_owned(),
            counts.live_calls,
            calls.count,
        );
        // What was written in a batch counts as saved at what it cost there.
        if batches == Some(MicroDollars::ZERO) {
            let all = self.borne + self.saved;
            equal(
                "micro-dollars borne and saved".to_owned(),
                all.get(),
                self.live_only.get(),
            );
        }
        equal("answers that were repeated".to_owned(), self.repeated, 0);
        if calls.count > self.windows() {
            wrong.push(format!(
                "live calls: {}, but one for each key and window is {}",
                calls.count,
                self.windows()
            ));
        }
        if let Some(gap) = calls.shortest_gap_ms.filter(|gap| *gap < self.window_ms) {
            wrong.push(format!("two live calls for one key lie {gap} ms apart"));
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!("the accounts do not add up:\n  {}", wrong.join("\n  ")).into())
    }
}

#[cfg(test)]
mod tests {
    use medcards::jiff::civil::date;

    use super::*;

    #[test]
    fn a_ledger_that_says_more_than_was_counted_is_refused() {
        let count = Count::new(Duration::from_secs(1)).expect("the bounds are sound");
        let (calls, counts) = (Calls::default(), ResolverCounts::default());
        assert!(
            count
                .check(&calls, Some(MicroDollars::ZERO), &counts, &[])
                .is_ok(),
            "nothing adds up to nothing"
        );
        let row = SpendRow {
            day: date(2026, 1, 5),
            tier: Tier::Local,
            model: None,
            case_id: None,
            resolutions: 0,
            cost: MicroDollars::ZERO,
            saved: MicroDollars::ZERO,
        };
        let one = MicroDollars::new(1);
        for (row, named) in [
            (
                SpendRow {
                    resolutions: 1,
                    ..row.clone()
                },
                "local tier",
            ),
            (
                SpendRow {
                    cost: one,
                    ..row.clone()
                },
                "spent",
            ),
            (SpendRow { saved: one, ..row }, "saved"),
        ] {
            let error = count
                .check(&calls, Some(MicroDollars::ZERO), &counts, &[row])
                .expect_err("it does not add up");
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
