use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::{Asked, BUSY_PAUSE, ChatPlace, Flight, Inner, Landing, Source};
use crate::chat::ChatTurn;
use crate::flight::Progress;
use crate::{Error, ErrorKind, Result};

/// How soon the store is asked again for a reply that another process writes, and how late at most:
/// the pause doubles. Readers see the reply at once then, so a second more is not noticed.
const POLL_INTERVALS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How often in a row the store may fail to say how far a reply is.
const POLL_FAILURES_MAX: u32 = 3;

/// A reply as it arrives: any number of deltas, then exactly one end or error. After an error, ask
/// again from the last place.
pub type ChatStream = BoxStream<'static, Result<ChatEvent>>;

/// A part of a reply as it arrives.
#[derive(Clone, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "deltas, a new beginning and an end are the contract"
)]
pub enum ChatEvent {
    /// More words.
    Delta {
        /// The words.
        text: Arc<str>,
        /// Where to go on after them.
        place: ChatPlace,
    },
    /// What was shown counts no more: the words that follow stand in its place.
    Restart,
    /// The turn with its reply, whose words are those of the deltas since the last new beginning.
    End(Arc<ChatTurn>),
}

impl fmt::Debug for ChatEvent {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delta { text, place } => write!(f, "Delta({} bytes, {place})", text.len()),
            Self::Restart => f.write_str("Restart"),
            Self::End(turn) => write!(f, "End({turn:?})"),
        }
    }
}

/// Reads a reply to its end.
///
/// # Errors
/// That of the stream.
///
/// # Cancel safety
/// Dropping the future drops the stream; the reply is written all the same.
pub async fn collect_turn(mut stream: ChatStream) -> Result<Arc<ChatTurn>> {
    while let Some(event) = stream.next().await {
        if let ChatEvent::End(turn) = event? {
            return Ok(turn);
        }
    }
    let context = "the stream ended early";
    Err(Error::new(ErrorKind::Unexpected, "read reply", context))
}

pub(super) fn chat_stream(
    inner: &Arc<Inner>,
    asked: Asked,
    source: Source,
    from: ChatPlace,
) -> ChatStream {
    let reader = Reader {
        inner: Arc::clone(inner),
        asked,
        from,
        shown: String::new(),
        ready: VecDeque::new(),
        phase: Phase::Begin(source),
    };
    stream::unfold(reader, |mut reader| async move {
        let event = reader.next().await?;
        Some((event, reader))
    })
    .boxed()
}

/// Someone who reads a reply.
struct Reader {
    inner: Arc<Inner>,
    asked: Asked,
    /// What was read before this stream, until it is found in the words or known not to be there.
    from: ChatPlace,
    /// What was shown of what is the reply now.
    shown: String,
    ready: VecDeque<ChatEvent>,
    phase: Phase,
}

enum Phase {
    Begin(Source),
    Elsewhere(Poll),
    Flight { flight: Arc<Flight>, read: usize },
    Over,
}

/// Someone who waits for another process.
struct Poll {
    pause: Duration,
    deadline: Instant,
    failures: u32,
    _permit: OwnedSemaphorePermit,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<ChatEvent>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            let went_on = match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Over => return None,
                Phase::Begin(source) => self.turn_to(source),
                Phase::Flight { flight, read } => self.read_flight(flight, read).await,
                Phase::Elsewhere(poll) => self.poll(poll).await,
            };
            if let Err(error) = went_on {
                return Some(Err(error));
            }
        }
    }

    fn turn_to(&mut self, source: Source) -> Result<()> {
        match source {
            Source::Replied(turn) => self.end(turn),
            Source::Flight(flight) => {
                let (read, so_far) = flight.so_far();
                self.show_whole(&so_far);
                self.phase = Phase::Flight { flight, read };
            }
            Source::Elsewhere => {
                let permit = Arc::clone(&self.inner.polls).try_acquire_owned();
                let permit = permit.map_err(|_full| {
                    let context = "another process writes the reply, and too many wait already";
                    Error::new(ErrorKind::Busy, "follow turn", context).with_retry_after(BUSY_PAUSE)
                })?;
                let config = &self.inner.config;
                self.phase = Phase::Elsewhere(Poll {
                    pause: POLL_INTERVALS.0,
                    deadline: Instant::now() + config.broken_after + config.reply_deadline,
                    failures: 0,
                    _permit: permit,
                });
            }
        }
        Ok(())
    }

    async fn read_flight(&mut self, flight: Arc<Flight>, read: usize) -> Result<()> {
        match flight.after(read).await {
            Progress::Delta(delta) => {
                self.show(delta);
                let read = read + 1;
                self.phase = Phase::Flight { flight, read };
            }
            Progress::Landed(Landing::Replied(turn)) => self.end(turn),
            Progress::Landed(Landing::Lost) | Progress::Pending => {
                return self.turn_to(Source::Elsewhere);
            }
        }
        Ok(())
    }

    /// Asks once how far the other process is.
    async fn poll(&mut self, mut poll: Poll) -> Result<()> {
        if Instant::now() >= poll.deadline {
            let context = "another process takes longer than it may; ask again";
            return Err(Error::new(ErrorKind::Timeout, "follow turn", context));
        }
        let (user_id, turn_id) = (self.asked.turn.user_id, self.asked.turn.id);
        match self.inner.find_turn(user_id, turn_id).await {
            Ok(None) => {
                let context = "you have no turn with this id";
                return Err(Error::new(ErrorKind::NotFound, "follow turn", context));
            }
            Ok(Some(turn)) => {
                poll.failures = 0;
                let is_waiting = turn.reply.is_none() && !self.inner.is_broken(&turn);
                let flight = self.inner.flights.find(&(user_id, turn_id));
                if !is_waiting || flight.is_some() {
                    self.asked.turn = turn;
                    let source = self.inner.source_of(&self.asked).await?;
                    if !matches!(source, Source::Elsewhere) {
                        return self.turn_to(source);
                    }
                }
            }
            Err(error) => {
                poll.failures += 1;
                if poll.failures == POLL_FAILURES_MAX {
                    return Err(error);
                }
            }
        }
        tokio::select! {
            () = sleep(poll.pause) => {}
            () = self.inner.closing.cancelled() => {
                let context = "the server stops; ask again";
                return Err(Error::new(ErrorKind::Unavailable, "follow turn", context));
            }
        }
        poll.pause = (poll.pause * 2).min(POLL_INTERVALS.1);
        self.phase = Phase::Elsewhere(poll);
        Ok(())
    }

    fn end(&mut self, turn: Arc<ChatTurn>) {
        let text = turn.reply.as_ref().map_or("", |reply| &reply.text);
        self.show_whole(text);
        self.ready.push_back(ChatEvent::End(turn));
    }

    /// Shows what is new of a text that stands for all of the reply so far.
    fn show_whole(&mut self, text: &str) {
        let resumed = std::mem::replace(&mut self.from, ChatPlace::START);
        let rest = if resumed == ChatPlace::START {
            text.strip_prefix(self.shown.as_str())
        } else {
            resumed.rest_of(text)
        };
        let rest = match rest {
            Some(rest) => {
                self.shown = text[..text.len() - rest.len()].to_owned();
                rest
            }
            None => {
                self.ready.push_back(ChatEvent::Restart);
                self.shown.clear();
                text
            }
        };
        if !rest.is_empty() {
            self.show(rest.into());
        }
    }

    fn show(&mut self, text: Arc<str>) {
        self.shown.push_str(&text);
        let place = ChatPlace::after(&self.shown);
        self.ready.push_back(ChatEvent::Delta { text, place });
    }
}
