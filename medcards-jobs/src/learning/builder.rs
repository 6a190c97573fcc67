use std::fmt;
use std::sync::Arc;

use medcards_core::Result;
use medcards_core::learning::ability::AbilityProjection;
use medcards_core::learning::boards::BoardsProjection;
use medcards_core::learning::case_stats::CaseStatsProjection;
use medcards_core::learning::habits::HabitsProjection;
use medcards_core::learning::reviews::ReviewsProjection;
use medcards_core::learning::user_stats::UserStatsProjection;
use medcards_core::view::Projection;

use super::runner::Inner;
use super::{LearningRunner, NotifyRegraded, Recalibrate, Sweep, TellRegraded};
use crate::Stores;
use crate::cron::{Cron, CronEntry};
use crate::view::{CaseFacts, ViewRunner, ViewRunnerConfig};
use crate::worker::{JobHandler, Workers};

/// Starts the runner of one view.
type StartView = Box<dyn FnOnce(&Stores, ViewRunnerConfig, Arc<CaseFacts>) -> ViewRunner + Send>;

/// Builds a [`LearningRunner`].
pub struct LearningRunnerBuilder {
    stores: Stores,
    view_config: ViewRunnerConfig,
    views: Vec<StartView>,
    handlers: Vec<Arc<dyn JobHandler>>,
    cron: Vec<CronEntry>,
    with_views: bool,
    with_workers: bool,
    #[cfg(feature = "webhook")]
    has_webhook: bool,
}

impl LearningRunnerBuilder {
    pub(super) fn new(stores: Stores) -> Self {
        Self {
            stores,
            view_config: ViewRunnerConfig::default(),
            views: Vec::new(),
            handlers: Vec::new(),
            cron: Vec::new(),
            with_views: true,
            with_workers: true,
            #[cfg(feature = "webhook")]
            has_webhook: false,
        }
    }

    /// Keeps all views of [`learning`](medcards_core::learning).
    #[must_use]
    pub fn product_views(self) -> Self {
        self.view(AbilityProjection::new())
            .view(BoardsProjection::new())
            .view(CaseStatsProjection::new())
            .view(HabitsProjection::new())
            .view(ReviewsProjection::new())
            .view(UserStatsProjection::new())
    }

    /// Does and enqueues the jobs that every platform has: students are told of regraded answers, cases
    /// are calibrated every night at three (UTC), and what is not needed any more is deleted every hour.
    ///
    /// # Errors
    /// None but for a defect of this program.
    pub fn product_jobs(self) -> Result<Self> {
        let stores = self.stores.clone();
        let hourly = CronEntry::new(Sweep::job_kind(), "17 * * * *", "UTC")?;
        let nightly = CronEntry::new(Recalibrate::job_kind(), "0 3 * * *", "UTC")?;
        Ok(self
            .handler(Arc::new(NotifyRegraded::new(stores.clone())))
            .handler(Arc::new(TellRegraded::new(stores.clone())))
            .handler(Arc::new(Sweep::new(stores.clone())))
            .handler(Arc::new(Recalibrate::new(stores)))
            .cron(hourly)
            .cron(nightly))
    }

    /// Keeps one more view.
    #[must_use]
    pub fn view<P: Projection>(mut self, projection: P) -> Self {
        self.views.push(Box::new(|stores, config, cases| {
            ViewRunner::start_with(projection, stores.clone(), config, cases)
        }));
        self
    }

    /// Does one more kind of job.
    #[must_use]
    pub fn handler(mut self, handler: Arc<dyn JobHandler>) -> Self {
        self.handlers.push(handler);
        self
    }

    /// Enqueues one more kind of job at certain times.
    #[must_use]
    pub fn cron(mut self, entry: CronEntry) -> Self {
        self.cron.push(entry);
        self
    }

    /// Tells another server of badges and regraded answers.
    #[cfg(feature = "webhook")]
    #[must_use]
    pub fn webhook(mut self, webhook: crate::webhook::Webhook) -> Self {
        self.has_webhook = true;
        self.handler(Arc::new(webhook))
    }

    /// How views are kept. Default: [`ViewRunnerConfig::default`].
    #[must_use]
    pub fn view_config(mut self, config: ViewRunnerConfig) -> Self {
        self.view_config = config;
        self
    }

    /// Whether this process keeps views. Default: yes.
    #[must_use]
    pub fn with_views(mut self, with_views: bool) -> Self {
        self.with_views = with_views;
        self
    }

    /// Whether this process does jobs and cron. Default: yes.
    #[must_use]
    pub fn with_workers(mut self, with_workers: bool) -> Self {
        self.with_workers = with_workers;
        self
    }

    /// Starts all of it.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](medcards_core::ErrorKind::Invalid) if two handlers are for the same kind
    /// of job.
    ///
    /// # Panics
    /// If there is no tokio runtime.
    pub fn start(self) -> Result<LearningRunner> {
        let stores = self.stores;
        let (queue, clock) = (
            Arc::clone(&stores.learning) as Arc<dyn medcards_core::job::JobQueue>,
            Arc::clone(&stores.clock),
        );
        let (mut workers, mut cron) = (None, None);
        if self.with_workers {
            let mut builder = Workers::builder(Arc::clone(&queue), Arc::clone(&clock));
            for handler in self.handlers {
                builder = builder.handler(handler);
            }
            workers = Some(builder.start()?);
            cron = Some(Cron::start(queue, clock, self.cron));
        }
        let mut views = Vec::new();
        if self.with_views {
            let cases = Arc::new(CaseFacts::new(Arc::clone(&stores.store)));
            let start = |start: StartView| start(&stores, self.view_config, Arc::clone(&cases));
            views = self.views.into_iter().map(start).collect();
        }
        #[cfg(feature = "webhook")]
        let forwarder = (self.with_workers && self.has_webhook)
            .then(|| crate::webhook::NoticeForwarder::start(stores.clone()));
        Ok(LearningRunner::new(Inner {
            stores,
            views,
            workers,
            cron,
            #[cfg(feature = "webhook")]
            forwarder,
        }))
    }
}

impl fmt::Debug for LearningRunnerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LearningRunnerBuilder")
            .field("views", &self.views.len())
            .field("handlers", &self.handlers)
            .field("cron", &self.cron)
            .finish_non_exhaustive()
    }
}
