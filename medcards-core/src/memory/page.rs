use std::fmt::Display;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

use crate::Result;
use crate::store::{Page, PageCursor, PageLimit};

/// One list, as its cursors know it: a cursor of another list does not carry its digest.
#[derive(Clone, Copy)]
pub(super) struct ListId(u64);

impl ListId {
    /// The list that this text describes: its name and everything that decides what is on it.
    pub(super) fn new(description: &str) -> Self {
        Self(xxh3_64(description.as_bytes()))
    }

    /// Writes the cursor that continues after `place`.
    pub(super) fn cursor(self, place: impl Display) -> Result<PageCursor> {
        PageCursor::parse(&format!("m1.{:016x}.{place}", self.0))
    }

    /// The `N` parts of the place that a cursor of this list carries.
    pub(super) fn place<const N: usize>(self, cursor: &PageCursor) -> Result<[&str; N]> {
        let place = cursor
            .as_str()
            .strip_prefix(&format!("m1.{:016x}.", self.0));
        place
            .map(|place| place.split('.').collect::<Vec<_>>())
            .and_then(|parts| parts.try_into().ok())
            .ok_or_else(PageCursor::unknown)
    }
}

/// Reads a part of a place.
pub(super) fn part<T: FromStr>(text: &str) -> Result<T> {
    text.parse().ok().ok_or_else(PageCursor::unknown)
}

/// Takes one page from the rest of a list.
pub(super) fn page<T>(
    rest: impl Iterator<Item = T>,
    limit: PageLimit,
    cursor_after: impl Fn(&T) -> Result<PageCursor>,
) -> Result<Page<T>> {
    let mut items: Vec<T> = rest.take(limit.get() + 1).collect();
    let goes_on = items.len() > limit.get();
    items.truncate(limit.get());
    let next = items
        .last()
        .filter(|_| goes_on)
        .map(cursor_after)
        .transpose()?;
    Ok(Page { items, next })
}
