//! All that goes on beside the requests of students: views kept, jobs done, cron.

mod builder;
mod recalibrate;
mod regraded;
mod runner;
mod sweep;

pub use builder::LearningRunnerBuilder;
pub use recalibrate::Recalibrate;
pub use regraded::{NotifyRegraded, TellRegraded};
pub use runner::LearningRunner;
pub use sweep::Sweep;
