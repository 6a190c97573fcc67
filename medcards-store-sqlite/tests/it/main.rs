//! The SQLite store against its promises.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

/// What all tests share: a store in a folder of its own.
mod fresh;

/// Every promise of the store traits.
mod conformance;
/// What opening refuses, and what it leaves as it was.
mod opening;

/// Processes that are killed.
mod crash;
/// The format of the file, today's and earlier ones.
mod format;
/// Disks that are full.
mod full;
/// Writes that share a commit, and closing.
mod group_commit;
/// What is derived from the log, and what newer programs wrote.
mod learning;
/// The spend ledger against a model, step by step.
mod money;
/// Reading everything, to carry it elsewhere.
mod moving;
/// How long it takes to pick the next case.
mod next_case;
/// Searches that look like queries.
mod search;
/// Sessions that end, and that outlive the process.
mod sessions;
