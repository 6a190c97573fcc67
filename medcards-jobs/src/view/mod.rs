//! Keeps views up to the answer log, each by one process at a time.
//!
//! A [`ViewRunner`] keeps one view. Every process may run one for the same view: whoever has the lead
//! applies events, the others look on and take over when it ends. That saves work and is not what keeps
//! an event from counting twice: a commit counts only if the view stands where its runner thinks.
//!
//! While the view is built anew, the edition that answers is kept up beside it: a commit of the one,
//! then a commit of the other.

mod build;
mod facts;
mod figures;
mod plan;
mod runner;
mod status;

pub(crate) use facts::CaseFacts;
pub use runner::{ViewRunner, ViewRunnerConfig};
pub use status::{RunnerStatus, ViewStatus, rebuild, view_status, view_statuses};
