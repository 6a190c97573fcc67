use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use indicatif::{ProgressBar, ProgressStyle};
use medcards::ai::{FeedbackPrompt, ModelId};
use medcards::app::{AnswerForm, Medcards};
use medcards::caches::MokaCache;
use medcards::case::Case;
use medcards::feedback::{FeedbackKey, Resolution, ResolverConfig, ResolverCounts, Tier};
use medcards::jiff::tz::TimeZone;
use medcards::precompute::BatchStore;
use medcards::providers::{FeedbackTemplate, price_of};
use medcards::spend::{MicroDollars, SpendQuery, SpendRow};
use medcards::sqlite::{SqliteConfig, SqliteStore};
use medcards::store::{Consistency, Store};
use medcards::time::Clock;
use medcards::user::{Level, UserKind};
use medcards::{Timestamp, UserId, memory::MemoryStore};

use crate::Error;
use crate::arguments::Arguments;
use crate::clock::LogClock;
use crate::count::{Count, SLICES};
use crate::course::{Course, Survey};
use crate::log::{self, Row};
use crate::model::{Calls, ReplayModel};
use crate::planning::{Notes, Planning};
use crate::{compare, picture, table};

/// Answers that come at the same time lie at most this far apart in the log: what lies further apart
/// may fall on different sides of the end of a feedback's time.
const TOGETHER_MAX_MS: i64 = 60_000;

/// How long the last calls may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many answers go by between two looks of the progress bar.
const ANSWERS_PER_TICK: u64 = 1_000;

/// A replay under way.
struct Replay<'a> {
    arguments: &'a Arguments,
    survey: &'a Survey,
    course: Course,
    medcards: Medcards,
    model: Arc<ReplayModel>,
    clock: Arc<LogClock>,
    count: Count,
    started: Instant,
    planning: Option<Planning>,
    /// What there was when the training ended.
    trained: Option<Sums>,
}

/// An answer that is about to be given.
struct Turn {
    at_ms: i64,
    user_id: UserId,
    case: Arc<Case>,
    form: AnswerForm,
    key: FeedbackKey,
}

/// What came of a turn.
struct Done {
    resolution: Resolution,
    is_repeated: bool,
    record: Duration,
    feedback: Duration,
}

/// Replays a log, prints the table and draws the picture.
///
/// With a planner it is replayed in each [`Way`], to compare.
///
/// # Errors
/// A log or deck that cannot be read; a store that fails; figures that do not add up.
pub(crate) async fn replay(arguments: &Arguments) -> Result<(), Error> {
    let survey = Survey::read(arguments)?;
    let (from_ms, to_ms) = survey.span_ms(arguments.days);
    if arguments.plan_every.is_some() {
        let mut runs = Vec::new();
        for way in Way::ALL {
            runs.push((way, run(arguments, &survey, way).await?));
        }
        let title = table::title(arguments);
        compare::draw(&arguments.svg, &title, &runs)?;
        compare::print(arguments, &title, &runs);
        return Ok(());
    }
    let way = match arguments.forget {
        true => Way::CacheOnly,
        false => Way::Kept,
    };
    let run = run(arguments, &survey, way).await?;
    picture::draw(
        &arguments.svg,
        &table::title(arguments),
        &run.count,
        (from_ms, to_ms),
    )?;
    table::print(&table::Figures {
        arguments,
        survey: &survey,
        cases: run.cases,
        count: &run.count,
        calls: &run.calls,
        counts: &run.counts,
        took: run.took,
        span_ms: to_ms - from_ms,
    });
    Ok(())
}

/// How the platform is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// With caches alone: what the model wrote is forgotten with them.
    CacheOnly,
    /// What the model wrote is kept, as it is by default.
    Kept,
    /// The same, and a planner has feedback written ahead.
    Planned,
}

impl Way {
    pub(crate) const ALL: [Self; 3] = [Self::CacheOnly, Self::Kept, Self::Planned];
}

/// What came of a replay.
pub(crate) struct Run {
    pub(crate) count: Count,
    pub(crate) calls: Calls,
    pub(crate) counts: ResolverCounts,
    pub(crate) cases: usize,
    pub(crate) took: Duration,
    /// What there was when the training ended; the rest is compared.
    pub(crate) trained: Sums,
    pub(crate) end: Sums,
    pub(crate) notes: Notes,
}

/// What was counted up to some moment.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sums {
    pub(crate) tiers: [u64; Tier::ALL.len()],
    pub(crate) live: MicroDollars,
    pub(crate) batches: MicroDollars,
    pub(crate) live_only: MicroDollars,
}

async fn run(arguments: &Arguments, survey: &Survey, way: Way) -> Result<Run, Error> {
    // What is compared lies side by side in memory; the file is for the one that was asked for.
    let file = arguments.store.as_ref().filter(|_| {
        let is_compared = arguments.plan_every.is_some();
        !is_compared || way == Way::Planned
    });
    match file {
        None => run_on(arguments, survey, way, Arc::new(MemoryStore::new())).await,
        Some(path) if path.exists() => {
            let path = path.display();
            Err(format!("{path} exists: its feedback and totals would be counted too").into())
        }
        Some(path) => {
            let store = SqliteStore::open(SqliteConfig::new(path)).await?;
            run_on(arguments, survey, way, Arc::new(store)).await
        }
    }
}

async fn run_on<S: Store + BatchStore>(
    arguments: &Arguments,
    survey: &Survey,
    way: Way,
    store: Arc<S>,
) -> Result<Run, Error> {
    let (from_ms, to_ms) = survey.span_ms(arguments.days);
    let clock = Arc::new(LogClock::new(from_ms));
    let model = Arc::new(model(arguments, &clock)?);
    let planning = match arguments.plan_every.filter(|_| way == Way::Planned) {
        Some(every) => Some(Planning::new(arguments, every, &store, &model, &clock)?),
        None => None,
    };
    let store: Arc<dyn Store> = store;
    let medcards = platform(arguments, way, &store, &model, &clock).await?;
    let course = Course::publish(survey, arguments, &*store, medcards.now()).await?;
    let window = arguments
        .ttl
        .mul_f64(1.0 - f64::from(arguments.jitter) / 100.0);
    let (count, started) = (Count::new(window)?, Instant::now());
    let mut replay = Replay {
        arguments,
        survey,
        course,
        medcards,
        model,
        clock,
        count,
        started,
        planning,
        trained: None,
    };
    replay.play().await?;
    let took = replay.started.elapsed();
    let end = replay.sums();
    replay.medcards.close(PATIENCE).await?;

    let Replay {
        medcards,
        model,
        count,
        course,
        planning,
        trained,
        ..
    } = replay;
    let calls = model.calls();
    let counts = medcards.resolver().counts();
    let ledger = ledger(&*store, from_ms, to_ms).await?;
    let is_settled = planning.as_ref().is_none_or(Planning::is_settled);
    count.check(&calls, is_settled.then_some(end.batches), &counts, &ledger)?;
    Ok(Run {
        count,
        calls,
        counts,
        cases: course.len(),
        took,
        trained: trained.unwrap_or_default(),
        end,
        notes: planning.map(|planning| planning.notes).unwrap_or_default(),
    })
}

fn model(arguments: &Arguments, clock: &Arc<LogClock>) -> Result<ReplayModel, Error> {
    let id: ModelId = arguments.model.parse()?;
    let price = arguments
        .price
        .or_else(|| price_of(id.as_str()))
        .ok_or_else(|| {
            format!(
                "the price of {id} is not known: give it with --price, such as --price 1.00,5.00"
            )
        })?;
    Ok(ReplayModel::new(
        id,
        price,
        arguments.latency,
        arguments.seed,
        Arc::clone(clock),
    )
    .with_batch_time(arguments.batch_time))
}

async fn platform(
    arguments: &Arguments,
    way: Way,
    store: &Arc<dyn Store>,
    model: &Arc<ReplayModel>,
    clock: &Arc<LogClock>,
) -> Result<Medcards, Error> {
    let mut config = ResolverConfig::default();
    config.ttl = arguments.ttl;
    config.ttl_jitter_percent = arguments.jitter;
    config.keep_generated = way != Way::CacheOnly;
    // Days of the log pass in seconds: the totals are flushed before each new one instead, and
    // nobody else keeps keys.
    config.flush_interval = Duration::MAX;
    config.key_refresh_interval = Duration::MAX;
    let clock: Arc<dyn Clock> = Arc::clone(clock) as _;
    let cache = MokaCache::builder(Arc::clone(&clock)).build();
    let medcards = Medcards::builder(Arc::clone(store))
        .cache(Arc::new(cache))
        .ai(Arc::clone(model) as _, Arc::new(FeedbackTemplate::new()))
        .clock(clock)
        .resolver(config)
        .build()
        .await?;
    Ok(medcards)
}

async fn ledger(store: &dyn Store, from_ms: i64, to_ms: i64) -> Result<Vec<SpendRow>, Error> {
    let day = |ms| {
        Ok::<_, Error>(
            Timestamp::from_millisecond(ms)?
                .to_zoned(TimeZone::UTC)
                .date(),
        )
    };
    let query = SpendQuery {
        from: day(from_ms)?,
        to: day(to_ms)?,
        by_case: false,
    };
    Ok(store.totals(&query).await?)
}

impl Replay<'_> {
    async fn play(&mut self) -> Result<(), Error> {
        let bar = progress_bar(self.survey.answers)?;
        let mut together: Vec<Turn> = Vec::new();
        let mut answers = 0;
        for row in log::rows(&self.arguments.log)? {
            let Some(turn) = self.turn(&row?, answers) else {
                continue;
            };
            answers += 1;
            let is_apart = together
                .first()
                .is_some_and(|first| turn.at_ms.abs_diff(first.at_ms) > TOGETHER_MAX_MS as u64);
            if is_apart || together.len() >= usize::from(self.arguments.concurrency) {
                self.take(std::mem::take(&mut together)).await?;
            }
            together.push(turn);
            if answers % ANSWERS_PER_TICK == 0 {
                bar.set_position(answers);
            }
        }
        self.take(together).await?;
        bar.finish_and_clear();
        Ok(())
    }

    fn turn(&self, row: &Row, n: u64) -> Option<Turn> {
        row.is_correct()?;
        let user_id = self.survey.user(row)?;
        let at_ms = self.survey.time_ms(row, n, self.arguments.days);
        let (case, form) = self.course.answer(self.survey, row, n);
        let positions = form
            .options
            .iter()
            .filter_map(|key| case.content.position_of(key));
        let chosen = positions.collect();
        let key =
            self.medcards
                .resolver()
                .key(case, chosen, case.content.locale(), Level::default());
        Some(Turn {
            at_ms,
            user_id,
            case: Arc::clone(case),
            form,
            key,
        })
    }

    /// Lets all of these answers be given at once, at the time of the last.
    async fn take(&mut self, turns: Vec<Turn>) -> Result<(), Error> {
        let Some(at_ms) = turns.iter().map(|turn| turn.at_ms).max() else {
            return Ok(());
        };
        self.plan_until(at_ms).await?;
        self.wait_for(at_ms).await?;
        let slice = self.slice();
        for turn in &turns {
            let (model, case) = (&self.model, &turn.case);
            let cost = |key: &FeedbackKey| model.cost(&FeedbackTemplate::new().shared(case, key));
            self.count
                .wished(turn.key.clone(), self.clock.now_ms(), cost);
        }
        let now = self.clock.now();
        let seen: Vec<_> = turns
            .iter()
            .map(|turn| (turn.key.clone(), turn.case.is_correct(turn.key.chosen)))
            .collect();
        let medcards = &self.medcards;
        let done = join_all(turns.into_iter().map(|turn| give(medcards, turn))).await;
        for done in done {
            let done = done?;
            self.count.resolved(&done.resolution, slice);
            self.count.repeated += u64::from(done.is_repeated);
            self.count.record_ns.record(done.record.as_nanos() as u64)?;
            self.count
                .feedback_ns
                .record(done.feedback.as_nanos() as u64)?;
        }
        if let Some(planning) = &mut self.planning {
            for (key, is_correct) in seen {
                planning.see(&key, is_correct, now);
            }
        }
        let spent = self.model.spent() + self.model.spent_in_batches();
        let live_only = self.count.live_only;
        self.count.slices[slice].spent = spent;
        self.count.slices[slice].live_only = live_only;
        Ok(())
    }

    /// Lets the planner do what is due up to an instant of the log, each at its time.
    async fn plan_until(&mut self, at_ms: i64) -> Result<(), Error> {
        let trained = self.survey.answers * u64::from(self.arguments.train) / 100;
        if self.trained.is_none() && self.count.answers >= trained {
            self.trained = Some(self.sums());
            if let Some(planning) = &mut self.planning {
                planning.begin(self.clock.now_ms());
            }
        }
        let Some(mut planning) = self.planning.take() else {
            return Ok(());
        };
        while let Some(due_ms) = planning.due_ms().filter(|due_ms| *due_ms <= at_ms) {
            self.wait_for(due_ms).await?;
            planning
                .work(self.clock.now_ms(), self.medcards.resolver())
                .await?;
        }
        self.planning = Some(planning);
        Ok(())
    }

    fn sums(&self) -> Sums {
        Sums {
            tiers: self.count.tiers,
            live: self.model.spent(),
            batches: self.model.spent_in_batches(),
            live_only: self.count.live_only,
        }
    }

    /// Goes on to an instant of the log, not faster than was asked for.
    async fn wait_for(&self, at_ms: i64) -> Result<(), Error> {
        let day = |ms: i64| ms.div_euclid(86_400_000);
        if day(at_ms) != day(self.clock.now_ms()) {
            // What was served on a day is booked on that day.
            self.medcards.resolver().flush().await?;
        }
        self.clock.go_to(at_ms);
        if let Some(speed) = self.arguments.speed {
            let (from_ms, _) = self.survey.span_ms(self.arguments.days);
            let due = (at_ms - from_ms) as f64 / 1_000.0 / speed;
            let due = self.started + Duration::try_from_secs_f64(due)?;
            tokio::time::sleep_until(due.into()).await;
        }
        Ok(())
    }

    fn slice(&self) -> usize {
        let (from_ms, to_ms) = self.survey.span_ms(self.arguments.days);
        let share = (self.clock.now_ms() - from_ms) as f64 / (to_ms - from_ms).max(1) as f64;
        ((share * SLICES as f64) as usize).min(SLICES - 1)
    }
}

async fn give(medcards: &Medcards, turn: Turn) -> Result<Done, Error> {
    let Turn {
        user_id,
        case,
        form,
        ..
    } = turn;
    medcards.ensure_user(user_id, UserKind::Registered).await?;
    let started = Instant::now();
    let submitted = medcards.submit_answer(user_id, case.id, form).await?;
    let recorded = Instant::now();
    let fresh = Consistency::after(submitted.token);
    let resolution = medcards
        .feedback(user_id, submitted.answer.id, &fresh)
        .await?;
    Ok(Done {
        resolution,
        is_repeated: submitted.is_repeated,
        record: recorded - started,
        feedback: recorded.elapsed(),
    })
}

fn progress_bar(answers: u64) -> Result<ProgressBar, Error> {
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} answers, {per_sec}, {eta} left")?;
    Ok(ProgressBar::new(answers).with_style(style))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::Parser;

    use super::*;

    /// Two students answer two cases, every six hours for five days: whatever is kept or not, the
    /// accounts must add up, which `replay` checks.
    #[tokio::test]
    async fn a_log_is_replayed_and_its_accounts_add_up() {
        let folder = tempfile::tempdir().expect("the disk has room");
        let log = folder.path().join("log.jsonl");
        let mut file = std::fs::File::create(&log).expect("the disk has room");
        for n in 0..20_i64 {
            for user in ["one", "other"] {
                let (item, correct, time) = (n % 2, n % 3 % 2, n * 21_600_000);
                writeln!(
                    file,
                    r#"{{"user":"{user}","item":"{item}","correct":{correct},"t_ms":{time}}}"#
                )
                .expect("the disk has room");
            }
        }
        let svg = folder.path().join("replay.svg");
        let store = folder.path().join("replay.sqlite");
        let (store, svg) = (store.to_string_lossy(), svg.to_string_lossy());
        let log = log.to_string_lossy();
        for flags in [
            vec![],
            vec!["--forget"],
            vec!["--store", &store],
            vec!["--cases", "7"],
            vec!["--plan-every", "12h", "--train", "20", "--cases", "7"],
            vec!["--plan-every", "1d", "--wait-value", "0.01", "--train", "0"],
        ] {
            let program = [&["replay", &*log, "--svg", &*svg], &*flags].concat();
            let arguments = Arguments::try_parse_from(program).expect("the flags are known");
            let done = replay(&arguments).await;
            assert!(done.is_ok(), "{flags:?}: {done:?}");
        }
    }
}
