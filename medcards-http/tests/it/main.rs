//! The HTTP API, called as a client calls it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

/// A platform in memory with its API, and a client for it.
mod world;

/// Answering a case, from the list to the totals.
mod journey;

/// What a student sees of cases, and must not see.
mod cases;

/// Recording answers, once each.
mod answers;

/// Reading one's own answers where copies of the data are behind.
mod consistency;

/// Feedback as JSON.
mod feedback;

/// Feedback as a stream, and what draining does to it.
mod stream;

/// Talking with the coach.
mod chat;

/// Tokens and roles.
mod auth;

/// Sessions: from signing in to signing out.
mod sessions;

/// Tokens signed with an issuer's keys.
#[cfg(feature = "jwks")]
mod jwks;

/// Where a student stands among others.
mod leaderboards;

/// What is learnt from answers.
mod learning;

/// What students are told, as it happens.
mod live;

/// What whoever runs the platform does about what is learnt.
mod upkeep;

/// Requests that are wrong, each a clear problem.
mod bad_input;

/// Quotas and their headers.
mod limits;

/// What reviewers say of written feedback.
mod review;

/// Importing cases, and the reader of records.
mod import;

/// What whoever runs the server uses: probes, figures, spend, timeouts, panics.
mod operation;

/// Serving on a socket, and stopping.
mod serving;

/// The contract.
mod openapi;
