use std::fmt;

use crate::{Error, ErrorKind, Result};

/// A part of a list, with the cursor that continues it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a page is these two things")]
pub struct Page<T> {
    /// The items, in the list's order.
    pub items: Vec<T>,
    /// Where the next page begins, or `None` at the end.
    pub next: Option<PageCursor>,
}

impl<T> Page<T> {
    /// A page with nothing on it and nothing after it.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            items: Vec::new(),
            next: None,
        }
    }

    /// Turns every item into something else.
    pub fn map<U>(self, turn: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(turn).collect(),
            next: self.next,
        }
    }
}

/// Where a page begins.
///
/// Opaque: only the store that made it reads it. A store refuses a cursor that is not its own with
/// [`ErrorKind::Invalid`]. URL-safe text of at most 256 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageCursor(Box<str>);

impl PageCursor {
    /// The longest cursor, in bytes: two ids and a sort key, twice over.
    pub const LEN_MAX: usize = 256;

    /// Takes a cursor as a client sends it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is empty, too long, or has characters no cursor has.
    pub fn parse(text: &str) -> Result<Self> {
        let fits = !text.is_empty() && text.len() <= Self::LEN_MAX;
        if fits
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.~".contains(&b))
        {
            return Ok(Self(text.into()));
        }
        Err(Self::unknown())
    }

    /// The error for a cursor that this list did not give.
    #[must_use]
    pub fn unknown() -> Error {
        Error::new(
            ErrorKind::Invalid,
            "read cursor",
            "this list gave no such cursor; start without one, then send back next_cursor unchanged",
        )
    }

    /// The cursor as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PageCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How many items a page may have: 1 to 100.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageLimit(u16);

impl PageLimit {
    /// The most items on a page: a hundred cases are about 200 kB.
    pub const MAX: Self = Self(100);

    /// Takes a number of items.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is not between 1 and 100.
    pub fn new(items: u32) -> Result<Self> {
        match u16::try_from(items) {
            Ok(items) if (1..=Self::MAX.0).contains(&items) => Ok(Self(items)),
            _ => Err(Error::new(
                ErrorKind::Invalid,
                "read limit",
                "it must be between 1 and 100",
            )),
        }
    }

    /// The number of items.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

impl Default for PageLimit {
    /// Twenty items.
    fn default() -> Self {
        Self(20)
    }
}
