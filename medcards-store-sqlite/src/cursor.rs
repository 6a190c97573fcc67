//! Cursors of lists: `{kind}.{digest of the list}.{place}`.
//!
//! The digest makes a cursor of another list unknown, so that nobody walks one list with the
//! cursor of another.

use std::fmt::Display;
use std::str::FromStr;

use medcards_core::Result;
use medcards_core::store::PageCursor;
use xxhash_rust::xxh3::xxh3_64;

/// One list, as its cursors know it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ListId {
    kind: &'static str,
    digest: u64,
}

impl ListId {
    /// The list of this kind that is decided by `what`.
    pub(crate) fn new(kind: &'static str, what: &str) -> Self {
        Self {
            kind,
            digest: xxh3_64(what.as_bytes()),
        }
    }

    /// What decides the list, in short.
    pub(crate) fn digest(self) -> u64 {
        self.digest
    }

    /// The cursor that continues after `place`.
    pub(crate) fn cursor(self, place: impl Display) -> Result<PageCursor> {
        PageCursor::parse(&format!("{}.{:016x}.{place}", self.kind, self.digest))
    }

    /// The two parts of the place in a cursor of this list.
    pub(crate) fn pair<A, B>(self, cursor: &PageCursor) -> Result<(A, B)>
    where
        A: FromStr,
        B: FromStr,
    {
        let parse = || {
            let (first, second) = self.place(cursor)?.split_once('.')?;
            Some((first.parse().ok()?, second.parse().ok()?))
        };
        parse().ok_or_else(PageCursor::unknown)
    }

    /// The one part of the place in a cursor of this list.
    pub(crate) fn single<A: FromStr>(self, cursor: &PageCursor) -> Result<A> {
        let place = self.place(cursor).and_then(|place| place.parse().ok());
        place.ok_or_else(PageCursor::unknown)
    }

    fn place(self, cursor: &PageCursor) -> Option<&str> {
        cursor
            .as_str()
            .strip_prefix(&format!("{}.{:016x}.", self.kind, self.digest))
    }
}
