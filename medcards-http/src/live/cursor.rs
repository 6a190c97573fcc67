use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use medcards_core::event::LogPosition;
use medcards_core::{Error, ErrorKind};

/// The place of a notice, as clients send it back: 22 letters that mean nothing to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoticeCursor(pub(crate) LogPosition);

impl fmt::Display for NoticeCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.transaction.to_be_bytes());
        bytes[8..].copy_from_slice(&self.0.sequence.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for NoticeCursor {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let halves = bytes.as_deref().and_then(|bytes| {
            let (transaction, sequence) = bytes.split_first_chunk()?;
            Some((*transaction, sequence.try_into().ok()?))
        });
        let (transaction, sequence) = halves.ok_or_else(|| {
            let context = "it must be a cursor as a notice or a page of them gave it";
            Error::new(ErrorKind::Invalid, "read cursor", context)
        })?;
        Ok(Self(LogPosition {
            transaction: u64::from_be_bytes(transaction),
            sequence: u64::from_be_bytes(sequence),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_leads_back_to_its_place() {
        for (transaction, sequence) in [(0, 0), (1, u64::MAX), (u64::MAX, 7)] {
            let place = LogPosition {
                transaction,
                sequence,
            };
            let text = NoticeCursor(place).to_string();
            assert_eq!(text.parse::<NoticeCursor>().unwrap().0, place, "{text}");
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let good = NoticeCursor(LogPosition::START).to_string();
        for text in [
            "",
            "1:2",
            &good[1..],
            &format!("{good}A"),
            &format!("{good}AA"),
            &format!("{good}="),
            &format!("{}B", &good[1..]),
        ] {
            assert!(text.parse::<NoticeCursor>().is_err(), "{text}");
        }
    }
}
