//! Makes the reply of one turn, and writes it down.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout_at};

use super::history::Past;
use super::{Asked, Flight, Inner, Landing, STORE_WAIT_MAX, within};
use crate::ai::{
    AiEvent, AiFailure, AiProvider, AiRequest, Billed, ModelId, Prompt, Rejection, Reply,
};
use crate::chat::{
    CHAT_SUMMARY_LEN_MAX, ChatSummary, ChatTurn, Exchange, REPLY_LEN_MAX, ReuseWish, TurnOrigin,
    TurnReply,
};
use crate::spend::{MicroDollars, Purpose};
use crate::{Error, ErrorKind, Result};

/// How often the model is asked for one reply: one that must not be shown may be followed by one
/// that may.
const REPLIES_MAX: u32 = 2;

/// How often a reply is written down before it is given up: it was paid for. With the pauses and the
/// waits it stays within [`broken_after`](super::CoachConfig::broken_after) by default.
const KEEP_ATTEMPTS_MAX: u32 = 3;

/// How long to wait before a reply is written down again, doubled each time.
const KEEP_PAUSE: Duration = Duration::from_millis(200);

/// How long a reviewed answer is looked for. It saves a call, but not seconds.
const REUSE_WAIT_MAX: Duration = Duration::from_secs(1);

/// A reply before it is written down.
struct Draft {
    text: String,
    origin: TurnOrigin,
    model: Option<ModelId>,
    cost: MicroDollars,
}

impl Draft {
    fn free(text: String, origin: TurnOrigin) -> Self {
        Self {
            text,
            origin,
            model: None,
            cost: MicroDollars::ZERO,
        }
    }
}

/// Takes a flight out of the sky, even if its task panics: nobody waits for ever.
struct Guard<'a> {
    inner: &'a Inner,
    flight: &'a Arc<Flight>,
    turn: &'a ChatTurn,
}

impl Guard<'_> {
    fn land(self, landing: Landing) {
        self.flight.land(landing);
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        self.flight.land(Landing::Lost);
        let key = (self.turn.user_id, self.turn.id);
        self.inner.flights.remove(&key, self.flight);
    }
}

impl Inner {
    /// Replies to a turn that was begun here.
    pub(super) async fn write(
        self: Arc<Self>,
        asked: Asked,
        flight: Arc<Flight>,
        permit: OwnedSemaphorePermit,
    ) {
        let guard = Guard {
            inner: &self,
            flight: &flight,
            turn: &asked.turn,
        };
        let mut past = None;
        let draft = self.draft(&asked, &flight, &mut past).await;
        let reply = TurnReply {
            text: draft.text,
            origin: draft.origin,
            model: draft.model,
            cost: draft.cost,
            replied_at: self.medcards.now(),
        };
        let is_kept = self.keep(&asked.turn, &reply).await;
        if is_kept == Some(false) {
            self.tallies.lost();
            tracing::debug!(turn = %asked.turn.id, "another attempt replies to this turn");
            return guard.land(Landing::Lost);
        }
        self.tallies.replied(reply.origin);
        let is_live = reply.origin == TurnOrigin::Live;
        let turn = ChatTurn {
            reply: Some(reply.clone()),
            ..asked.turn.clone()
        };
        guard.land(Landing::Replied(Arc::new(turn)));
        drop(permit);
        if let (true, Some(true), Some(mut past)) = (is_live, is_kept, past) {
            past.push(Exchange {
                turn_id: asked.turn.id,
                question: asked.turn.question.clone(),
                reply: reply.text,
            });
            self.summarise(&asked, &past).await;
        }
    }

    /// Finds the words, cheapest first.
    async fn draft(&self, asked: &Asked, flight: &Flight, past: &mut Option<Past>) -> Draft {
        let (subject, question) = (&asked.subject, &asked.turn.question);
        if let Some(words) = self.prompt.decline(subject, question) {
            return Draft::free(words, TurnOrigin::Declined);
        }
        if let Some(words) = self.reused(asked).await {
            return Draft::free(words, TurnOrigin::Reused);
        }
        let Some(provider) = &self.provider else {
            return self.unavailable(asked, MicroDollars::ZERO);
        };
        let known = self.past_of(&asked.turn).await;
        let prompt = self.prompt.reply(subject, &known.history(), question);
        *past = Some(known);
        self.ask_model(provider, asked, flight, prompt).await
    }

    fn unavailable(&self, asked: &Asked, cost: MicroDollars) -> Draft {
        let mut text = self.prompt.unavailable(&asked.subject);
        text.truncate(text.floor_char_boundary(REPLY_LEN_MAX));
        Draft {
            cost,
            ..Draft::free(text, TurnOrigin::Unavailable)
        }
    }

    async fn reused(&self, asked: &Asked) -> Option<String> {
        let case = &asked.subject.case;
        let wish = ReuseWish {
            case_id: case.id,
            case_version: case.version,
            locale: asked.subject.locale,
            question: &asked.turn.question,
        };
        let found = self.reuse.as_ref()?.find_reusable(wish);
        match within(REUSE_WAIT_MAX, found).await {
            Ok(found) => {
                let answer = found?.answer;
                // An implementation that errs must not show a student another case.
                let is_same = answer.case_id == case.id && answer.case_version == case.version;
                is_same.then_some(answer.answer)
            }
            Err(error) => {
                tracing::warn!(%error, "no shared answers can be had");
                None
            }
        }
    }

    /// Asks until a reply may be shown, at most [`REPLIES_MAX`] times and within the deadline.
    async fn ask_model(
        &self,
        provider: &Arc<dyn AiProvider>,
        asked: &Asked,
        flight: &Flight,
        prompt: Prompt,
    ) -> Draft {
        let deadline = Instant::now() + self.config.reply_deadline;
        let mut cost = MicroDollars::ZERO;
        for attempt in 1..=REPLIES_MAX {
            // Whoever saw words of the reply before must not see these behind them.
            let outlet = (attempt == 1).then_some(flight);
            let reply = self.call(provider, asked, outlet, deadline, prompt.clone());
            match reply.await {
                Err(failure) => {
                    cost += billed(&**provider, &failure, &prompt);
                    break;
                }
                Ok(reply) => {
                    cost += reply.cost;
                    match self.checked(asked, &reply) {
                        Ok(text) => {
                            return Draft {
                                text,
                                origin: TurnOrigin::Live,
                                model: Some(reply.model),
                                cost,
                            };
                        }
                        Err(rejection) => {
                            self.tallies.rejected();
                            tracing::info!(%rejection, model = %reply.model, "a reply of the coach was rejected");
                        }
                    }
                }
            }
            if self.closing.is_cancelled() {
                break;
            }
        }
        self.unavailable(asked, cost)
    }

    fn checked(&self, asked: &Asked, reply: &Reply) -> Result<String, Rejection> {
        let text = self.prompt.check(&asked.subject, reply)?;
        if text.trim().is_empty() {
            return Err(Rejection::TooShort);
        }
        if text.len() > REPLY_LEN_MAX {
            return Err(Rejection::TooLong);
        }
        if text.contains('\0') {
            return Err(Rejection::Unfit("the reply has control characters"));
        }
        Ok(text)
    }

    /// Makes one call, whose words go to all who read along, as far as they may be shown.
    async fn call(
        &self,
        provider: &Arc<dyn AiProvider>,
        asked: &Asked,
        outlet: Option<&Flight>,
        deadline: Instant,
        prompt: Prompt,
    ) -> Result<Reply, AiFailure> {
        let request = AiRequest::new(Purpose::Chat, prompt)
            .with_payer(Some(asked.payer))
            .with_case(asked.subject.case.id);
        let reply = timeout_at(deadline, self.read_reply(provider, request, outlet));
        let reply = tokio::select! {
            biased;
            () = self.closing.cancelled() => Err(broken(ErrorKind::Unavailable, "the server stops")),
            reply = reply => match reply {
                Ok(reply) => reply,
                Err(_) => Err(broken(ErrorKind::Timeout, "it took longer than it may")),
            },
        };
        match &reply {
            Err(AiFailure {
                refusal: Some(refusal),
                ..
            }) => tracing::debug!(?refusal, "a call of the coach was refused"),
            Err(failure) => {
                tracing::warn!(error = %failure.error, %provider, "a call of the coach failed");
            }
            Ok(_) => {}
        }
        reply
    }

    async fn read_reply(
        &self,
        provider: &Arc<dyn AiProvider>,
        request: AiRequest,
        outlet: Option<&Flight>,
    ) -> Result<Reply, AiFailure> {
        let mut stream = provider.stream(request).await?;
        let mut text = String::new();
        while let Some(event) = stream.next().await {
            match event? {
                // A provider that breaks its promise must not fill the memory with nothing.
                AiEvent::Delta(delta) if delta.is_empty() => {}
                AiEvent::Delta(delta) => {
                    if text.len() + delta.len() > REPLY_LEN_MAX {
                        return Err(broken(
                            ErrorKind::Corrupt,
                            "it is far longer than was asked for",
                        ));
                    }
                    text.push_str(&delta);
                    if let Some(flight) = outlet {
                        if !self.prompt.may_show(&text) {
                            flight.mute();
                        }
                        flight.push(&delta);
                    }
                }
                AiEvent::End(end) => return Ok(Reply::new(text, end)),
            }
        }
        Err(broken(
            ErrorKind::Corrupt,
            "the stream broke off without an end",
        ))
    }

    /// Writes a reply down, and says whether it counts; `None` if the store is away.
    ///
    /// A student whose reply cannot be kept reads it all the same. Who asks again gets another.
    async fn keep(&self, turn: &ChatTurn, reply: &TurnReply) -> Option<bool> {
        let mut pause = KEEP_PAUSE;
        for attempt in 1..=KEEP_ATTEMPTS_MAX {
            let end = self
                .chats
                .end_turn(turn.user_id, turn.id, turn.attempt, reply);
            match within(STORE_WAIT_MAX, end).await {
                Ok(true) => return Some(true),
                Ok(false) => {
                    // An earlier try of ours may have succeeded without our hearing of it.
                    let kept = self.find_turn(turn.user_id, turn.id).await.ok().flatten();
                    let kept = kept.filter(|kept| kept.attempt == turn.attempt);
                    return Some(kept.is_some_and(|kept| kept.reply.as_ref() == Some(reply)));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    tracing::debug!(turn = %turn.id, "a chat was forgotten while its reply was written");
                    return None;
                }
                Err(error) => tracing::warn!(%error, attempt, "a reply could not be kept"),
            }
            if attempt < KEEP_ATTEMPTS_MAX {
                sleep(pause).await;
                pause *= 2;
            }
        }
        None
    }

    /// Has what falls out of a chat's window summarised. If that fails it is left out.
    async fn summarise(&self, asked: &Asked, past: &Past) {
        let Some((history, through)) = past.to_summarise() else {
            return;
        };
        let Ok(_permit) = self.summaries.try_acquire() else {
            return;
        };
        if self.tasks.is_closed() {
            return;
        }
        let Some(provider) = &self.provider else {
            return;
        };
        let prompt = self.prompt.summary(&asked.subject, &history);
        let deadline = Instant::now() + self.config.reply_deadline;
        let Ok(reply) = self.call(provider, asked, None, deadline, prompt).await else {
            return;
        };
        let text = match self.prompt.check_summary(&reply) {
            Ok(text) if text.len() <= CHAT_SUMMARY_LEN_MAX && !text.contains('\0') => text,
            Ok(_) => return tracing::info!("a summary of a chat does not fit"),
            Err(rejection) => return tracing::info!(%rejection, "a summary of a chat was rejected"),
        };
        let summary = ChatSummary {
            user_id: asked.turn.user_id,
            answer_id: asked.turn.answer_id,
            through,
            text,
        };
        match within(STORE_WAIT_MAX, self.chats.put_summary(&summary)).await {
            Ok(()) => self.tallies.summarised(),
            Err(error) => tracing::info!(%error, "a summary of a chat was not kept"),
        }
    }
}

fn broken(kind: ErrorKind, context: &'static str) -> AiFailure {
    AiFailure::unknown(Error::new(kind, "read reply", context))
}

/// What a failed call cost.
fn billed(provider: &dyn AiProvider, failure: &AiFailure, prompt: &Prompt) -> MicroDollars {
    let price = provider.price();
    match failure.billed {
        Billed::Nothing => MicroDollars::ZERO,
        Billed::Booked(cost) => cost,
        Billed::Tokens(usage) => price.cost(usage),
        Billed::Unknown => price.worst_case(prompt.len_bytes(), prompt.output_tokens_max),
    }
}
