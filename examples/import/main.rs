//! Imports cases from JSONL and CSV files into the store of the example server.
//!
//! `cargo run --release --example import -- FILES`

#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "it talks to who runs it"
)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use medcards::case::CaseStore;
use medcards::postgres::{Keeping, PgStore};
use medcards::sqlite::{SqliteConfig, SqliteStore};
use medcards::time::{Clock, SystemClock};
use medcards::{Error, ErrorKind, Result, Timestamp};
use medcards_examples::config::{Settings, StoreSettings};
use medcards_examples::import::{Entry, FileSummary, Format, Rejects, import};
use secrecy::SecretString;

/// Imports cases into the store of the example server.
///
/// Takes JSONL (a case on each line, as in examples/deck) and CSV (a header, then a case in each
/// row), also compressed with gzip. Importing again changes nothing; a case that was changed since
/// becomes a new version. A server on PostgreSQL may run meanwhile; stop one on a SQLite file, which
/// one process at a time may open.
///
/// CSV columns: id, source, lang, specialty, topic, difficulty (easy, medium, hard), vignette, stem,
/// option_a to option_z, explanation_a to explanation_z, answer_keys, multi, explanation, tags,
/// references, licence. Lists have a semicolon between their entries: B;D. The first five that a
/// case needs are id, stem, option_a, option_b and answer_keys.
///
/// Ends with 0 if all went in, 1 if some records were refused, 2 if nothing could be done.
#[derive(Parser)]
#[command(name = "import", verbatim_doc_comment)]
struct Arguments {
    /// The files
    #[arg(required = true, value_name = "FILES")]
    files: Vec<PathBuf>,

    /// The folder of the store, made if missing
    #[arg(
        long,
        env = "MEDCARDS_DATA",
        value_name = "FOLDER",
        default_value = "./medcards-data"
    )]
    data: PathBuf,

    /// The SQLite file in that folder, or the address of a PostgreSQL database,
    /// postgres://user:password@host:port/database. Set an address with a password in the
    /// environment: other users of this machine can read flags [default: medcards.sqlite]
    #[arg(
        long,
        env = "MEDCARDS_STORE",
        value_name = "NAME|URL",
        hide_env_values = true
    )]
    store: Option<SecretString>,

    /// What stands before that database: transaction for a pooler such as PgBouncer or Supavisor in
    /// transaction mode, or none [default: none]
    #[arg(long, env = "MEDCARDS_POOLER", value_name = "MODE")]
    pooler: Option<String>,

    /// Only check: publish nothing, write nothing
    #[arg(long)]
    dry_run: bool,

    /// Where refused records go, with line and reason [default: FILE.rejects, beside each
    /// file or, if nothing may be written there, in the data folder]
    #[arg(long, value_name = "FILE")]
    rejects: Option<PathBuf>,

    /// What the files are [default: as their names say]
    #[arg(long, value_name = "jsonl|csv")]
    format: Option<Format>,

    /// Tell each notice and refusal, with its line
    #[arg(long, short)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

async fn run(arguments: Arguments) -> Result<u8> {
    let store = match arguments.dry_run {
        true => None,
        false => Some(open_store(&arguments).await?),
    };
    let mut rejects = arguments.rejects.as_ref().map(Rejects::new);
    let (mut accepted, mut failures) = (0, 0);
    for path in &arguments.files {
        let store = store.as_ref().map(OpenedStore::cases);
        match import_one(&arguments, path, store, rejects.as_mut()).await {
            Ok(summary) => {
                accepted += summary.accepted();
                failures += summary.rejected + u64::from(summary.broken.is_some());
            }
            Err(error) => {
                failures += 1;
                eprintln!("error: {}: {error}", path.display());
            }
        }
    }
    if let Some(rejects) = &mut rejects {
        rejects.finish()?;
    }
    if let Some(store) = store {
        store.close().await;
    }
    Ok(match (failures, accepted) {
        (0, _) => 0,
        (_, 0) => 2,
        _ => 1,
    })
}

/// The store, as what it is, so that it can be closed.
enum OpenedStore {
    Postgres(PgStore),
    Sqlite(SqliteStore),
}

impl OpenedStore {
    async fn open(settings: StoreSettings) -> Result<Self> {
        match settings {
            // The servers look after the database, with their settings.
            StoreSettings::Postgres(config) => {
                PgStore::open(config.with_keeping(Keeping::Elsewhere))
                    .await
                    .map(Self::Postgres)
            }
            StoreSettings::Sqlite(file) => SqliteStore::open(SqliteConfig::new(file))
                .await
                .map(Self::Sqlite),
        }
    }

    fn cases(&self) -> &dyn CaseStore {
        match self {
            Self::Postgres(store) => store,
            Self::Sqlite(store) => store,
        }
    }

    async fn close(&self) {
        match self {
            Self::Postgres(store) => store.close().await,
            Self::Sqlite(store) => store.close().await,
        }
    }
}

async fn open_store(arguments: &Arguments) -> Result<OpenedStore> {
    let settings = Settings {
        store: arguments.store.clone(),
        pooler: arguments.pooler.clone().filter(|mode| !mode.is_empty()),
        ..Settings::default()
    };
    let settings = StoreSettings::read(&settings, &arguments.data)?;
    if let StoreSettings::Sqlite(_) = settings {
        fs::create_dir_all(&arguments.data).map_err(|source| {
            let context = format!("the folder {} cannot be made", arguments.data.display());
            Error::new(ErrorKind::ReadOnly, "open store", context).with_source(source)
        })?;
    }
    OpenedStore::open(settings).await
}

async fn import_one(
    arguments: &Arguments,
    path: &Path,
    store: Option<&dyn CaseStore>,
    shared_rejects: Option<&mut Rejects>,
) -> Result<FileSummary> {
    let format = arguments.format.map_or_else(|| Format::of(path), Ok)?;
    let (file, length) = open(path)?;
    let bar = progress(path, length);
    let began = Instant::now();
    let mut own_rejects = Rejects::new(rejects_path(path, &arguments.data));
    let rejects = shared_rejects.unwrap_or(&mut own_rejects);
    let mut each = |entry: &Entry| {
        if arguments.verbose {
            bar.suspend(|| tell(path, entry));
        }
        match &entry.record {
            Err(refused) if !arguments.dry_run => rejects.add(path, entry.line, refused),
            _ => Ok(()),
        }
    };
    let bytes = bar.wrap_read(file);
    let summary = import(format, bytes, store, now(), &mut each).await;
    bar.finish_and_clear();
    let summary = summary?;
    rejects.finish()?;
    print(path, &summary, began, rejects.written());
    Ok(summary)
}

fn open(path: &Path) -> Result<(File, u64)> {
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
    let (length, file) = opened.map_err(|source| {
        Error::new(ErrorKind::NotFound, "read file", "it cannot be opened").with_source(source)
    })?;
    Ok((file, length))
}

/// Beside the file; in the data folder, if the file's own folder cannot be written.
fn rejects_path(path: &Path, data: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".rejects");
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let is_writable = fs::metadata(folder).is_ok_and(|found| !found.permissions().readonly());
    if is_writable {
        folder.join(name)
    } else {
        data.join(name)
    }
}

fn now() -> Timestamp {
    SystemClock::new().now()
}

/// A bar of the bytes read, which nobody sees but on a terminal.
fn progress(path: &Path, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}",
    );
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    ProgressBar::new(length)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(name)
}

fn tell(path: &Path, entry: &Entry) {
    let place = format!("{}:{}", path.display(), entry.line);
    match &entry.record {
        Err(refused) => eprintln!("{place}: refused: {}", refused.reason),
        Ok(imported) => {
            for notice in &imported.notices {
                eprintln!("{place}: {notice}");
            }
            for field in &imported.unknown_fields {
                eprintln!("{place}: unknown field {field}");
            }
        }
    }
}

fn print(path: &Path, summary: &FileSummary, began: Instant, rejects: Option<&Path>) {
    println!(
        "{} ({:.1} s)",
        path.display(),
        began.elapsed().as_secs_f64()
    );
    let line = |count: u64, what: &str| println!("{count:>9}  {what}");
    line(summary.records, "records");
    let outcomes = [
        (summary.created, "new cases"),
        (summary.updated, "new versions of known cases"),
        (summary.unchanged, "known, unchanged"),
        (summary.checked, "right, not published"),
        (summary.rejected, "refused"),
    ];
    for (count, what) in outcomes.into_iter().filter(|(count, _)| *count > 0) {
        line(count, what);
    }
    let remarks = [
        ("refused", &summary.reasons),
        ("notice", &summary.notices),
        ("unknown field", &summary.unknown_fields),
    ];
    for (kind, tally) in remarks {
        for (name, count) in tally.most() {
            line(count, &format!("{kind}: {name}"));
        }
    }
    if let Some(how) = &summary.broken {
        println!("           broke off, and was imported up to there: {how}");
    }
    if let Some(rejects) = rejects.filter(|_| summary.rejected > 0) {
        println!("           refused records are in {}", rejects.display());
    }
}
