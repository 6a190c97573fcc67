use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use medcards_core::case::KeyCorrection;
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::store::Hint;
use medcards_core::view::{EditionState, Facts, Projection, Runner, ViewName, ViewState};
use medcards_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use super::build::{Advance, Build};
use super::figures::Figures;
use super::plan::{Plan, plan, plan_alone};
use super::{CaseFacts, RunnerStatus};
use crate::Stores;
use crate::backoff::Trouble;

/// How a view is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct ViewRunnerConfig {
    /// How long the lead lasts without being prolonged, which is done at a third of it. Default: 30 s,
    /// which is more than clocks differ and a commit takes, and as long as a view stands still when a
    /// process is killed.
    pub lease: Duration,
    /// How long to wait for a hint before the log is looked at anyway. Default: 200 ms.
    pub poll: Duration,
    /// How often whoever does not lead looks whether the lead is free. Default: 1 s.
    pub stand_by_poll: Duration,
    /// How many rows of each edition stay in memory. Default: 100,000, some tens of megabytes.
    pub rows_kept_max: usize,
}

impl Default for ViewRunnerConfig {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            poll: Duration::from_millis(200),
            stand_by_poll: Duration::from_secs(1),
            rows_kept_max: 100_000,
        }
    }
}

/// How often to look what others have done to a view that this runner leads: so late begins a rebuild
/// that somebody asks for.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How often to count by how many events a view is behind: counting reads them.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// How often to look for rows of editions that are gone, when none went lately.
const SWEEP_EVERY: Duration = Duration::from_secs(60);

/// The most rows that are swept between two looks at the log: some 50 ms of work for a database.
const SWEPT_AT_ONCE_MAX: usize = 5_000;

/// How many leases a program of older rules waits for a newer one before it keeps the view itself.
const LEASES_BEFORE_ALONE: u32 = 4;

/// How long a program of older rules leaves the view alone after each lease, so that a newer one finds
/// the lead free: three polls of who stands by.
const ALONE_PAUSE_POLLS: u32 = 3;

/// Keeps a view from a task of its own, until it is stopped.
///
/// Every process may run one for the same view: one of them leads. A failure is logged, at most once a
/// minute, and tried again.
///
/// Cloning gives a handle on the same runner. Dropping every handle stops it.
#[derive(Clone)]
pub struct ViewRunner {
    handle: Arc<Handle>,
}

struct Handle {
    name: ViewName,
    stores: Stores,
    figures: Arc<Figures>,
    stopping: CancellationToken,
    tasks: TaskTracker,
}

impl ViewRunner {
    /// Starts to keep a view.
    ///
    /// # Panics
    /// If there is no tokio runtime.
    #[must_use]
    pub fn start<P: Projection>(projection: P, stores: Stores, config: ViewRunnerConfig) -> Self {
        let cases = Arc::new(CaseFacts::new(Arc::clone(&stores.store)));
        Self::start_with(projection, stores, config, cases)
    }

    pub(crate) fn start_with<P: Projection>(
        projection: P,
        stores: Stores,
        config: ViewRunnerConfig,
        cases: Arc<CaseFacts>,
    ) -> Self {
        let handle = Handle {
            name: projection.name(),
            stores: stores.clone(),
            figures: Arc::default(),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let keeper = Keeper {
            version: projection.version(),
            projection: Arc::new(projection),
            name: handle.name.clone(),
            runner: Runner::new(Uuid::new_v4()),
            hint: stores.store.appended(),
            stores,
            config,
            cases,
            figures: Arc::clone(&handle.figures),
            stopping: handle.stopping.clone(),
            corrections: Vec::new(),
            view: None,
            lead: None,
            lead_free_since: None,
            current: None,
            next: None,
            counted_at: None,
            swept_at: None,
        };
        drop(handle.tasks.spawn(keeper.keep()));
        handle.tasks.close();
        Self {
            handle: Arc::new(handle),
        }
    }

    /// The view.
    #[must_use]
    pub fn name(&self) -> &ViewName {
        &self.handle.name
    }

    /// What it does.
    #[must_use]
    pub fn status(&self) -> RunnerStatus {
        let figures = &self.handle.figures;
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        RunnerStatus {
            name: self.handle.name.clone(),
            leads: figures.leads.load(Ordering::Relaxed),
            is_rebuilding: figures.is_rebuilding.load(Ordering::Relaxed),
            applied: count(&figures.applied),
            set_aside: count(&figures.set_aside),
            conflicts: count(&figures.conflicts),
            failures: count(&figures.failures),
            switches: count(&figures.switches),
        }
    }

    /// Stops after the commit that is under way, and gives the lead up. Close the store after it.
    ///
    /// # Cancel safety
    /// A dropped future leaves the runner stopping.
    pub async fn stop(&self) {
        self.handle.stopping.cancel();
        self.handle.tasks.wait().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

impl MetricSource for ViewRunner {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let (figures, name) = (&self.handle.figures, &self.handle.name);
        let label = |metric: Metric| metric.with_label("view", name.as_str().to_owned());
        let status = self.status();
        let flag = |it: bool| f64::from(u8::from(it));
        metrics.extend(
            [
                Metric::gauge(
                    "medcards_view_leading",
                    "Whether this process keeps the view.",
                    flag(status.leads),
                ),
                Metric::gauge(
                    "medcards_view_rebuilding",
                    "Whether this process builds the view anew.",
                    flag(status.is_rebuilding),
                ),
                Metric::gauge(
                    "medcards_view_behind_events",
                    "Events that the view lacks, as counted within the last ten seconds by whoever keeps it.",
                    figures.behind_events.load(Ordering::Relaxed) as f64,
                ),
                Metric::gauge(
                    "medcards_view_behind_seconds",
                    "How old the last answer is that counts, while others wait; else 0.",
                    figures.behind_s(self.handle.stores.now()),
                ),
                Metric::counter(
                    "medcards_view_events_total",
                    "Events that this process applied, in each edition.",
                    status.applied,
                ),
                Metric::counter(
                    "medcards_view_set_aside_total",
                    "Events that this process set aside because they cannot be counted.",
                    status.set_aside,
                ),
                Metric::counter(
                    "medcards_view_conflicts_total",
                    "Times that another process was there first.",
                    status.conflicts,
                ),
                Metric::counter(
                    "medcards_view_failures_total",
                    "Times that the view could not be kept, and it was tried again.",
                    status.failures,
                ),
                Metric::counter(
                    "medcards_view_switches_total",
                    "Editions that this process made the current one.",
                    status.switches,
                ),
            ]
            .map(label),
        );
    }
}

impl fmt::Debug for ViewRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ViewRunner")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for ViewRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ViewRunner({})", self.handle.name)
    }
}

/// The view as the store had it, and when that was.
#[derive(Debug)]
struct Seen {
    state: ViewState,
    at: Instant,
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// There is more to do.
    Again,
    /// All is done: wait for events.
    CaughtUp,
    /// Others do it: look again later.
    StandBy(Duration),
}

struct Keeper<P: Projection> {
    projection: Arc<P>,
    name: ViewName,
    version: u64,
    runner: Runner,
    stores: Stores,
    config: ViewRunnerConfig,
    cases: Arc<CaseFacts>,
    figures: Arc<Figures>,
    stopping: CancellationToken,
    hint: Hint,
    /// Those that are known of the store, from the first.
    corrections: Vec<KeyCorrection>,
    view: Option<Seen>,
    lead: Option<Lead>,
    /// Since when nobody of a newer program has the lead.
    lead_free_since: Option<Instant>,
    current: Option<Build<P>>,
    next: Option<Build<P>>,
    counted_at: Option<Instant>,
    swept_at: Option<Instant>,
}

/// Whether nobody has begun an edition by rules as new as these. Then the next one is begun without the
/// lead: there is none to be had of a view that is new, and whoever keeps it by older rules gives the
/// lead up when an edition of newer ones is begun.
fn is_first(view: &ViewState, version: u64) -> bool {
    let editions = [view.current, view.next];
    editions.iter().flatten().all(|it| it.version < version)
}

#[derive(Clone, Copy, Debug)]
struct Lead {
    since: Instant,
    prolonged_at: Instant,
}

impl<P: Projection> Keeper<P> {
    async fn keep(mut self) {
        let mut trouble = Trouble::default();
        while !self.stopping.is_cancelled() {
            let turned = AssertUnwindSafe(self.turn()).catch_unwind().await;
            let turn = turned.unwrap_or_else(|_panic| {
                let context = "it panicked: see the log for where";
                Err(Error::new(ErrorKind::Unexpected, "keep view", context))
            });
            let poll = self.config.poll.mul_f64(0.75 + fastrand::f64() / 2.0);
            match turn {
                Ok(Turn::Again) => {
                    trouble.is_over();
                    // A store in memory never waits: others want the thread too.
                    tokio::task::yield_now().await;
                }
                Ok(Turn::CaughtUp) => {
                    trouble.is_over();
                    tokio::select! {
                        () = self.stopping.cancelled() => {}
                        () = self.hint.wait(poll) => {}
                    }
                }
                Ok(Turn::StandBy(wait)) => {
                    trouble.is_over();
                    self.rest(wait).await;
                }
                Err(error) => {
                    self.figures.failures.fetch_add(1, Ordering::Relaxed);
                    let wait = trouble.again("a view is not kept up", &error);
                    tracing::debug!(%error, view = %self.name, "a view is not kept up");
                    self.forget();
                    self.rest(wait).await;
                }
            }
        }
        if self.lead.is_some()
            && let Err(error) = self.give_up_lead().await
        {
            tracing::debug!(%error, view = %self.name, "a lead is not given up, and will end");
        }
        self.figures.stand_by();
    }

    async fn rest(&self, wait: Duration) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = sleep(wait) => {}
        }
    }

    /// Forgets all that was read: what the store has now is not known.
    fn forget(&mut self) {
        self.view = None;
        self.current = None;
        self.next = None;
    }

    async fn turn(&mut self) -> Result<Turn> {
        let view = self.look().await?;
        let known = self.corrections.len() as u64;
        let plan = match plan(&view, self.version, known) {
            Plan::Yield if self.is_alone(&view) => plan_alone(&view, self.version, known),
            plan => {
                if plan != Plan::Yield {
                    self.lead_free_since = None;
                }
                plan
            }
        };
        if plan == Plan::Yield {
            if self.lead.is_some() {
                self.give_up_lead().await?;
            }
            return Ok(Turn::StandBy(self.config.stand_by_poll));
        }
        if self.lead_free_since.is_some()
            && let Some(pause) = self.pause_alone().await?
        {
            return Ok(Turn::StandBy(pause));
        }
        if plan == Plan::Begin && is_first(&view, self.version) {
            self.begin(known).await?;
            return Ok(Turn::Again);
        }
        if !self.leads().await? {
            return Ok(Turn::StandBy(self.config.stand_by_poll));
        }
        if self.view.is_none() {
            // The lead was taken just now: decide by what there is since then.
            return Ok(Turn::Again);
        }
        match plan {
            Plan::Begin => {
                self.begin(known).await?;
                Ok(Turn::Again)
            }
            Plan::Keep { current, next } => self.advance(&view, current, next).await,
            Plan::Yield => Ok(Turn::StandBy(self.config.stand_by_poll)),
        }
    }

    /// What there is of the view, not older than [`LOOK_EVERY`].
    async fn look(&mut self) -> Result<ViewState> {
        if let Some(seen) = &self.view
            && self.lead.is_some()
            && seen.at.elapsed() < LOOK_EVERY
        {
            return Ok(seen.state.clone());
        }
        let at = Instant::now();
        let state = self.stores.learning.view(&self.name).await?;
        self.cases.follow_corrections(&mut self.corrections).await?;
        // Builds of editions that others have moved or replaced hold no more.
        let still = |build: &Option<Build<P>>, edition: Option<EditionState>| {
            build
                .as_ref()
                .zip(edition)
                .is_some_and(|(build, edition)| build.is_of(&edition))
        };
        if !still(&self.current, state.current) {
            self.current = None;
        }
        if !still(&self.next, state.next) {
            self.next = None;
        }
        self.view = Some(Seen {
            state: state.clone(),
            at,
        });
        Ok(state)
    }

    async fn begin(&mut self, corrections: u64) -> Result<()> {
        let begun = self.stores.learning.begin_edition(
            &self.name,
            self.version,
            corrections,
            self.stores.now(),
        );
        let begun = begun.await?;
        // The first edition is no news: every new deployment has one.
        if begun.current.is_some() {
            tracing::info!(view = %self.name, version = self.version, corrections, "a view is built anew");
        }
        self.swept_at = None;
        self.forget();
        Ok(())
    }

    /// Takes or prolongs the lead, and says whether this runner has it.
    async fn leads(&mut self) -> Result<bool> {
        let now = Instant::now();
        if let Some(lead) = self.lead
            && now.duration_since(lead.prolonged_at) < self.config.lease / 3
        {
            return Ok(true);
        }
        let taken = self.stores.learning.take_lead(
            &self.name,
            self.runner,
            self.stores.now(),
            self.config.lease,
        );
        if taken.await? {
            let since = self.lead.map_or(now, |lead| lead.since);
            if self.lead.is_none() {
                tracing::debug!(view = %self.name, runner = %self.runner, "this process keeps a view");
                // Whoever led before may have done anything since the last look.
                self.forget();
            }
            self.lead = Some(Lead {
                since,
                prolonged_at: now,
            });
            self.figures.leads.store(true, Ordering::Relaxed);
            return Ok(true);
        }
        self.lose_lead();
        Ok(false)
    }

    fn lose_lead(&mut self) {
        if self.lead.take().is_some() {
            tracing::debug!(view = %self.name, "another process keeps a view now");
        }
        self.forget();
        self.figures.stand_by();
    }

    async fn give_up_lead(&mut self) -> Result<()> {
        if self.lead.take().is_some() {
            tracing::debug!(view = %self.name, "this process leaves a view to others");
        }
        self.lose_lead();
        self.stores
            .learning
            .give_up_lead(&self.name, self.runner)
            .await
    }

    /// Whether no newer program has kept the view for a while.
    fn is_alone(&mut self, view: &ViewState) -> bool {
        let now = self.stores.now();
        let is_led_by_another = view
            .lead
            .is_some_and(|(leader, until)| leader != self.runner && until >= now);
        if is_led_by_another {
            self.lead_free_since = None;
            return false;
        }
        let since = *self.lead_free_since.get_or_insert_with(Instant::now);
        since.elapsed() >= self.config.lease * LEASES_BEFORE_ALONE
    }

    /// Leaves the lead to a newer program for a moment after each lease; says for how long.
    async fn pause_alone(&mut self) -> Result<Option<Duration>> {
        let Some(lead) = self.lead else {
            return Ok(None);
        };
        if lead.since.elapsed() < self.config.lease {
            return Ok(None);
        }
        self.give_up_lead().await?;
        Ok(Some(self.config.stand_by_poll * ALONE_PAUSE_POLLS))
    }

    async fn advance(&mut self, view: &ViewState, current: bool, next: bool) -> Result<Turn> {
        self.figures.is_rebuilding.store(next, Ordering::Relaxed);
        let mut is_caught_up = true;
        // What fails in the one must not keep the other from going on: a rebuild mends it.
        let mut failed = None;
        if let Some(edition) = view.current.filter(|_| current) {
            match self.advance_one(&edition, true).await {
                Ok(turn) => is_caught_up &= turn == Turn::CaughtUp,
                Err(error) if next => failed = Some(error),
                Err(error) => return Err(error),
            }
        }
        if let Some(edition) = view.next.filter(|_| next && self.view.is_some()) {
            let turn = self.advance_one(&edition, view.current.is_none()).await?;
            if turn == Turn::CaughtUp {
                self.switch(&edition).await?;
            }
            is_caught_up = false;
        }
        if let Some(error) = failed {
            self.view = None;
            self.current = None;
            self.figures.failures.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%error, view = %self.name, "the current edition of a view is not kept up");
        }
        if is_caught_up && !self.sweep().await? {
            return Ok(Turn::CaughtUp);
        }
        Ok(Turn::Again)
    }

    async fn advance_one(&mut self, edition: &EditionState, answers: bool) -> Result<Turn> {
        let is_next = self.is_next(edition);
        let build = if is_next {
            &mut self.next
        } else {
            &mut self.current
        };
        let build = build.get_or_insert_with(|| {
            let with = usize::try_from(edition.corrections).unwrap_or(usize::MAX);
            let facts = Facts::new(self.corrections.iter().take(with));
            Build::new(
                self.name.clone(),
                edition,
                Arc::clone(&self.projection),
                facts,
            )
        });
        let advanced = build
            .advance(
                &self.stores,
                &self.cases,
                self.runner,
                self.config.rows_kept_max,
            )
            .await?;
        let Advance::Done(advanced) = advanced else {
            self.figures.conflicts.fetch_add(1, Ordering::Relaxed);
            self.forget();
            // Whether it still leads is not known.
            self.lead = None;
            return Ok(Turn::Again);
        };
        let position = build.position();
        self.figures.count(&advanced);
        if answers {
            self.figures.follow(&advanced);
            self.count_behind(position, advanced.is_caught_up).await?;
        }
        if advanced.has_correction {
            // The view is to be built anew: see it now rather than at the next look.
            self.view = None;
        }
        Ok(if advanced.is_caught_up {
            Turn::CaughtUp
        } else {
            Turn::Again
        })
    }

    fn is_next(&self, edition: &EditionState) -> bool {
        let next = self.view.as_ref().and_then(|seen| seen.state.next);
        next.is_some_and(|next| next.number == edition.number)
    }

    async fn switch(&mut self, edition: &EditionState) -> Result<()> {
        let number = self.next.as_ref().map(Build::number);
        if number != Some(edition.number) {
            return Ok(());
        }
        let switched = self
            .stores
            .learning
            .switch(&self.name, edition.number)
            .await?;
        if switched {
            if self.current.is_some() {
                tracing::info!(view = %self.name, edition = %edition.number, "a view was built anew, and answers now");
            }
            self.figures.switches.fetch_add(1, Ordering::Relaxed);
            self.figures.is_rebuilding.store(false, Ordering::Relaxed);
            // Its rows stay in memory.
            self.current = self.next.take();
            self.swept_at = None;
        }
        // Either it answers now, or somebody else has done something.
        self.view = None;
        Ok(())
    }

    async fn count_behind(
        &mut self,
        position: medcards_core::event::LogPosition,
        is_caught_up: bool,
    ) -> Result<()> {
        let is_due = self.counted_at.is_none_or(|at| at.elapsed() >= COUNT_EVERY);
        if is_caught_up || !is_due {
            return Ok(());
        }
        let count = self.stores.store.count_events(position).await?;
        self.counted_at = Some(Instant::now());
        self.figures.behind_events.store(count, Ordering::Relaxed);
        Ok(())
    }

    /// Deletes some rows of editions that are gone, if it is time; says whether there are more.
    async fn sweep(&mut self) -> Result<bool> {
        if self.swept_at.is_some_and(|at| at.elapsed() < SWEEP_EVERY) {
            return Ok(false);
        }
        let swept = self.stores.learning.sweep_rows(SWEPT_AT_ONCE_MAX).await?;
        if swept == 0 {
            self.swept_at = Some(Instant::now());
        }
        Ok(swept > 0)
    }
}
