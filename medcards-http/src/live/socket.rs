use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use bytes::Bytes;
use tokio::time::timeout;

use super::client::{CLOSE_TIMEOUT, Leaving};
use super::line::{NoticeLine, NoticeMessage};

/// The subprotocol that is spoken: clients that name any must name this.
pub(crate) const PROTOCOL: &str = "medcards";

/// The longest message of a client, in bytes: it has nothing to say, and control frames have 125.
const INBOUND_BYTES_MAX: usize = 1_024;

/// The buffer of what comes, in bytes. It is there for each connection, used or not.
const READ_BUFFER_BYTES: usize = 1_024;

/// The most that may be waiting to be written, in bytes: some messages of a few hundred each.
const WRITE_BUFFER_BYTES_MAX: usize = 16 * 1_024;

// What closing frames say, by the registry of the WebSocket protocol (RFC 6455, 7.4) and, from 4000, of
// our own after the status of HTTP that means the same.
const GOING_AWAY: u16 = 1_001;
const POLICY_VIOLATION: u16 = 1_008;
const INTERNAL_ERROR: u16 = 1_011;
const TRY_AGAIN_LATER: u16 = 1_013;
const EXPIRED: u16 = 4_401;
const SILENT: u16 = 4_408;

/// Limits what a connection may use.
pub(crate) fn sized(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade
        .max_message_size(INBOUND_BYTES_MAX)
        .max_frame_size(INBOUND_BYTES_MAX)
        .read_buffer_size(READ_BUFFER_BYTES)
        // Each message goes out as it is written.
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
}

/// A client by WebSocket.
pub(crate) struct Socket(pub(crate) WebSocket);

impl Socket {
    async fn send(&mut self, message: Message) -> Result<(), Leaving> {
        self.0.send(message).await.map_err(|error| {
            tracing::debug!(%error, "a client is gone");
            Leaving::Gone
        })
    }
}

impl NoticeLine for Socket {
    async fn heard(&mut self) -> Result<(), Leaving> {
        match self.0.recv().await {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(()),
            Some(Ok(Message::Text(_) | Message::Binary(_))) => Err(Leaving::Chatty),
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Leaving::Gone),
        }
    }

    async fn tell(&mut self, message: &NoticeMessage) -> Result<(), Leaving> {
        self.send(Message::Text(message.json().into())).await
    }

    async fn ping(&mut self) -> Result<(), Leaving> {
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn close(mut self, leaving: Leaving) {
        let code = match leaving {
            // It closed by itself: what is left is to answer, which reading on does.
            Leaving::Gone => None,
            Leaving::Chatty => Some(POLICY_VIOLATION),
            Leaving::CutOff => Some(TRY_AGAIN_LATER),
            Leaving::Draining => Some(GOING_AWAY),
            Leaving::Expired => Some(EXPIRED),
            Leaving::Silent => Some(SILENT),
            Leaving::Unavailable => Some(INTERNAL_ERROR),
        };
        // A connection that is dropped before the client has read all loses what is under way.
        let closed = async {
            if let Some(code) = code {
                let reason = leaving.as_str().into();
                self.send(Message::Close(Some(CloseFrame { code, reason })))
                    .await?;
            }
            while let Some(Ok(_)) = self.0.recv().await {}
            Ok::<_, Leaving>(())
        };
        // Whether it answered or not, it is over.
        let _ = timeout(CLOSE_TIMEOUT, closed).await;
    }
}
