//! The planner that works beside the replay: it sees the answers that were given, and has written
//! ahead what it expects to pay for itself.

use std::sync::Arc;
use std::time::Duration;

use medcards::ai::AiProvider;
use medcards::case::CaseStore;
use medcards::feedback::{FeedbackKey, FeedbackResolver, PrecomputedStore};
use medcards::precompute::{
    Advance, BatchStore, Forecast, ForecastConfig, PlanPolicy, PrecomputeConfig, Precomputer,
    SeenAnswer, plan,
};
use medcards::providers::FeedbackTemplate;
use medcards::spend::{MicroDollars, SpendLedger};
use medcards::time::Clock;
use medcards::{BatchId, Timestamp};

use crate::Error;
use crate::arguments::Arguments;
use crate::clock::LogClock;
use crate::model::ReplayModel;

/// How long a reply of the stand-in is, in tokens, on average.
const REPLY_TOKENS: u32 = 185;

/// A planner and what it has under way.
pub(crate) struct Planning {
    forecast: Forecast,
    precomputer: Precomputer,
    policy: PlanPolicy,
    budget: MicroDollars,
    every_ms: i64,
    batch_ms: i64,
    /// When it plans next; `None` while it is trained.
    next_ms: Option<i64>,
    under_way: Vec<(i64, BatchId)>,
    pub(crate) notes: Notes,
}

/// What it did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Notes {
    /// How many plans it made.
    pub(crate) plans: u64,
    /// How many feedbacks it had written.
    pub(crate) written: u64,
    /// How many replies were rejected or never came.
    pub(crate) lost: u64,
    /// How much it expected to save.
    pub(crate) saving_expected: MicroDollars,
}

impl Planning {
    /// Begins with nothing seen.
    pub(crate) fn new<S>(
        arguments: &Arguments,
        every: Duration,
        store: &Arc<S>,
        model: &Arc<ReplayModel>,
        clock: &Arc<LogClock>,
    ) -> Result<Self, Error>
    where
        S: CaseStore + PrecomputedStore + BatchStore + SpendLedger,
    {
        let config = PrecomputeConfig {
            output_tokens_expected: REPLY_TOKENS,
            ..PrecomputeConfig::default()
        };
        let precomputer = Precomputer::new(
            config,
            Arc::clone(store) as _,
            Arc::clone(store) as _,
            Arc::clone(store) as _,
            Arc::clone(store) as _,
            Arc::clone(model) as Arc<dyn AiProvider>,
            Arc::new(FeedbackTemplate::new()),
            Arc::clone(clock) as Arc<dyn Clock>,
        )?;
        let forecast = Forecast::new(ForecastConfig {
            half_life: arguments.half_life,
            ..ForecastConfig::default()
        })?;
        Ok(Self {
            forecast,
            precomputer,
            policy: PlanPolicy {
                horizon: arguments.horizon,
                ttl: arguments.ttl,
                keep_generated: !arguments.forget,
                wait_value: arguments.wait_value,
            },
            budget: arguments.plan_budget,
            every_ms: i64::try_from(every.as_millis())?.max(1),
            batch_ms: i64::try_from(arguments.batch_time.as_millis())?,
            next_ms: None,
            under_way: Vec::new(),
            notes: Notes::default(),
        })
    }

    /// Learns from an answer that was given.
    pub(crate) fn see(&mut self, key: &FeedbackKey, is_correct: bool, at: Timestamp) {
        self.forecast.see(&SeenAnswer {
            case_id: key.case_id,
            case_version: key.case_version,
            chosen: key.chosen,
            is_correct,
            locale: None,
            edition: key.prompt_version,
            at,
        });
    }

    /// Is trained from now on, and plans.
    pub(crate) fn begin(&mut self, now_ms: i64) {
        self.next_ms.get_or_insert(now_ms);
    }

    /// When it has something to do next.
    pub(crate) fn due_ms(&self) -> Option<i64> {
        let ready = self.under_way.iter().map(|(ready_ms, _)| *ready_ms).min();
        ready.into_iter().chain(self.next_ms).min()
    }

    /// Whether nothing that was handed in is still under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Does what is due, and lets the resolver know of what was written.
    pub(crate) async fn work(
        &mut self,
        now_ms: i64,
        resolver: &FeedbackResolver,
    ) -> Result<(), Error> {
        let (ready, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|(ready_ms, _)| *ready_ms <= now_ms);
        self.under_way = rest;
        for (_, batch) in &ready {
            let Advance::Closed(report) = self.precomputer.advance(*batch).await? else {
                return Err("a batch of the stand-in takes longer than it should".into());
            };
            self.notes.written += report.written;
            self.notes.lost += report.len - report.written;
        }
        if !ready.is_empty() {
            resolver.refresh_keys().await?;
        }
        if self.next_ms.is_some_and(|next_ms| next_ms <= now_ms) {
            self.next_ms = Some(now_ms + self.every_ms);
            self.plan(now_ms).await?;
        }
        Ok(())
    }

    async fn plan(&mut self, now_ms: i64) -> Result<(), Error> {
        let horizon = self.policy.horizon;
        let candidates = self
            .precomputer
            .candidates(&self.forecast, horizon, |_| {})
            .await?;
        let plan = plan(candidates, &self.policy, self.budget);
        self.notes.plans += 1;
        self.notes.saving_expected += plan.saving;
        let mut keys = plan.keys.as_slice();
        while !keys.is_empty() {
            let begun = self.precomputer.begin(keys, MicroDollars::MAX).await?;
            if begun.done == 0 {
                return Err("a plan cannot be paid for although nothing limits it".into());
            }
            let ready_ms = now_ms + self.batch_ms;
            self.under_way
                .extend(begun.batch.map(|batch| (ready_ms, batch)));
            keys = &keys[begun.done..];
        }
        Ok(())
    }
}
