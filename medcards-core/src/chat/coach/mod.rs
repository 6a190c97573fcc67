//! The coach: takes questions about an answered case, and sees to it that each gets one reply.

mod builder;
mod config;
mod history;
mod place;
mod stream;
mod tally;
mod writing;

pub use builder::CoachBuilder;
pub use config::CoachConfig;
pub use place::ChatPlace;
pub use stream::{ChatEvent, ChatStream, collect_turn};
pub use tally::CoachTally;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::tally::Tallies;
use super::{
    ChatPrompt, ChatStore, ChatSubject, ChatTurn, QUESTION_LEN_MAX, SemanticReuse, SharedAnswers,
    TurnStart,
};
use crate::ai::AiProvider;
use crate::app::Medcards;
use crate::flight;
use crate::id::{AnswerId, TurnId, UserId};
use crate::spend::Payer;
use crate::store::{Consistency, Page, PageCursor, PageLimit};
use crate::{Error, ErrorKind, Result};

/// How long before now the instant in a new turn's id may lie: a day. Turns are in the order of
/// their ids, so an old one would come before what it refers to.
pub const TURN_AGE_MAX: Duration = Duration::from_hours(24);

/// How long after now it may lie: 5 minutes of a client's clock error.
pub const TURN_SKEW_MAX: Duration = Duration::from_mins(5);

/// How long the store may take for one call: as long as a busy disk may take.
const STORE_WAIT_MAX: Duration = Duration::from_secs(10);

/// How soon a client may ask again when too many turns are under way: a reply takes seconds.
const BUSY_PAUSE: Duration = Duration::from_secs(2);

/// What becomes of one attempt to reply, and all who read it in this process.
type Flight = flight::Flight<Landing>;

/// How an attempt ended.
#[derive(Clone, Debug)]
enum Landing {
    /// Its reply may count no more: what the store has decides.
    Lost,
    /// The turn with its reply.
    Replied(Arc<ChatTurn>),
}

/// A question of a student.
#[derive(Clone, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each question")]
pub struct ChatQuestion {
    /// The idempotency key: a fresh UUIDv7. `None` for one that the coach makes.
    pub turn_id: Option<TurnId>,
    /// The answer that it is about.
    pub answer_id: AnswerId,
    /// The words.
    pub text: String,
}

impl fmt::Debug for ChatQuestion {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatQuestion")
            .field("turn_id", &self.turn_id)
            .field("answer_id", &self.answer_id)
            .field("bytes", &self.text.len())
            .finish()
    }
}

/// The coach.
///
/// A question gets one reply, whoever asks how often, in how many processes: see
/// [`ChatStore::begin_turn`]. The reply belongs to the turn: who hangs up cancels nothing, and may
/// read on from the same place later. There is always a reply; where no model may be asked or its
/// words cannot be shown, it has fixed words and what the author explains.
///
/// A reply comes from the cheapest place that has one:
///
/// 1. a question about anyone's own health is declined ([`ChatPrompt::decline`]),
/// 2. a reviewed answer to the same question is reused ([`SemanticReuse`]; off by default),
/// 3. a model is asked, within the spend budget for [`Purpose::Chat`](crate::spend::Purpose::Chat),
/// 4. else the reply is [`ChatPrompt::unavailable`].
///
/// Cloning gives a handle on the same coach.
#[derive(Clone)]
pub struct Coach {
    inner: Arc<Inner>,
}

struct Inner {
    medcards: Medcards,
    chats: Arc<dyn ChatStore>,
    shared: Arc<dyn SharedAnswers>,
    prompt: Arc<dyn ChatPrompt>,
    provider: Option<Arc<dyn AiProvider>>,
    reuse: Option<Arc<dyn SemanticReuse>>,
    config: CoachConfig,
    flights: flight::Flights<(UserId, TurnId), Landing>,
    turns: Arc<Semaphore>,
    polls: Arc<Semaphore>,
    summaries: Arc<Semaphore>,
    tallies: Tallies,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// A question with all that a reply to it needs.
#[derive(Clone)]
struct Asked {
    payer: Payer,
    subject: ChatSubject,
    turn: ChatTurn,
}

/// Where the words of a turn are to be had.
enum Source {
    Elsewhere,
    Flight(Arc<Flight>),
    Replied(Arc<ChatTurn>),
}

impl Coach {
    /// Begins a coach of this platform, without a model.
    #[must_use]
    pub fn builder<S>(medcards: Medcards, store: S, prompt: Arc<dyn ChatPrompt>) -> CoachBuilder
    where
        S: ChatStore + SharedAnswers + Clone,
    {
        CoachBuilder::new(medcards, Arc::new(store.clone()), Arc::new(store), prompt)
    }

    /// The same with a store each for chats and for shared answers.
    #[must_use]
    pub fn builder_with(
        medcards: Medcards,
        chats: Arc<dyn ChatStore>,
        shared: Arc<dyn SharedAnswers>,
        prompt: Arc<dyn ChatPrompt>,
    ) -> CoachBuilder {
        CoachBuilder::new(medcards, chats, shared, prompt)
    }

    /// Takes a question and streams the reply: any number of deltas, then exactly one end.
    ///
    /// The same id again gives the reply, or joins in while it is written.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for a question that is empty, too long or no text, or an id that is
    /// not a fresh UUIDv7; [`ErrorKind::NotFound`] if this student has no such answer;
    /// [`ErrorKind::Conflict`] if the id was used for something else; [`ErrorKind::Full`] if the
    /// chat has no room for another turn; [`ErrorKind::Busy`] if too many replies are under way;
    /// [`ErrorKind::Unavailable`] while closing; those of the store.
    ///
    /// # Cancel safety
    /// A dropped future leaves the turn begun or not; begun, its reply is written all the same.
    pub async fn ask(
        &self,
        student: impl Into<Payer>,
        question: ChatQuestion,
    ) -> Result<ChatStream> {
        self.ask_from(student, question, ChatPlace::START).await
    }

    /// The same for someone who has read a part of the reply already.
    ///
    /// # Errors
    /// Those of [`ask`](Self::ask).
    ///
    /// # Cancel safety
    /// That of [`ask`](Self::ask).
    pub async fn ask_from(
        &self,
        student: impl Into<Payer>,
        question: ChatQuestion,
        from: ChatPlace,
    ) -> Result<ChatStream> {
        let payer = student.into();
        check_text(&question.text)?;
        let now = self.inner.medcards.now();
        let turn_id = question.turn_id.unwrap_or_else(|| TurnId::new(now));
        let subject = self.subject(payer, question.answer_id).await?;
        if let Err(refusal) = turn_instant(turn_id, now) {
            // A turn that was begun once is followed, whatever the time is by now.
            let known = self.inner.find_turn(payer.user_id, turn_id).await?;
            known.ok_or(refusal)?;
        }
        let turn = ChatTurn {
            id: turn_id,
            user_id: payer.user_id,
            answer_id: question.answer_id,
            question: question.text,
            started_at: now,
            attempt: 0,
            reply: None,
        };
        let asked = Asked {
            payer,
            subject,
            turn,
        };
        let source = self.inner.begin(&asked).await?;
        Ok(stream::chat_stream(&self.inner, asked, source, from))
    }

    /// Streams the reply of a turn from a place on. A turn whose process died is begun again.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if this student has no such turn; else those of [`ask`](Self::ask).
    ///
    /// # Cancel safety
    /// That of [`ask`](Self::ask).
    pub async fn follow(
        &self,
        student: impl Into<Payer>,
        turn_id: TurnId,
        from: ChatPlace,
    ) -> Result<ChatStream> {
        let payer = student.into();
        let turn = self.turn(payer.user_id, turn_id).await?;
        let subject = self.subject(payer, turn.answer_id).await?;
        let asked = Asked {
            payer,
            subject,
            turn,
        };
        let source = self.inner.source_of(&asked).await?;
        Ok(stream::chat_stream(&self.inner, asked, source, from))
    }

    /// A turn of a student as it is now.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if this student has no such turn; those of the store.
    pub async fn turn(&self, user_id: UserId, turn_id: TurnId) -> Result<ChatTurn> {
        let found = self.inner.find_turn(user_id, turn_id).await?;
        found.ok_or_else(|| {
            let context = "you have no turn with this id";
            Error::new(ErrorKind::NotFound, "find turn", context)
        })
    }

    /// The turns of a chat, newest first.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if this student has no such answer; [`ErrorKind::Invalid`] for a
    /// cursor that this list did not give; those of the store.
    pub async fn turns(
        &self,
        student: impl Into<Payer>,
        answer_id: AnswerId,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<ChatTurn>> {
        let payer = student.into();
        self.subject(payer, answer_id).await?;
        let chats = &self.inner.chats;
        let turns = chats.list_turns(payer.user_id, answer_id, after, limit);
        within(STORE_WAIT_MAX, turns).await
    }

    /// Forgets a chat, and says how many turns it had. A reply that is being written is kept no
    /// more.
    ///
    /// # Errors
    /// Those of the store.
    ///
    /// # Cancel safety
    /// That of [`ChatStore::forget_chat`].
    pub async fn forget(&self, user_id: UserId, answer_id: AnswerId) -> Result<u64> {
        let forget = self.inner.chats.forget_chat(user_id, answer_id);
        within(STORE_WAIT_MAX, forget).await
    }

    /// The answers that anyone may see.
    #[must_use]
    pub fn shared_answers(&self) -> &Arc<dyn SharedAnswers> {
        &self.inner.shared
    }

    /// What this process replied so far.
    #[must_use]
    pub fn tally(&self) -> CoachTally {
        self.inner.tallies.read(self.inner.flights.len())
    }

    /// Takes no more questions, and waits at most `patience` for replies under way. Then they end with
    /// fixed words, and what is to be booked is booked.
    pub async fn close(&self, patience: Duration) {
        let inner = &self.inner;
        inner.tasks.close();
        if timeout(patience, inner.tasks.wait()).await.is_err() {
            inner.closing.cancel();
            // What is left now is to write fixed words down, which has a deadline.
            inner.tasks.wait().await;
        }
        inner.closing.cancel();
        if let Some(provider) = &inner.provider {
            provider.close().await;
        }
    }

    async fn subject(&self, payer: Payer, answer_id: AnswerId) -> Result<ChatSubject> {
        let medcards = &self.inner.medcards;
        let request = medcards
            .feedback_request(payer, answer_id, &Consistency::Strong)
            .await?;
        let settings = medcards.settings(payer.user_id).await?;
        Ok(ChatSubject {
            level: settings.level,
            case: Arc::clone(&request.case),
            chosen: request.key.chosen,
            locale: request.key.locale,
        })
    }
}

impl Inner {
    /// Begins a turn, or finds out who has. In a task of its own: who hangs up must not leave a turn
    /// that nobody replies to.
    async fn begin(self: &Arc<Self>, asked: &Asked) -> Result<Source> {
        let Some(permit) = self.permit() else {
            return self.find_without_permit(asked).await;
        };
        let (sender, receiver) = oneshot::channel();
        let (inner, asked) = (Arc::clone(self), asked.clone());
        drop(
            self.tasks
                .spawn(inner.begin_and_write(asked, permit, sender)),
        );
        receiver.await.unwrap_or_else(|_| {
            let context = "its task ended early; ask again";
            Err(Error::new(ErrorKind::Unexpected, "begin turn", context))
        })
    }

    async fn begin_and_write(
        self: Arc<Self>,
        asked: Asked,
        permit: OwnedSemaphorePermit,
        begun: oneshot::Sender<Result<Source>>,
    ) {
        let now = self.medcards.now();
        let turn = ChatTurn {
            started_at: now,
            ..asked.turn.clone()
        };
        let begin = self.chats.begin_turn(&turn, now - self.config.broken_after);
        let (source, turn) = match within(STORE_WAIT_MAX, begin).await {
            Err(error) => (Err(error), None),
            Ok(TurnStart::Replied(turn)) => (Ok(Source::Replied(Arc::new(turn))), None),
            Ok(TurnStart::UnderWay(turn)) => (Ok(self.here_or_elsewhere(&turn)), None),
            Ok(TurnStart::Begun(turn)) => {
                let flight = self.flights.begin((turn.user_id, turn.id));
                (
                    Ok(Source::Flight(Arc::clone(&flight))),
                    Some((turn, flight)),
                )
            }
        };
        // Whoever asked may have gone.
        let _ = begun.send(source);
        if let Some((turn, flight)) = turn {
            let asked = Asked { turn, ..asked };
            self.write(asked, flight, permit).await;
        }
    }

    /// Where the words of a turn are that may have been begun.
    async fn source_of(self: &Arc<Self>, asked: &Asked) -> Result<Source> {
        let turn = &asked.turn;
        if turn.reply.is_some() {
            return Ok(Source::Replied(Arc::new(turn.clone())));
        }
        if let Some(flight) = self.flights.find(&(turn.user_id, turn.id)) {
            return Ok(Source::Flight(flight));
        }
        self.begin(asked).await
    }

    /// The same when no reply can be begun.
    async fn find_without_permit(&self, asked: &Asked) -> Result<Source> {
        let known = self.find_turn(asked.turn.user_id, asked.turn.id).await?;
        let busy = || {
            if self.tasks.is_closed() {
                let context = "the server stops; ask again";
                return Error::new(ErrorKind::Unavailable, "begin turn", context);
            }
            let context = "as many replies as allowed are under way";
            Error::new(ErrorKind::Busy, "begin turn", context).with_retry_after(BUSY_PAUSE)
        };
        let known = known.ok_or_else(busy)?;
        let (known_as, asked_as) = (
            (known.answer_id, &known.question),
            (asked.turn.answer_id, &asked.turn.question),
        );
        if known_as != asked_as {
            let context = "this id is taken by another question: ask with another id";
            return Err(Error::new(ErrorKind::Conflict, "begin turn", context));
        }
        if known.reply.is_some() {
            return Ok(Source::Replied(Arc::new(known)));
        }
        match self.here_or_elsewhere(&known) {
            Source::Elsewhere if self.is_broken(&known) => Err(busy()),
            source => Ok(source),
        }
    }

    fn here_or_elsewhere(&self, turn: &ChatTurn) -> Source {
        let flight = self.flights.find(&(turn.user_id, turn.id));
        flight.map_or(Source::Elsewhere, Source::Flight)
    }

    /// Whether whoever writes the reply is given up on.
    fn is_broken(&self, turn: &ChatTurn) -> bool {
        turn.started_at < self.medcards.now() - self.config.broken_after
    }

    /// The right to write one more reply, unless there are too many or the coach closes.
    fn permit(&self) -> Option<OwnedSemaphorePermit> {
        if self.tasks.is_closed() {
            return None;
        }
        Arc::clone(&self.turns).try_acquire_owned().ok()
    }

    async fn find_turn(&self, user_id: UserId, turn_id: TurnId) -> Result<Option<ChatTurn>> {
        within(STORE_WAIT_MAX, self.chats.find_turn(user_id, turn_id)).await
    }
}

impl fmt::Debug for Coach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coach")
            .field("chats", &self.inner.chats)
            .field("provider", &self.inner.provider)
            .field("config", &self.inner.config)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Coach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coach({}, ", self.inner.chats)?;
        match &self.inner.provider {
            Some(provider) => write!(f, "{provider})"),
            None => f.write_str("no model)"),
        }
    }
}

/// The work, or an error when its time is over.
async fn within<T>(time: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(time, work).await.unwrap_or_else(|_| {
        let context = "the store of chats takes longer than it may";
        Err(Error::new(ErrorKind::Timeout, "wait for chats", context))
    })
}

/// Whether words are a question: text, and not too much of it.
fn check_text(text: &str) -> Result<()> {
    let invalid = |context: String| Err(Error::new(ErrorKind::Invalid, "read question", context));
    if text.trim().is_empty() {
        return invalid("it is empty: ask something about the case".to_owned());
    }
    if text.len() > QUESTION_LEN_MAX {
        return invalid(format!(
            "it has more than {QUESTION_LEN_MAX} bytes: shorten it"
        ));
    }
    let is_text = |char: char| !char.is_control() || matches!(char, '\n' | '\r' | '\t');
    if !text.chars().all(is_text) {
        return invalid("it has control characters: send plain text".to_owned());
    }
    Ok(())
}

/// Reads the instant inside a client's turn id and checks it against the clock.
fn turn_instant(id: TurnId, now: Timestamp) -> Result<Timestamp> {
    let invalid = |context| Error::new(ErrorKind::Invalid, "read turn id", context);
    let instant = AnswerId::from_bytes(*id.as_bytes())
        .instant()
        .ok_or_else(|| {
            invalid("it must be a UUID of version 7 (RFC 9562), made when the student asked")
        })?;
    if instant < now - TURN_AGE_MAX {
        return Err(invalid(
            "its instant is more than a day ago: check the client's clock",
        ));
    }
    if instant > now + TURN_SKEW_MAX {
        return Err(invalid(
            "its instant is in the future: check the client's clock",
        ));
    }
    Ok(instant)
}
