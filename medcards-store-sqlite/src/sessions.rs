use async_trait::async_trait;
use medcards_core::session::{
    EXPIRED_BATCH_MAX, EXPIRED_KEPT_FOR, SESSIONS_PER_USER_MAX, Session, SessionKey, SessionStore,
};
use medcards_core::user::UserKind;
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use serde_json::Value;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, as_stored, micros, saturated};
use crate::error::{self, Failure};
use crate::writer::Write;

const CREATE: &str = "create session";
const TOUCH: &str = "touch session";
const LIST: &str = "list sessions";
const REVOKE: &str = "revoke session";
const REVOKE_ALL: &str = "revoke sessions";

const FIND_SQL: &str =
    "SELECT key, user_id, kind, created_at, expires_at FROM sessions WHERE key = ?";

const INSERT_SQL: &str = "
INSERT INTO sessions (key, user_id, kind, created_at, expires_at) VALUES (?, ?, ?, ?, ?)";

const LIST_SQL: &str = "
SELECT key, user_id, kind, created_at, expires_at FROM sessions
WHERE user_id = ? AND expires_at > ?
ORDER BY created_at DESC, key DESC LIMIT ?";

/// Never earlier than before: a clock may have been set back, and another may have moved it on.
const SLIDE_SQL: &str = "UPDATE sessions SET expires_at = max(expires_at, ?) WHERE key = ?";

const FORGET_OWN_SQL: &str = "DELETE FROM sessions WHERE user_id = ? AND expires_at <= ?";

/// Those who ended longest ago first, so that every one has its turn.
const FORGET_SQL: &str = "
DELETE FROM sessions WHERE key IN (
    SELECT key FROM sessions WHERE expires_at < ? ORDER BY expires_at LIMIT ?
)";

/// All but the newest.
const END_OLDEST_SQL: &str = "
DELETE FROM sessions WHERE key IN (
    SELECT key FROM sessions WHERE user_id = ?
    ORDER BY created_at DESC, key DESC LIMIT -1 OFFSET ?
) RETURNING key";

const REVOKE_SQL: &str = "DELETE FROM sessions WHERE key = ? AND user_id = ?";

const REVOKE_ALL_SQL: &str = "DELETE FROM sessions WHERE user_id = ? RETURNING key";

#[async_trait]
impl SessionStore for SqliteStore {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        let kind = serde_json::to_value(session.kind).map_err(|source| {
            let context = "the kind of user has no stored form";
            Error::new(ErrorKind::Unexpected, CREATE, context).with_source(source)
        })?;
        let kind = kind.as_str().unwrap_or_default().to_owned();
        let session = session.clone();
        self.writes().write(Create { session, kind }).await
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        let row = sqlx::query(FIND_SQL)
            .bind(key.as_bytes().as_slice())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(TOUCH, source))?;
        let Some(row) = row else { return Ok(None) };
        let session = read(&row).ok_or_else(|| error::corrupt(TOUCH, "session"))?;
        if !session.is_live(now) {
            return Ok(None);
        }
        match session.slides_to(now) {
            None => Ok(Some(session)),
            Some(to) => self.writes().write(Slide { key: *key, to }).await,
        }
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        let rows = sqlx::query(LIST_SQL)
            .bind(user_id.as_bytes().as_slice())
            .bind(micros(now))
            .bind(saturated(SESSIONS_PER_USER_MAX as u64))
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST, source))?;
        let sessions: Option<Vec<_>> = rows.iter().map(read).collect();
        sessions.ok_or_else(|| error::corrupt(LIST, "session"))
    }

    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        let key = *key;
        self.writes().write(Revoke { user_id, key }).await
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        self.writes().write(RevokeAll { user_id }).await
    }
}

struct Create {
    session: Session,
    kind: String,
}

#[async_trait]
impl Write for Create {
    type Output = Vec<SessionKey>;

    const OPERATION: &'static str = CREATE;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<SessionKey>, Failure> {
        let session = &self.session;
        let (key, user_id) = (session.key.as_bytes(), session.user_id.as_bytes());
        if let Some(known) = find(connection, &session.key).await? {
            if known.user_id == session.user_id {
                return Ok(Vec::new());
            }
            let context = "another user has a session with this key: make another token";
            return Err(Failure::Refused(Error::new(
                ErrorKind::Conflict,
                CREATE,
                context,
            )));
        }
        let now = session.created_at;
        let long_ago = now.checked_sub(EXPIRED_KEPT_FOR).unwrap_or(Timestamp::MIN);
        sqlx::query(FORGET_SQL)
            .bind(micros(long_ago))
            .bind(saturated(EXPIRED_BATCH_MAX as u64))
            .execute(&mut *connection)
            .await?;
        sqlx::query(FORGET_OWN_SQL)
            .bind(user_id.as_slice())
            .bind(micros(now))
            .execute(&mut *connection)
            .await?;
        // Before the new one is there, which by its clock may be the oldest.
        let rows = sqlx::query(END_OLDEST_SQL)
            .bind(user_id.as_slice())
            .bind(saturated(SESSIONS_PER_USER_MAX as u64 - 1))
            .fetch_all(&mut *connection)
            .await?;
        sqlx::query(INSERT_SQL)
            .bind(key.as_slice())
            .bind(user_id.as_slice())
            .bind(self.kind.as_str())
            .bind(micros(now))
            .bind(micros(session.expires_at))
            .execute(connection)
            .await?;
        read_keys(&rows)
    }
}

struct Slide {
    key: SessionKey,
    to: Timestamp,
}

#[async_trait]
impl Write for Slide {
    type Output = Option<Session>;

    const OPERATION: &'static str = TOUCH;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<Session>, Failure> {
        sqlx::query(SLIDE_SQL)
            .bind(micros(as_stored(self.to)))
            .bind(self.key.as_bytes().as_slice())
            .execute(&mut *connection)
            .await?;
        // It may have been revoked since it was found.
        find(connection, &self.key).await
    }
}

struct Revoke {
    user_id: UserId,
    key: SessionKey,
}

#[async_trait]
impl Write for Revoke {
    type Output = bool;

    const OPERATION: &'static str = REVOKE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, Failure> {
        let done = sqlx::query(REVOKE_SQL)
            .bind(self.key.as_bytes().as_slice())
            .bind(self.user_id.as_bytes().as_slice())
            .execute(connection)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

struct RevokeAll {
    user_id: UserId,
}

#[async_trait]
impl Write for RevokeAll {
    type Output = Vec<SessionKey>;

    const OPERATION: &'static str = REVOKE_ALL;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<SessionKey>, Failure> {
        let rows = sqlx::query(REVOKE_ALL_SQL)
            .bind(self.user_id.as_bytes().as_slice())
            .fetch_all(connection)
            .await?;
        read_keys(&rows)
    }
}

async fn find(
    connection: &mut SqliteConnection,
    key: &SessionKey,
) -> Result<Option<Session>, Failure> {
    let row = sqlx::query(FIND_SQL)
        .bind(key.as_bytes().as_slice())
        .fetch_optional(connection)
        .await?;
    row.map(|row| read(&row).ok_or_else(|| error::unreadable("session")))
        .transpose()
}

fn read_keys(rows: &[SqliteRow]) -> Result<Vec<SessionKey>, Failure> {
    let keys: Option<Vec<_>> = rows
        .iter()
        .map(|row| read_key(&mut Columns::of(row)))
        .collect();
    keys.ok_or_else(|| error::unreadable("session"))
}

fn read_key(columns: &mut Columns<'_>) -> Option<SessionKey> {
    let digest = columns.next::<&[u8]>()?.try_into().ok()?;
    Some(SessionKey::from_bytes(digest))
}

fn read(row: &SqliteRow) -> Option<Session> {
    let mut columns = Columns::of(row);
    let key = read_key(&mut columns)?;
    let user_id = UserId::from_bytes(columns.id()?);
    let kind: UserKind = serde_json::from_value(Value::String(columns.next()?)).ok()?;
    Some(Session {
        key,
        user_id,
        kind,
        created_at: columns.instant()?,
        expires_at: columns.instant()?,
    })
}
