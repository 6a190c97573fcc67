//! All that goes on beside the requests of students: views kept, jobs done, cron.

mod builder;
mod regraded;
mod runner;
mod sweep;

pub use builder::LearningRunnerBuilder;
pub use regraded::{NotifyRegraded, TellRegraded};
pub use runner::LearningRunner;
pub use sweep::Sweep;
