use std::fmt;
use std::path::{Path, PathBuf};

use medcards::postgres::{PgConfig, Pooling, Retention};
use medcards::{Error, Result};
use secrecy::ExposeSecret;

use super::{Settings, wrong};

/// The file of the store in the data folder, unless told otherwise.
const FILE: &str = "medcards.sqlite";

/// Where everything is kept. Shown as text it has no password.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the wiring must know them all")]
pub enum StoreSettings {
    /// In a PostgreSQL database.
    Postgres(Box<PgConfig>),
    /// In this file.
    Sqlite(PathBuf),
}

impl StoreSettings {
    /// Reads which store it is, and how it is reached; a file is one of the folder `data`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](medcards::ErrorKind::Invalid), naming the setting and what it should be.
    pub fn read(settings: &Settings, data: &Path) -> Result<Self> {
        let store = settings.store.as_ref();
        let store = store.map(|store| store.expose_secret().trim());
        let store = store.filter(|store| !store.is_empty()).unwrap_or(FILE);
        match store.split_once(':') {
            Some(("postgres" | "postgresql", _)) => {
                postgres(store, settings).map(|config| Self::Postgres(Box::new(config)))
            }
            Some((scheme, rest)) if rest.starts_with("//") => {
                let is_scheme = scheme.bytes().all(|byte| byte.is_ascii_alphabetic());
                // What is no scheme may be a password.
                let scheme = if is_scheme { scheme } else { "something" };
                let what = format!(
                    "begins with {scheme}://, which no store here speaks: give the name of a SQLite \
                     file in the data folder, such as {FILE}, or the address of a Postgres database, \
                     such as postgres://user:password@host:5432/database"
                );
                Err(wrong("MEDCARDS_STORE", what))
            }
            _ => {
                refuse_what_a_file_has_not(settings)?;
                Ok(Self::Sqlite(data.join(store)))
            }
        }
    }
}

impl fmt::Display for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(config) => write!(f, "PostgreSQL {config}"),
            Self::Sqlite(file) => write!(f, "SQLite file {}", file.display()),
        }
    }
}

fn postgres(url: &str, settings: &Settings) -> Result<PgConfig> {
    let config = PgConfig::new(url).map_err(|error| wrong_address("MEDCARDS_STORE", &error))?;
    let mut config = config.with_pooling(pooling(settings.pooler.as_deref())?);
    if let Some(replicas) = &settings.replicas {
        let urls = addresses(replicas.expose_secret())?;
        config = config
            .with_replicas(&urls)
            .map_err(|error| wrong_address("MEDCARDS_REPLICAS", &error))?;
    }
    if let Some(text) = settings.connections.as_deref() {
        config = config.with_connections_max(connections(text)?);
    }
    if let Some(text) = settings.retention.as_deref() {
        config = config.with_retention(retention(text)?);
    }
    Ok(config)
}

/// An address is not repeated: there may be a password in it.
fn wrong_address(name: &str, error: &Error) -> Error {
    let what = format!(
        "is no address of a Postgres database: {}; in a password, write %2F for /, %40 for @, %23 \
         for # and %3F for ?",
        error.context()
    );
    wrong(name, what)
}

/// Addresses with spaces between. Commas stand between the hosts of one.
fn addresses(text: &str) -> Result<Vec<&str>> {
    let addresses: Vec<_> = text.split_whitespace().collect();
    if addresses.iter().any(|one| one.matches("://").count() > 1) {
        let what = "has two addresses without a space between them: put spaces between addresses; \
                    commas stand between the hosts of one address";
        return Err(wrong("MEDCARDS_REPLICAS", what));
    }
    Ok(addresses)
}

fn pooling(text: Option<&str>) -> Result<Pooling> {
    match text.map(str::trim) {
        None | Some("none") => Ok(Pooling::None),
        Some("transaction") => Ok(Pooling::Transaction),
        Some(other) => {
            let what = format!(
                "is `{other}`: it must be none, or transaction for a pooler in transaction mode, \
                 which suits one in session mode too"
            );
            Err(wrong("MEDCARDS_POOLER", what))
        }
    }
}

fn connections(text: &str) -> Result<u32> {
    let most = PgConfig::CONNECTIONS_MAX;
    let count = text.trim().parse().ok();
    count
        .filter(|count| (1..=most).contains(count))
        .ok_or_else(|| {
            let what = format!("is `{text}`: it must be a number from 1 to {most}, such as 10");
            wrong("MEDCARDS_CONNECTIONS", what)
        })
}

/// Reads `forever`, `24 months` or `24 months, drop`.
fn retention(text: &str) -> Result<Retention> {
    let least = Retention::MONTHS_MIN;
    let read = || {
        let (time, then) = match text.split_once(',') {
            Some((time, then)) => (time.trim(), Some(then.trim())),
            None => (text.trim(), None),
        };
        if (time, then) == ("forever", None) {
            return Some(Retention::Forever);
        }
        let months = time.strip_suffix("months")?.trim_end().parse().ok()?;
        match then {
            _ if months < least => None,
            None => Some(Retention::Detach(months)),
            Some("drop") => Some(Retention::Drop(months)),
            Some(_) => None,
        }
    };
    read().ok_or_else(|| {
        let what = format!(
            "is `{text}`: it must be forever, or {least} months or more, such as 24 months, after \
             which a month becomes a table of its own; or 24 months, drop"
        );
        wrong("MEDCARDS_RETENTION", what)
    })
}

fn refuse_what_a_file_has_not(settings: &Settings) -> Result<()> {
    let of_postgres = [
        ("MEDCARDS_CONNECTIONS", settings.connections.is_some()),
        ("MEDCARDS_POOLER", settings.pooler.is_some()),
        ("MEDCARDS_REPLICAS", settings.replicas.is_some()),
        ("MEDCARDS_RETENTION", settings.retention.is_some()),
    ];
    match of_postgres.into_iter().find(|(_, is_set)| *is_set) {
        None => Ok(()),
        Some((name, _)) => {
            let what = "is set, but the store is a SQLite file, which has no such thing: unset it, \
                        or set MEDCARDS_STORE to postgres://user:password@host:5432/database";
            Err(wrong(name, what))
        }
    }
}
