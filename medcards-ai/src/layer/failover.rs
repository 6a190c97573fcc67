use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId,
    RateLimits, Refusal,
};
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::spend::{MicroDollars, Price};
use medcards_core::{Error, ErrorKind, Result};

use super::watched::{Event, Spent, Tariff, Watch, Watched, ask_until_first_event};
use crate::http::ASK;

/// The layer that asks another provider, or another model, when one cannot answer.
///
/// It goes to the next before the first word, so it holds a reply back until its first event:
///
/// | what happened | the next is asked |
/// | --- | --- |
/// | refused as [`Refusal::BreakerOpen`], [`Refusal::Busy`] or [`Refusal::RateLimited`] | yes |
/// | failed as unavailable, timed out, rate limited or busy | yes |
/// | failed as denied or not found: this key, this model | yes |
/// | failed as corrupt, full or unexpected: this server | yes |
/// | failed as invalid | no: what was asked is at fault |
/// | refused as [`Refusal::SpendBudgetExhausted`] or [`Refusal::LedgerAway`] | no: the money is one |
///
/// A cheaper model is not asked with the last of a spend budget: what is left of it is kept for
/// those whose wish it still covers.
///
/// Keys of feedback name the first model, whoever answers; the end of a reply names the one that
/// did. [`price`](AiProvider::price) is that of the first too: each provider within keeps the budget
/// at its own. What failed before is told with the end, or with the last failure; if none was asked,
/// the call is refused as the first refused it.
#[derive(Debug)]
pub struct Failover {
    first: Arc<dyn AiProvider>,
    others: Vec<Arc<dyn AiProvider>>,
    counts: Arc<Counts>,
}

/// How often each but the last was passed over.
#[derive(Debug)]
struct Counts {
    passed_over: Vec<(ModelId, AtomicU64)>,
}

impl Failover {
    /// Asks the first, and the others in order when it cannot answer.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if some keep a spend budget and others do not: then who wraps them
    /// cannot know whether one is kept.
    pub fn new(first: Arc<dyn AiProvider>, others: Vec<Arc<dyn AiProvider>>) -> Result<Self> {
        let keeps_budget = first.capability().keeps_budget;
        if others
            .iter()
            .any(|other| other.capability().keeps_budget != keeps_budget)
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                "configure failover",
                "either all providers keep a spend budget or none does",
            ));
        }
        let passed_over = [&first]
            .into_iter()
            .chain(&others)
            .take(others.len())
            .map(|provider| (provider.model().clone(), AtomicU64::new(0)))
            .collect();
        Ok(Self {
            first,
            others,
            counts: Arc::new(Counts { passed_over }),
        })
    }

    /// How often each was passed over.
    #[must_use]
    pub fn metrics(&self) -> Arc<dyn MetricSource> {
        Arc::clone(&self.counts) as _
    }
}

/// Whether another may answer what failed like this.
fn goes_on(failure: &AiFailure) -> bool {
    match failure.refusal {
        Some(Refusal::BreakerOpen | Refusal::Busy | Refusal::RateLimited) => true,
        Some(_) => false,
        None => !matches!(
            failure.error.kind(),
            ErrorKind::Conflict | ErrorKind::Invalid | ErrorKind::ReadOnly
        ),
    }
}

struct Account(Spent);

impl Watch for Account {
    fn see(&mut self, event: &mut Event) {
        self.0.add_to(event);
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl AiProvider for Failover {
    fn model(&self) -> &ModelId {
        self.first.model()
    }

    fn price(&self) -> Price {
        self.first.price()
    }

    fn capability(&self) -> AiCapability {
        self.first.capability()
    }

    /// # Cancel safety
    /// Dropping the future or the stream drops the call under way, and no other follows.
    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let mut cost = MicroDollars::ZERO;
        // Of failures the last is told, and of refusals the first, as it names the model meant.
        let (mut failed, mut refused) = (None, None);
        for (index, provider) in [&self.first].into_iter().chain(&self.others).enumerate() {
            let tariff = Tariff::of(provider, &request);
            let failure = match ask_until_first_event(provider, request.clone()).await {
                Ok(stream) => {
                    let before = cost;
                    let account = Account(Spent { tariff, before });
                    return Ok(Watched::stream(stream, account));
                }
                Err(failure) => failure,
            };
            cost += tariff.cost(failure.billed);
            let goes_on = goes_on(&failure);
            if goes_on && let Some((model, passed_over)) = self.counts.passed_over.get(index) {
                tracing::info!(error = %failure.error, %model, "another model is asked");
                passed_over.fetch_add(1, Ordering::Relaxed);
            }
            if failure.refusal.is_none() {
                failed = Some(failure);
            } else if refused.is_none() {
                refused = Some(failure);
            }
            if !goes_on {
                break;
            }
        }
        let failure = failed.map(|mut failure| {
            failure.billed = match cost {
                MicroDollars::ZERO => Billed::Nothing,
                cost => Billed::Booked(cost),
            };
            failure
        });
        // There is a first provider, so there is one of both.
        Err(failure.or(refused).unwrap_or_else(|| {
            let context = "there is no provider to ask";
            AiFailure::free(Error::new(ErrorKind::Unexpected, ASK, context))
        }))
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.first.rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        self.first.batches()
    }

    async fn close(&self) {
        self.first.close().await;
        for other in &self.others {
            other.close().await;
        }
    }
}

impl MetricSource for Counts {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        for (model, passed_over) in &self.passed_over {
            let metric = Metric::counter(
                "medcards_ai_failovers_total",
                "Calls that a model could not answer, so that another was asked.",
                passed_over.load(Ordering::Relaxed),
            );
            metrics.push(metric.with_label("model", model.as_str().to_owned()));
        }
    }
}

impl fmt::Display for Failover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.first.fmt(f)?;
        for other in &self.others {
            write!(f, ", else {other}")?;
        }
        Ok(())
    }
}
