use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use medcards_core::{Error, Result};

use super::body;

/// Parts pieces of bytes into lines, without their ends and without empty ones.
///
/// A line beyond `bytes_max` is an error in its place, and the next line is read all the same; not
/// much more of it than that is held. A broken connection is an error and the end.
pub(crate) fn lines(
    pieces: BoxStream<'static, Result<Bytes>>,
    operation: &'static str,
    bytes_max: usize,
) -> BoxStream<'static, Result<Bytes>> {
    let lines = Lines {
        pieces,
        operation,
        bytes_max,
        pending: BytesMut::new(),
        searched: 0,
        is_skipping: false,
        is_over: false,
    };
    stream::unfold(lines, async |mut lines| {
        let line = lines.next().await?;
        Some((line, lines))
    })
    .boxed()
}

struct Lines {
    pieces: BoxStream<'static, Result<Bytes>>,
    operation: &'static str,
    bytes_max: usize,
    pending: BytesMut,
    /// How much of what is pending has no line end in it.
    searched: usize,
    /// Whether the line that is read is too long, and was told to be.
    is_skipping: bool,
    is_over: bool,
}

impl Lines {
    async fn next(&mut self) -> Option<Result<Bytes>> {
        loop {
            while let Some(line) = self.pending_line() {
                if std::mem::take(&mut self.is_skipping) || line.is_empty() {
                    continue;
                }
                if line.len() > self.bytes_max {
                    return Some(Err(self.too_long()));
                }
                return Some(Ok(line));
            }
            if self.is_skipping {
                self.forget();
            } else if self.pending.len() > self.bytes_max {
                self.forget();
                self.is_skipping = true;
                return Some(Err(self.too_long()));
            }
            if self.is_over {
                return None;
            }
            match self.pieces.next().await {
                Some(Ok(piece)) => self.pending.extend_from_slice(&piece),
                Some(Err(error)) => {
                    self.forget();
                    self.is_over = true;
                    return Some(Err(error));
                }
                // The last line may have no end of its own.
                None => {
                    self.is_over = true;
                    self.pending.extend_from_slice(b"\n");
                }
            }
        }
    }

    fn pending_line(&mut self) -> Option<Bytes> {
        let found = self.pending[self.searched..]
            .iter()
            .position(|byte| *byte == b'\n');
        let Some(at) = found else {
            self.searched = self.pending.len();
            return None;
        };
        let line = self.pending.split_to(self.searched + at + 1).freeze();
        self.searched = 0;
        Some(line.slice_ref(line.trim_ascii()))
    }

    fn too_long(&self) -> Error {
        body::too_large(self.operation, "a line", self.bytes_max as u64)
    }

    fn forget(&mut self) {
        self.pending.clear();
        self.searched = 0;
    }
}
