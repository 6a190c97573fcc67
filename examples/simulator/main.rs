//! A simulator of a model's server, to run and load the whole platform without a key.
//!
//! `cargo run --release --example simulator`, then start the example server on the address that it
//! prints; `--help` shows how.

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "it talks to who runs it"
)]

/// The command line.
mod arguments;

use std::process::ExitCode;

use clap::Parser;
use medcards::{Error, ErrorKind, Result};
use medcards_examples::simulator::{Simulator, SimulatorOptions};

use self::arguments::Arguments;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<()> {
    let script = arguments.script()?;
    let options = SimulatorOptions::new()
        .with_listen(arguments.listen)
        .with_body_bytes_max(arguments.body_max_mib.saturating_mul(1024 * 1024));
    let needs_key = script.key.is_some();
    let simulator = options.start(script).await?;
    println!("{}", welcome(&simulator, needs_key));
    tokio::signal::ctrl_c().await.map_err(|source| {
        let context = "the system gives no signals";
        Error::new(ErrorKind::Unavailable, "wait", context).with_source(source)
    })?;
    let counts = simulator.counts();
    simulator.stop().await;
    match serde_json::to_string_pretty(&counts) {
        Ok(counts) => println!("{counts}"),
        Err(error) => eprintln!("error: the counts cannot be told: {error}"),
    }
    Ok(())
}

fn welcome(simulator: &Simulator, needs_key: bool) -> String {
    let url = simulator.base_url();
    let key = if needs_key { "THE_KEY" } else { "any" };
    format!(
        "The simulator listens on {url}, and stops at ctrl-c.\n\n\
         Start the example server on it:\n  \
         MEDCARDS_AI=anthropic MEDCARDS_AI_URL={url} MEDCARDS_AI_KEY={key} \
         cargo run --release --example server\n\n\
         Steer it:\n  \
         curl {url}/simulator/counts\n  \
         curl -d '[\"overloaded\", \"cut\"]' {url}/simulator/next\n"
    )
}
