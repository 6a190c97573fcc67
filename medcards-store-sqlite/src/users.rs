use async_trait::async_trait;
use medcards_core::event::EventBody;
use medcards_core::shard::Bucket;
use medcards_core::user::{User, UserKind, UserSettings, UserStore};
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use serde::Serialize;
use serde_json::Value;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::answers::event_json;
use crate::column::{Columns, as_stored, micros};
use crate::error::{self, Failure};
use crate::hints::StoreHints;
use crate::writer::Write;

const ENSURE: &str = "ensure user";
const FIND: &str = "find user";
const UPDATE_SETTINGS: &str = "update settings";

const FIND_SQL: &str = "SELECT id, kind, settings, created_at FROM users WHERE id = ?";

const INSERT_SQL: &str = "
INSERT INTO users (id, bucket, kind, settings, created_at) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id) DO NOTHING";

const UPDATE_SETTINGS_SQL: &str = "UPDATE users SET settings = ? WHERE id = ?";

const INSERT_EVENT_SQL: &str =
    "INSERT INTO events (user_id, bucket, kind, body) VALUES (?, ?, ?, ?)";

#[async_trait]
impl UserStore for SqliteStore {
    async fn ensure_user(&self, user: User) -> Result<User> {
        // Almost always known already, and reading waits for nobody.
        match self.find_user(user.id).await? {
            Some(known) => Ok(known),
            None => self.writes().write(Ensure { user }).await,
        }
    }

    async fn find_user(&self, user_id: UserId) -> Result<Option<User>> {
        let row = sqlx::query(FIND_SQL)
            .bind(user_id.as_bytes().as_slice())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND, source))?;
        row.map(|row| read_user(&row).ok_or_else(|| error::corrupt(FIND, "user")))
            .transpose()
    }

    async fn update_settings(
        &self,
        user_id: UserId,
        settings: UserSettings,
        now: Timestamp,
    ) -> Result<User> {
        let stored = json(UPDATE_SETTINGS, &settings)?.to_string();
        let changed_at = as_stored(now);
        let event = EventBody::SettingsChanged {
            settings: settings.clone(),
            changed_at,
        };
        let body = event_json(UPDATE_SETTINGS, &event)?;
        let kind = event.kind().to_owned();
        self.writes()
            .write(UpdateSettings {
                user_id,
                settings,
                stored,
                kind,
                body,
                hints: self.hints().clone(),
            })
            .await
    }
}

struct Ensure {
    user: User,
}

#[async_trait]
impl Write for Ensure {
    type Output = User;

    const OPERATION: &'static str = ENSURE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<User, Failure> {
        let User {
            id,
            kind,
            settings,
            created_at,
            ..
        } = &self.user;
        let kind = json(ENSURE, kind).map_err(Failure::Refused)?;
        let settings = json(ENSURE, settings).map_err(Failure::Refused)?;
        sqlx::query(INSERT_SQL)
            .bind(id.as_bytes().as_slice())
            .bind(i64::from(Bucket::of(id).get()))
            .bind(kind.as_str().unwrap_or_default().to_owned())
            .bind(settings.to_string())
            .bind(micros(*created_at))
            .execute(&mut *connection)
            .await?;
        known_user(ENSURE, *id, connection).await
    }
}

struct UpdateSettings {
    user_id: UserId,
    settings: UserSettings,
    stored: String,
    kind: String,
    body: String,
    hints: StoreHints,
}

#[async_trait]
impl Write for UpdateSettings {
    type Output = User;

    const OPERATION: &'static str = UPDATE_SETTINGS;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<User, Failure> {
        let mut user = known_user(UPDATE_SETTINGS, self.user_id, connection).await?;
        let id = self.user_id.as_bytes().as_slice();
        sqlx::query(UPDATE_SETTINGS_SQL)
            .bind(self.stored.as_str())
            .bind(id)
            .execute(&mut *connection)
            .await?;
        sqlx::query(INSERT_EVENT_SQL)
            .bind(id)
            .bind(i64::from(Bucket::of(&self.user_id).get()))
            .bind(self.kind.as_str())
            .bind(self.body.as_str())
            .execute(connection)
            .await?;
        user.settings = self.settings.clone();
        Ok(user)
    }

    fn committed(&self, _user: &User) {
        self.hints.appended.give();
    }
}

async fn known_user(
    operation: &'static str,
    user_id: UserId,
    connection: &mut SqliteConnection,
) -> Result<User, Failure> {
    let id = user_id.as_bytes().as_slice();
    let row = sqlx::query(FIND_SQL)
        .bind(id)
        .fetch_optional(connection)
        .await?;
    let row = row.ok_or_else(|| {
        let context = "no user has this id: make sure of the user first";
        Failure::Refused(Error::new(ErrorKind::NotFound, operation, context))
    })?;
    read_user(&row).ok_or_else(|| error::unreadable("user"))
}

fn read_user(row: &SqliteRow) -> Option<User> {
    let mut columns = Columns::of(row);
    let id = UserId::from_bytes(columns.id()?);
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
