use std::fmt::Display;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

use super::PageCursor;
use crate::Result;

/// One list, as its cursors know it: they read `{kind}.{digest}.{place}`.
///
/// The digest is of everything that decides what is on the list, so that a cursor of another list is
/// unknown to this one. A place has one to three parts, each written without a dot.
///
/// ```
/// use medcards_core::AnswerId;
/// use medcards_core::store::ListId;
///
/// let [mine, yours] = ["answers of ada", "answers of ben"].map(|what| ListId::new("a1", what));
/// let (second, id) = (1_768_464_000, AnswerId::from_bytes([7; 16]));
///
/// let cursor = mine.cursor(format_args!("{second}.{id}"))?;
/// assert_eq!(mine.pair::<i64, AnswerId>(&cursor)?, (second, id));
/// assert!(yours.pair::<i64, AnswerId>(&cursor).is_err());
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListId {
    kind: &'static str,
    digest: u64,
}

impl ListId {
    /// The list of this kind that is decided by `what`.
    ///
    /// A kind names the form of the place too: whoever changes that takes another kind, so that old
    /// cursors are refused and not misread. It has letters and digits.
    #[must_use]
    pub fn new(kind: &'static str, what: &str) -> Self {
        Self {
            kind,
            digest: xxh3_64(what.as_bytes()),
        }
    }

    /// What decides the list, in short: the 64-bit XXH3 of it.
    #[must_use]
    pub const fn digest(self) -> u64 {
        self.digest
    }

    /// The cursor that continues after `place`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a place that does not fit into a cursor;
    /// see [`PageCursor::parse`].
    pub fn cursor(self, place: impl Display) -> Result<PageCursor> {
        PageCursor::parse(&format!("{}{place}", self.prefix()))
    }

    /// The one part of the place in a cursor of this list.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give.
    pub fn single<A: FromStr>(self, cursor: &PageCursor) -> Result<A> {
        let read = || {
            let [a] = self.parts(cursor)?;
            a.parse().ok()
        };
        read().ok_or_else(PageCursor::unknown)
    }

    /// The two parts of the place in a cursor of this list.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give.
    pub fn pair<A: FromStr, B: FromStr>(self, cursor: &PageCursor) -> Result<(A, B)> {
        let read = || {
            let [a, b] = self.parts(cursor)?;
            Some((a.parse().ok()?, b.parse().ok()?))
        };
        read().ok_or_else(PageCursor::unknown)
    }

    /// The three parts of the place in a cursor of this list.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a cursor that this list did not give.
    pub fn triple<A, B, C>(self, cursor: &PageCursor) -> Result<(A, B, C)>
    where
        A: FromStr,
        B: FromStr,
        C: FromStr,
    {
        let read = || {
            let [a, b, c] = self.parts(cursor)?;
            Some((a.parse().ok()?, b.parse().ok()?, c.parse().ok()?))
        };
        read().ok_or_else(PageCursor::unknown)
    }

    fn prefix(self) -> String {
        format!("{}.{:016x}.", self.kind, self.digest)
    }

    fn parts<const N: usize>(self, cursor: &PageCursor) -> Option<[&str; N]> {
        let place = cursor.as_str().strip_prefix(&self.prefix())?;
        let parts: Vec<&str> = place.split('.').collect();
        parts.try_into().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn a_list_reads_back_its_own_cursors_and_no_others() {
        let list = ListId::new("a1", "what");
        let single = list.cursor(7).unwrap();
        let pair = list.cursor("7.8").unwrap();
        let triple = list.cursor("7.8.9").unwrap();
        assert_eq!(list.single::<u8>(&single).unwrap(), 7);
        assert_eq!(list.pair::<u8, i64>(&pair).unwrap(), (7, 8));
        let whole = list.triple::<u8, u16, u32>(&triple).unwrap();
        assert_eq!(whole, (7, 8, 9));

        for other in [ListId::new("a2", "what"), ListId::new("a1", "what else")] {
            let refused = other.single::<u8>(&single).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::Invalid, "{other:?}");
        }
        for (cursor, parts) in [(&single, 1), (&pair, 2), (&triple, 3)] {
            let read = [
                list.single::<u8>(cursor).is_ok(),
                list.pair::<u8, u8>(cursor).is_ok(),
                list.triple::<u8, u8, u8>(cursor).is_ok(),
            ];
            assert_eq!(read, [parts == 1, parts == 2, parts == 3], "{cursor}");
        }
        let wide = list.cursor(256).unwrap();
        assert!(list.single::<u8>(&wide).is_err(), "it is no u8");
        let refused = list.cursor("no space").unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
    }

    /// Clients hold cursors over an update of the server.
    #[test]
    fn cursors_keep_their_form() {
        let cursor = ListId::new("a1", "what").cursor("7.8").unwrap();
        assert_eq!(cursor.as_str(), "a1.df150f73f6e6515c.7.8");
    }
}
