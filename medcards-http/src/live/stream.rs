use std::convert::Infallible;

use axum::response::sse::Event;
use futures_util::{Stream, stream};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::client::{CLOSE_TIMEOUT, Leaving};
use super::line::{NoticeLine, NoticeMessage};

/// A client by server-sent events.
pub(crate) struct EventSender(mpsc::Sender<Event>);

/// The two ends of a stream of events: what writes it, and the body of the response. Nothing piles up
/// between them.
pub(crate) fn event_stream() -> (
    EventSender,
    impl Stream<Item = Result<Event, Infallible>> + Send,
) {
    let (sender, receiver) = mpsc::channel(1);
    let events = stream::unfold(receiver, |mut receiver| async move {
        let event = receiver.recv().await?;
        Some((Ok(event), receiver))
    });
    (EventSender(sender), events)
}

impl EventSender {
    async fn send(&self, event: Event) -> Result<(), Leaving> {
        self.0.send(event).await.ok().ok_or(Leaving::Gone)
    }
}

impl NoticeLine for EventSender {
    async fn heard(&mut self) -> Result<(), Leaving> {
        self.0.closed().await;
        Err(Leaving::Gone)
    }

    async fn tell(&mut self, message: &NoticeMessage) -> Result<(), Leaving> {
        let event = Event::default()
            .id(message.cursor())
            .event(message.name())
            .data(message.json());
        self.send(event).await
    }

    async fn ping(&mut self) -> Result<(), Leaving> {
        self.send(Event::default().comment("keep-alive")).await
    }

    async fn close(self, leaving: Leaving) {
        #[derive(Serialize)]
        struct End {
            reason: &'static str,
        }
        let reason = leaving.as_str();
        // A name always serialises.
        let json = serde_json::to_string(&End { reason }).unwrap_or_default();
        let end = Event::default().event("end").data(json);
        // One that does not read finds the end of the stream by itself.
        let _ = timeout(CLOSE_TIMEOUT, self.0.send(end)).await;
    }
}
