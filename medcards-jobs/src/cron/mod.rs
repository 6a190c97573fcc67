//! Enqueues jobs at certain times of day.
//!
//! Every process may do it for the same entries: the key of a job names its kind and its time, so that
//! of all processes one enqueues it.

mod entry;
mod keeper;

pub use entry::{CronEntry, Missed};
pub use keeper::Cron;
