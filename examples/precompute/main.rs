//! Has feedback written before it is asked for, in batches at half the price.
//!
//! ```text
//! cargo run --release --example precompute -- plan
//! cargo run --release --example precompute -- run --budget 2.00
//! ```
//!
//! It reads the answer log of the store, forecasts which feedback will be asked for, and buys what
//! pays for itself. It may be stopped at any moment: `resume` goes on, and nothing is paid twice.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "it talks to who runs it"
)]

use std::process::ExitCode;

use clap::Parser;

/// The command line.
mod arguments;
/// Driving batches to their end.
mod drive;
/// The tables.
mod table;
/// What is told of a wait.
mod waiting;
/// The backends, as the server has them.
mod wiring;

use self::arguments::{Arguments, Command};
use self::wiring::Wired;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Stopping it is a crash like any other: what it is about to do is in the store.
    let done = tokio::select! {
        done = run(arguments) => done,
        _ = tokio::signal::ctrl_c() => {
            eprintln!("\nstopped: `resume` goes on where it was, and nothing is paid twice");
            return ExitCode::from(130);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> medcards::Result<()> {
    let wired = Wired::open(arguments.settings).await?;
    let done = match arguments.command {
        Command::Plan(wishes) => drive::plan(&wired, &wishes).await.map(drop),
        Command::Run(run) => drive::run(&wired, &run).await,
        Command::Resume { poll } => drive::resume(&wired, poll).await,
        Command::Status => drive::status(&wired).await,
        Command::Cancel { batch, poll } => drive::cancel(&wired, batch, poll).await,
    };
    wired.close().await;
    done
}
