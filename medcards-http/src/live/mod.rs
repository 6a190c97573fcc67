//! Live events: what students are told, as it happens, over WebSockets and server-sent events.
//!
//! One [`NoticeTail`] of the process reads the notices of all users and hands each to the clients of
//! its user. A client that begins, or comes back with the cursor of the last notice it saw, takes part
//! in the tail first, then reads from the store what it missed, and then goes on with the tail: so it
//! gets each notice once, and misses none.

mod client;
mod cursor;
mod feed;
mod figures;
mod line;
mod places;
mod socket;
mod stream;
mod tail;

pub(crate) use client::{Client, Transport};
pub(crate) use cursor::NoticeCursor;
pub(crate) use feed::NoticeFeed;
pub(crate) use line::{NoticeMessage, NoticeView};
pub(crate) use socket::{PROTOCOL, Socket, sized};
pub(crate) use stream::event_stream;

use std::sync::Arc;

use medcards_core::event::LogPosition;
use medcards_core::notice::NoticeStore;
use medcards_core::time::Clock;
use medcards_core::{Result, UserId};

pub(crate) use self::figures::LiveFigures;
use self::places::Places;
use self::tail::NoticeTail;
use crate::config::HttpConfig;

/// What all live connections of a process share.
pub(crate) struct Live {
    pub(crate) notices: Arc<dyn NoticeStore>,
    pub(crate) figures: Arc<LiveFigures>,
    pub(crate) places: Arc<Places>,
    tail: NoticeTail,
}

impl Live {
    pub(crate) fn new(
        notices: Arc<dyn NoticeStore>,
        config: &HttpConfig,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let figures = Arc::new(LiveFigures::default());
        Self {
            tail: NoticeTail::new(Arc::clone(&notices), Arc::clone(&figures), clock),
            places: Arc::new(Places::new(
                config.live_connections_max,
                config.live_connections_per_user_max,
            )),
            notices,
            figures,
        }
    }

    /// The notices of a user after a place, or from now on.
    pub(crate) async fn feed(
        &self,
        user_id: UserId,
        after: Option<LogPosition>,
    ) -> Result<NoticeFeed> {
        let (now, subscription) = self.tail.subscribe(user_id).await?;
        // One from beyond the end is of another store, or of this one before it was restored.
        let after = after.map_or(now, |after| after.min(now));
        let notices = Arc::clone(&self.notices);
        Ok(NoticeFeed::new(notices, user_id, after, subscription))
    }
}
