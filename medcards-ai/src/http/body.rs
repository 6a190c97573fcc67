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

/// The limits within which a body is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reading {
    /// What errors call the operation.
    pub(crate) operation: &'static str,
    /// The longest wait for the next piece.
    pub(crate) between_bytes: Duration,
    /// The most bytes.
    pub(crate) bytes_max: u64,
}

impl Reading {
    /// Reads a reply of a model.
    pub(crate) const fn reply(between_bytes: Duration) -> Self {
        Self {
            operation: ASK,
            between_bytes,
            bytes_max: REPLY_BYTES_MAX as u64,
        }
    }
}

/// Reads a body piece by piece.
pub(crate) fn pieces(response: Response, reading: Reading) -> BoxStream<'static, Result<Bytes>> {
    let Reading {
        operation,
        between_bytes,
        bytes_max,
    } = reading;
    let next = move |(mut response, total): (Response, u64)| async move {
        let piece = match tokio::time::timeout(between_bytes, response.chunk()).await {
            Err(elapsed) => return Err(stalled(operation).with_source(elapsed)),
            Ok(Err(source)) => return Err(broken(operation).with_source(source.without_url())),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(piece))) => piece,
        };
        let total = total.saturating_add(piece.len() as u64);
        if total > bytes_max {
            return Err(too_large(operation, "the reply", bytes_max));
        }
        Ok(Some((piece, (response, total))))
    };
    stream::try_unfold((response, 0), next).boxed()
}

/// Reads a whole body.
pub(crate) async fn whole(response: Response, reading: Reading) -> Result<Vec<u8>> {
    let mut pieces = pieces(response, reading);
    let mut body = Vec::new();
    while let Some(piece) = pieces.try_next().await? {
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
            Err(too_large(ASK, "an event", EVENT_BYTES_MAX as u64))
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
            Err(source) => broken(ASK).with_source(source),
        },
        other => Error::new(
            ErrorKind::Corrupt,
            ASK,
            "the reply is not a stream of events",
        )
        .with_source(other),
    }
}

fn stalled(operation: &'static str) -> Error {
    Error::new(ErrorKind::Timeout, operation, "the reply stalled")
}

fn broken(operation: &'static str) -> Error {
    let context = "the connection broke within the reply";
    Error::new(ErrorKind::Unavailable, operation, context)
}

pub(super) fn too_large(operation: &'static str, what: &str, bytes_max: u64) -> Error {
    let context = format!("{what} has more than {bytes_max} bytes");
    Error::new(ErrorKind::Corrupt, operation, context)
}
