//! Users and their settings.

mod level;

pub use level::Level;

use std::fmt;
use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::UserId;
use crate::{Error, ErrorKind, Result};

/// How a user came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UserKind {
    /// Made by us on request, without an account.
    Guest,
    /// Known by a token that somebody else issued.
    Registered,
}

/// A user, as far as learning is concerned: no name, no address, no account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct User {
    /// The id, which is the subject of the user's tokens.
    pub id: UserId,
    /// How the user came to be known.
    pub kind: UserKind,
    /// What the user chose.
    pub settings: UserSettings,
    /// When the user was first seen.
    pub created_at: Timestamp,
}

impl User {
    /// A user first seen at `created_at`, with default settings.
    #[must_use]
    pub fn new(id: UserId, kind: UserKind, created_at: Timestamp) -> Self {
        Self {
            id,
            kind,
            settings: UserSettings::default(),
            created_at,
        }
    }
}

/// What a user chose.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UserSettings {
    /// Where the user's days begin and end. Default: UTC.
    #[serde(default)]
    pub time_zone: TimeZone,
    /// The language of feedback. Default: that of the case.
    #[serde(default)]
    pub locale: Option<Locale>,
    /// What feedback may take as known. Default: [`Level::Clinical`].
    #[serde(default)]
    pub level: Level,
}

/// The name of a time zone in the [IANA database](https://www.iana.org/time-zones).
///
/// Only its form is checked here: the rules of a zone change, and the newest name must not be
/// refused by an old program. A name unknown at the time of use counts as UTC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct TimeZone(Box<str>);

impl TimeZone {
    /// The longest name, in bytes; the longest in the database has 32.
    pub const LEN_MAX: usize = 64;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for TimeZone {
    fn default() -> Self {
        Self("UTC".into())
    }
}

impl FromStr for TimeZone {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = !text.is_empty() && text.len() <= Self::LEN_MAX;
        if fits
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"/_+-".contains(&b))
        {
            return Ok(Self(text.into()));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "read time zone",
            "it must be a name such as Europe/Paris",
        ))
    }
}

impl Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TimeZone {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A language tag ([BCP 47](https://www.rfc-editor.org/info/bcp47)) of at most 15 bytes, such as
/// `en`, `fr` or `pt-BR`.
///
/// Small enough to copy, so that a feedback key needs no allocation. Case is made uniform:
/// language lower, script titled, region upper.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Locale {
    len: u8,
    bytes: [u8; Self::LEN_MAX],
}

impl Locale {
    /// The longest tag, in bytes: language, script and region need 11.
    pub const LEN_MAX: usize = 15;

    /// English.
    pub const ENGLISH: Self = {
        let mut bytes = [0; Self::LEN_MAX];
        bytes[0] = b'e';
        bytes[1] = b'n';
        Self { len: 2, bytes }
    };

    /// The tag as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("und")
    }

    /// The language alone, such as `pt` of `pt-BR`.
    #[must_use]
    pub fn language(&self) -> &str {
        self.as_str().split('-').next().unwrap_or_default()
    }
}

impl FromStr for Locale {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let invalid = || {
            Error::new(
                ErrorKind::Invalid,
                "read language",
                "it must be a tag such as en or pt-BR",
            )
        };
        if text.len() > Self::LEN_MAX {
            return Err(invalid());
        }
        let mut locale = Self {
            len: 0,
            bytes: [0; Self::LEN_MAX],
        };
        for (part_index, part) in text.split('-').enumerate() {
            let is_language = part_index == 0;
            let well_formed = part
                .bytes()
                .all(|byte| byte.is_ascii_alphabetic() || (!is_language && byte.is_ascii_digit()));
            let least = if is_language { 2 } else { 1 };
            if part.len() < least || part.len() > 8 || !well_formed {
                return Err(invalid());
            }
            if !is_language {
                locale.push(b'-');
            }
            for (byte_index, byte) in part.bytes().enumerate() {
                let upper =
                    !is_language && (part.len() == 2 || (part.len() == 4 && byte_index == 0));
                locale.push(if upper {
                    byte.to_ascii_uppercase()
                } else {
                    byte.to_ascii_lowercase()
                });
            }
        }
        Ok(locale)
    }
}

impl Locale {
    fn push(&mut self, byte: u8) {
        self.bytes[usize::from(self.len)] = byte;
        self.len += 1;
    }
}

impl Default for Locale {
    fn default() -> Self {
        Self::ENGLISH
    }
}

impl Debug for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Locale({})", self.as_str())
    }
}

impl Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Locale {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Locale {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Keeps users.
#[async_trait]
pub trait UserStore: Debug + Display + Send + Sync + 'static {
    /// Makes sure that the user is known, and returns what is stored.
    ///
    /// A user who is known already keeps kind, settings and instant. Two calls at once store one
    /// user.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the user either stored whole or not at all.
    async fn ensure_user(&self, user: User) -> Result<User>;

    /// The user, or `None` if nobody with this id was ever seen.
    ///
    /// # Errors
    /// Those of the storage.
    async fn find_user(&self, user_id: UserId) -> Result<Option<User>>;

    /// Replaces the settings of a user and records the event in the same transaction, at `now`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the user is not known.
    ///
    /// # Cancel safety
    /// A dropped future leaves the settings and their event either both stored or neither.
    async fn update_settings(
        &self,
        user_id: UserId,
        settings: UserSettings,
        now: Timestamp,
    ) -> Result<User>;
}

#[async_trait]
impl<T: UserStore + ?Sized> UserStore for Arc<T> {
    async fn ensure_user(&self, user: User) -> Result<User> {
        (**self).ensure_user(user).await
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>> {
        (**self).find_user(user_id).await
    }

    async fn update_settings(
        &self,
        user_id: UserId,
        settings: UserSettings,
        now: Timestamp,
    ) -> Result<User> {
        (**self).update_settings(user_id, settings, now).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_stored_before_there_were_levels_are_read() {
        let stored = r#"{"time_zone":"Europe/Paris","locale":"fr"}"#;
        let settings: UserSettings = serde_json::from_str(stored).unwrap();
        assert_eq!(settings.level, Level::Clinical);
        assert_eq!(settings.time_zone.as_str(), "Europe/Paris");
    }

    #[test]
    fn locales_are_made_uniform_or_refused() {
        for (given, kept) in [
            ("en", Some("en")),
            ("EN", Some("en")),
            ("pt-br", Some("pt-BR")),
            ("ZH-hans-cn", Some("zh-Hans-CN")),
            ("es-419", Some("es-419")),
            ("", None),
            ("e", None),
            ("en-", None),
            ("en_GB", None),
            ("français", None),
            ("abcdefgh-abcdefgh", None),
        ] {
            let locale = given.parse::<Locale>().ok();
            assert_eq!(locale.as_ref().map(Locale::as_str), kept, "{given:?}");
        }
    }
}
