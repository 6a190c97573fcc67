//! Runs projections of the answer log, and jobs with outside effects.
//!
//! [`LearningRunner`](learning::LearningRunner) does all of it for a platform. Its parts stand alone
//! too: [`view`] keeps views up to the log, [`worker`] does jobs, [`cron`] enqueues them at certain
//! times.
//!
//! Any number of processes may do the same work on the same stores: an event counts once, a job is
//! done at least once with its effects written once, and a time of cron enqueues one job.
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `webhook` | [`webhook`](https://docs.rs/medcards-jobs): tells another server of badges and regraded answers |

mod backoff;
mod stores;

pub mod cron;
pub mod learning;
pub mod view;
pub mod worker;

#[cfg(feature = "webhook")]
pub mod webhook;

pub use backoff::Backoff;
pub use stores::Stores;
