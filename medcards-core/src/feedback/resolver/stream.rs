use std::fmt;
use std::sync::Arc;

use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::flight::{Flight, Progress};
use crate::spend::MicroDollars;

use super::{FeedbackRequest, FeedbackResolver, RequestAudience, Resolution, Start};

/// A feedback as it arrives: any number of deltas, then exactly one end.
pub type FeedbackStream = BoxStream<'static, FeedbackEvent>;

/// A part of a feedback as it arrives.
#[derive(Clone)]
#[expect(
    clippy::exhaustive_enums,
    reason = "deltas and an end are the contract"
)]
pub enum FeedbackEvent {
    /// More words.
    Delta(Arc<str>),
    /// All of it.
    End(FeedbackEnd),
}

impl fmt::Debug for FeedbackEvent {
    /// Says nothing of the words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Delta(words) => write!(f, "Delta({} bytes)", words.len()),
            Self::End(end) => f.debug_tuple("End").field(end).finish(),
        }
    }
}

/// The end of a feedback.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "made by the resolver alone")]
pub struct FeedbackEnd {
    /// The whole feedback, with its tier and cost.
    pub resolution: Resolution,
    /// Whether its words are others than those of the deltas: the reply broke off or had to be
    /// rejected, and what was shown must be replaced. If not, the deltas joined are its words.
    pub is_replaced: bool,
}

struct State {
    resolver: FeedbackResolver,
    request: FeedbackRequest,
    started_us: u64,
    deadline: Instant,
    streamed: String,
    /// What a personal attempt cost that came to nothing.
    attempt: MicroDollars,
    phase: Phase,
}

enum Phase {
    Start,
    Follow {
        flight: Arc<Flight>,
        is_first: bool,
        read: usize,
    },
    End(Box<Resolution>),
    Over,
}

pub(super) fn feedback_stream(
    resolver: FeedbackResolver,
    request: FeedbackRequest,
) -> FeedbackStream {
    let state = State {
        started_us: resolver.inner.clock.monotonic_us(),
        deadline: Instant::now() + resolver.inner.config.deadline,
        resolver,
        request,
        streamed: String::new(),
        attempt: MicroDollars::ZERO,
        phase: Phase::Start,
    };
    stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((event, state))
    })
    .boxed()
}

impl State {
    async fn next(&mut self) -> Option<FeedbackEvent> {
        loop {
            match std::mem::replace(&mut self.phase, Phase::Over) {
                Phase::Start => match self.resolver.start(&self.request, self.started_us) {
                    Start::Done(resolution) => self.phase = Phase::End(resolution),
                    Start::Flight { flight, is_first } => {
                        self.phase = Phase::Follow {
                            flight,
                            is_first,
                            read: 0,
                        };
                    }
                },
                Phase::Follow {
                    flight,
                    is_first,
                    read,
                } => {
                    if let Some(delta) = self.follow(flight, is_first, read).await {
                        return Some(FeedbackEvent::Delta(delta));
                    }
                }
                Phase::End(resolution) if self.streamed.is_empty() => {
                    let text: Arc<str> = resolution.text().into();
                    self.streamed.push_str(&text);
                    self.phase = Phase::End(resolution);
                    return Some(FeedbackEvent::Delta(text));
                }
                Phase::End(resolution) => {
                    let mut resolution = resolution;
                    resolution.cost += self.attempt;
                    let is_replaced = self.streamed != resolution.text();
                    let end = FeedbackEnd {
                        resolution: *resolution,
                        is_replaced,
                    };
                    return Some(FeedbackEvent::End(end));
                }
                Phase::Over => return None,
            }
        }
    }

    /// Waits for the next delta and returns it, or sets the phase that follows.
    async fn follow(
        &mut self,
        flight: Arc<Flight>,
        is_first: bool,
        read: usize,
    ) -> Option<Arc<str>> {
        // Once words have arrived, the deadline of the generation is the only one.
        let progress = if read == 0 {
            timeout_at(self.deadline, flight.after(read)).await.ok()
        } else {
            Some(flight.after(read).await)
        };
        match progress {
            Some(Progress::Delta(delta)) => {
                self.streamed.push_str(&delta);
                self.phase = Phase::Follow {
                    flight,
                    is_first,
                    read: read + 1,
                };
                return Some(delta);
            }
            Some(Progress::Landed(landing))
                if landing.found.is_none() && self.request.audience != RequestAudience::Shared =>
            {
                // Nothing personal can be had: what anyone may see is better than nothing.
                self.attempt += landing.cost;
                self.request.audience = RequestAudience::Shared;
                self.phase = Phase::Start;
            }
            Some(Progress::Landed(landing)) => {
                let ended = self
                    .resolver
                    .finish(&self.request, landing, is_first, self.started_us);
                self.phase = Phase::End(Box::new(ended));
            }
            Some(Progress::Pending) | None => {
                let ended = self.resolver.give_up(&self.request, self.started_us);
                self.phase = Phase::End(Box::new(ended));
            }
        }
        None
    }
}
