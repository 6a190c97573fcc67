//! How well the next answer of a student is foretold, on logs of real answers.
//!
//! ```text
//! cargo run --release -p medcards-examples --example evaluate -- --data ../shared/data
//! ```
//!
//! Users are parted by a hash of their names. Those of the one part answer first: from them come the
//! difficulties of cases and a calibration. Then those of the other part answer,
//! and before each answer the view `ability` says how probable it is that it is right. What is
//! measured is the projection of the product, fed with events. Elo ratings and a sequential ability by
//! the two-parameter model do the same on the same users, to compare.

use std::process::ExitCode;

use clap::Parser;

/// The command line.
mod arguments;
/// Elo ratings, and abilities by the two-parameter model.
mod baseline;
/// The logs, and the events that they are made into.
mod log;
/// The projection, before each answer.
mod online;
/// The run itself.
mod run;
/// Area under the curve, log loss, accuracy.
mod score;

/// An error of this program, with all that led to it.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[expect(
    clippy::print_stderr,
    reason = "a command line program talks to who runs it"
)]
fn main() -> ExitCode {
    let arguments = arguments::Arguments::parse();
    match run::evaluate(&arguments) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            eprintln!("error: a baseline is better");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
