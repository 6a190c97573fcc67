use std::path::PathBuf;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use medcards_core::store::Store;
use medcards_store_pg::{PgConfig, PgStore};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use medcards_tests::pg::{Cluster, Database, Installed};
use tempfile::TempDir;

use crate::Error;

/// As a server is run that must lose nothing.
const SETTINGS: [(&str, &str); 3] = [
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
];

/// Replays the submissions of an examination, and checks that none is lost and none is there twice.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// The log: JSON lines with user, t_ms, item and score, packed with gzip or not.
    pub(crate) log: PathBuf,
    /// How many seconds of the log pass in one, such as 1 or 20, or max for as fast as it goes.
    #[arg(long, default_value = "1", value_parser = speed)]
    pub(crate) speed: Speed,
    /// Takes only the busiest so many seconds of the log.
    #[arg(long)]
    pub(crate) seconds: Option<u32>,
    /// Where answers go.
    #[arg(long, default_value = "postgres")]
    pub(crate) store: Backend,
    /// A PostgreSQL database of one's own. Default: a server is started, and gone at the end.
    #[arg(long)]
    pub(crate) url: Option<String>,
    /// How many percent of the submissions are sent twice.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(..=100))]
    pub(crate) twice: u8,
    /// How many clients there are when it goes as fast as it can.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) clients: u16,
}

/// How fast the log passes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Speed {
    /// So many times as fast as it was.
    Times(f64),
    /// As fast as it goes.
    Max,
}

/// What keeps the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// A PostgreSQL server, with its disk in use.
    Postgres,
    /// A file, gone at the end.
    Sqlite,
}

/// What has to outlive the store, and how it is closed.
pub(crate) enum Keeper {
    Postgres(PgStore, Option<Box<(Database, Cluster)>>),
    Sqlite(SqliteStore, TempDir),
}

impl Keeper {
    /// Closes the store, then ends what was started for it.
    pub(crate) async fn close(self) {
        match self {
            Self::Postgres(store, _server) => store.close().await,
            Self::Sqlite(store, _folder) => store.close().await,
        }
    }
}

impl Arguments {
    /// Opens the store.
    pub(crate) async fn open(&self) -> Result<(Arc<dyn Store>, Keeper), Error> {
        match (self.store, &self.url) {
            (Backend::Sqlite, _) => {
                let folder = tempfile::tempdir()?;
                let config = SqliteConfig::new(folder.path().join("exam.sqlite"));
                let store = SqliteStore::open(config).await?;
                Ok((Arc::new(store.clone()), Keeper::Sqlite(store, folder)))
            }
            (Backend::Postgres, Some(url)) => {
                let store = PgStore::open(PgConfig::new(url)?).await?;
                Ok((Arc::new(store.clone()), Keeper::Postgres(store, None)))
            }
            (Backend::Postgres, None) => {
                let cluster = Cluster::start(&Installed::oldest(), &SETTINGS);
                let database = cluster.fresh_database();
                let store = PgStore::open(PgConfig::new(&database.url())?).await?;
                let server = Some(Box::new((database, cluster)));
                Ok((Arc::new(store.clone()), Keeper::Postgres(store, server)))
            }
        }
    }

    /// The speed in words.
    pub(crate) fn pace(&self) -> String {
        match self.speed {
            Speed::Times(times) => format!("{times} times as fast as it was"),
            Speed::Max => format!("by {} clients as fast as it goes", self.clients),
        }
    }
}

fn speed(text: &str) -> Result<Speed, String> {
    if text == "max" {
        return Ok(Speed::Max);
    }
    let times = text
        .parse()
        .ok()
        .filter(|times| (0.01..=10_000.0).contains(times));
    let times = times.ok_or("write a number from 0.01 to 10000, or max")?;
    Ok(Speed::Times(times))
}
