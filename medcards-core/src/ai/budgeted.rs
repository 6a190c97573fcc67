use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::{
    AiBatches, AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId,
    RateLimits, Refusal,
};
use crate::feedback::Tier;
use crate::id::ReservationId;
use crate::spend::{
    MicroDollars, Price, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendRow,
    TokenUsage,
};
use crate::time::{Clock, day_of};
use crate::{Error, ErrorKind, Result};

/// How long the ledger may take: as long as a busy disk may take. Then no call is made.
const LEDGER_WAIT_MAX: Duration = Duration::from_secs(10);

/// How often settling a reservation is tried. Then the money stays set aside, which is safe.
const SETTLE_ATTEMPTS_MAX: u32 = 5;

/// How long to wait before settling again, doubled each time: 100 ms to 800 ms.
const SETTLE_PAUSE: Duration = Duration::from_millis(100);

/// The layer that keeps the spend budget.
///
/// Before a call it sets the worst case aside ([`Price::worst_case`]); if the budget does not allow
/// it, the call is refused and no provider is asked. When the reply ends, fails or is dropped, the
/// reservation is settled: at the price of the tokens told, at nothing if the provider refused the
/// call, and at the worst case if nobody knows. The settling goes on in the background, which
/// [`close`](AiProvider::close) waits for.
///
/// It stands next to the provider, below retries and failovers: each attempt is one reservation, at
/// the price of its own model.
pub struct Budgeted<P> {
    provider: P,
    ledger: Arc<dyn SpendLedger>,
    budget: SpendBudget,
    clock: Arc<dyn Clock>,
    settling: TaskTracker,
}

impl<P: AiProvider> Budgeted<P> {
    /// Lets a provider spend no more than a budget.
    #[must_use]
    pub fn new(
        provider: P,
        ledger: Arc<dyn SpendLedger>,
        budget: SpendBudget,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            provider,
            ledger,
            budget,
            clock,
            settling: TaskTracker::new(),
        }
    }

    async fn reserve(&self, request: &AiRequest) -> Result<Tab, AiFailure> {
        let now = self.clock.now();
        let price = self.provider.price();
        let prompt = &request.prompt;
        let wish = Reservation {
            id: ReservationId::new(now),
            day: day_of(now),
            amount: price.worst_case(prompt.len_bytes(), prompt.output_tokens_max),
            purpose: request.purpose,
            payer: request.payer,
        };
        let reserved = timeout(LEDGER_WAIT_MAX, self.ledger.reserve(&wish, &self.budget)).await;
        match reserved {
            Ok(Ok(ReserveOutcome::Granted)) => {}
            Ok(Ok(ReserveOutcome::Exhausted)) => {
                let context = "the spend budget does not allow another call";
                let error = Error::new(ErrorKind::Busy, "ask model", context);
                return Err(AiFailure::refused(Refusal::SpendBudgetExhausted, error));
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "the ledger is away, so no model is asked");
                return Err(AiFailure::refused(Refusal::LedgerAway, error));
            }
            Err(_) => {
                tracing::warn!("the ledger takes too long, so no model is asked");
                let context = "the ledger takes longer than it may";
                let error = Error::new(ErrorKind::Timeout, "reserve spend", context);
                return Err(AiFailure::refused(Refusal::LedgerAway, error));
            }
        }
        Ok(Tab {
            ledger: Arc::clone(&self.ledger),
            settling: self.settling.clone(),
            price,
            prompt_bytes: prompt.len_bytes(),
            tokens_max: prompt.output_tokens_max,
            reply_bytes: 0,
            row: SpendRow {
                day: wish.day,
                tier: Tier::Live,
                model: Some(self.provider.model().clone()),
                case_id: request.case_id,
                // Who was served is counted where it is served.
                resolutions: 0,
                cost: wish.amount,
                saved: MicroDollars::ZERO,
            },
            reservation: wish.id,
            worst: wish.amount,
            is_open: true,
        })
    }
}

#[async_trait]
impl<P: AiProvider> AiProvider for Budgeted<P> {
    fn model(&self) -> &ModelId {
        self.provider.model()
    }

    fn price(&self) -> Price {
        self.provider.price()
    }

    fn capability(&self) -> AiCapability {
        self.provider.capability().keeping_budget()
    }

    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let mut tab = self.reserve(&request).await?;
        match self.provider.stream(request).await {
            Ok(stream) => Ok(BudgetedStream { stream, tab }.boxed()),
            Err(mut failure) => {
                tab.fail(&mut failure);
                Err(failure)
            }
        }
    }

    fn rate_limits(&self) -> Option<RateLimits> {
        self.provider.rate_limits()
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        self.provider.batches()
    }

    async fn close(&self) {
        self.provider.close().await;
        self.settling.close();
        self.settling.wait().await;
    }
}

impl<P: fmt::Debug> fmt::Debug for Budgeted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Budgeted")
            .field("provider", &self.provider)
            .field("ledger", &self.ledger)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl<P: fmt::Display> fmt::Display for Budgeted<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}

/// What one call owes. Dropped while it is open, it is settled at the worst case.
struct Tab {
    ledger: Arc<dyn SpendLedger>,
    settling: TaskTracker,
    price: Price,
    prompt_bytes: usize,
    tokens_max: u32,
    reply_bytes: usize,
    reservation: ReservationId,
    worst: MicroDollars,
    row: SpendRow,
    is_open: bool,
}

impl Tab {
    /// What these tokens cost, but no more than the call can have cost.
    ///
    /// A count beyond that is a defect of the server's, and one such count must not end a day's
    /// budget.
    fn believed(&self, usage: TokenUsage) -> MicroDollars {
        // A server may ignore how long its reply may be, but each token has a byte.
        let bytes = u32::try_from(self.reply_bytes).unwrap_or(u32::MAX);
        let most = self
            .price
            .worst_case(self.prompt_bytes, self.tokens_max.max(bytes));
        let cost = self.price.cost(usage);
        if cost > most {
            tracing::warn!(%cost, %most, "a usage beyond what the call can have used is not believed");
        }
        cost.min(most)
    }

    fn fail(&mut self, failure: &mut AiFailure) {
        let cost = match failure.billed {
            Billed::Nothing => MicroDollars::ZERO,
            Billed::Booked(cost) => cost,
            Billed::Tokens(usage) => self.believed(usage),
            Billed::Unknown => self.worst,
        };
        failure.billed = Billed::Booked(cost);
        self.settle(cost);
    }

    fn settle(&mut self, cost: MicroDollars) {
        if !std::mem::replace(&mut self.is_open, false) {
            return;
        }
        // Outside of a runtime nothing can be booked: then the worst case stays set aside.
        let Ok(runtime) = Handle::try_current() else {
            return;
        };
        let row = SpendRow {
            cost,
            ..self.row.clone()
        };
        let work = settle(Arc::clone(&self.ledger), self.reservation, row);
        self.settling.spawn_on(work, &runtime);
    }
}

impl Drop for Tab {
    fn drop(&mut self) {
        self.settle(self.worst);
    }
}

/// Books what a call cost. If the ledger stays away, the worst case stays set aside.
async fn settle(ledger: Arc<dyn SpendLedger>, reservation: ReservationId, row: SpendRow) {
    let mut pause = SETTLE_PAUSE;
    for attempt in 1..=SETTLE_ATTEMPTS_MAX {
        match timeout(LEDGER_WAIT_MAX, ledger.settle(reservation, &row)).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => tracing::warn!(%error, attempt, "a call could not be booked"),
            Err(_) => tracing::warn!(attempt, "a call could not be booked in time"),
        }
        if attempt < SETTLE_ATTEMPTS_MAX {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
    }
}

struct BudgetedStream {
    stream: AiStream,
    tab: Tab,
}

impl Stream for BudgetedStream {
    type Item = Result<AiEvent, AiFailure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { stream, tab } = self.get_mut();
        let mut event = std::task::ready!(stream.poll_next_unpin(context));
        match &mut event {
            Some(Ok(AiEvent::Delta(delta))) => tab.reply_bytes += delta.len(),
            Some(Ok(AiEvent::End(end))) => {
                end.cost = tab.believed(end.usage);
                tab.settle(end.cost);
            }
            Some(Err(failure)) => tab.fail(failure),
            None => tab.settle(tab.worst),
        }
        Poll::Ready(event)
    }
}
