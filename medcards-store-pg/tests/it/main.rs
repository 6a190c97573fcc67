//! The PostgreSQL store against real servers, which the tests start themselves.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

/// What the tests share: fresh databases, sample answers, ledgers.
mod place;

/// Every promise of the store traits: bare, behind PgBouncer, with replicas, on the oldest and the
/// newest server there is.
mod conformance;

/// Chats of two processes.
mod chats;
/// Figures that are computed from the answers.
mod cross_check;
/// Migrations: from empty, twice, by many at once, beside a newer program.
mod format;
/// Hints from process to process.
mod hints;
/// Jobs of two processes, and in transactions of the embedder.
mod jobs;
/// Who may come in: password, certificate, addresses.
mod login;
/// The spend ledger: what older programs left, what is forgotten, who waits for whom.
mod money;
/// Months: made ahead, made on demand, retired, pruned.
mod months;
/// What students are told, in the order of commits.
mod notices;
/// Buckets that are another shard's.
mod ownership;
/// How the server finds what the hot statements ask for.
mod plans;
/// Search: languages, and walks that another process goes on with.
mod search;
/// Sessions that end, and those of two processes.
mod sessions;

/// The scripts for operators: a server that is gone with its disk, and what is restored of it.
mod backup;
/// A server that is killed, fills up, or is replaced by another.
mod crashes;
/// Connections that are cut, silent, or whose caller went away.
mod links;
/// What a pooler in transaction mode must not see.
mod pooler;
/// The queue of jobs beside a transaction that somebody forgot.
mod pressure;
/// Reads from replicas that lag, stop or are promoted.
mod replicas;
