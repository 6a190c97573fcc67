//! All that goes on beside the requests of students: views kept, jobs done, cron.

mod builder;
mod runner;

pub use builder::LearningRunnerBuilder;
pub use runner::LearningRunner;
