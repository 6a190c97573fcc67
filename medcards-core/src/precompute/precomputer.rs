use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::timeout;

use super::orphan::Located;
use super::results::BatchReport;
use super::store::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore, KeyOutcome,
};
use super::{CallCost, PlannedKey};
use crate::ai::{AiBatches, AiProvider, BatchItem, FeedbackPrompt, Prompt, PromptVersion};
use crate::case::{Case, CaseStore};
use crate::feedback::{FeedbackKey, PrecomputedStore, Tier};
use crate::id::{BatchId, ReservationId};
use crate::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendRow,
    TokenUsage,
};
use crate::time::{Clock, day_of};
use crate::user::Level;
use crate::{Error, ErrorKind, Result};

/// The most keys of one batch. Providers take more; but the prompts of all stand in memory at once,
/// about 60 MB of them, and the money for the worst case of all is set aside at once.
pub const BATCH_KEYS_MAX: usize = 10_000;

/// How often a batch is opened again without the keys that others took meanwhile.
const OPENINGS_MAX: u32 = 8;

/// The most open batches that are looked after: far more than a budget ever pays for at once.
const OPEN_BATCHES_MAX: usize = 1_000;

/// How many bytes of a prompt make a token, as providers give as a rule.
const BYTES_PER_TOKEN: usize = 4;

/// How a [`Precomputer`] behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct PrecomputeConfig {
    /// What may be spent, on this and on everything else. Default: no limit.
    pub spend_budget: SpendBudget,
    /// How long handing in a batch may take. Default: 2 minutes, for some ten megabytes.
    pub submit_deadline: Duration,
    /// How long after a claim a batch that the provider does not know counts as never handed in.
    ///
    /// Longer than [`Self::submit_deadline`], by what a provider takes to list a batch. Default: 10
    /// minutes.
    pub claim_patience: Duration,
    /// How many tokens a reply is expected to have, for estimates. Default: 250, about 180 words.
    pub output_tokens_expected: u32,
}

impl Default for PrecomputeConfig {
    fn default() -> Self {
        Self {
            spend_budget: SpendBudget::default(),
            submit_deadline: Duration::from_secs(120),
            claim_patience: Duration::from_mins(10),
            output_tokens_expected: 250,
        }
    }
}

/// Has feedback written in batches, and pays for each batch once.
///
/// # What a crash leaves, and what becomes of it
///
/// A batch goes through these steps, each durable before the next: opened with its keys; money for
/// its worst case set aside; submission claimed; handed in; named; results kept; money settled;
/// closed. Each can be done again:
///
/// | stopped | what [`advance`](Self::advance) does |
/// | --- | --- |
/// | before the claim | reserves again, which sets aside once, and goes on; on a later day it lets the batch go instead, because the money was that day's |
/// | between claim and name | looks for the batch among those of the provider, by the names of its items. It is adopted if it is there. One that nobody knows and that is still in progress is waited for, because only ended ones show their items; that is a day at most, after which providers end them. If there is none after [`PrecomputeConfig::claim_patience`], it is claimed anew and handed in |
/// | after | reads the results again: keeping and settling the same again changes nothing |
///
/// Two processes at once do no harm: keys, claims and names are each given to one of them. What
/// remains is a process that stands still for longer than the patience between its claim and the
/// moment it hands in; it then finds that it lost the claim, and cancels what it made.
///
/// A ledger may forget after a week what was settled: a batch that was settled but not closed must
/// be resumed before that.
///
/// Replies are checked as live ones are. What was rejected is left to the live tier and may be
/// bought once more; then it is given up.
pub struct Precomputer {
    pub(super) config: PrecomputeConfig,
    pub(super) cases: Arc<dyn CaseStore>,
    pub(super) precomputed: Arc<dyn PrecomputedStore>,
    pub(super) batches: Arc<dyn BatchStore>,
    pub(super) ledger: Arc<dyn SpendLedger>,
    pub(super) provider: Arc<dyn AiProvider>,
    pub(super) prompt: Arc<dyn FeedbackPrompt>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What was begun of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by the precomputer")]
pub struct Begun {
    /// The batch, or `None` if not even one key could be paid for, or all are in other batches.
    pub batch: Option<BatchId>,
    /// How many of the keys, from the first on, are done with: bought, or taken by others.
    pub done: usize,
}

/// How far a batch has come.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "whoever drives it must know them all"
)]
pub enum Advance {
    /// It is closed, and this came of it.
    Closed(BatchReport),
    /// The spend budget did not allow it: it is closed, and nobody was asked.
    Refused,
    /// There is nothing to do for now: try again in a while.
    Waiting(WaitReason),
}

/// What a batch waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WaitReason {
    /// For the provider to write it.
    Provider {
        /// How many of its items are done.
        done: u64,
        /// How many it has, as far as the provider says.
        total: u64,
    },
    /// To know whether it was handed in: it was claimed, and may have been made a moment ago, or be
    /// among the batches in progress.
    Submission {
        /// When it was claimed.
        claimed_at: Timestamp,
    },
}

impl Precomputer {
    /// Puts a precomputer together.
    ///
    /// `provider` need not keep the spend budget: this does.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the provider has no batches, or the patience is not longer than the
    /// deadline.
    #[expect(
        clippy::too_many_arguments,
        reason = "each is another backend, named where it is made"
    )]
    pub fn new(
        config: PrecomputeConfig,
        cases: Arc<dyn CaseStore>,
        precomputed: Arc<dyn PrecomputedStore>,
        batches: Arc<dyn BatchStore>,
        ledger: Arc<dyn SpendLedger>,
        provider: Arc<dyn AiProvider>,
        prompt: Arc<dyn FeedbackPrompt>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        const MAKE: &str = "make precomputer";
        if config.claim_patience <= config.submit_deadline {
            let context = "claim_patience must be longer than submit_deadline";
            return Err(Error::new(ErrorKind::Invalid, MAKE, context));
        }
        let precomputer = Self {
            config,
            cases,
            precomputed,
            batches,
            ledger,
            provider,
            prompt,
            clock,
        };
        precomputer.ai()?;
        Ok(precomputer)
    }

    /// The batches of the provider.
    pub(super) fn ai(&self) -> Result<&dyn AiBatches> {
        self.provider.batches().ok_or_else(|| {
            let context = format!(
                "{} has no batches: choose a provider that has, such as anthropic",
                self.provider
            );
            Error::new(ErrorKind::Invalid, "find batches", context)
        })
    }

    /// What one feedback costs, live and in a batch.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the provider has no batches.
    pub fn cost(&self, case: &Case, key: &FeedbackKey) -> Result<CallCost> {
        let prompt = self.prompt.shared(case, key);
        let batch = self.ai()?.price();
        let usage = TokenUsage {
            input: (prompt.len_bytes() / BYTES_PER_TOKEN) as u64,
            output: u64::from(
                self.config
                    .output_tokens_expected
                    .min(prompt.output_tokens_max),
            ),
            ..TokenUsage::default()
        };
        Ok(CallCost {
            live: self.provider.price().cost(usage),
            batch: batch.cost(usage),
            batch_max: batch.worst_case(prompt.len_bytes(), prompt.output_tokens_max),
        })
    }

    /// Buys as many of these keys, from the first on, as one batch takes and both `spend_max` and
    /// the spend budget allow at their worst case.
    ///
    /// Keys that others buy at the same time are left to them. The batch is handed in when this
    /// returns, or as good as: see [`advance`](Self::advance), which goes on with it.
    ///
    /// # Errors
    /// Those of stores, ledger and provider; then look for open batches before beginning anew.
    ///
    /// # Cancel safety
    /// A dropped future may leave an open batch, which [`open_batches`](Self::open_batches) lists.
    pub async fn begin(&self, keys: &[PlannedKey], spend_max: MicroDollars) -> Result<Begun> {
        let mut most = BATCH_KEYS_MAX.min(self.ai()?.batch_len_max());
        loop {
            let mut amount = MicroDollars::ZERO;
            let within = keys.iter().take(most).take_while(|planned| {
                let with = amount + planned.cost.batch_max;
                let fits = with <= spend_max;
                if fits {
                    amount = with;
                }
                fits
            });
            let chosen: Vec<_> = within.collect();
            let done = chosen.len();
            if done == 0 {
                return Ok(Begun {
                    batch: None,
                    done: 0,
                });
            }
            let Some(batch) = self.open(chosen).await? else {
                return Ok(Begun { batch: None, done });
            };
            match self.advance(batch).await? {
                // What the budget has left may pay for fewer.
                Advance::Refused => most = done / 2,
                Advance::Closed(_) | Advance::Waiting(_) => {
                    return Ok(Begun {
                        batch: Some(batch),
                        done,
                    });
                }
            }
        }
    }

    /// Opens a batch of those keys that are in no other one.
    async fn open(&self, mut chosen: Vec<&PlannedKey>) -> Result<Option<BatchId>> {
        for _ in 0..OPENINGS_MAX {
            if chosen.is_empty() {
                return Ok(None);
            }
            let now = self.clock.now();
            let intent = BatchIntent {
                id: BatchId::new(now),
                model: self.provider.model().clone(),
                keys: chosen.iter().map(|planned| planned.key.clone()).collect(),
                reservation: ReservationId::new(now),
                day: day_of(now),
                amount: chosen.iter().map(|planned| planned.cost.batch_max).sum(),
                opened_at: now,
            };
            match self.batches.open_batch(&intent).await? {
                BatchOpening::Opened => return Ok(Some(intent.id)),
                BatchOpening::Taken(taken) => {
                    let taken: HashSet<_> = taken.into_iter().collect();
                    chosen.retain(|planned| !taken.contains(&planned.key));
                }
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "open batch",
            "others buy the same feedback: try again when they are done",
        ))
    }

    /// The batches that are not closed, oldest first.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn open_batches(&self) -> Result<Vec<BatchRecord>> {
        self.batches.list_open_batches(OPEN_BATCHES_MAX).await
    }

    /// Does what can be done for a batch now; see the table at [`Precomputer`].
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if there is no such batch; those of stores, ledger and provider. It
    /// can be tried again: what was done stays done. A provider that refuses a batch closes it.
    ///
    /// # Cancel safety
    /// A dropped future is a crash: this goes on from there.
    pub async fn advance(&self, batch: BatchId) -> Result<Advance> {
        loop {
            let record = self.record(batch).await?;
            if let Some(end) = record.end {
                return self.closed_before(&record, end).await;
            }
            self.check_model(&record)?;
            if let Some(name) = &record.name {
                return self.collect(&record, name).await;
            }
            let step = match record.attempt {
                0 => self.claim_first(&record).await?,
                _ => self.find_or_claim(&record).await?,
            };
            match step {
                Step::Again => {}
                Step::Stop(advance) => return Ok(advance),
                Step::Submit(attempt) => self.submit(&record, attempt).await?,
            }
        }
    }

    /// Ends a batch: what was written by then is kept and paid for, the rest is not bought.
    ///
    /// Go on with [`advance`](Self::advance) until it is closed.
    ///
    /// # Errors
    /// Those of [`advance`](Self::advance).
    ///
    /// # Cancel safety
    /// A dropped future leaves the batch as it is, or ending: this can be tried again.
    pub async fn cancel(&self, batch: BatchId) -> Result<Advance> {
        loop {
            let record = self.record(batch).await?;
            if let Some(end) = record.end {
                return self.closed_before(&record, end).await;
            }
            self.check_model(&record)?;
            if let Some(name) = &record.name {
                let info = self.ai()?.find_batch(name).await?;
                if !info.has_ended {
                    self.ai()?.cancel_batch(name).await?;
                }
                return self.advance(batch).await;
            }
            let located = match record.attempt {
                0 => Located::Absent,
                _ => self.locate(&record).await?,
            };
            match located {
                Located::Absent => {
                    if let Some(advance) = self.let_go(&record).await? {
                        return Ok(advance);
                    }
                }
                Located::Found(name) => self.adopt(&record, &name).await?,
                Located::Unsure => return Ok(waiting_for_submission(&record)),
            }
        }
    }

    async fn record(&self, batch: BatchId) -> Result<BatchRecord> {
        self.batches.find_batch(batch).await?.ok_or_else(|| {
            let context = format!("no batch has the id {batch}");
            Error::new(ErrorKind::NotFound, "find batch", context)
        })
    }

    fn check_model(&self, record: &BatchRecord) -> Result<()> {
        let model = self.provider.model();
        if record.model == *model {
            return Ok(());
        }
        let context = format!(
            "batch {} is of the model {}, not of {model}: choose that model to go on with it",
            record.id, record.model
        );
        Err(Error::new(ErrorKind::Invalid, "resume batch", context))
    }

    async fn closed_before(&self, record: &BatchRecord, end: BatchEnd) -> Result<Advance> {
        if record.attempt == 0 {
            // Whoever closed it may have been refused while we were granted.
            self.settle(record, MicroDollars::ZERO).await?;
        }
        Ok(Advance::Closed(BatchReport::of_record(record, end)))
    }

    /// Reserves and claims a batch that nobody has claimed.
    async fn claim_first(&self, record: &BatchRecord) -> Result<Step> {
        let now = self.clock.now();
        if record.day != day_of(now) {
            return self.give_up(record).await;
        }
        let wish = Reservation {
            id: record.reservation,
            day: record.day,
            amount: record.amount,
            purpose: Purpose::Precompute,
            payer: None,
        };
        let reserved = self.ledger.reserve(&wish, &self.config.spend_budget);
        if reserved.await? == ReserveOutcome::Exhausted {
            let hold = self.close_unserved(record, record.attempt).await?;
            return Ok(match hold {
                BatchHold::Held => Step::Stop(Advance::Refused),
                BatchHold::Lost => Step::Again,
            });
        }
        self.claim(record).await
    }

    async fn give_up(&self, record: &BatchRecord) -> Result<Step> {
        let advance = self.let_go(record).await?;
        Ok(advance.map_or(Step::Again, Step::Stop))
    }

    async fn claim(&self, record: &BatchRecord) -> Result<Step> {
        let now = self.clock.now();
        let claim = self
            .batches
            .claim_batch(record.id, record.attempt, now)
            .await?;
        Ok(match claim {
            BatchClaim::Claimed(attempt) => Step::Submit(attempt),
            BatchClaim::Lost => Step::Again,
        })
    }

    /// Looks for a batch that may have been handed in, and claims it anew if it was not.
    async fn find_or_claim(&self, record: &BatchRecord) -> Result<Step> {
        match self.locate(record).await? {
            // What it set aside is of that day: another day's budget did not allow it.
            Located::Absent if record.day != day_of(self.clock.now()) => self.give_up(record).await,
            Located::Absent => self.claim(record).await,
            Located::Found(name) => {
                self.adopt(record, &name).await?;
                Ok(Step::Again)
            }
            Located::Unsure => Ok(Step::Stop(waiting_for_submission(record))),
        }
    }

    async fn adopt(&self, record: &BatchRecord, name: &str) -> Result<()> {
        tracing::info!(batch = %record.id, name, "a batch that was handed in is found again");
        let named = self.batches.name_batch(record.id, record.attempt, name);
        // One that is lost is another's business now, which the next look at it tells.
        named.await.map(drop)
    }

    async fn submit(&self, record: &BatchRecord, attempt: u32) -> Result<()> {
        let claimed = tokio::time::Instant::now();
        let items = self.items(record).await?;
        if items.is_empty() {
            self.settle(record, MicroDollars::ZERO).await?;
            self.close_unserved(record, attempt).await?;
            return Ok(());
        }
        // The time of reading the cases counts too: the claim is not for ever.
        let left = self
            .config
            .submit_deadline
            .saturating_sub(claimed.elapsed());
        let created = timeout(left, self.ai()?.create_batch(items)).await;
        let created = created.unwrap_or_else(|_| {
            let context = "handing it in takes longer than it may: go on with it later";
            Err(Error::new(ErrorKind::Timeout, "create batch", context))
        });
        let name = match created {
            Ok(name) => name,
            Err(error) if is_doubtful(&error) => return Err(error),
            Err(error) => {
                // Nothing was made, so nothing is owed.
                self.settle(record, MicroDollars::ZERO).await?;
                self.close_unserved(record, attempt).await?;
                return Err(error);
            }
        };
        match self.batches.name_batch(record.id, attempt, &name).await? {
            BatchHold::Held => Ok(()),
            BatchHold::Lost => {
                tracing::warn!(batch = %record.id, name, "a batch was handed in too late: cancelling it");
                self.ai()?.cancel_batch(&name).await
            }
        }
    }

    /// The prompts of a batch. A key whose case or edition is no more has none.
    async fn items(&self, record: &BatchRecord) -> Result<Vec<BatchItem>> {
        let keys = self.batches.batch_keys(record.id).await?;
        let mut items = Vec::with_capacity(keys.len());
        for (index, key) in keys.iter().enumerate() {
            if let Some((_, prompt)) = self.asked(key).await? {
                let name = item_name(record.id, index);
                items.push(BatchItem { name, prompt });
            }
        }
        Ok(items)
    }

    /// The case and the prompt of a key, if it can be asked for.
    pub(super) async fn asked(&self, key: &FeedbackKey) -> Result<Option<(Arc<Case>, Prompt)>> {
        if !self.editions().contains(&key.prompt_version) {
            return Ok(None);
        }
        let version = Some(key.case_version);
        let case = self.cases.find_case(key.case_id, version).await?;
        Ok(case.map(|case| {
            let prompt = self.prompt.shared(&case, key);
            (case, prompt)
        }))
    }

    pub(super) fn editions(&self) -> Vec<PromptVersion> {
        Level::ALL
            .iter()
            .map(|level| self.prompt.version(*level))
            .collect()
    }

    /// Closes a batch that nobody will hand in; `None` if somebody else has it now.
    async fn let_go(&self, record: &BatchRecord) -> Result<Option<Advance>> {
        let now = self.clock.now();
        let claim = self.batches.claim_batch(record.id, record.attempt, now);
        let BatchClaim::Claimed(attempt) = claim.await? else {
            return Ok(None);
        };
        self.settle(record, MicroDollars::ZERO).await?;
        self.close_unserved(record, attempt).await?;
        let end = BatchEnd {
            closed_at: now,
            cost: MicroDollars::ZERO,
            written: 0,
        };
        let report = BatchReport::of_record(record, end);
        Ok(Some(Advance::Closed(report)))
    }

    /// Closes a batch of which nothing was written.
    async fn close_unserved(&self, record: &BatchRecord, attempt: u32) -> Result<BatchHold> {
        let end = BatchEnd {
            closed_at: self.clock.now(),
            cost: MicroDollars::ZERO,
            written: 0,
        };
        let len = usize::try_from(record.len).unwrap_or(usize::MAX);
        let outcomes = vec![KeyOutcome::Unserved; len];
        self.batches
            .close_batch(record.id, attempt, &end, &outcomes)
            .await
    }

    pub(super) async fn settle(&self, record: &BatchRecord, cost: MicroDollars) -> Result<()> {
        let row = SpendRow {
            day: record.day,
            tier: Tier::Precomputed,
            model: Some(record.model.clone()),
            case_id: None,
            // Who was served is counted where it is served.
            resolutions: 0,
            cost,
            saved: MicroDollars::ZERO,
        };
        self.ledger.settle(record.reservation, &row).await
    }
}

/// What comes next for a batch.
enum Step {
    Again,
    Stop(Advance),
    Submit(u32),
}

fn waiting_for_submission(record: &BatchRecord) -> Advance {
    Advance::Waiting(WaitReason::Submission {
        claimed_at: record.claimed_at.unwrap_or(record.opened_at),
    })
}

/// Whether a batch may exist all the same.
fn is_doubtful(error: &Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Busy
            | ErrorKind::Denied
            | ErrorKind::Full
            | ErrorKind::Invalid
            | ErrorKind::NotFound
            | ErrorKind::RateLimited
    )
}

/// What the names of all items of a batch begin with.
pub(super) fn name_prefix(batch: BatchId) -> String {
    format!("{}-", batch.as_uuid().as_simple())
}

fn item_name(batch: BatchId, index: usize) -> String {
    format!("{}{index}", name_prefix(batch))
}

impl fmt::Debug for Precomputer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Precomputer")
            .field("provider", &self.provider)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
