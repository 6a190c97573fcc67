use async_trait::async_trait;
use medcards_core::event::EventBody;
use medcards_core::user::{User, UserKind, UserSettings, UserStore};
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use serde::Serialize;
use serde_json::Value;
use sqlx::postgres::PgRow;

use crate::PgStore;
use crate::answers::{bucket, event_json};
use crate::column::{Columns, as_stored, instant};
use crate::error::{self, Failure};
use crate::node::transact;
use crate::signals::Topic;
use crate::writer::not_owned;

const ENSURE: &str = "ensure user";
const FIND: &str = "find user";
const UPDATE_SETTINGS: &str = "update settings";

const FIND_SQL: &str = "SELECT id, kind, settings::text, created_at FROM users WHERE id = $1";

/// Says whether the bucket is owned.
const INSERT_SQL: &str = "
WITH owned AS (
    SELECT bucket FROM owned_buckets WHERE bucket = $2
), inserted AS (
    INSERT INTO users (id, bucket, kind, settings, created_at)
    SELECT $1, bucket, $3, $4::jsonb, $5 FROM owned
    ON CONFLICT (id) DO NOTHING
)
SELECT EXISTS (SELECT FROM owned)";

const UPDATE_SETTINGS_SQL: &str = "
UPDATE users SET settings = $2::jsonb
WHERE id = $1 AND EXISTS (SELECT FROM owned_buckets WHERE owned_buckets.bucket = users.bucket)
RETURNING id, kind, settings::text, created_at";

const INSERT_EVENT_SQL: &str =
    "INSERT INTO events (user_id, bucket, kind, body) VALUES ($1, $2, $3, $4::jsonb)";

#[async_trait]
impl UserStore for PgStore {
    async fn ensure_user(&self, user: User) -> Result<User> {
        // Almost always known already.
        if let Some(known) = self.find_user(user.id).await? {
            return Ok(known);
        }
        let kind = json(ENSURE, &user.kind)?;
        let kind = kind.as_str().unwrap_or_default();
        let settings = json(ENSURE, &user.settings)?.to_string();
        let rows = self.on_primary(ENSURE, || {
            sqlx::query(INSERT_SQL)
                .bind(*user.id.as_uuid())
                .bind(bucket(user.id))
                .bind(kind.to_owned())
                .bind(settings.clone())
                .bind(instant(user.created_at))
        });
        let rows = rows.await?;
        let is_owned = rows.first().and_then(|row| Columns::of(row).next());
        if is_owned != Some(true) {
            return Err(not_owned(ENSURE));
        }
        let known = self.find_user(user.id).await?;
        known.ok_or_else(|| unknown(ENSURE))
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>> {
        let find = || sqlx::query(FIND_SQL).bind(*user_id.as_uuid());
        let rows = self.on_primary(FIND, find).await?;
        rows.first()
            .map(|row| read_user(row).ok_or_else(|| error::corrupt(FIND, "user")))
            .transpose()
    }

    async fn update_settings(
        &self,
        user_id: UserId,
        settings: UserSettings,
        now: Timestamp,
    ) -> Result<User> {
        let stored = json(UPDATE_SETTINGS, &settings)?.to_string();
        let event = EventBody::SettingsChanged {
            settings,
            changed_at: as_stored(now),
        };
        let body = event_json(UPDATE_SETTINGS, &event)?;
        let updated: Result<User, Failure> = transact!(self.primary(), |transaction| {
            let update = sqlx::query(UPDATE_SETTINGS_SQL)
                .bind(*user_id.as_uuid())
                .bind(stored.clone());
            let Some(row) = transaction.fetch_optional(update).await? else {
                let find = sqlx::query(FIND_SQL).bind(*user_id.as_uuid());
                let known = transaction.fetch_optional(find).await?;
                return Err(match known {
                    Some(_) => not_owned(UPDATE_SETTINGS).into(),
                    None => unknown(UPDATE_SETTINGS).into(),
                });
            };
            let insert = sqlx::query(INSERT_EVENT_SQL)
                .bind(*user_id.as_uuid())
                .bind(bucket(user_id))
                .bind(event.kind())
                .bind(body.clone());
            transaction.execute(insert).await?;
            read_user(&row).ok_or(Failure::Unreadable("user"))
        });
        let user = updated.map_err(|failure| failure.during(UPDATE_SETTINGS))?;
        self.signals().give(Topic::Events);
        Ok(user)
    }
}

fn unknown(operation: &'static str) -> Error {
    let context = "no user has this id: make sure of the user first";
    Error::new(ErrorKind::NotFound, operation, context)
}

fn read_user(row: &PgRow) -> Option<User> {
    let mut columns = Columns::of(row);
    let id = UserId::from_uuid(columns.id()?);
    let kind: UserKind = serde_json::from_value(Value::String(columns.next()?)).ok()?;
    let settings: UserSettings = serde_json::from_str(columns.next()?).ok()?;
    let mut user = User::new(id, kind, columns.instant()?);
    user.settings = settings;
    Some(user)
}

fn json<T: Serialize>(operation: &'static str, value: &T) -> Result<Value> {
    serde_json::to_value(value).map_err(|source| {
        Error::new(
            ErrorKind::Unexpected,
            operation,
            "the user has no stored form",
        )
        .with_source(source)
    })
}
