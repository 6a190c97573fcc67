use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::timeout;

use super::Inner;
use super::flight::Flight;
use super::lead::Words;
use super::resolution::{SkipReason, TierOutcome, written};
use crate::ai::{
    AiEvent, AiFailure, AiProvider, AiStream, Billed, FeedbackPrompt, PersonalContext, Prompt,
    Rejection, Reply,
};
use crate::case::Case;
use crate::feedback::{Audience, Feedback, FeedbackKey, Personal, Shared, Tier};
use crate::id::ReservationId;
use crate::spend::{MicroDollars, Reservation, ReserveOutcome, SpendRow, TokenUsage};
use crate::{Error, ErrorKind};

/// The longest reply that is read, in bytes: thirty times what a feedback needs.
const REPLY_LEN_MAX: usize = 64 * 1024;

/// How often settling a reservation is tried. Then the money stays set aside, which is safe.
const SETTLE_ATTEMPTS_MAX: u32 = 5;

/// How long to wait before settling again, doubled each time: 100 ms to 800 ms.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

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
    /// What must be booked, if a call was made.
    pub(super) settlement: Option<Settlement>,
}

/// Why there is no feedback.
pub(super) struct Missing {
    pub(super) outcome: TierOutcome,
    /// How long the key should not be tried again.
    pub(super) pause: Option<Duration>,
}

/// Money that was set aside, and what of it was spent.
pub(super) struct Settlement {
    reservation: ReservationId,
    row: SpendRow,
}

impl Settlement {
    pub(super) fn cost(&self) -> MicroDollars {
        self.row.cost
    }
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
            settlement: None,
        }
    }
}

impl Inner {
    /// Asks the model for feedback that anyone may see. It is told nothing of any student.
    pub(super) async fn generate_shared(
        &self,
        live: &Live,
        outlet: Outlet<'_>,
        case: &Case,
        key: &FeedbackKey,
    ) -> Generation<Shared> {
        if self.failures.is_recent(key, self.clock.now()) {
            return Generation::skipped(SkipReason::RecentFailure);
        }
        self.generate(live, outlet, case, key, live.prompt.shared(case, key))
            .await
    }

    /// Asks the model for feedback that one student alone may see.
    pub(super) async fn generate_personal(
        &self,
        live: &Live,
        flight: &Flight,
        case: &Case,
        key: &FeedbackKey,
        context: &PersonalContext,
    ) -> Generation<Personal> {
        self.generate(
            live,
            Outlet {
                flight,
                others: None,
            },
            case,
            key,
            live.prompt.personal(case, key, context),
        )
        .await
    }

    async fn generate<A: Audience>(
        &self,
        live: &Live,
        outlet: Outlet<'_>,
        case: &Case,
        key: &FeedbackKey,
        prompt: Prompt,
    ) -> Generation<A> {
        if self.tasks.is_closed() {
            return Generation::skipped(SkipReason::Closing);
        }
        let Ok(_permit) = self.generations.try_acquire() else {
            return Generation::skipped(SkipReason::Busy);
        };
        let wish = self.wish(live, &prompt);
        match within(
            STORE_WAIT_MAX,
            self.ledger.reserve(&wish, &self.config.spend_budget),
        )
        .await
        {
            Ok(ReserveOutcome::Granted) => {}
            Ok(ReserveOutcome::Exhausted) => {
                return Generation::skipped(SkipReason::SpendBudgetExhausted);
            }
            Err(error) => {
                tracing::warn!(%error, "the ledger is away, so no model is asked");
                let outcome = TierOutcome::Failed(error.kind());
                return Generation {
                    written: Err(Missing {
                        outcome,
                        pause: None,
                    }),
                    settlement: None,
                };
            }
        }
        let (prompt_len, tokens_max) = (prompt.len_bytes(), prompt.output_tokens_max);
        let reply = self.call(live, outlet, prompt).await;
        let price = live.provider.price();
        let cost = match &reply {
            Ok(reply) => {
                // A server may ignore how long its reply may be, but each token has a byte.
                let bytes = u32::try_from(reply.text.len()).unwrap_or(u32::MAX);
                let most = price.worst_case(prompt_len, tokens_max.max(bytes));
                believed(price.cost(reply.usage), most)
            }
            Err(failure) => billed(
                failure,
                |usage| believed(price.cost(usage), wish.amount),
                wish.amount,
            ),
        };
        let written = self.judge(live, case, key, cost, reply);
        let settlement = Settlement {
            reservation: wish.id,
            row: SpendRow {
                day: wish.day,
                tier: Tier::Live,
                model: Some(key.model.clone()),
                case_id: Some(key.case_id),
                // Who was served is counted where it is served.
                resolutions: 0,
                cost,
                saved: MicroDollars::ZERO,
            },
        };
        Generation {
            written,
            settlement: Some(settlement),
        }
    }

    fn wish(&self, live: &Live, prompt: &Prompt) -> Reservation {
        let now = self.clock.now();
        let worst = live
            .provider
            .price()
            .worst_case(prompt.len_bytes(), prompt.output_tokens_max);
        Reservation {
            id: ReservationId::new(now),
            day: super::day_of(now),
            amount: worst,
        }
    }

    /// Streams a reply to all who wait, within the deadline of a generation.
    async fn call(
        &self,
        live: &Live,
        outlet: Outlet<'_>,
        prompt: Prompt,
    ) -> Result<Reply, AiFailure> {
        self.counters.live_calls();
        let reply = async {
            let stream = live.provider.stream(prompt).await?;
            read_reply(stream, outlet).await
        };
        let reply = timeout(self.config.generation_deadline, reply)
            .await
            .unwrap_or_else(|_| {
                Err(AiFailure::unknown(Error::new(
                    ErrorKind::Timeout,
                    "ask model",
                    "the generation took longer than it may",
                )))
            });
        if let Err(failure) = &reply {
            tracing::warn!(error = %failure.error, provider = %live.provider, "a live call failed");
        }
        reply
    }

    fn judge<A: Audience>(
        &self,
        live: &Live,
        case: &Case,
        key: &FeedbackKey,
        cost: MicroDollars,
        reply: Result<Reply, AiFailure>,
    ) -> Result<Feedback<A>, Missing> {
        let reply = reply.map_err(|failure| Missing {
            outcome: TierOutcome::Failed(failure.error.kind()),
            pause: Some(
                failure
                    .error
                    .retry_after()
                    .map_or(self.config.failure_ttl, |wait| {
                        // However long a provider asks for: a key is never given up for hours.
                        wait.clamp(
                            self.config.failure_ttl,
                            self.config.rejection_ttl.max(self.config.failure_ttl),
                        )
                    }),
            ),
        })?;
        let checked = match live.prompt.check(case, key, &reply) {
            Ok(text) if text.trim().is_empty() => Err(Rejection::TooShort),
            checked => checked,
        };
        let text = checked.map_err(|rejection| {
            tracing::info!(%rejection, model = %key.model, case = %key.case_id, "a reply was rejected");
            let outcome = TierOutcome::Rejected(rejection);
            Missing { outcome, pause: Some(self.config.rejection_ttl) }
        })?;
        Ok(written(
            text,
            key.model.clone(),
            key.prompt_version,
            cost,
            self.clock.now(),
        ))
    }

    /// Books what a call cost. If the ledger stays away, the worst case stays set aside.
    pub(super) async fn settle(&self, settlement: Settlement) {
        let mut pause = SETTLE_PAUSE;
        for attempt in 1..=SETTLE_ATTEMPTS_MAX {
            match within(
                STORE_WAIT_MAX,
                self.ledger.settle(settlement.reservation, &settlement.row),
            )
            .await
            {
                Ok(()) => return,
                Err(error) => tracing::warn!(%error, attempt, "a live call could not be booked"),
            }
            if attempt < SETTLE_ATTEMPTS_MAX {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
        }
    }
}

/// What a call is booked at: what its usage costs, but no more than it can have cost.
///
/// A count beyond that is a defect of the server's, and one such count must not end a day's budget.
fn believed(cost: MicroDollars, most: MicroDollars) -> MicroDollars {
    if cost > most {
        tracing::warn!(%cost, %most, "a usage beyond what the call can have used is not believed");
    }
    cost.min(most)
}

fn billed(
    failure: &AiFailure,
    cost: impl FnOnce(TokenUsage) -> MicroDollars,
    worst: MicroDollars,
) -> MicroDollars {
    match failure.billed {
        Billed::Nothing => MicroDollars::ZERO,
        Billed::Tokens(usage) => cost(usage),
        Billed::Unknown => worst,
    }
}

async fn read_reply(mut stream: AiStream, outlet: Outlet<'_>) -> Result<Reply, AiFailure> {
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
                outlet.push(&delta);
            }
            AiEvent::End { stop, usage } => return Ok(Reply { text, stop, usage }),
        }
    }
    Err(AiFailure::unknown(Error::new(
        ErrorKind::Corrupt,
        "read reply",
        "the stream broke off without an end",
    )))
}
