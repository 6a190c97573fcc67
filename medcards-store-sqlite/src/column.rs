//! How values stand in columns.

use medcards_core::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};

/// Microseconds since 1970. What is finer is cut off.
pub(crate) fn micros(instant: Timestamp) -> i64 {
    instant.as_microsecond()
}

/// The instant as it will be read back.
pub(crate) fn as_stored(instant: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(micros(instant)).unwrap_or(instant)
}

/// A number without sign, which a column cannot hold beyond `i64::MAX`.
pub(crate) fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads the columns of a row, from left to right, as what they mean.
pub(crate) struct Columns<'r> {
    row: &'r SqliteRow,
    at: usize,
}

impl<'r> Columns<'r> {
    pub(crate) fn of(row: &'r SqliteRow) -> Self {
        Self { row, at: 0 }
    }

    /// The next column as the driver reads it; `None` if it is of another type.
    pub(crate) fn next<T: Decode<'r, Sqlite> + Type<Sqlite>>(&mut self) -> Option<T> {
        let value = self.row.try_get(self.at).ok();
        self.at += 1;
        value
    }

    /// The next column as the sixteen bytes of an id.
    pub(crate) fn id(&mut self) -> Option<[u8; 16]> {
        self.next::<&[u8]>()?.try_into().ok()
    }

    /// The next column as an instant.
    pub(crate) fn instant(&mut self) -> Option<Timestamp> {
        Timestamp::from_microsecond(self.next()?).ok()
    }

    /// The next column as an instant, or `None` inside if it is null.
    pub(crate) fn optional_instant(&mut self) -> Option<Option<Timestamp>> {
        self.next::<Option<i64>>()?
            .map(Timestamp::from_microsecond)
            .transpose()
            .ok()
    }

    /// The next column as a number that fits.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self) -> Option<T> {
        self.next::<i64>()?.try_into().ok()
    }

    /// The next column as a number that fits, or `None` inside if it is null.
    pub(crate) fn optional_number<T: TryFrom<i64>>(&mut self) -> Option<Option<T>> {
        self.next::<Option<i64>>()?
            .map(|number| number.try_into().ok())
            .map_or(Some(None), |n| n.map(Some))
    }
}
