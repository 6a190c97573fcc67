//! Fills a database with millions of answers that are shaped like real ones, and measures what users
//! then wait for.
//!
//! ```text
//! tests/scale --answers 1000000,10000000 --log assistments2009_train.jsonl.gz
//! ```
//!
//! Each number of answers gets a cluster of its own. The number of users grows with it, so that a
//! user has as many answers among ten million as among one. What is measured runs in a process of
//! its own, after a restart of the server; what the operating system keeps of the files in memory
//! cannot be dropped without its leave, and is not.
//!
//! `scale --help` lists the phases, each of which also runs alone on a database of one's own.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to who runs it"
)]

use std::process::ExitCode;

use clap::Parser;

/// The command line.
mod arguments;
/// All of it, phase after phase.
mod run;

/// Answers of that shape, over months.
mod made;
/// How real users answer.
mod shape;

/// Puts cases, answers and events into the database.
mod fill;
/// What users wait for.
mod measure;
/// What is learnt from the log, and whether it is right.
mod project;
/// How large the tables are.
mod sizes;

/// An error of this program, with all that led to it.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    let done = match arguments::Arguments::parse().phase {
        arguments::Phase::Run(run) => run::run(&run).await,
        arguments::Phase::Fill(fill) => fill::fill(&fill).await,
        arguments::Phase::Project(database) => project::project(&database).await,
        arguments::Phase::Measure(measure) => measure::measure(&measure).await,
        arguments::Phase::Sizes(database) => sizes::print(&database).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
