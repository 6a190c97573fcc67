//! The PostgreSQL store of MEDCARDS: every store ability on a server, its replicas and its monthly
//! partitions. PostgreSQL 15 or newer.
//!
//! ```no_run
//! use medcards_core::case::{CaseQuery, CaseStore};
//! use medcards_store_pg::{PgConfig, PgStore};
//!
//! # async fn example() -> medcards_core::Result<()> {
//! let config = PgConfig::new("postgres://medcards:secret@localhost/medcards")?;
//! let store = PgStore::open(config).await?;
//! let page = store.list_cases(&CaseQuery::default()).await?;
//! assert!(page.items.is_empty());
//! store.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # What is kept where
//!
//! | trait | tables | guarantee |
//! | --- | --- | --- |
//! | [`AnswerStore`] | `interactions`, `events` | an answer and its event in one statement, once per user and id |
//! | [`BatchStore`] | `precompute_batches`, `precompute_keys` | a feedback is in one open batch, and a batch is handed in by one process |
//! | [`CaseStore`] | `cases`, `case_versions`, `key_corrections` | versions never change; a search sees a publication at once, and a walk through it goes on in any process |
//! | [`ChatStore`] | `chat_turns`, `chat_summaries` | a turn is begun once and one reply to it counts, however many processes try; what was forgotten is gone; always asked of the primary |
//! | [`EventLog`] | `events`, `cursors` | complete and in one order, however many write: nothing is shown that something could still come before |
//! | [`PrecomputedStore`] | `precomputed_feedback` | what a reviewer said is never overwritten |
//! | [`SessionStore`] | `sessions` | who was signed out is out in every process, once that was acknowledged; always asked of the primary |
//! | [`SharedAnswers`] | `shared_answers` | what a reviewer shared with everyone, apart from all users |
//! | [`SpendLedger`] | `spend_reservations`, `spend_days`, `spend_scopes`, `spend_totals` | nobody spends more than the spend budget, however many processes ask at once |
//! | [`UserStore`] | `users`, `events` | settings and their event in one transaction |
//! | [`TransferTarget`] | all of them but `sessions` and those of batches, and `transfers`, `transfer_parts` | rows and how far they came in one transaction; a database with data of its own is refused |
//! | [`JobQueue`] | `jobs`, `dead_jobs`, `job_keys` | a job is claimed by one worker at a time, and its effects count once; [`PgStore::enqueue_in`] and [`PgStore::settle_in`] take part in transactions of yours |
//! | [`NoticeStore`] | `notices` | complete and in one order, as the log |
//! | [`ViewStore`] | `views`, `view_editions`, `view_rows`, `view_set_aside`, `awards` | rows and how far they are in one transaction, so that each event counts once |
//! | | `user_stats_cache` | figures of users that are computed from the answers themselves |
//! | | `owned_buckets`, `shard_map` | which users this shard may write; each write checks it in its own statement |
//!
//! `schema.sql` shows all tables. Migrations only add, so a program before goes on beside a newer
//! one; they run in one transaction under an advisory lock, by whichever process comes first.
//!
//! # How it works
//!
//! **Writing.** Answers go through a queue to a few writers. Each takes what waits, stores it in one
//! statement and answers everybody: callers that come at the same time share one wait for the disk,
//! and a single caller waits for nobody. While few are written the other writers let the next ones
//! gather, because two small commits at once would wait for the disk one after the other. What is
//! queued is written, whether or not its caller still listens. An answer whose write met a lost
//! connection is written again, which changes nothing if it had arrived.
//!
//! **Months.** `interactions` has a partition a month (UTC) by the instant inside the id, so that an
//! answer that is sent again meets the first one. This month and the next two are made ahead. An
//! answer of any other month from 2000 to 2199, such as one that an offline client sends late, makes
//! its month first, unless [`Retention`] has put it out of reach: then it is refused. There is no
//! default partition, beside which no month could be attached without reading all of it.
//!
//! **Reading.** `Strong` asks the primary. `AtLeast` and `Bounded` name a position of the
//! write-ahead log, and are answered by the quickest replica that has replayed it; the replica
//! confirms that on the connection that then reads. Where none has, or one fails, the primary
//! answers. Every tenth of a second each replica is looked at; one that fails is left alone until it
//! has answered three looks in a row.
//!
//! **Connections.** A connection whose caller was dropped half-way, or that did not answer in time,
//! is closed and never lent again: nobody gets a connection inside somebody's transaction, and a
//! silent network takes none out of the pool for good.
//!
//! # Configuration
//!
//! | setting | default | |
//! | --- | --- | --- |
//! | [`PgConfig::new`] | | one address, or those of several servers of which one takes writes |
//! | [`with_replicas`](PgConfig::with_replicas) | none | streaming replicas to read from |
//! | [`with_pooling`](PgConfig::with_pooling) | [`Pooling::None`] | `Transaction` behind PgBouncer or Supavisor in transaction mode |
//! | [`with_connections_max`](PgConfig::with_connections_max) | 10 | to the primary, and to each replica; the keeper has one more, and hints from other processes take one |
//! | [`with_writers`](PgConfig::with_writers) | 2 | each has one more connection to the primary |
//! | [`with_statement_timeout`](PgConfig::with_statement_timeout) | 10 s | |
//! | [`with_lock_timeout`](PgConfig::with_lock_timeout) | 2 s | |
//! | [`with_case_cache_bytes`](PgConfig::with_case_cache_bytes) | 32 MiB | case versions kept in memory |
//! | [`with_retention`](PgConfig::with_retention) | [`Retention::Forever`] | how long answers stay in `interactions` |
//! | [`with_keeping`](PgConfig::with_keeping) | [`Keeping::Here`] | whether this process looks after the database |
//! | [`with_cache_refresh`](PgConfig::with_cache_refresh) | 1 day | how often the cross-check is computed; by pg_cron where it is installed |
//! | [`with_half_moved`](PgConfig::with_half_moved) | [`HalfMoved::Refused`] | `Taken` to go on with a move into it |
//!
//! How many connections: a server does best with about twice as many busy ones as it has cores, so
//! for one of 8 cores and 4 processes, 4 each are enough, and more only wait inside the server.
//! `docs/postgres.md` has the figures.
//!
//! # Limits
//!
//! - The user that connects must own the tables, to make partitions and migrate.
//! - A dump that was restored into another server is refused: events stand in the order of
//!   transaction numbers, which begin anew there. Base backups and replicas keep them.
//! - Readers of the log, and so the figures, wait for the oldest writing transaction on the server,
//!   whichever program or database it is of, because it might still add an event before what they
//!   would read. Nothing is lost by it, and students never wait for it. The longest of ours is the
//!   refresh of the cross-check, which reads all answers; hence once a day.
//! - A text with a NUL character is refused; cases and checked replies of models have none.
//! - Of one case, the first 200 kB of words can be searched.
//! - Reads of cases, users, sessions, chats, events, feedback and spending go to the primary.
//! - Timers of Tokio guard every wait, so a test with paused time must not use this store.
//!
//! # Features
//!
//! `tls`, on by default: encrypted connections, by rustls.
//!
//! [`AnswerStore`]: medcards_core::answer::AnswerStore
//! [`JobQueue`]: medcards_core::job::JobQueue
//! [`NoticeStore`]: medcards_core::notice::NoticeStore
//! [`ViewStore`]: medcards_core::view::ViewStore
//! [`BatchStore`]: medcards_core::precompute::BatchStore
//! [`CaseStore`]: medcards_core::case::CaseStore
//! [`ChatStore`]: medcards_core::chat::ChatStore
//! [`EventLog`]: medcards_core::event::EventLog
//! [`PrecomputedStore`]: medcards_core::feedback::PrecomputedStore
//! [`SessionStore`]: medcards_core::session::SessionStore
//! [`SharedAnswers`]: medcards_core::chat::SharedAnswers
//! [`SpendLedger`]: medcards_core::spend::SpendLedger
//! [`TransferTarget`]: medcards_core::transfer::TransferTarget
//! [`UserStore`]: medcards_core::user::UserStore

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

mod case_cache;
mod column;
mod copy;
mod cross_check;
mod effects;
mod error;
mod keeper;
mod migrate;
mod node;
mod partition;
mod replicas;
mod session;
mod signals;
mod steps;
mod words;
mod writer;

pub use config::{HalfMoved, Keeping, PgConfig, Pooling, Retention};
pub use keeper::KeepReport;
pub use store::PgStore;
