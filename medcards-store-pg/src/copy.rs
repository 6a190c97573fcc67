//! Rows in the [binary format] of `COPY`: no text to be escaped, and none to be read by the server.
//!
//! [binary format]: https://www.postgresql.org/docs/current/sql-copy.html

use medcards_core::Timestamp;
use medcards_core::jiff::civil::{Date, date};
use tokio::time::timeout;
use uuid::Uuid;

use crate::error::Failure;
use crate::session::Lease;

/// Signature, flags, and the length of a header extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// A count of columns that says that there are no more rows.
const TRAILER: i16 = -1;

/// The length that stands for null.
const NULL: i32 = -1;

/// Before the text of a `jsonb`: its format.
const JSONB_FORMAT: u8 = 1;

/// The instant that the server counts from, 2000-01-01, in microseconds since 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The day that the server counts from.
const EPOCH_DAY: Date = date(2000, 1, 1);

/// Rows for a `COPY … FROM STDIN WITH (FORMAT binary)`.
#[derive(Debug)]
pub(crate) struct CopyRows {
    bytes: Vec<u8>,
}

impl CopyRows {
    pub(crate) fn new() -> Self {
        Self {
            bytes: HEADER.to_vec(),
        }
    }

    /// Begins a row; as many columns must follow.
    pub(crate) fn row(&mut self, columns: i16) -> &mut Self {
        self.bytes.extend_from_slice(&columns.to_be_bytes());
        self
    }

    pub(crate) fn null(&mut self) -> &mut Self {
        self.bytes.extend_from_slice(&NULL.to_be_bytes());
        self
    }

    /// A value, or null.
    pub(crate) fn optional<T>(
        &mut self,
        value: Option<T>,
        write: impl FnOnce(&mut Self, T) -> &mut Self,
    ) -> &mut Self {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    pub(crate) fn uuid(&mut self, id: &Uuid) -> &mut Self {
        self.raw(id.as_bytes())
    }

    pub(crate) fn bool(&mut self, value: bool) -> &mut Self {
        self.raw(&[u8::from(value)])
    }

    /// A `smallint`.
    pub(crate) fn small(&mut self, number: i16) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    /// An `integer`.
    pub(crate) fn integer(&mut self, number: i32) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    /// A `bigint`.
    pub(crate) fn big(&mut self, number: i64) -> &mut Self {
        self.raw(&number.to_be_bytes())
    }

    pub(crate) fn text(&mut self, text: &str) -> &mut Self {
        self.raw(text.as_bytes())
    }

    /// A `bytea`.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.length(bytes.len());
        self.bytes.extend_from_slice(bytes);
        self
    }

    pub(crate) fn jsonb(&mut self, text: &str) -> &mut Self {
        self.length(text.len() + 1);
        self.bytes.push(JSONB_FORMAT);
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// A `timestamptz`.
    pub(crate) fn instant(&mut self, instant: Timestamp) -> &mut Self {
        self.big(instant.as_microsecond() - EPOCH_MICROS)
    }

    /// A `date`.
    pub(crate) fn day(&mut self, day: Date) -> &mut Self {
        self.integer(EPOCH_DAY.until(day).map_or(0, |span| span.get_days()))
    }

    /// Says that there are no more.
    pub(crate) fn ended(mut self) -> Self {
        self.bytes.extend_from_slice(&TRAILER.to_be_bytes());
        self
    }

    /// Writes them all, within the transaction of the connection.
    ///
    /// `statement` is a `COPY … FROM STDIN WITH (FORMAT binary)`.
    pub(crate) async fn write(&self, lease: &mut Lease, statement: &str) -> Result<u64, Failure> {
        let (connection, wait) = lease.connection()?;
        let copying = async {
            let mut copy = connection.copy_in_raw(statement).await?;
            copy.send(self.bytes.as_slice()).await?;
            copy.finish().await
        };
        let done = timeout(wait, copying).await;
        done.map_or(Err(Failure::Silent), |done| Ok(done?))
    }

    /// A value of 2 GB is beyond what any column takes; the server refuses its row.
    fn length(&mut self, length: usize) {
        let length = i32::try_from(length).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_as_the_server_counts_them() {
        let mut rows = CopyRows::new();
        rows.row(3)
            .day("1999-12-31".parse().unwrap())
            .instant("2000-01-01T00:00:01Z".parse().unwrap())
            .jsonb("{}");
        let expected: Vec<u8> = [
            HEADER,
            &[0, 3],
            &[0, 0, 0, 4, 255, 255, 255, 255],
            &[0, 0, 0, 8, 0, 0, 0, 0, 0, 15, 66, 64],
            &[0, 0, 0, 3, 1, b'{', b'}'],
        ]
        .concat();
        assert_eq!(rows.bytes, expected);
    }
}
