//! How values stand in columns.

use std::fmt::Write as _;
use std::time::Duration;

use medcards_core::Timestamp;
use medcards_core::event::LogPosition;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};

use crate::error;

/// Microseconds since 1970. What is finer is cut off.
pub(crate) fn micros(instant: Timestamp) -> i64 {
    instant.as_microsecond()
}

/// The instant as it will be read back.
pub(crate) fn as_stored(instant: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(micros(instant)).unwrap_or(instant)
}

/// So long after an instant, or as late as there is.
pub(crate) fn later(now: Timestamp, by: Duration) -> Timestamp {
    now.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Bytes as a statement takes them in a JSON list: `unhex` makes them bytes again.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// A list as a statement takes it.
pub(crate) fn json_list<T: Serialize>(
    values: impl Iterator<Item = T>,
) -> Result<String, sqlx::Error> {
    let values: Vec<T> = values.collect();
    serde_json::to_string(&values).map_err(error::unwritable)
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

    /// Leaves out some columns.
    pub(crate) fn skip(&mut self, count: usize) {
        self.at += count;
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

    /// The next two columns as a place in the log.
    pub(crate) fn position(&mut self) -> Option<LogPosition> {
        Some(LogPosition {
            transaction: self.next::<i64>()?.cast_unsigned(),
            sequence: self.next::<i64>()?.cast_unsigned(),
        })
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
