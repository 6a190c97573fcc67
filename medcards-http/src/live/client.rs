use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::Timestamp;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};

use super::line::{NoticeLine, NoticeMessage, NoticeView};
use super::places::Place;
use super::{LiveFigures, NoticeCursor, NoticeFeed};
use crate::api::Shared;
use crate::auth::Caller;
use crate::problem::Problem;

/// How often a connection is used at least: proxies close those that are silent for 30 seconds.
const PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long a client that answers pings may be silent: it may miss two of them.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// How long one message may take to be sent. It is some hundred bytes: whoever takes longer does not
/// read.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a client may take to hear that no more comes.
pub(super) const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// How much a client may send between two pings: it has nothing to say but that it is there.
const HEARD_PER_PING_MAX: u32 = 100;

/// How often it is checked that a session was not revoked: as long may one listen on.
const SESSION_CHECK_INTERVAL: Duration = Duration::from_mins(1);

/// By what a client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    EventStream,
    WebSocket,
}

impl Transport {
    pub(super) const ALL: [Self; 2] = [Self::EventStream, Self::WebSocket];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::EventStream => "event_stream",
            Self::WebSocket => "websocket",
        }
    }
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// The client sends more than it should.
    Chatty,
    /// The client does not keep up.
    CutOff,
    /// The server stops.
    Draining,
    /// The token is not good any more.
    Expired,
    /// The client is gone.
    Gone,
    /// The client does not answer pings.
    Silent,
    /// The store cannot be read.
    Unavailable,
}

impl Leaving {
    /// The stable name, as sent.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Chatty => "chatty",
            Self::CutOff => "cut_off",
            Self::Draining => "draining",
            Self::Expired => "expired",
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Unavailable => "unavailable",
        }
    }
}

/// A client that listens.
pub(crate) struct Client {
    app: Shared,
    caller: Caller,
    feed: NoticeFeed,
    open: Open,
}

/// Counts a connection as open while it is.
struct Open {
    figures: Arc<LiveFigures>,
    transport: Transport,
    _place: Place,
}

impl Client {
    /// Takes a place for a caller, and subscribes to what comes behind `after`, or from now on.
    ///
    /// # Errors
    /// If there is no place, the server stops, or the store cannot be read.
    pub(crate) async fn new(
        app: &Shared,
        caller: Caller,
        after: Option<NoticeCursor>,
        transport: Transport,
    ) -> Result<Self, Problem> {
        let live = app.live()?;
        app.drain.refuse_new()?;
        let place = live.places.take(caller.user_id)?;
        let feed = live
            .feed(caller.user_id, after.map(|cursor| cursor.0))
            .await?;
        let figures = Arc::clone(&live.figures);
        figures.opened(transport);
        Ok(Self {
            app: Arc::clone(app),
            caller,
            feed,
            open: Open {
                figures,
                transport,
                _place: place,
            },
        })
    }

    /// Tells the client of everything until either side ends it.
    pub(crate) async fn serve(mut self, mut line: impl NoticeLine) {
        let Err(leaving) = self.tell_all(&mut line).await;
        if leaving == Leaving::CutOff {
            self.open.figures.cut_off(self.open.transport);
        }
        tracing::debug!(
            leaving = leaving.as_str(),
            "a client is not told of notices any more"
        );
        line.close(leaving).await;
    }

    async fn tell_all(&mut self, line: &mut impl NoticeLine) -> Result<Infallible, Leaving> {
        let app = Arc::clone(&self.app);
        let cursor = NoticeCursor(self.feed.position()).to_string();
        in_time(line.tell(&NoticeMessage::Began { cursor })).await?;
        let mut ends = Box::pin(ends(&app, self.caller));
        let mut pings = pings();
        let mut heard_at = Instant::now();
        let mut heard = 0;
        loop {
            tokio::select! {
                biased;
                () = app.drain.begun() => return Err(Leaving::Draining),
                leaving = &mut ends => return Err(leaving),
                came = line.heard() => {
                    came?;
                    heard_at = Instant::now();
                    heard += 1;
                    if heard > HEARD_PER_PING_MAX {
                        return Err(Leaving::Chatty);
                    }
                }
                _ = pings.tick() => {
                    if self.open.transport == Transport::WebSocket
                        && heard_at.elapsed() > SILENCE_MAX
                    {
                        return Err(Leaving::Silent);
                    }
                    heard = 0;
                    in_time(line.ping()).await?;
                }
                notice = self.feed.next() => {
                    let notice = notice.map_err(|error| {
                        tracing::warn!(%error, "a client cannot be told what it missed");
                        Leaving::Unavailable
                    })?;
                    let notice = notice.ok_or(Leaving::CutOff)?;
                    let message = NoticeMessage::Notice(NoticeView::new(&notice));
                    in_time(line.tell(&message)).await?;
                    self.open.figures.delivered(self.open.transport);
                }
            }
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.figures.closed(self.transport);
    }
}

fn pings() -> Interval {
    let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

/// Waits for what is sent, as long as it may take.
async fn in_time(sent: impl Future<Output = Result<(), Leaving>>) -> Result<(), Leaving> {
    timeout(WRITE_TIMEOUT, sent)
        .await
        .unwrap_or(Err(Leaving::CutOff))
}

/// Waits until the caller's token is not good any more.
async fn ends(app: &Shared, caller: Caller) -> Leaving {
    if caller.session.is_none() {
        sleep(until(app.medcards.now(), caller.good_until)).await;
        return Leaving::Expired;
    }
    loop {
        sleep(SESSION_CHECK_INTERVAL).await;
        match app.auth.is_session_live(&caller).await {
            Ok(true) => {}
            Ok(false) => return Leaving::Expired,
            Err(error) => {
                tracing::warn!(%error, "a session of a client cannot be looked up");
                return Leaving::Unavailable;
            }
        }
    }
}

fn until(now: Timestamp, end: Timestamp) -> Duration {
    Duration::try_from(end.duration_since(now)).unwrap_or_default()
}
