use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::{Instant, timeout, timeout_at};

use super::Inner;
use super::flight::Flight;
use super::lead::Words;
use super::resolution::{SkipReason, TierOutcome, written};
use crate::ai::{
    AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Billed, FeedbackPrompt, PersonalContext,
    Prompt, Refusal, Rejection, Reply,
};
use crate::case::Case;
use crate::feedback::{Audience, Feedback, FeedbackKey, Personal, Shared};
use crate::spend::{MicroDollars, Payer, Purpose};
use crate::{Error, ErrorKind};

/// How often the model is asked for one feedback: a reply that must not be shown may be followed by
/// one that may, and a model that fails twice does not know how.
const REPLIES_MAX: u32 = 2;

/// The longest reply that is read, in bytes: thirty times what a feedback needs.
const REPLY_LEN_MAX: usize = 64 * 1024;

/// How long a store may take for what no student waits for: as long as a busy disk may take. Then
/// it counts as failed, so that a store that hangs does not hold a search for ever.
pub(super) const STORE_WAIT_MAX: Duration = Duration::from_secs(10);

/// The work, or an error when its time is over.
pub(super) async fn within<T>(
    time: Duration,
    work: impl Future<Output = crate::Result<T>>,
) -> crate::Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| {
        Err(Error::new(
            ErrorKind::Timeout,
            "wait for store",
            "it takes longer than it may",
        ))
    })
}

/// What is asked of the model.
#[derive(Clone, Copy)]
pub(super) struct Wish<'a> {
    pub(super) case: &'a Case,
    pub(super) key: &'a FeedbackKey,
    pub(super) payer: Option<Payer>,
}

/// A model, and how it is asked.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) provider: Arc<dyn AiProvider>,
    pub(super) prompt: Arc<dyn FeedbackPrompt>,
}

/// Who gets the words of a live call as they come: this process, and those who follow it elsewhere.
#[derive(Clone, Copy)]
pub(super) struct Outlet<'a> {
    pub(super) flight: &'a Flight,
    pub(super) others: Option<&'a Words>,
}

impl Outlet<'_> {
    fn push(&self, delta: &str) {
        self.flight.push(delta);
        if let Some(others) = self.others {
            others.push(delta);
        }
    }
}

/// What a live call came to.
pub(super) struct Generation<A: Audience> {
    /// The feedback, or why there is none.
    pub(super) written: Result<Feedback<A>, Missing>,
    /// What the calls cost.
    pub(super) cost: MicroDollars,
    /// Whether a provider was asked.
    pub(super) was_called: bool,
}

/// Why there is no feedback.
pub(super) struct Missing {
    pub(super) outcome: TierOutcome,
    /// How long the key should not be tried again.
    pub(super) pause: Option<Duration>,
}

impl Missing {
    fn skipped(reason: SkipReason) -> Self {
        Self {
            outcome: TierOutcome::Skipped(reason),
            pause: None,
        }
    }
}

impl<A: Audience> Generation<A> {
    fn skipped(reason: SkipReason) -> Self {
        Self {
            written: Err(Missing::skipped(reason)),
            cost: MicroDollars::ZERO,
            was_called: false,
        }
    }
}

impl Inner {
    /// Asks the model for feedback that anyone may see. It is told nothing of any student.
    pub(super) async fn generate_shared(
        &self,
        live: &Live,
        outlet: Outlet<'_>,
        wish: Wish<'_>,
    ) -> Generation<Shared> {
        if self.failures.is_recent(wish.key, self.clock.now()) {
            return Generation::skipped(SkipReason::RecentFailure);
        }
        let prompt = live.prompt.shared(wish.case, wish.key);
        self.generate(live, outlet, wish, prompt).await
    }

    /// Asks the model for feedback that one student alone may see.
    pub(super) async fn generate_personal(
        &self,
        live: &Live,
        flight: &Flight,
        wish: Wish<'_>,
        context: &PersonalContext,
    ) -> Generation<Personal> {
        let outlet = Outlet {
            flight,
            others: None,
        };
        let prompt = live.prompt.personal(wish.case, wish.key, context);
        self.generate(live, outlet, wish, prompt).await
    }

    /// Asks until a reply may be shown, at most [`REPLIES_MAX`] times and within the deadline of one
    /// generation.
    async fn generate<A: Audience>(
        &self,
        live: &Live,
        outlet: Outlet<'_>,
        wish: Wish<'_>,
        prompt: Prompt,
    ) -> Generation<A> {
        if self.tasks.is_closed() {
            return Generation::skipped(SkipReason::Closing);
        }
        let Ok(_permit) = self.generations.try_acquire() else {
            return Generation::skipped(SkipReason::Busy);
        };
        let deadline = Instant::now() + self.config.generation_deadline;
        let mut generation = Generation::skipped(SkipReason::Busy);
        for asked in 1..=REPLIES_MAX {
            // Whoever saw words of the reply before must not see these behind them.
            let outlet = (asked == 1).then_some(outlet);
            let reply = self
                .call(live, outlet, deadline, wish, prompt.clone())
                .await;
            generation.cost += match &reply {
                Ok(reply) => reply.cost,
                Err(failure) => billed(live, failure, &prompt),
            };
            generation.was_called |= reply.as_ref().err().and_then(|f| f.refusal).is_none();
            let written = match reply {
                Ok(reply) => self.judge(live, wish, generation.cost, reply),
                Err(failure) => Err(self.missing(&failure)),
            };
            let is_rejected = matches!(
                &written,
                Err(missing) if matches!(missing.outcome, TierOutcome::Rejected(_))
            );
            // A call that could not be made leaves the rejection as it is.
            if asked == 1 || written.is_ok() || is_rejected {
                generation.written = written;
            }
            if !is_rejected || self.tasks.is_closed() {
                break;
            }
        }
        generation
    }

    /// Streams a reply to all who wait, within the deadline.
    async fn call(
        &self,
        live: &Live,
        outlet: Option<Outlet<'_>>,
        deadline: Instant,
        wish: Wish<'_>,
        prompt: Prompt,
    ) -> Result<Reply, AiFailure> {
        let request = AiRequest::new(Purpose::Feedback, prompt)
            .with_payer(wish.payer)
            .with_case(wish.key.case_id);
        let reply = async {
            let stream = live.provider.stream(request).await?;
            read_reply(stream, outlet).await
        };
        let reply = timeout_at(deadline, reply).await.unwrap_or_else(|_| {
            Err(AiFailure::unknown(Error::new(
                ErrorKind::Timeout,
                "ask model",
                "the generation took longer than it may",
            )))
        });
        match &reply {
            Err(AiFailure {
                refusal: Some(refusal),
                ..
            }) => {
                tracing::debug!(?refusal, "a live call was refused");
            }
            Err(failure) => {
                self.counters.live_calls();
                tracing::warn!(error = %failure.error, provider = %live.provider, "a live call failed");
            }
            Ok(_) => self.counters.live_calls(),
        }
        reply
    }

    fn missing(&self, failure: &AiFailure) -> Missing {
        if let Some(refusal) = failure.refusal {
            return match refusal {
                Refusal::BreakerOpen => Missing::skipped(SkipReason::BreakerOpen),
                Refusal::Busy => Missing::skipped(SkipReason::Busy),
                Refusal::RateLimited => Missing::skipped(SkipReason::RateLimited),
                Refusal::SpendBudgetExhausted => Missing::skipped(SkipReason::SpendBudgetExhausted),
                Refusal::LedgerAway => Missing {
                    outcome: TierOutcome::Failed(failure.error.kind()),
                    pause: None,
                },
            };
        }
        let error = &failure.error;
        let pause = error.retry_after().map_or(self.config.failure_ttl, |wait| {
            // However long a provider asks for: a key is never given up for hours.
            wait.clamp(
                self.config.failure_ttl,
                self.config.rejection_ttl.max(self.config.failure_ttl),
            )
        });
        Missing {
            outcome: TierOutcome::Failed(error.kind()),
            pause: Some(pause),
        }
    }

    fn judge<A: Audience>(
        &self,
        live: &Live,
        wish: Wish<'_>,
        cost: MicroDollars,
        reply: Reply,
    ) -> Result<Feedback<A>, Missing> {
        let key = wish.key;
        let checked = match live.prompt.check(wish.case, key, &reply) {
            Ok(text) if text.trim().is_empty() => Err(Rejection::TooShort),
            checked => checked,
        };
        let text = checked.map_err(|rejection| {
            tracing::info!(%rejection, model = %reply.model, case = %key.case_id, "a reply was rejected");
            let outcome = TierOutcome::Rejected(rejection);
            Missing { outcome, pause: Some(self.config.rejection_ttl) }
        })?;
        Ok(written(
            text,
            reply.model,
            key.prompt_version,
            cost,
            self.clock.now(),
        ))
    }
}

/// What a failed call cost.
fn billed(live: &Live, failure: &AiFailure, prompt: &Prompt) -> MicroDollars {
    let price = live.provider.price();
    match failure.billed {
        Billed::Nothing => MicroDollars::ZERO,
        Billed::Booked(cost) => cost,
        Billed::Tokens(usage) => price.cost(usage),
        Billed::Unknown => price.worst_case(prompt.len_bytes(), prompt.output_tokens_max),
    }
}

async fn read_reply(mut stream: AiStream, outlet: Option<Outlet<'_>>) -> Result<Reply, AiFailure> {
    let mut text = String::new();
    while let Some(event) = stream.next().await {
        match event? {
            // A provider that breaks its promise must not fill the memory with nothing.
            AiEvent::Delta(delta) if delta.is_empty() => {}
            AiEvent::Delta(delta) => {
                if text.len() + delta.len() > REPLY_LEN_MAX {
                    return Err(AiFailure::unknown(Error::new(
                        ErrorKind::Corrupt,
                        "read reply",
                        "it is far longer than was asked for",
                    )));
                }
                text.push_str(&delta);
                if let Some(outlet) = outlet {
                    outlet.push(&delta);
                }
            }
            AiEvent::End(end) => return Ok(Reply::new(text, end)),
        }
    }
    Err(AiFailure::unknown(Error::new(
        ErrorKind::Corrupt,
        "read reply",
        "the stream broke off without an end",
    )))
}
