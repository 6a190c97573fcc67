use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use sqlx::{Connection, PgConnection};

use crate::Error;

/// Fills a PostgreSQL database with answers shaped like real ones, and measures it.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) phase: Phase,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Phase {
    /// Starts a server for each number of answers, and does everything below.
    Run(Run),
    /// Publishes cases, and loads answers with their events.
    Fill(Fill),
    /// Builds what is learnt from the log, and checks it against the answers.
    Project(Database),
    /// Measures one of the things that users wait for; writes one line of JSON.
    Measure(Measure),
    /// Prints how large the tables are.
    Sizes(Database),
}

/// A database that belongs to this program.
#[derive(Args, Clone, Debug)]
pub(crate) struct Database {
    /// Its address: postgres://user:password@host/database.
    pub(crate) url: String,
}

/// All phases.
#[derive(Args, Debug)]
pub(crate) struct Run {
    /// How many answers; with several numbers, each is measured and compared with the first.
    #[arg(long, default_value = "1000000", value_delimiter = ',')]
    pub(crate) answers: Vec<u64>,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) course: Course,
    /// How many users, chosen at random, each wait for everything once.
    #[arg(long, default_value_t = 2_000)]
    pub(crate) users: u32,
    /// The memory that the server keeps tables in.
    #[arg(long, default_value = "1GB")]
    pub(crate) shared_buffers: String,
    /// Prints how the server carried out each statement.
    #[arg(long)]
    pub(crate) plans: bool,
    /// Leaves each server running, with its data, until a line is typed.
    #[arg(long)]
    pub(crate) keep: bool,
}

/// Where the shape of users comes from.
#[derive(Args, Clone, Debug)]
pub(crate) struct Shape {
    /// A log of real answers: JSON lines with user, item and correct, in the order of each user,
    /// packed with gzip or not. Default: a heavy-tailed shape of our own.
    #[arg(long)]
    pub(crate) log: Option<PathBuf>,
    /// Changes which users are drawn, and when they answer.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// What is answered.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Course {
    /// How many cases are published.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) cases: u32,
    /// How many months the answers are spread over, until now.
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=240))]
    pub(crate) months: u32,
}

/// Cases, answers, events.
#[derive(Args, Debug)]
pub(crate) struct Fill {
    #[command(flatten)]
    pub(crate) database: Database,
    /// How many answers.
    #[arg(long, default_value_t = 1_000_000)]
    pub(crate) answers: u64,
    #[command(flatten)]
    pub(crate) shape: Shape,
    #[command(flatten)]
    pub(crate) course: Course,
}

/// One measurement.
#[derive(Args, Debug)]
pub(crate) struct Measure {
    #[command(flatten)]
    pub(crate) database: Database,
    /// What users wait for.
    #[arg(long)]
    pub(crate) wait: Wait,
    /// A file with their ids, one a line.
    #[arg(long)]
    pub(crate) users: PathBuf,
}

/// What users wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Wait {
    /// A user's last 20 answers.
    LastAnswers,
    /// A user's totals, counted from the answers.
    Totals,
    /// A user's figures, in all, by specialty and topic, and among peers.
    Dashboard,
    /// The case that a user should see next.
    NextCase,
    /// The 100 users with the most right answers, and where the user stands.
    Leaderboard,
}

impl Wait {
    /// All, in the order in which they are measured.
    pub(crate) const ALL: [Self; 5] = [
        Self::LastAnswers,
        Self::Totals,
        Self::Dashboard,
        Self::NextCase,
        Self::Leaderboard,
    ];

    /// The word on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::LastAnswers => "last-answers",
            Self::Totals => "totals",
            Self::Dashboard => "dashboard",
            Self::NextCase => "next-case",
            Self::Leaderboard => "leaderboard",
        }
    }

    /// What 95 of 100 should wait at most, in milliseconds, if anything is asked.
    pub(crate) fn target_ms(self) -> Option<f64> {
        match self {
            Self::LastAnswers | Self::NextCase => Some(10.0),
            Self::Dashboard => Some(50.0),
            Self::Leaderboard => Some(100.0),
            Self::Totals => None,
        }
    }
}

impl Database {
    /// Opens the store in it, with so many connections for readers. Nothing runs beside what is asked.
    pub(crate) async fn open(&self, connections: u32) -> Result<PgStore, Error> {
        let config = PgConfig::new(&self.url)?
            .with_keeping(Keeping::Elsewhere)
            .with_connections_max(connections)
            .with_writers(1);
        Ok(PgStore::open(config).await?)
    }

    /// Connects without the store.
    pub(crate) async fn connect(&self) -> Result<PgConnection, Error> {
        Ok(PgConnection::connect(&self.url).await?)
    }
}
