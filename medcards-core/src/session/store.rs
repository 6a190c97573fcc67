use std::fmt::{Debug, Display};
use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::{Session, SessionKey};
use crate::Result;
use crate::id::UserId;

/// Keeps sessions.
///
/// An ability of its own: a backend that has it need not be a [`Store`](crate::store::Store), and a
/// [`transfer`](crate::transfer) does not carry it. Instants are kept to the microsecond. The caller
/// says what time it is, so that a session ends for all processes by the clock of the one that is
/// asked.
#[async_trait]
pub trait SessionStore: Debug + Display + Send + Sync + 'static {
    /// Begins a session, and returns the keys of those that it ended.
    ///
    /// A user who has [`SESSIONS_PER_USER_MAX`](super::SESSIONS_PER_USER_MAX) others that have not
    /// expired loses the oldest of them. It also removes what has expired: all of this user, and at
    /// most [`EXPIRED_BATCH_MAX`](super::EXPIRED_BATCH_MAX) of others that ended more than
    /// [`EXPIRED_KEPT_FOR`](super::EXPIRED_KEPT_FOR) before. The time is that of
    /// [`created_at`](Session::created_at).
    ///
    /// A session of this user with the same key stays as it is.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`](crate::ErrorKind::Conflict) if another user has a session with this
    /// key; those of the backend.
    ///
    /// # Cancel safety
    /// A dropped future leaves the session begun, with the others ended for it, or changes nothing.
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>>;

    /// Finds a session that has not ended at `now`, and moves its end on.
    ///
    /// Its new end is [`SESSION_TTL`](super::SESSION_TTL) after `now`, less at most
    /// [`SLIDE_STEP`](super::SLIDE_STEP), so that not every use costs a write; never later than
    /// [`SESSION_AGE_MAX`](super::SESSION_AGE_MAX) after its beginning, and never earlier than
    /// before. See [`Session::slides_to`].
    ///
    /// # Errors
    /// Those of the backend: the caller then does not know whether there is a session.
    ///
    /// # Cancel safety
    /// A dropped future may have moved the end on.
    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>>;

    /// The sessions of a user that have not ended at `now`, the newest first.
    ///
    /// They are at most [`SESSIONS_PER_USER_MAX`](super::SESSIONS_PER_USER_MAX). Those begun at the
    /// same instant stand in the descending order of their keys.
    ///
    /// # Errors
    /// Those of the backend.
    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>>;

    /// Ends a session of a user, and says whether there was one. It does not look at the time.
    ///
    /// After this returned, no [`touch_session`](Self::touch_session) that begins later finds it. One
    /// that has this key and is of another user goes on.
    ///
    /// # Errors
    /// Those of the backend; the session may then have ended or not.
    ///
    /// # Cancel safety
    /// A dropped future may have ended the session.
    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool>;

    /// Ends all sessions of a user, and returns their keys in any order.
    ///
    /// After this returned, no [`touch_session`](Self::touch_session) that begins later finds one
    /// that was begun before.
    ///
    /// # Errors
    /// Those of the backend; the sessions may then have ended or not.
    ///
    /// # Cancel safety
    /// A dropped future leaves all of them, or none.
    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>>;
}

#[async_trait]
impl<T: SessionStore + ?Sized> SessionStore for Arc<T> {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        (**self).create_session(session).await
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        (**self).touch_session(key, now).await
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        (**self).list_sessions(user_id, now).await
    }

    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        (**self).revoke_session(user_id, key).await
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        (**self).revoke_sessions(user_id).await
    }
}
