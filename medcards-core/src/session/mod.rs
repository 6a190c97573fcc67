//! Sessions: who is signed in on which device, so that they can be signed out.
//!
//! A session is begun with a token that somebody else issued, and is from then on known by a secret
//! of its own. It ends a day after its last use, thirty days after its beginning, or when it is
//! revoked. Sessions stand beside what is learnt: no [`Store`](crate::store::Store) needs to keep
//! them, and no [`transfer`](crate::transfer) carries them. Students sign in again after a move.

mod store;

pub use store::SessionStore;

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::id::UserId;
use crate::user::UserKind;

/// How long a session lives after its last use.
pub const SESSION_TTL: Duration = Duration::from_hours(24);

/// How much a use must add to the life of a session for the store to write it down: at most one
/// write an hour for each session, and at most an hour that a session lives less.
pub const SLIDE_STEP: Duration = Duration::from_hours(1);

/// How long a session lives at most, however often it is used: then whoever keeps the accounts is
/// asked again whether this is still a user.
pub const SESSION_AGE_MAX: Duration = Duration::from_hours(30 * 24);

/// The most sessions that a user has at once: more than anyone has devices, few enough to list.
pub const SESSIONS_PER_USER_MAX: usize = 20;

/// How many expired sessions of anybody are removed when one is begun: far more than one, so that
/// they cannot pile up, and few enough not to be felt.
pub const EXPIRED_BATCH_MAX: usize = 100;

/// How long after its end an expired session of another user is left where it is, so that a process
/// whose clock is ahead removes none that others still serve.
pub const EXPIRED_KEPT_FOR: Duration = Duration::from_hours(24);

/// Names a session: the SHA-256 of its secret token.
///
/// The token itself is never kept, so that whoever reads a store can sign in as nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// Takes the SHA-256 of a token.
    #[must_use]
    pub const fn from_bytes(digest: [u8; 32]) -> Self {
        Self(digest)
    }

    /// The SHA-256 of the token.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SessionKey {
    /// Says enough to tell sessions apart in a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "SessionKey({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

/// A user who is signed in somewhere.
///
/// ```
/// use medcards_core::session::{SESSION_TTL, Session, SessionKey};
/// use medcards_core::{Timestamp, UserId, user::UserKind};
///
/// let now = Timestamp::from_second(1_768_464_000).expect("it is a second");
/// let key = SessionKey::from_bytes([7; 32]);
/// let session = Session::new(key, UserId::new(now), UserKind::Registered, now);
/// assert!(session.is_live(now));
/// assert!(!session.is_live(now + SESSION_TTL));
/// assert_eq!(session.slides_to(now), None);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every store")]
pub struct Session {
    /// Its name.
    pub key: SessionKey,
    /// Who is signed in.
    pub user_id: UserId,
    /// How the user came to be known.
    pub kind: UserKind,
    /// When it was begun.
    pub created_at: Timestamp,
    /// When it ends, unless it is used before.
    pub expires_at: Timestamp,
}

impl Session {
    /// A session that is begun at `now`.
    #[must_use]
    pub fn new(key: SessionKey, user_id: UserId, kind: UserKind, now: Timestamp) -> Self {
        Self {
            key,
            user_id,
            kind,
            created_at: now,
            expires_at: later(now, SESSION_TTL),
        }
    }

    /// Whether it has not ended at `now`.
    #[must_use]
    pub fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires_at
    }

    /// When it ends if it is used at `now`; `None` if that adds no more than [`SLIDE_STEP`].
    ///
    /// Never later than [`SESSION_AGE_MAX`] after its beginning, and never earlier than it would end
    /// anyway: a clock that was set back shortens nothing.
    #[must_use]
    pub fn slides_to(&self, now: Timestamp) -> Option<Timestamp> {
        let last = later(self.created_at, SESSION_AGE_MAX);
        let to = later(now, SESSION_TTL).min(last);
        let step = SignedDuration::try_from(SLIDE_STEP).unwrap_or(SignedDuration::MAX);
        (to.duration_since(self.expires_at) > step).then_some(to)
    }
}

/// An instant that much later, or the last that there is.
fn later(instant: Timestamp, by: Duration) -> Timestamp {
    instant.checked_add(by).unwrap_or(Timestamp::MAX)
}
