//! Replays a log of real answers against the resolver: how many live calls it takes, what they cost,
//! and what a call for every answer would have cost.
//!
//! ```text
//! cargo run --release --example replay -- assistments2009_train.jsonl.gz --svg replay.svg
//! ```
//!
//! The platform is the real one; only the model is scripted, at the price of a real one, and the
//! clock follows the log. See `--help`, and the module docs for what stands in for what the log
//! does not say.

use std::process::ExitCode;

use clap::Parser;

/// The command line.
mod arguments;
/// The time of the log.
mod clock;
/// The ways of running it, side by side.
mod compare;
/// What was counted, and whether it adds up.
mod count;
/// The cases that the items of a log stand for, and the options that were chosen.
mod course;
/// The rows of a log.
mod log;
/// The model that stands in for a real one.
mod model;
/// The picture.
mod picture;
/// The planner that works beside it.
mod planning;
/// The run itself.
mod run;
/// The table.
mod table;

/// An error of this program, with all that led to it.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
#[expect(
    clippy::print_stderr,
    reason = "a command line program talks to who runs it"
)]
async fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match run::replay(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
