use async_trait::async_trait;
use medcards_core::session::{
    EXPIRED_BATCH_MAX, EXPIRED_KEPT_FOR, SESSIONS_PER_USER_MAX, Session, SessionKey, SessionStore,
};
use medcards_core::user::UserKind;
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use serde_json::Value;
use sqlx::postgres::PgRow;
use xxhash_rust::xxh3::xxh3_64;

use crate::PgStore;
use crate::column::{Columns, instant, saturated};
use crate::error::{self, Failure};
use crate::node::transact;
use crate::session::Statement;

const CREATE: &str = "create session";
const TOUCH: &str = "touch session";
const LIST: &str = "list sessions";
const REVOKE: &str = "revoke session";
const REVOKE_ALL: &str = "revoke sessions";

const FIND_SQL: &str =
    "SELECT key, user_id, kind, created_at, expires_at FROM sessions WHERE key = $1";

const INSERT_SQL: &str = "
INSERT INTO sessions (key, user_id, kind, created_at, expires_at) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (key) DO NOTHING RETURNING key";

const LIST_SQL: &str = "
SELECT key, user_id, kind, created_at, expires_at FROM sessions
WHERE user_id = $1 AND expires_at > $2
ORDER BY created_at DESC, key DESC LIMIT $3";

/// Never earlier than before: a clock may have been set back, and another may have moved it on. One
/// that was revoked since it was found is found no more.
const SLIDE_SQL: &str = "
UPDATE sessions SET expires_at = greatest(expires_at, $2) WHERE key = $1
RETURNING key, user_id, kind, created_at, expires_at";

const FORGET_OWN_SQL: &str = "DELETE FROM sessions WHERE user_id = $1 AND expires_at <= $2";

/// Those who ended longest ago first, so that every one has its turn; what another process is about
/// to remove is left to it.
const FORGET_SQL: &str = "
DELETE FROM sessions WHERE key = ANY (ARRAY(
    SELECT key FROM sessions WHERE expires_at < $1
    ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
))";

/// All but the newest, and never the one that is being begun, which by its clock may be the oldest.
const END_OLDEST_SQL: &str = "
DELETE FROM sessions WHERE key = ANY (ARRAY(
    SELECT key FROM sessions WHERE user_id = $1 AND key <> $2
    ORDER BY created_at DESC, key DESC OFFSET $3
)) RETURNING key";

const REVOKE_SQL: &str = "DELETE FROM sessions WHERE key = $1 AND user_id = $2 RETURNING key";

const REVOKE_ALL_SQL: &str = "DELETE FROM sessions WHERE user_id = $1 RETURNING key";

#[async_trait]
impl SessionStore for PgStore {
    async fn create_session(&self, session: &Session) -> Result<Vec<SessionKey>> {
        let kind = serde_json::to_value(session.kind).map_err(|source| {
            let context = "the kind of user has no stored form";
            Error::new(ErrorKind::Unexpected, CREATE, context).with_source(source)
        })?;
        let kind = kind.as_str().unwrap_or_default();
        let (user_id, now) = (*session.user_id.as_uuid(), session.created_at);
        let long_ago = now.checked_sub(EXPIRED_KEPT_FOR).unwrap_or(Timestamp::MIN);
        let ended: Result<_, Failure> = transact!(self.primary(), |transaction| {
            // Two that begin at once would each count without the other.
            transaction.execute(lock_user(session.user_id)).await?;
            let insert = sqlx::query(INSERT_SQL)
                .bind(digest(&session.key))
                .bind(user_id)
                .bind(kind.to_owned())
                .bind(instant(now))
                .bind(instant(session.expires_at));
            if transaction.fetch_optional(insert).await?.is_none() {
                let find = sqlx::query(FIND_SQL).bind(digest(&session.key));
                let known = transaction.fetch_optional(find).await?;
                return match known.as_ref().and_then(read) {
                    Some(known) if known.user_id == session.user_id => Ok(Vec::new()),
                    _ => Err(taken().into()),
                };
            }
            let forget = sqlx::query(FORGET_SQL)
                .bind(instant(long_ago))
                .bind(saturated(EXPIRED_BATCH_MAX as u64));
            transaction.execute(forget).await?;
            let forget_own = sqlx::query(FORGET_OWN_SQL).bind(user_id).bind(instant(now));
            transaction.execute(forget_own).await?;
            let end_oldest = sqlx::query(END_OLDEST_SQL)
                .bind(user_id)
                .bind(digest(&session.key))
                .bind(saturated(SESSIONS_PER_USER_MAX as u64 - 1));
            read_keys(&transaction.fetch(end_oldest).await?)
        });
        ended.map_err(|failure| failure.during(CREATE))
    }

    async fn touch_session(&self, key: &SessionKey, now: Timestamp) -> Result<Option<Session>> {
        let find = || sqlx::query(FIND_SQL).bind(digest(key));
        let found = first(TOUCH, &self.on_primary(TOUCH, find).await?)?;
        let Some(session) = found.filter(|session| session.is_live(now)) else {
            return Ok(None);
        };
        let Some(to) = session.slides_to(now) else {
            return Ok(Some(session));
        };
        let slide = || sqlx::query(SLIDE_SQL).bind(digest(key)).bind(instant(to));
        first(TOUCH, &self.on_primary(TOUCH, slide).await?)
    }

    async fn list_sessions(&self, user_id: UserId, now: Timestamp) -> Result<Vec<Session>> {
        let list = || {
            sqlx::query(LIST_SQL)
                .bind(*user_id.as_uuid())
                .bind(instant(now))
                .bind(saturated(SESSIONS_PER_USER_MAX as u64))
        };
        let rows = self.on_primary(LIST, list).await?;
        let sessions: Option<Vec<_>> = rows.iter().map(read).collect();
        sessions.ok_or_else(|| error::corrupt(LIST, "session"))
    }

    // In a transaction, whose statement is not sent twice: the second would find nothing to revoke,
    // and say so although the first had revoked it.
    async fn revoke_session(&self, user_id: UserId, key: &SessionKey) -> Result<bool> {
        let revoked: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let revoke = sqlx::query(REVOKE_SQL)
                .bind(digest(key))
                .bind(*user_id.as_uuid());
            Ok(transaction.fetch_optional(revoke).await?.is_some())
        });
        revoked.map_err(|failure| failure.during(REVOKE))
    }

    async fn revoke_sessions(&self, user_id: UserId) -> Result<Vec<SessionKey>> {
        let revoked: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let revoke = sqlx::query(REVOKE_ALL_SQL).bind(*user_id.as_uuid());
            read_keys(&transaction.fetch(revoke).await?)
        });
        revoked.map_err(|failure| failure.during(REVOKE_ALL))
    }
}

/// Waits until nobody else begins a session of this user. Another user with the same hash waits too.
fn lock_user(user_id: UserId) -> Statement {
    let hash = xxh3_64(user_id.as_bytes()).cast_signed();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(hash)
}

fn taken() -> Error {
    let context = "another user has a session with this key: make another token";
    Error::new(ErrorKind::Conflict, CREATE, context)
}

fn digest(key: &SessionKey) -> Vec<u8> {
    key.as_bytes().to_vec()
}

fn first(operation: &'static str, rows: &[PgRow]) -> Result<Option<Session>> {
    rows.first()
        .map(|row| read(row).ok_or_else(|| error::corrupt(operation, "session")))
        .transpose()
}

fn read_keys(rows: &[PgRow]) -> Result<Vec<SessionKey>, Failure> {
    let keys: Option<Vec<_>> = rows
        .iter()
        .map(|row| read_key(&mut Columns::of(row)))
        .collect();
    keys.ok_or(Failure::Unreadable("session"))
}

fn read_key(columns: &mut Columns<'_>) -> Option<SessionKey> {
    let digest = columns.next::<&[u8]>()?.try_into().ok()?;
    Some(SessionKey::from_bytes(digest))
}

fn read(row: &PgRow) -> Option<Session> {
    let mut columns = Columns::of(row);
    let key = read_key(&mut columns)?;
    let user_id = UserId::from_uuid(columns.id()?);
    let kind: UserKind = serde_json::from_value(Value::String(columns.next()?)).ok()?;
    Some(Session {
        key,
        user_id,
        kind,
        created_at: columns.instant()?,
        expires_at: columns.instant()?,
    })
}
