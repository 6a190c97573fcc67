use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_64;

use crate::{Error, ErrorKind, Result};

/// How far a reply was read: where to go on after a lost connection.
///
/// It knows what was read by its digest, so that other words that were written meanwhile are not
/// taken for the rest of it. Its text form is `{offset}-{digest}`, the offset in bytes.
///
/// ```
/// use medcards_core::chat::ChatPlace;
///
/// let place = ChatPlace::after("It is the potassium. ");
/// assert_eq!(place.offset(), 21);
/// assert_eq!(place.to_string().parse::<ChatPlace>()?, place);
/// assert_eq!(place.rest_of("It is the potassium. Why?"), Some("Why?"));
/// assert_eq!(place.rest_of("It is not potassium. Why?"), None);
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ChatPlace {
    offset: u32,
    digest: u64,
}

impl ChatPlace {
    /// The place of someone who has read nothing.
    pub const START: Self = Self {
        offset: 0,
        digest: 0,
    };

    /// The place of someone who has read this.
    #[must_use]
    pub fn after(text: &str) -> Self {
        if text.is_empty() {
            return Self::START;
        }
        Self {
            offset: u32::try_from(text.len()).unwrap_or(u32::MAX),
            digest: xxh3_64(text.as_bytes()),
        }
    }

    /// How many bytes were read.
    #[must_use]
    pub const fn offset(self) -> usize {
        self.offset as usize
    }

    /// What of a text comes after this place; `None` if what was read is not its beginning.
    #[must_use]
    pub fn rest_of(self, text: &str) -> Option<&str> {
        let (read, rest) = text.split_at_checked(self.offset())?;
        (Self::after(read) == self).then_some(rest)
    }
}

impl fmt::Display for ChatPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.offset, self.digest)
    }
}

impl FromStr for ChatPlace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (offset, digest) = text.split_once('-')?;
            let place = Self {
                offset: offset.parse().ok()?,
                digest: u64::from_str_radix(digest, 16).ok()?,
            };
            // One place has one text.
            (place.to_string() == text).then_some(place)
        };
        parse().ok_or_else(|| {
            let context = "send it as the stream gave it";
            Error::new(ErrorKind::Invalid, "read place in reply", context)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_goes_on_behind_its_own_words_alone() {
        let text = "Größe ≥ 3 cm";
        for (offset, _) in text.char_indices() {
            let place = ChatPlace::after(&text[..offset]);
            assert_eq!(place.rest_of(text), Some(&text[offset..]), "{offset}");
            let other = format!("x{text}");
            let expected = (offset == 0).then_some(other.as_str());
            assert_eq!(place.rest_of(&other), expected, "{offset}");
        }
        let within_a_letter = ChatPlace {
            offset: 3,
            digest: 0,
        };
        assert_eq!(within_a_letter.rest_of(text), None);
        assert_eq!(ChatPlace::after(text).rest_of("Größe"), None);
    }

    #[test]
    fn a_place_has_one_text() {
        for text in [
            "",
            "-",
            "0",
            "1-",
            "+1-0000000000000000",
            "1-0",
            "01-0000000000000000",
            "x-y",
        ] {
            assert!(text.parse::<ChatPlace>().is_err(), "{text:?}");
        }
        let start = ChatPlace::START.to_string();
        assert_eq!(start.parse::<ChatPlace>().unwrap(), ChatPlace::START);
    }
}
