//! The example server: the whole platform on one SQLite file or on PostgreSQL, with a page to answer
//! cases on.
//!
//! `cargo run --release --example server`, then open the address that it prints.

#![expect(clippy::print_stderr, reason = "it talks to who runs it")]

mod banner;
mod log;
mod page;
mod stop;
mod token;
mod wiring;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use medcards::{Error, ErrorKind, Result};
use medcards_examples::config::{Config, Settings};

use crate::token::TokenArguments;
use crate::wiring::Wired;

const EXAMPLES: &str = "\
Every setting can be a flag, a variable in the environment, or a line in the file of --config; the
first of these that has it counts.

Examples:
  server                                   everything on this machine, nothing to set
  server --listen 0.0.0.0:8080 --guests on others on the network may try it
  MEDCARDS_AI=anthropic MEDCARDS_AI_KEY=... server --spend-budget '$1/day'
  MEDCARDS_STORE=postgres://medcards:...@db/medcards MEDCARDS_JWT_SECRET=... server
                                           one of many servers on a PostgreSQL database
  server token --role admin                a token to import cases and read spending with";

/// The MEDCARDS example server: answer clinical cases, read feedback on the option you chose.
#[derive(Parser)]
#[command(name = "server", version, after_help = EXAMPLES, max_term_width = 100)]
#[command(
    args_conflicts_with_subcommands = false,
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Command {
    /// Print a token, signed with MEDCARDS_JWT_SECRET or else the secret of the data folder; works
    /// while the server runs
    Token(TokenArguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Some(Command::Token(wanted)) => token::print(&wanted, arguments.settings),
        None => serve(arguments.settings),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn serve(settings: Settings) -> Result<()> {
    let config = Config::read(settings)?;
    log::start(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|source| {
        Error::new(
            ErrorKind::Unavailable,
            "start",
            "the system gives no threads",
        )
        .with_source(source)
    })?;
    runtime.block_on(async {
        let wired = Wired::new(&config).await?;
        banner::print(&config, &wired);
        wired.serve(stop::signal()?).await
    })
}
