use std::collections::BTreeMap;

use futures_util::StreamExt;

use super::precomputer::{Advance, Precomputer, WaitReason, name_prefix};
use super::store::{BatchEnd, BatchHold, BatchRecord, KeyOutcome};
use crate::ai::{BatchResult, Billed, Rejection, Reply};
use crate::case::Case;
use crate::feedback::{Feedback, FeedbackKey, Origin, ReviewState};
use crate::id::BatchId;
use crate::spend::{MicroDollars, Price};
use crate::{Error, ErrorKind, Result};

/// What came of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each batch")]
pub struct BatchReport {
    /// The batch.
    pub batch: BatchId,
    /// How many keys it had.
    pub len: u64,
    /// How many feedbacks were written.
    pub written: u64,
    /// How many replies were rejected, by reason. Empty for a batch that was closed before.
    pub rejected: BTreeMap<String, u64>,
    /// How many items have no reply, by what happened. Empty for a batch that was closed before.
    pub failed: BTreeMap<String, u64>,
    /// What it cost.
    pub cost: MicroDollars,
    /// What had been set aside for it.
    pub reserved: MicroDollars,
}

impl BatchReport {
    pub(super) fn of_record(record: &BatchRecord, end: BatchEnd) -> Self {
        Self {
            batch: record.id,
            len: record.len,
            written: end.written,
            rejected: BTreeMap::new(),
            failed: BTreeMap::new(),
            cost: end.cost,
            reserved: record.amount,
        }
    }
}

/// What one item came to.
struct Judged {
    outcome: KeyOutcome,
    cost: MicroDollars,
    /// Why it was not written.
    reason: Option<String>,
}

impl Precomputer {
    /// Keeps what a batch brought, if it has ended, and closes it.
    pub(super) async fn collect(&self, record: &BatchRecord, name: &str) -> Result<Advance> {
        let ai = self.ai()?;
        let info = match ai.find_batch(name).await {
            Ok(info) => info,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::warn!(batch = %record.id, name, "the provider has forgotten a batch");
                return self.write_off(record).await;
            }
            Err(error) => return Err(error),
        };
        if !info.has_ended {
            let (done, total) = (info.done, info.total);
            return Ok(Advance::Waiting(WaitReason::Provider { done, total }));
        }
        let keys = self.batches.batch_keys(record.id).await?;
        let mut judged: Vec<Option<Judged>> = Vec::new();
        judged.resize_with(keys.len(), || None);
        let prefix = name_prefix(record.id);
        let mut results = ai.results(name).await?;
        while let Some(result) = results.next().await {
            let result = match result {
                Ok(result) => result,
                // One line cannot be read: the others can.
                Err(error) if error.kind() == ErrorKind::Corrupt => {
                    tracing::warn!(%error, batch = %record.id, "a result cannot be read");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let index = result.name.strip_prefix(&prefix);
            let index = index.and_then(|index| index.parse::<usize>().ok());
            let Some((index, key)) = index.and_then(|index| Some((index, keys.get(index)?))) else {
                tracing::warn!(batch = %record.id, "a result is of no item of its batch");
                continue;
            };
            // What is told twice is billed once.
            if judged[index].is_none() {
                judged[index] = Some(self.judge(key, result, ai.price()).await?);
            }
        }
        for (key, judged) in keys.iter().zip(&mut judged) {
            if judged.is_none() {
                *judged = Some(self.missing(key, ai.price()).await?);
            }
        }
        self.finish(record, judged.into_iter().flatten().collect())
            .await
    }

    /// Keeps a reply, if it may be kept.
    async fn judge(&self, key: &FeedbackKey, result: BatchResult, price: Price) -> Result<Judged> {
        let Some((case, prompt)) = self.asked(key).await? else {
            let cost = match &result.reply {
                Ok(reply) => price.cost(reply.usage),
                Err(_) => MicroDollars::ZERO,
            };
            return Ok(Judged {
                outcome: KeyOutcome::Unserved,
                cost,
                reason: Some("its case or prompt is no more".to_owned()),
            });
        };
        let worst = |reply_bytes: usize| {
            // A server may ignore how long its reply may be, but each token has a byte.
            let bytes = u32::try_from(reply_bytes).unwrap_or(u32::MAX);
            price.worst_case(prompt.len_bytes(), prompt.output_tokens_max.max(bytes))
        };
        let reply = match result.reply {
            Ok(reply) => reply,
            Err(failure) => {
                let cost = match failure.billed {
                    Billed::Nothing => MicroDollars::ZERO,
                    Billed::Booked(cost) => cost,
                    Billed::Tokens(usage) => price.cost(usage),
                    Billed::Unknown => worst(0),
                };
                let reason = failure.error.context().to_owned();
                return Ok(Judged {
                    outcome: KeyOutcome::Unserved,
                    cost: cost.min(worst(0)),
                    reason: Some(reason),
                });
            }
        };
        let cost = price.cost(reply.usage).min(worst(reply.text.len()));
        match self.checked(&case, key, &reply) {
            Ok(text) => {
                let feedback = self.feedback(key, text, cost);
                // One of which a reviewer has spoken meanwhile stays as it is, and is there.
                self.precomputed.put_feedback(key, &feedback).await?;
                Ok(Judged {
                    outcome: KeyOutcome::Written,
                    cost,
                    reason: None,
                })
            }
            Err(reason) => {
                tracing::info!(reason, case = %key.case_id, "a reply of a batch was rejected");
                Ok(Judged {
                    outcome: KeyOutcome::Rejected,
                    cost,
                    reason: Some(reason),
                })
            }
        }
    }

    fn checked(&self, case: &Case, key: &FeedbackKey, reply: &Reply) -> Result<String, String> {
        if reply.model != key.model {
            return Err("another model answered".to_owned());
        }
        let checked = match self.prompt.check(case, key, reply) {
            Ok(text) if text.trim().is_empty() => Err(Rejection::TooShort),
            checked => checked,
        };
        checked.map_err(|rejection| rejection.to_string())
    }

    fn feedback(&self, key: &FeedbackKey, text: String, cost: MicroDollars) -> Feedback {
        Feedback {
            text,
            origin: Origin::Batch,
            model: Some(key.model.clone()),
            prompt_version: Some(key.prompt_version),
            review: ReviewState::Unreviewed,
            cost,
            written_at: self.clock.now(),
            audience: std::marker::PhantomData,
        }
    }

    /// An item of which the provider tells nothing: it may have been billed.
    async fn missing(&self, key: &FeedbackKey, price: Price) -> Result<Judged> {
        let asked = self.asked(key).await?;
        let (cost, reason) = match asked {
            Some((_, prompt)) => (
                price.worst_case(prompt.len_bytes(), prompt.output_tokens_max),
                "the provider tells nothing of it",
            ),
            None => (MicroDollars::ZERO, "its case or prompt is no more"),
        };
        Ok(Judged {
            outcome: KeyOutcome::Unserved,
            cost,
            reason: Some(reason.to_owned()),
        })
    }

    /// Closes a batch that the provider has forgotten, at its worst case.
    async fn write_off(&self, record: &BatchRecord) -> Result<Advance> {
        let keys = usize::try_from(record.len).unwrap_or(usize::MAX);
        let mut judged = Vec::with_capacity(keys);
        for index in 0..keys {
            judged.push(Judged {
                outcome: KeyOutcome::Unserved,
                // All of it in one place: only the sum counts.
                cost: if index == 0 {
                    record.amount
                } else {
                    MicroDollars::ZERO
                },
                reason: Some("the provider has forgotten its batch".to_owned()),
            });
        }
        self.finish(record, judged).await
    }

    /// Settles and closes.
    async fn finish(&self, record: &BatchRecord, judged: Vec<Judged>) -> Result<Advance> {
        let mut report = BatchReport::of_record(
            record,
            BatchEnd {
                closed_at: self.clock.now(),
                cost: judged.iter().map(|judged| judged.cost).sum(),
                written: 0,
            },
        );
        for Judged {
            outcome, reason, ..
        } in &judged
        {
            let reasons = match outcome {
                KeyOutcome::Rejected => &mut report.rejected,
                KeyOutcome::Unserved => &mut report.failed,
                KeyOutcome::Written => {
                    report.written += 1;
                    continue;
                }
            };
            *reasons
                .entry(reason.clone().unwrap_or_default())
                .or_default() += 1;
        }
        self.settle(record, report.cost).await?;
        let end = BatchEnd {
            closed_at: self.clock.now(),
            cost: report.cost,
            written: report.written,
        };
        let outcomes: Vec<_> = judged.iter().map(|judged| judged.outcome).collect();
        let closed = self
            .batches
            .close_batch(record.id, record.attempt, &end, &outcomes)
            .await?;
        match closed {
            BatchHold::Held => Ok(Advance::Closed(report)),
            BatchHold::Lost => Err(Error::new(
                ErrorKind::Conflict,
                "close batch",
                "another process has claimed a batch that has a name: look into the store",
            )),
        }
    }
}
