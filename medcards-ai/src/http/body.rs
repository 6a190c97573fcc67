use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use medcards_core::{Error, ErrorKind, Result};
use reqwest::Response;
use sse_stream::{Sse, SseByteStream};

use super::ASK;

/// The most bytes of one reply, framing included: 32,000 tokens, each in an event of 250 bytes.
///
/// A reply beyond it is a failure. Feedback has about a hundredth of it.
pub const REPLY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The most bytes that may come without completing an event, give or take one read.
///
/// Events carry a few words each; some servers send a block of text, which is some kilobytes.
pub const EVENT_BYTES_MAX: usize = 256 * 1024;

/// Reads a body piece by piece, within the time between two pieces and the most bytes of a reply.
pub(super) fn pieces(
    response: Response,
    between_bytes: Duration,
) -> BoxStream<'static, Result<Bytes>> {
    let next = move |(mut response, total): (Response, usize)| async move {
        let piece = match tokio::time::timeout(between_bytes, response.chunk()).await {
            Err(elapsed) => return Err(stalled().with_source(elapsed)),
            Ok(Err(source)) => return Err(broken().with_source(source.without_url())),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(piece))) => piece,
        };
        let total = total + piece.len();
        if total > REPLY_BYTES_MAX {
            return Err(too_large("the reply", REPLY_BYTES_MAX));
        }
        Ok(Some((piece, (response, total))))
    };
    stream::try_unfold((response, 0), next).boxed()
}

/// Reads a whole body, at most `bytes_max` of it.
pub(super) async fn whole(
    pieces: impl Stream<Item = Result<Bytes>>,
    bytes_max: usize,
) -> Result<Vec<u8>> {
    let mut pieces = std::pin::pin!(pieces);
    let mut body = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
        if body.len() + piece.len() > bytes_max {
            return Err(too_large("the body", bytes_max));
        }
        body.extend_from_slice(&piece);
    }
    Ok(body)
}

/// Parts pieces of bytes into server-sent events.
pub(super) fn events(
    pieces: impl Stream<Item = Result<Bytes>> + Send + 'static,
) -> BoxStream<'static, Result<Sse>> {
    let pending = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&pending);
    let counted = pieces.and_then(move |piece| {
        let fits = counter.fetch_add(piece.len(), Ordering::Relaxed) <= EVENT_BYTES_MAX;
        std::future::ready(if fits {
            Ok(piece)
        } else {
            Err(too_large("an event", EVENT_BYTES_MAX))
        })
    });
    SseByteStream::new(counted.boxed())
        .inspect_ok(move |_| pending.store(0, Ordering::Relaxed))
        .map_err(unframed)
        .boxed()
}

fn unframed(error: sse_stream::Error) -> Error {
    match error {
        sse_stream::Error::Body(source) => match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(source) => broken().with_source(source),
        },
        other => Error::new(
            ErrorKind::Corrupt,
            ASK,
            "the reply is not a stream of events",
        )
        .with_source(other),
    }
}

fn stalled() -> Error {
    Error::new(ErrorKind::Timeout, ASK, "the reply stalled")
}

fn broken() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        ASK,
        "the connection broke within the reply",
    )
}

fn too_large(what: &str, bytes_max: usize) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        ASK,
        format!("{what} has more than {bytes_max} bytes"),
    )
}
