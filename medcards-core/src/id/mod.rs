//! Ids of users, cases, answers and reservations.
//!
//! An id is a UUID of version 7 ([RFC 9562]): it carries the instant of its making and sorts by it.
//! Users are the exception: their ids come from whoever signs the tokens, and may be any UUID.
//!
//! [RFC 9562]: https://www.rfc-editor.org/rfc/rfc9562

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::{NoContext, Uuid};

use crate::{Error, ErrorKind};

macro_rules! uuid_id {
    ($(#[$docs:meta])* $name:ident, $what:literal) => {
        $(#[$docs])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Makes a new id of version 7 for something that happens at `now`.
            ///
            /// Ids made for the same millisecond differ by 74 random bits.
            #[must_use]
            pub fn new(now: Timestamp) -> Self {
                Self(version_seven(now))
            }

            /// Takes a UUID of any version as it is.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// The UUID inside.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }

            /// The sixteen bytes, in network order.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// Reads the sixteen bytes that [`Self::as_bytes`] gives.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.as_hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self, Error> {
                Uuid::try_parse(text).map(Self).map_err(|source| {
                    Error::new(ErrorKind::Invalid, concat!("read ", $what, " id"), "it must be a UUID")
                        .with_source(source)
                })
            }
        }
    };
}

uuid_id! {
    /// Names a user. Any UUID: it is the subject of the user's token.
    UserId, "user"
}
uuid_id! {
    /// Names a case, through all its versions.
    CaseId, "case"
}
uuid_id! {
    /// Names an answer of one user, and is the client's idempotency key.
    ///
    /// Two users may use the same id without knowing of each other.
    AnswerId, "answer"
}
uuid_id! {
    /// Names money set aside for one live call.
    ReservationId, "reservation"
}

impl UserId {
    /// Stands for everyone in an event that is of no one user. No student has this id.
    pub const EVERYONE: Self = Self(Uuid::nil());
}

impl AnswerId {
    /// The instant inside the id, to the millisecond, or `None` if it is not of version 7.
    #[must_use]
    pub fn instant(&self) -> Option<Timestamp> {
        if self.0.get_version_num() != 7 || self.0.get_variant() != uuid::Variant::RFC4122 {
            return None;
        }
        let (seconds, nanos) = self.0.get_timestamp()?.to_unix();
        Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanos).ok()?).ok()
    }
}

fn version_seven(now: Timestamp) -> Uuid {
    // Before 1970 there are no version 7 ids: such a clock is broken, and gets the first instant.
    let seconds = u64::try_from(now.as_second()).unwrap_or(0);
    let nanos = u32::try_from(now.subsec_nanosecond()).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(NoContext, seconds, nanos))
}

uuid_id! {
    /// Names a job.
    JobId, "job"
}

uuid_id! {
    /// Names a turn of a chat, and is its idempotency key.
    TurnId, "turn"
}

uuid_id! {
    /// Names an answer of the coach that anyone may see.
    SharedAnswerId, "shared answer"
}

uuid_id! {
    /// Names a batch of feedback to be written before it is asked for.
    BatchId, "batch"
}
