use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::{Error, Result};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, Connection, SqliteConnection};

use crate::case_cache::CaseCache;
use crate::config::{Durability, SqliteConfig};
use crate::error;
use crate::file::HeldFile;
use crate::hints::StoreHints;
use crate::migrate::migrate;
use crate::writer::WriteQueue;

const OPERATION: &str = "open store";

/// How long a statement waits for a program that holds the file, such as a backup.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a read waits for a reader: reads take under a millisecond, so this is a stuck disk.
const READER_WAIT_MAX: Duration = Duration::from_secs(10);

/// The log is merged into the file each time it has this many pages: 32 MB.
///
/// All writers wait for a merge, so a greater number makes rarer, longer waits. SQLite's 1,000
/// wrote 28 kB to the disk for each answer under load, 4,096 wrote 23, and 16,384 wrote 18.
const WAL_AUTOCHECKPOINT_PAGES: u32 = 8_192;

/// What the log is cut down to after it was merged: 64 MB, twice what it should ever have.
const WAL_BYTES_KEPT: u32 = 64 * 1024 * 1024;

/// The size of a page, which is that of all files SQLite makes by default.
const PAGE_BYTES: u64 = 4_096;

/// A store in one SQLite file, with every store ability.
///
/// Cloning it gives another handle on the same store. Dropping the last handle ends the writer
/// when it has done what is queued; [`close`](Self::close) waits for that.
#[derive(Clone)]
pub struct SqliteStore {
    opened: Arc<Opened>,
}

struct Opened {
    name: String,
    readers: SqlitePool,
    writes: WriteQueue,
    cases: Arc<CaseCache>,
    hints: StoreHints,
}

impl SqliteStore {
    /// Opens the file, makes it if it is missing, and brings an older format up to date.
    ///
    /// The file is this process's alone until the store is closed.
    ///
    /// # Errors
    /// Nothing is damaged by any of them, and a file that is not a store of ours is not touched.
    /// - [`Busy`](medcards_core::ErrorKind::Busy): another process has it open.
    /// - [`ReadOnly`](medcards_core::ErrorKind::ReadOnly): file or folder cannot be written.
    /// - [`Corrupt`](medcards_core::ErrorKind::Corrupt): it is damaged, or not a SQLite file.
    /// - [`Invalid`](medcards_core::ErrorKind::Invalid): it is the SQLite file of another program
    ///   or of a newer format, the folder is missing, or the configuration is wrong.
    /// - [`Full`](medcards_core::ErrorKind::Full): there is no room for a new file.
    ///
    /// # Panics
    /// Outside of a Tokio runtime.
    pub async fn open(config: SqliteConfig) -> Result<Self> {
        let reader_count = config.readers()?;
        let file = HeldFile::take(config.path()).await?;
        let options = writer_options(&config, file.path());
        let connection = connect(&options).await?;
        let (connection, readers) = match open_readers(file.path(), reader_count).await {
            Ok(readers) => (connection, readers),
            Err(failure) => return Err(give_up(connection, failure).await),
        };
        let hints = StoreHints::default();
        let opened = Opened {
            name: format!("SqliteStore({})", file.path().display()),
            readers,
            writes: WriteQueue::start(file, options, connection, hints.appended.clone()),
            cases: Arc::new(CaseCache::new(config.case_cache_bytes())),
            hints,
        };
        Ok(Self {
            opened: Arc::new(opened),
        })
    }

    /// Takes no more calls, finishes the writes that are queued, merges the log into the file and
    /// gives the file up.
    ///
    /// Calls made after it fail with
    /// [`ErrorKind::Unavailable`](medcards_core::ErrorKind::Unavailable). Closing twice is closing
    /// once.
    ///
    /// # Cancel safety
    /// A dropped future leaves the store closing; no write that was queued is lost.
    pub async fn close(&self) {
        self.opened.readers.close().await;
        self.opened.writes.close().await;
    }

    /// How many transactions this store has committed since it was opened.
    ///
    /// Writes that come at the same time share one, so this is usually far less than their number.
    #[must_use]
    pub fn commits(&self) -> u64 {
        self.opened.writes.commits()
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.opened.readers
    }

    pub(crate) fn writes(&self) -> &WriteQueue {
        &self.opened.writes
    }

    pub(crate) fn cases(&self) -> &Arc<CaseCache> {
        &self.opened.cases
    }

    pub(crate) fn hints(&self) -> &StoreHints {
        &self.opened.hints
    }
}

impl fmt::Debug for SqliteStore {
    /// Says nothing of the data: answers are among it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("name", &self.opened.name)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.opened.name)
    }
}

/// Connects and brings the file up to date.
pub(crate) async fn connect(options: &SqliteConnectOptions) -> Result<SqliteConnection> {
    let connection = options.connect().await;
    let mut connection = connection.map_err(|source| error::storage(OPERATION, source))?;
    match migrate(&mut connection).await {
        Ok(()) => Ok(connection),
        Err(failure) => Err(give_up(connection, failure).await),
    }
}

/// Waits until nothing holds the file any more.
async fn give_up(connection: SqliteConnection, failure: Error) -> Error {
    // The first failure says more than one in closing.
    let _ = connection.close().await;
    failure
}

async fn open_readers(path: &Path, count: u32) -> Result<SqlitePool> {
    SqlitePoolOptions::new()
        .max_connections(count)
        .min_connections(count)
        .acquire_timeout(READER_WAIT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .connect_with(reader_options(path))
        .await
        .map_err(|source| error::storage(OPERATION, source))
}

fn writer_options(config: &SqliteConfig, path: &Path) -> SqliteConnectOptions {
    let synchronous = match config.durability() {
        Durability::Full => SqliteSynchronous::Full,
        Durability::Normal => SqliteSynchronous::Normal,
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(BUSY_TIMEOUT)
        .thread_name(|number| format!("medcards-sqlite-writer-{number}"))
        .pragma("wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES.to_string())
        .pragma("journal_size_limit", WAL_BYTES_KEPT.to_string())
        // What a statement of many rows keeps to be undone stays in memory.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging();
    match config.size_max_bytes() {
        Some(bytes) => options.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string()),
        None => options,
    }
}

fn reader_options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .read_only(true)
        .busy_timeout(BUSY_TIMEOUT)
        .thread_name(|number| format!("medcards-sqlite-reader-{number}"))
        .disable_statement_logging()
}
