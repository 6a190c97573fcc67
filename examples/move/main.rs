//! Moves a whole deployment from SQLite to PostgreSQL.
//!
//! `cargo run --release --example move -- --from ./medcards-data/medcards.sqlite --to postgres://…`

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "it talks to who runs it"
)]

mod progress;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use medcards::postgres::{HalfMoved, Keeping, PgConfig, PgStore};
use medcards::sqlite::{SqliteConfig, SqliteStore};
use medcards::time::{Clock, SystemClock};
use medcards::transfer::{
    Inventory, Part, ROWS_PER_STEP, TargetState, TransferSource, TransferTarget, carry,
};
use medcards::{Error, ErrorKind, Result};

use crate::progress::Bar;
use crate::report::{Outcome, Report};

/// How long one statement may take: counting the log of a large deployment takes minutes.
const STATEMENT_TIMEOUT: Duration = Duration::from_mins(10);

const OPERATION: &str = "move";

/// Moves a whole deployment from its SQLite file into an empty PostgreSQL database: cases in all
/// versions, users, reviewed feedback, spending, answers, the answer log, and how far its readers
/// have come. Ids, instants and order stay as they are.
///
/// Stop the server first, and start it on PostgreSQL when this has ended with 0. The file is only
/// read; keep it as a backup, and do not start a server on it again.
///
/// 1. It reads the file, hashes every user and every part, and looks for rows that PostgreSQL cannot
///    keep; if there is one, it lists them and writes nothing.
/// 2. It writes part after part, in steps that are one transaction each. Whatever stops it, a signal,
///    a crash or a lost network: run the same command again, and it goes on behind the last step.
///    Until it is done no server opens the database.
/// 3. It reads everything back, hashes it again, and names every user and part that is not equal.
///
/// What is learnt from the answers, such as dashboards and leaderboards, does not move: the server
/// builds it from the answer log when it is first started on PostgreSQL.
///
/// Create the database first, empty and in UTF-8: createdb -E UTF8 medcards. One that has data of
/// its own is refused; so is one that a server was started on, because it has put its deck there.
/// Give the address of the server itself, not of a pooler.
///
/// The environment may name both ends instead: MEDCARDS_DATA the folder of the file, and
/// MEDCARDS_STORE the file in it or the postgres:// address, as the server takes them. An address
/// with a password is better given there, since a command line can be read by others.
///
/// Ends with 0 if both hold the same, 1 if rows differ or cannot be moved, 2 if nothing could be
/// done.
#[derive(Parser)]
#[command(name = "move", verbatim_doc_comment)]
struct Arguments {
    /// The SQLite file [default: medcards.sqlite in the data folder]
    #[arg(long, value_name = "FILE")]
    from: Option<PathBuf>,

    /// The PostgreSQL database, such as postgres://user:password@host:5432/medcards
    #[arg(long, value_name = "URL")]
    to: Option<String>,

    /// The folder of the SQLite file, if --from is not given
    #[arg(
        long,
        env = "MEDCARDS_DATA",
        value_name = "FOLDER",
        default_value = "./medcards-data"
    )]
    data: PathBuf,

    /// What the server was or will be told: a file in that folder, or the database
    #[arg(
        long,
        env = "MEDCARDS_STORE",
        value_name = "NAME|URL",
        hide_env_values = true
    )]
    store: Option<String>,

    /// Count what would move, look for what cannot, look at the target; write nothing
    #[arg(long, conflicts_with = "verify_only")]
    dry_run: bool,

    /// Compare what was moved before with the file; write nothing. A database that was used since
    /// differs in what was written since
    #[arg(long)]
    verify_only: bool,

    /// Write a report of rows, hashes and times: as Markdown if the name ends with .md, else as JSON
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// How many rows a step has
    #[arg(long, value_name = "N", default_value_t = ROWS_PER_STEP)]
    rows_per_step: usize,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Arguments::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: &Arguments) -> Result<u8> {
    let (file, config) = ends(arguments)?;
    let state = PgStore::survey(config.clone()).await?;
    check_state(arguments, &state)?;
    let source = open_source(file).await?;
    let mut report = Report::new(source.to_string(), SystemClock::new().now());
    let done = move_from(arguments, &source, config, &state, &mut report).await;
    source.close().await;
    let outcome = done?;
    report.end(outcome);
    print!("{report}");
    if let Some(path) = &arguments.report {
        report.write(path)?;
        println!("The report is in {}.", path.display());
    }
    Ok(match outcome {
        Outcome::Checked | Outcome::Equal => 0,
        Outcome::Different | Outcome::Refused => 1,
    })
}

async fn move_from(
    arguments: &Arguments,
    source: &SqliteStore,
    config: PgConfig,
    state: &TargetState,
    report: &mut Report,
) -> Result<Outcome> {
    let total = rows_of(source).await?;
    let inventory = take_inventory("reading the file", source, total, report, true).await?;
    report.source(&inventory);
    if inventory.objection_count() > 0 {
        return Ok(Outcome::Refused);
    }
    if arguments.dry_run {
        report.note(match state {
            TargetState::Begun(known) if *known == inventory.fingerprint() => {
                "The database holds a part of this; the move would go on there."
            }
            TargetState::Ended(known) if *known == inventory.fingerprint() => {
                "The database has all of this already."
            }
            TargetState::Begun(_) | TargetState::Ended(_) => {
                return Err(conflict(
                    "the database holds another source, or an earlier state of this one: move into \
                     an empty database",
                ));
            }
            TargetState::Empty | TargetState::Occupied(_) => {
                "The database is empty and can be moved into."
            }
        });
        return Ok(Outcome::Checked);
    }
    let target = PgStore::open(config).await?;
    report.to(target.to_string());
    let done = move_into(arguments, source, &target, &inventory, state, report).await;
    target.close().await;
    done
}

async fn move_into(
    arguments: &Arguments,
    source: &SqliteStore,
    target: &PgStore,
    inventory: &Inventory,
    state: &TargetState,
    report: &mut Report,
) -> Result<Outcome> {
    let total = Part::ALL.map(|part| inventory.part(part).rows).iter().sum();
    if !arguments.verify_only {
        let bar = Bar::new("moving", total);
        let began = Instant::now();
        let rows = arguments.rows_per_step;
        let written = carry(source, target, inventory, rows, |part, rows| {
            bar.add(part, rows)
        })
        .await;
        report.moved(written?, began.elapsed(), bar.times());
    }
    let found = take_inventory("comparing", target, total, report, false).await?;
    let differences = inventory.compare(&found);
    report.target(&found, &differences);
    if !differences.is_empty() {
        return Ok(Outcome::Different);
    }
    if arguments.verify_only {
        return Ok(Outcome::Equal);
    }
    target.end_transfer().await?;
    target.refresh_stats_cache().await?;
    if !matches!(state, TargetState::Ended(_)) {
        report.note(
            "Dashboards, reviews, the next case and leaderboards do not move: the server builds them \
             from the answer log when it is first started on this database, and until then says less.",
        );
    }
    Ok(Outcome::Equal)
}

/// The file and the database.
fn ends(arguments: &Arguments) -> Result<(PathBuf, PgConfig)> {
    let store = arguments.store.as_deref().filter(|store| !store.is_empty());
    let is_url = |store: &&str| store.contains("://");
    let url = arguments.to.as_deref().or(store.filter(is_url));
    let url =
        url.ok_or_else(|| invalid("say where to: --to postgres://user:password@host/medcards"))?;
    let file = store
        .filter(|store| !is_url(store))
        .unwrap_or("medcards.sqlite");
    let file = match &arguments.from {
        Some(file) => file.clone(),
        None => arguments.data.join(file),
    };
    if !file.is_file() {
        let context = format!(
            "there is no file {}: say which with --from, or name its folder with --data",
            file.display()
        );
        return Err(Error::new(ErrorKind::NotFound, OPERATION, context));
    }
    let config = PgConfig::new(url)?
        .with_half_moved(HalfMoved::Taken)
        .with_keeping(Keeping::Elsewhere)
        .with_statement_timeout(STATEMENT_TIMEOUT);
    Ok((file, config))
}

/// Refuses early what could not be moved into, or not be compared.
fn check_state(arguments: &Arguments, state: &TargetState) -> Result<()> {
    match state {
        TargetState::Occupied(what) => Err(conflict(format!(
            "the database has data of its own ({what}): move into an empty one. A server that was \
             started on it has put its deck there, under other ids"
        ))),
        TargetState::Empty if arguments.verify_only => Err(conflict(
            "nothing was moved into the database: there is nothing to compare",
        )),
        TargetState::Empty | TargetState::Begun(_) | TargetState::Ended(_) => Ok(()),
    }
}

async fn open_source(file: PathBuf) -> Result<SqliteStore> {
    let opened = SqliteStore::open(SqliteConfig::new(file)).await;
    if opened
        .as_ref()
        .is_err_and(|error| error.kind() == ErrorKind::Busy)
    {
        eprintln!("Stop the server that holds the file: nothing may be written while it moves.");
    }
    opened
}

async fn rows_of(source: &SqliteStore) -> Result<u64> {
    let mut total = 0;
    for part in Part::ALL {
        total += source.count_rows(part).await?;
    }
    Ok(total)
}

/// Reads everything; of the source, also whether the target could keep it.
async fn take_inventory<S: TransferSource>(
    what: &'static str,
    store: &S,
    total: u64,
    report: &mut Report,
    is_source: bool,
) -> Result<Inventory> {
    let bar = Bar::new(what, total);
    let began = Instant::now();
    let inventory = Inventory::take(
        store,
        |row| is_source.then(|| PgStore::objection(row)).flatten(),
        |part, rows| bar.add(part, rows),
    );
    let inventory = inventory.await?;
    report.read(what, total, began.elapsed());
    Ok(inventory)
}

fn invalid(context: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, OPERATION, context)
}

fn conflict(context: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Conflict, OPERATION, context)
}
