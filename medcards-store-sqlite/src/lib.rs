//! The embedded store of MEDCARDS: every store ability in one SQLite file.
//!
//! ```
//! use medcards_core::case::{CaseQuery, CaseStore};
//! use medcards_store_sqlite::{SqliteConfig, SqliteStore};
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("medcards.sqlite");
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let store = SqliteStore::open(SqliteConfig::new(path)).await?;
//! let page = store.list_cases(&CaseQuery::default()).await?;
//! assert!(page.items.is_empty());
//! store.close().await;
//! # Ok::<(), medcards_core::Error>(())
//! # }).unwrap();
//! ```
//!
//! # What is kept where
//!
//! | trait | tables | guarantee |
//! | --- | --- | --- |
//! | [`AnswerStore`] | `interactions`, `events` | an answer and its event in one transaction, once per user and id |
//! | [`BatchStore`] | `precompute_batches`, `precompute_keys` | a feedback is in one open batch, and a batch is handed in by one process |
//! | [`CaseStore`] | `cases`, `case_versions`, `case_words`, `key_corrections`, `events`, `jobs` | versions never change; a search sees a publication at once; a corrected key, its event and its jobs in one transaction |
//! | [`ChatStore`] | `chat_turns`, `chat_summaries` | a turn is begun once, one reply to it counts, and what was forgotten is gone |
//! | [`EventLog`] | `events`, `cursors` | in commit order, without gaps: one writer gives the numbers |
//! | [`JobQueue`] | `jobs`, `dead_jobs`, `job_keys`, `notices`, `events` | of many who claim at once each gets others; an attempt is settled once, with its effects in the same transaction |
//! | [`NoticeStore`] | `notices` | in commit order, without gaps; a number is never given twice |
//! | [`PrecomputedStore`] | `precomputed_feedback` | what a reviewer said is never overwritten |
//! | [`SessionStore`] | `sessions` | who was signed out is out, once that was acknowledged |
//! | [`SharedAnswers`] | `shared_answers` | what a reviewer shared with everyone, apart from all users |
//! | [`SpendLedger`] | `spend_reservations`, `spend_days`, `spend_scopes`, `spend_totals` | nobody spends more than the spend budget, however many ask at once |
//! | [`TransferSource`] | all of them but `sessions`, `notices`, and those of batches and views | everything can be carried into another store as it is kept |
//! | [`UserStore`] | `users`, `events` | settings and their event in one transaction |
//! | [`ViewStore`] | `views`, `view_editions`, `view_rows`, `view_set_aside`, `awards`, `notices`, `jobs` | rows, how far they are, and what they announce in one transaction |
//!
//! `schema.sql` shows all tables. Formats only grow: a file of an earlier version opens and is
//! brought up to date, one of a later version is refused and left as it is.
//!
//! # How it works
//!
//! One writer owns the one connection that writes. It takes all writes that wait, commits them in
//! one transaction, and answers everybody: writers that come at the same time share one wait for
//! the disk, and a single writer waits for nobody. If the commit fails, all of them hear of it, and
//! none is acknowledged. A write that fails for a reason of its own fails alone.
//!
//! Readers have connections of their own and see the last commit. They never wait for the writer,
//! nor it for them.
//!
//! # Configuration
//!
//! | setting | default | |
//! | --- | --- | --- |
//! | [`with_durability`](SqliteConfig::with_durability) | [`Durability::Full`] | `Normal` gives up the last writes when power is lost, never a part of one |
//! | [`with_readers`](SqliteConfig::with_readers) | 4 | reads that run at once |
//! | [`with_case_cache_bytes`](SqliteConfig::with_case_cache_bytes) | 32 MiB | case versions kept in memory |
//! | [`with_size_max_bytes`](SqliteConfig::with_size_max_bytes) | none | beyond it, writes fail as on a full disk |
//!
//! # Limits
//!
//! - One process at a time, on a disk of its own machine. A second one is refused; the file
//!   `<store>.lock` is how it knows, and may stay.
//! - `<store>-wal` and `<store>-shm` belong to the file while it is open, and after a crash. Copy
//!   or move all or none of them; to copy an open store, use `VACUUM INTO` or SQLite's backup.
//! - The log grows while some other program reads: a read transaction that is held for hours keeps
//!   it from being merged into the file. Beyond 256 MiB a warning is logged.
//! - A disk that fills up refuses writes with
//!   [`ErrorKind::Full`](medcards_core::ErrorKind::Full), and takes them again when there is room.
//!   Reading goes on.
//! - Instants are kept to the microsecond.
//! - Timers of Tokio guard full queues, so a test with paused time must not use this store.
//!
//! [`AnswerStore`]: medcards_core::answer::AnswerStore
//! [`BatchStore`]: medcards_core::precompute::BatchStore
//! [`CaseStore`]: medcards_core::case::CaseStore
//! [`ChatStore`]: medcards_core::chat::ChatStore
//! [`EventLog`]: medcards_core::event::EventLog
//! [`JobQueue`]: medcards_core::job::JobQueue
//! [`NoticeStore`]: medcards_core::notice::NoticeStore
//! [`PrecomputedStore`]: medcards_core::feedback::PrecomputedStore
//! [`SessionStore`]: medcards_core::session::SessionStore
//! [`SharedAnswers`]: medcards_core::chat::SharedAnswers
//! [`SpendLedger`]: medcards_core::spend::SpendLedger
//! [`TransferSource`]: medcards_core::transfer::TransferSource
//! [`UserStore`]: medcards_core::user::UserStore
//! [`ViewStore`]: medcards_core::view::ViewStore

mod config;
mod store;

mod answers;
mod batches;
mod cases;
mod chats;
mod corrections;
mod events;
mod jobs;
mod notices;
mod precomputed;
mod sessions;
mod shared_answers;
mod spend;
mod transfer;
mod users;
mod views;

mod bulk;
mod case_cache;
mod column;
mod error;
mod file;
mod hints;
mod migrate;
mod writer;

#[cfg(test)]
mod plans;

pub use config::{Durability, SqliteConfig};
pub use store::SqliteStore;
