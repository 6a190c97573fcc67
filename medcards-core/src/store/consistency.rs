use std::fmt;
use std::time::Duration;

/// How fresh a read must be.
///
/// A store with one copy of the data answers every read as [`Consistency::Strong`]. What a read of
/// another consistency does not find may exist nevertheless; a strong one finds out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Consistency {
    /// Any copy that has seen the write which gave this token. A token that the store does not know
    /// is read as [`Consistency::Strong`].
    AtLeast(ReadToken),
    /// Any copy at most this far behind.
    Bounded(Duration),
    /// The copy that takes the writes.
    #[default]
    Strong,
}

impl Consistency {
    /// What a read needs that must see a write: the token which the write gave, else
    /// [`Consistency::Strong`].
    #[must_use]
    pub fn after(token: Option<ReadToken>) -> Self {
        token.map_or(Self::Strong, Self::AtLeast)
    }
}

/// Proof of a write, handed to a later read so that it sees that write.
///
/// Opaque: only the store that made it reads it. At most 64 bytes of printable ASCII, so that it
/// fits a header.
///
/// Clients keep tokens and send them on, also after the data have moved to another store. Such a
/// token is never an error and never makes a read less fresh: a store puts into its tokens what tells
/// its own apart, and answers any other with a strong read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ReadToken(Box<str>);

impl ReadToken {
    /// The longest token, in bytes: a shard number and a 64-bit log position need 40.
    pub const LEN_MAX: usize = 64;

    /// Takes a token as the store wrote it, or `None` if it cannot be one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::LEN_MAX;
        (fits && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| Self(text.into()))
    }

    /// The token as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ReadToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
