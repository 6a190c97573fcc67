use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{OptionFuture, join, join_all};
use medcards_core::Result;
use medcards_core::app::Medcards;
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::store::LearningStore;
use medcards_core::view::{ViewName, ViewState};

use super::LearningRunnerBuilder;
use crate::Stores;
use crate::cron::Cron;
use crate::view::{RunnerStatus, ViewRunner, ViewStatus, rebuild, view_status, view_statuses};
use crate::worker::Workers;

/// Keeps the views of a platform, does its jobs, and enqueues those whose time has come, until it is
/// stopped.
///
/// Every process may have one on the same stores, in whole or in part.
///
/// Cloning gives a handle on the same runner. Dropping every handle stops it at once.
#[derive(Clone)]
pub struct LearningRunner {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) stores: Stores,
    pub(super) views: Vec<ViewRunner>,
    pub(super) workers: Option<Workers>,
    pub(super) cron: Option<Cron>,
    #[cfg(feature = "webhook")]
    pub(super) forwarder: Option<crate::webhook::NoticeForwarder>,
}

impl LearningRunner {
    /// Begins a runner that has nothing to do yet; see
    /// [`product_views`](LearningRunnerBuilder::product_views) and
    /// [`product_jobs`](LearningRunnerBuilder::product_jobs).
    #[must_use]
    pub fn builder(medcards: &Medcards, learning: Arc<dyn LearningStore>) -> LearningRunnerBuilder {
        LearningRunnerBuilder::new(Stores::of(medcards, learning))
    }

    pub(super) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The stores it works on.
    #[must_use]
    pub fn stores(&self) -> &Stores {
        &self.inner.stores
    }

    /// The workers of this process, if it has any.
    #[must_use]
    pub fn workers(&self) -> Option<&Workers> {
        self.inner.workers.as_ref()
    }

    /// What this process does for each view that it may keep.
    #[must_use]
    pub fn runner_statuses(&self) -> Vec<RunnerStatus> {
        self.inner.views.iter().map(ViewRunner::status).collect()
    }

    /// How all views stand, whichever process keeps them.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn statuses(&self) -> Result<Vec<ViewStatus>> {
        view_statuses(self.stores()).await
    }

    /// How a view stands, whichever process keeps it.
    ///
    /// # Errors
    /// Those of the stores.
    pub async fn status(&self, name: &ViewName) -> Result<ViewStatus> {
        view_status(self.stores(), name).await
    }

    /// Has a view built anew; see [`rebuild`].
    ///
    /// # Errors
    /// Those of [`rebuild`].
    ///
    /// # Cancel safety
    /// A dropped future leaves the next edition begun or not.
    pub async fn rebuild(&self, name: &ViewName) -> Result<ViewState> {
        let stores = self.stores();
        rebuild(&*stores.learning, name, stores.now()).await
    }

    /// Stops: lets jobs that run end within the patience, and gives back the rest and the leads of
    /// views. Close the store after it.
    ///
    /// # Cancel safety
    /// A dropped future leaves it stopping.
    pub async fn stop(&self, patience: Duration) {
        let inner = &self.inner;
        #[cfg(feature = "webhook")]
        if let Some(forwarder) = &inner.forwarder {
            forwarder.stop().await;
        }
        let cron = OptionFuture::from(inner.cron.as_ref().map(Cron::stop));
        let workers = OptionFuture::from(inner.workers.as_ref().map(|it| it.stop(patience)));
        let views = join_all(inner.views.iter().map(ViewRunner::stop));
        join(join(cron, workers), views).await;
    }
}

impl MetricSource for LearningRunner {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let inner = &self.inner;
        for view in &inner.views {
            view.collect(metrics);
        }
        if let Some(workers) = &inner.workers {
            workers.collect(metrics);
        }
        if let Some(cron) = &inner.cron {
            cron.collect(metrics);
        }
    }
}

impl fmt::Debug for LearningRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = &self.inner;
        f.debug_struct("LearningRunner")
            .field("views", &inner.views)
            .field("workers", &inner.workers)
            .field("cron", &inner.cron)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for LearningRunner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LearningRunner({})", self.inner.stores)
    }
}
