//! Replays the submissions of a real examination, in which every change of an answer is saved at
//! once, and checks that each one that was acknowledged is stored exactly once.
//!
//! ```text
//! tests/autosave-replay exam_autosave_midterm.jsonl.gz --seconds 120
//! ```
//!
//! Each submission is an answer with an id of its own, sent when the log has it. Some are sent twice
//! with the same id, as a client does that heard nothing; one that fails is sent again until it is
//! acknowledged. See `--help`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program talks to who runs it"
)]

use std::process::ExitCode;

use clap::Parser;

/// The command line, and the store that it names.
mod arguments;
/// What is in the store at the end, compared with what was acknowledged.
mod audit;
/// The log: who submits what, and when.
mod exam;
/// Who sends it.
mod send;

/// An error of this program, with all that led to it.
type Error = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> ExitCode {
    match replay(&arguments::Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn replay(arguments: &arguments::Arguments) -> Result<(), Error> {
    let exam = exam::Exam::read(&arguments.log, arguments.seconds)?;
    println!("{exam}");
    let (store, keeper) = arguments.open().await?;
    println!("into {store}, {}", arguments.pace());
    let sent = send::send(&store, &exam, arguments).await?;
    println!("{sent}");
    let audit = audit::audit(&*store, &sent.ledger).await?;
    println!("{audit}");
    keeper.close().await;
    match audit.is_clean() {
        true => Ok(()),
        false => Err("the store does not have what it acknowledged".into()),
    }
}
