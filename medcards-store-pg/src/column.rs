//! How values stand in columns.

use jiff_sqlx::Timestamp as Instant;
use medcards_core::Timestamp;
use medcards_core::jiff::civil::Date;
use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row, Type};
use uuid::Uuid;

/// The instant as it is kept: to the microsecond, what is finer being cut off.
pub(crate) fn as_stored(instant: Timestamp) -> Timestamp {
    Timestamp::from_microsecond(instant.as_microsecond()).unwrap_or(instant)
}

/// An instant on its way into a column.
pub(crate) fn instant(instant: Timestamp) -> Instant {
    as_stored(instant).into()
}

/// A day on its way into a column.
pub(crate) fn day(day: Date) -> jiff_sqlx::Date {
    day.into()
}

/// A number without sign, which a column cannot hold beyond `i64::MAX`.
pub(crate) fn saturated(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads the columns of a row, from left to right, as what they mean.
pub(crate) struct Columns<'r> {
    row: &'r PgRow,
    at: usize,
}

impl<'r> Columns<'r> {
    pub(crate) fn of(row: &'r PgRow) -> Self {
        Self { row, at: 0 }
    }

    /// From a column on, counted from 0.
    pub(crate) fn at(row: &'r PgRow, at: usize) -> Self {
        Self { row, at }
    }

    /// The next column as the driver reads it; `None` if it is of another type.
    pub(crate) fn next<T: Decode<'r, Postgres> + Type<Postgres>>(&mut self) -> Option<T> {
        let value = self.row.try_get(self.at).ok();
        self.at += 1;
        value
    }

    /// The next column as an id.
    pub(crate) fn id(&mut self) -> Option<Uuid> {
        self.next()
    }

    /// The next column as an instant.
    pub(crate) fn instant(&mut self) -> Option<Timestamp> {
        Some(self.next::<Instant>()?.to_jiff())
    }

    /// The next column as an instant, or `None` inside if it is null.
    pub(crate) fn optional_instant(&mut self) -> Option<Option<Timestamp>> {
        Some(
            self.next::<Option<Instant>>()?
                .map(|instant| instant.to_jiff()),
        )
    }

    /// The next column as a day.
    pub(crate) fn day(&mut self) -> Option<Date> {
        Some(self.next::<jiff_sqlx::Date>()?.to_jiff())
    }

    /// The next `bigint` as a number that fits.
    pub(crate) fn number<T: TryFrom<i64>>(&mut self) -> Option<T> {
        self.next::<i64>()?.try_into().ok()
    }

    /// The next `bigint` as a number that fits, or `None` inside if it is null.
    pub(crate) fn optional_number<T: TryFrom<i64>>(&mut self) -> Option<Option<T>> {
        self.next::<Option<i64>>()?
            .map(|number| number.try_into().ok())
            .map_or(Some(None), |n| n.map(Some))
    }

    /// The next `integer` as a number that fits.
    pub(crate) fn integer<T: TryFrom<i32>>(&mut self) -> Option<T> {
        self.next::<i32>()?.try_into().ok()
    }
}
