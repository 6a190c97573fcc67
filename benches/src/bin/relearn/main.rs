//! Builds all views of a log of many events, and builds them anew while students answer and read.
//!
//! See `benches/README.md`.

#![expect(
    clippy::print_stdout,
    reason = "a command line program talks to who runs it"
)]

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use fastrand::Rng;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use medcards_core::answer::Answer;
use medcards_core::app::Medcards;
use medcards_core::case::{Case, CaseFilter, CaseRecord, OptionSet};
use medcards_core::event::LogPosition;
use medcards_core::learning::Learning;
use medcards_core::learning::ability::AbilityProjection;
use medcards_core::learning::boards::BoardsProjection;
use medcards_core::learning::case_stats::CaseStatsProjection;
use medcards_core::learning::habits::HabitsProjection;
use medcards_core::learning::reviews::ReviewsProjection;
use medcards_core::learning::user_stats::UserStatsProjection;
use medcards_core::store::{Consistency, LearningStore, Store};
use medcards_core::testing::sample_record;
use medcards_core::time::{Clock, SystemClock};
use medcards_core::view::ViewName;
use medcards_core::{AnswerId, Timestamp, UserId};
use medcards_jobs::learning::LearningRunner;
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use medcards_tests::learnt::assert_learnt;
use medcards_tests::pg::{Cluster, Database, Installed};
use tokio::task::JoinSet;

/// How many answers are recorded at the same time.
const AT_ONCE: usize = 1_000;

/// How many cases are published at once.
const PUBLISHED_AT_ONCE: usize = 500;

/// How many specialties the cases are of.
const SPECIALTIES: usize = 20;

/// Over how many days the answers are spread.
const DAYS: u64 = 60;

/// How often it is looked how far the views are.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// At every how many looks it is counted how far they are behind: counting reads what it counts.
const LOOKS_PER_COUNT: u32 = 20;

/// Builds all views of a log, and builds them anew while students answer and read.
#[derive(Debug, Parser)]
struct Options {
    /// Where the log is.
    #[arg(long, value_enum, default_value_t = Kind::Sqlite)]
    store: Kind,
    /// How many answers the log has at first.
    #[arg(long, default_value_t = 1_000_000)]
    answers: u64,
    /// How many students give them.
    #[arg(long, default_value_t = 20_000)]
    users: usize,
    /// How many cases there are.
    #[arg(long, default_value_t = 20_000)]
    cases: usize,
    /// How many answers a second come while the views are built anew.
    #[arg(long, default_value_t = 100)]
    rate: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Postgres,
    Sqlite,
}

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The store, and what it lives in.
struct Home {
    store: Arc<dyn Store>,
    learning: Arc<dyn LearningStore>,
    _folder: tempfile::TempDir,
    _server: Option<(Cluster, Database)>,
}

impl Home {
    async fn open(kind: Kind) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        Ok(match kind {
            Kind::Postgres => {
                let cluster = Cluster::start(&Installed::oldest(), &[]);
                let database = cluster.fresh_database();
                let config = PgConfig::new(&database.url())?;
                let store = PgStore::open(config.with_keeping(Keeping::Elsewhere)).await?;
                Self {
                    store: Arc::new(store.clone()),
                    learning: Arc::new(store),
                    _folder: folder,
                    _server: Some((cluster, database)),
                }
            }
            Kind::Sqlite => {
                let file = folder.path().join("medcards.db");
                let store = SqliteStore::open(SqliteConfig::new(file)).await?;
                Self {
                    store: Arc::new(store.clone()),
                    learning: Arc::new(store),
                    _folder: folder,
                    _server: None,
                }
            }
        })
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let options = Options::parse();
    let home = Home::open(options.store).await?;
    let log = Arc::new(Log::publish(&home, &options).await?);
    fill(&home, &log, &options).await?;

    let medcards = Medcards::builder(Arc::clone(&home.store)).build().await?;
    let runner = start(&medcards, &home)?;
    let learning = Learning::new(medcards.clone(), Arc::clone(&home.learning));
    println!("built from the first event:");
    watch(&home, &options, Built::First).await?;

    let serving = Arc::new(Serving::default());
    let tasks = serve(&serving, &learning, &home, &log, &options);
    for view in home.learning.list_views().await? {
        runner.rebuild(&view.name).await?;
    }
    println!("built anew while {} answers a second come:", options.rate);
    watch(&home, &options, Built::Anew).await?;
    serving.is_over.store(true, Ordering::Relaxed);
    let waits = tasks.join_all().await;
    println!(
        "{} answers came meanwhile",
        serving.answers.load(Ordering::Relaxed)
    );
    for (what, waited) in waits {
        let ms = |quantile| waited.value_at_quantile(quantile) as f64 / 1_000.0;
        println!(
            "  {what:12} {:6} times: {:.2} ms (p50), {:.2} ms (p95), {:.2} ms (p99)",
            waited.len(),
            ms(0.5),
            ms(0.95),
            ms(0.99)
        );
    }
    catch_up(&home).await?;
    runner.stop(Duration::from_secs(10)).await;
    let began = Instant::now();
    let learnt = assert_learnt(&*home.store, &*home.learning).await;
    println!(
        "all {} rows and {} badges are what a fold of {} events gives ({:.0} s)",
        learnt.rows,
        learnt.awards,
        learnt.events,
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

fn start(medcards: &Medcards, home: &Home) -> Outcome<LearningRunner> {
    Ok(
        LearningRunner::builder(medcards, Arc::clone(&home.learning))
            .view(UserStatsProjection::new())
            .view(CaseStatsProjection::new())
            .view(AbilityProjection::new())
            .view(ReviewsProjection::new())
            .view(HabitsProjection::new())
            .view(BoardsProjection::new())
            .start()?,
    )
}

/// Who may answer what.
struct Log {
    cases: Vec<Case>,
    users: Vec<UserId>,
}

impl Log {
    async fn publish(home: &Home, options: &Options) -> Outcome<Self> {
        let now = SystemClock::new().now();
        let contents: Result<Vec<_>, _> = (0..options.cases)
            .map(|n| {
                let record = CaseRecord {
                    specialty: Some(format!("Specialty {}", n % SPECIALTIES)),
                    ..sample_record(u32::try_from(n).unwrap_or(u32::MAX))
                };
                record.into_content().map(|(content, _notices)| content)
            })
            .collect();
        let mut cases = Vec::with_capacity(options.cases);
        for batch in contents?.chunks(PUBLISHED_AT_ONCE) {
            for published in home.store.publish(batch.to_vec(), now).await? {
                let found = home.store.find_case(published.case_id, None).await?;
                let case = found.ok_or("a case that was published is gone")?;
                cases.push(Case::clone(&case));
            }
        }
        let mut rng = Rng::with_seed(options.seed);
        let user = |_| UserId::from_bytes(rng.u128(..).to_be_bytes());
        let users = (0..options.users).map(user).collect();
        Ok(Self { cases, users })
    }

    /// An answer by somebody to something at an instant; the able answer rightly more often.
    fn answer(&self, rng: &mut Rng, at: Timestamp) -> Answer {
        let (user, number) = (rng.usize(..self.users.len()), rng.usize(..self.cases.len()));
        let case = &self.cases[number];
        let ability = user as f64 / self.users.len() as f64;
        let ease = number as f64 / self.cases.len() as f64;
        let right = case.content.right_options();
        let is_right = rng.f64() < 0.3 + 0.35 * ability + 0.35 * ease;
        let chosen = if is_right {
            right
        } else {
            let wrong = rng.usize(..case.content.options().len());
            OptionSet::from_iter([wrong])
        };
        let user_id = self.users[user];
        let id = AnswerId::new(at);
        Answer {
            id,
            user_id,
            case_id: case.id,
            case_version: case.version,
            chosen,
            shown: case.order_shown_to(&user_id),
            is_correct: case.is_correct(chosen),
            time_to_answer_ms: Some(rng.u32(2_000..120_000)),
            confidence: None,
            created_at: id.instant().unwrap_or(at),
        }
    }
}

async fn fill(home: &Home, log: &Arc<Log>, options: &Options) -> Outcome<()> {
    let progress = bar("answers", options.answers)?;
    let now = SystemClock::new().now();
    let mut rng = Rng::with_seed(options.seed);
    let began = Instant::now();
    let mut recording = JoinSet::new();
    let step = Duration::from_hours(24 * DAYS).as_secs_f64() / options.answers as f64;
    for n in 0..options.answers {
        let ago = Duration::from_secs_f64(step * (options.answers - n) as f64);
        let answer = log.answer(&mut rng, now - ago);
        let store = Arc::clone(&home.store);
        recording.spawn(async move { store.record_answer(answer).await.map(|_| ()) });
        if recording.len() >= AT_ONCE
            && let Some(recorded) = recording.join_next().await
        {
            recorded??;
        }
        progress.inc(1);
    }
    for recorded in recording.join_all().await {
        recorded?;
    }
    progress.finish_and_clear();
    println!(
        "{} answers of {} students to {} cases, recorded at {:.0}/s",
        options.answers,
        options.users,
        options.cases,
        options.answers as f64 / began.elapsed().as_secs_f64()
    );
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Built {
    Anew,
    First,
}

/// Waits until every view is built, and prints how long each took and how far the old ones were behind.
async fn watch(home: &Home, options: &Options, built: Built) -> Outcome<()> {
    let views: usize = 6;
    let progress = bar("events of all views", options.answers * views as u64)?;
    let began = Instant::now();
    let mut done: Vec<ViewName> = Vec::new();
    let mut behind_max = 0;
    let mut seen_next: Vec<ViewName> = Vec::new();
    let mut looks = 0_u32;
    while done.len() < views {
        tokio::time::sleep(LOOK_INTERVAL).await;
        looks += 1;
        for view in home.learning.list_views().await? {
            if built == Built::Anew
                && looks.is_multiple_of(LOOKS_PER_COUNT)
                && let Some(current) = view.current
            {
                behind_max = behind_max.max(home.store.count_events(current.position).await?);
            }
            if view.next.is_some() && !seen_next.contains(&view.name) {
                seen_next.push(view.name.clone());
            }
            let was_begun = built == Built::First || seen_next.contains(&view.name);
            if view.next.is_some() || view.current.is_none() || !was_begun {
                continue;
            }
            if !done.contains(&view.name) {
                let seconds = began.elapsed().as_secs_f64();
                // Also where there is no terminal for the bar.
                progress.suspend(|| {
                    println!(
                        "  {:12} after {seconds:6.1} s: {:.0} events/s",
                        view.name.as_str(),
                        options.answers as f64 / seconds
                    );
                });
                done.push(view.name);
                progress.inc(options.answers);
            }
        }
    }
    progress.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "  all {views} views in {seconds:.1} s: {:.0} events/s through all of them",
        options.answers as f64 / seconds
    );
    if built == Built::Anew {
        println!("  the views that answered were {behind_max} events behind at most");
    }
    Ok(())
}

/// Waits until every view stands at the end of the log.
async fn catch_up(home: &Home) -> Outcome<()> {
    loop {
        let mut behind = 0;
        for view in home.learning.list_views().await? {
            let place = view.current.map_or(LogPosition::START, |it| it.position);
            behind += home.store.count_events(place).await?;
        }
        if behind == 0 {
            return Ok(());
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

#[derive(Default)]
struct Serving {
    is_over: AtomicBool,
    answers: AtomicU64,
}

type Waits = (&'static str, Histogram<u64>);

/// Lets answers come at a rate, and students read their dashboard and their next case one after the
/// other.
fn serve(
    serving: &Arc<Serving>,
    learning: &Learning,
    home: &Home,
    log: &Arc<Log>,
    options: &Options,
) -> JoinSet<Waits> {
    let mut tasks = JoinSet::new();
    let (seed, rate) = (options.seed, options.rate);
    for what in ["answer", "dashboard", "next case"] {
        let (serving, learning) = (Arc::clone(serving), learning.clone());
        let (store, log) = (Arc::clone(&home.store), Arc::clone(log));
        tasks.spawn(async move {
            let mut rng = Rng::with_seed(seed ^ what.len() as u64);
            let mut waited = Histogram::new(3).expect("three digits");
            let mut ticks = tokio::time::interval(
                Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(1),
            );
            while !serving.is_over.load(Ordering::Relaxed) {
                ticks.tick().await;
                let user_id = log.users[rng.usize(..log.users.len())];
                let began = Instant::now();
                match what {
                    "answer" => {
                        let answer = log.answer(&mut rng, SystemClock::new().now());
                        store.record_answer(answer).await.expect("an answer");
                        serving.answers.fetch_add(1, Ordering::Relaxed);
                    }
                    "dashboard" => {
                        let read = learning.dashboard(user_id, &Consistency::Strong).await;
                        read.expect("a dashboard");
                    }
                    _ => {
                        let filter = CaseFilter::default();
                        let next = learning.next_case(user_id, &filter, &Consistency::Strong);
                        next.await.expect("a next case");
                    }
                }
                let _ =
                    waited.record(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
            }
            (what, waited)
        });
    }
    tasks
}

fn bar(what: &'static str, count: u64) -> Outcome<ProgressBar> {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} ({eta} left)")?;
    Ok(ProgressBar::new(count).with_style(style).with_message(what))
}
