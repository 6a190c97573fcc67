//! The whole system: the server as a process, the workspace, the deck and the documents.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

/// What the tests share: the server as a process, its clients, a model that is no model.
mod harness;

/// What no client should send.
mod bad_input;
/// Talking with the coach, on servers that come, go and die.
mod coach;
/// Several servers on one database, and what a student sees while replicas are behind or gone.
mod copies;
/// A server that is asked to stop while students answer and read.
mod drain;
/// Servers that share a Redis: one call for all of them.
mod fleet;
/// The main job, from the first token to the feedback of each tier.
mod journey;
/// A server that is killed while students answer.
mod kill;
/// What is said to one student, and who else might hear of it.
mod leaks;
/// What is learnt of answers, and said to who gave them.
mod learning;
/// Students who are told of what happens, on servers that come, go and die.
mod live;
/// A deployment that moves from SQLite to PostgreSQL, and is killed while it does.
mod moving;
/// Servers on a database: several of them, and what they do while it is away.
mod pg_server;
/// Feedback bought in batches by a program that is killed while it waits.
mod precompute;
/// Real cases, by the thousand; run by `tests/real-data`.
mod real_data;
/// What happens to Redis while students study, and how little they see of it.
mod redis_faults;
/// A key that was wrong, and all that follows its correction.
mod regrading;
/// Servers that work, for servers that serve.
mod roles;
/// Signing in and out, on servers that come and go.
mod sessions;
/// Whose data is whose, and which tokens open what.
mod strangers;
/// One trace of requests, played on every kind of store.
mod trace;

/// Days on which nobody could answer.
mod outage;
/// Telling another server, which fails in every way.
mod webhook;

/// The decisions of another rate limiter, call by call.
mod upstash;

/// The cases that come with the server.
mod deck;
/// Who depends on whom, and what must be in no file.
mod dependencies;
/// Commands and paths that the documents name.
mod readme;

/// The clusters that the tests of all crates start.
mod pg_clusters;
/// The proxy that breaks what goes over TCP.
mod pg_network;
/// The Redis servers that the tests of all crates start.
mod redis_servers;
