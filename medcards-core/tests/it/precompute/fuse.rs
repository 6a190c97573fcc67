//! Backends that stop a process for good at a step that a test chooses.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use medcards_core::ai::{
    AiBatches, AiCapability, AiFailure, AiProvider, AiRequest, AiStream, BatchInfo, BatchItem,
    BatchResults, ModelId,
};
use medcards_core::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, PrecomputedStore, Review, ReviewState,
};
use medcards_core::memory::MemoryStore;
use medcards_core::precompute::{
    BatchClaim, BatchEnd, BatchHold, BatchIntent, BatchOpening, BatchRecord, BatchStore,
    KeyOutcome, KeyStanding,
};
use medcards_core::spend::{
    Price, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow, SpendScope,
    SpendSum,
};
use medcards_core::store::{Page, PageCursor, PageLimit};
use medcards_core::testing::{ScriptedBatches, ScriptedProvider};
use medcards_core::{BatchId, ReservationId, Result, Timestamp};
use tokio::sync::Notify;

/// When a process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// Before the backend is reached.
    Before,
    /// After the backend has done it, and before anybody hears of it.
    After,
}

/// Counts the calls of all backends, and lets one of them never return.
#[derive(Debug)]
pub(super) struct Fuse {
    calls: AtomicU64,
    stop_at: Option<(u64, When)>,
    blown: Notify,
}

impl Fuse {
    /// The call of this number, from 1, never returns.
    pub(super) fn new(stop_at: Option<(u64, When)>) -> Arc<Self> {
        let (calls, blown) = (AtomicU64::new(0), Notify::new());
        Arc::new(Self {
            calls,
            stop_at,
            blown,
        })
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    /// Waits until the process is to stop.
    pub(super) async fn blown(&self) {
        self.blown.notified().await;
    }

    async fn step<T>(&self, call: impl Future<Output = T>) -> T {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        if self.stop_at == Some((number, When::Before)) {
            self.stop().await;
        }
        let done = call.await;
        if self.stop_at == Some((number, When::After)) {
            self.stop().await;
        }
        done
    }

    async fn stop(&self) {
        self.blown.notify_one();
        std::future::pending::<()>().await;
    }
}

/// A backend behind a fuse.
#[derive(Clone, Debug)]
pub(super) struct Fused<T> {
    pub(super) inner: T,
    pub(super) fuse: Arc<Fuse>,
}

impl<T> fmt::Display for Fused<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fused")
    }
}

#[async_trait]
impl BatchStore for Fused<MemoryStore> {
    async fn open_batch(&self, intent: &BatchIntent) -> Result<BatchOpening> {
        self.fuse.step(self.inner.open_batch(intent)).await
    }

    async fn find_batch(&self, batch: BatchId) -> Result<Option<BatchRecord>> {
        self.fuse.step(self.inner.find_batch(batch)).await
    }

    async fn batch_keys(&self, batch: BatchId) -> Result<Vec<FeedbackKey>> {
        self.fuse.step(self.inner.batch_keys(batch)).await
    }

    async fn list_open_batches(&self, limit: usize) -> Result<Vec<BatchRecord>> {
        self.fuse.step(self.inner.list_open_batches(limit)).await
    }

    async fn find_batch_named(&self, name: &str) -> Result<Option<BatchId>> {
        self.fuse.step(self.inner.find_batch_named(name)).await
    }

    async fn claim_batch(&self, batch: BatchId, seen: u32, now: Timestamp) -> Result<BatchClaim> {
        let claim = self.inner.claim_batch(batch, seen, now);
        self.fuse.step(claim).await
    }

    async fn name_batch(&self, batch: BatchId, attempt: u32, name: &str) -> Result<BatchHold> {
        let named = self.inner.name_batch(batch, attempt, name);
        self.fuse.step(named).await
    }

    async fn close_batch(
        &self,
        batch: BatchId,
        attempt: u32,
        end: &BatchEnd,
        outcomes: &[KeyOutcome],
    ) -> Result<BatchHold> {
        let closed = self.inner.close_batch(batch, attempt, end, outcomes);
        self.fuse.step(closed).await
    }

    async fn key_standings(&self, keys: &[FeedbackKey]) -> Result<Vec<KeyStanding>> {
        self.fuse.step(self.inner.key_standings(keys)).await
    }
}

#[async_trait]
impl PrecomputedStore for Fused<MemoryStore> {
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback>> {
        self.inner.find_feedback(key).await
    }

    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback) -> Result<bool> {
        self.fuse.step(self.inner.put_feedback(key, feedback)).await
    }

    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback> {
        self.inner.review_feedback(key, review).await
    }

    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback)>> {
        self.inner.list_feedback(state, after, limit).await
    }

    async fn list_keys(&self, after: KeyPosition, limit: usize) -> Result<KeyPage> {
        self.inner.list_keys(after, limit).await
    }

    async fn list_reviewed(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FeedbackKey)>> {
        self.inner.list_reviewed(since, limit).await
    }
}

#[async_trait]
impl SpendLedger for Fused<MemoryStore> {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        self.fuse.step(self.inner.reserve(wish, budget)).await
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        self.fuse.step(self.inner.settle(reservation, spent)).await
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        self.inner.add(rows).await
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        self.inner.totals(query).await
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        self.inner.sums(scopes).await
    }
}

#[async_trait]
impl AiBatches for Fused<ScriptedBatches> {
    fn price(&self) -> Price {
        self.inner.price()
    }

    fn batch_len_max(&self) -> usize {
        self.inner.batch_len_max()
    }

    async fn create_batch(&self, items: Vec<BatchItem>) -> Result<String> {
        self.fuse.step(self.inner.create_batch(items)).await
    }

    async fn find_batch(&self, batch: &str) -> Result<BatchInfo> {
        self.fuse.step(self.inner.find_batch(batch)).await
    }

    async fn list_batches(&self, limit: usize) -> Result<Vec<BatchInfo>> {
        self.fuse.step(self.inner.list_batches(limit)).await
    }

    async fn results(&self, batch: &str) -> Result<BatchResults> {
        self.fuse.step(self.inner.results(batch)).await
    }

    async fn cancel_batch(&self, batch: &str) -> Result<()> {
        self.fuse.step(self.inner.cancel_batch(batch)).await
    }
}

/// A provider whose batches are behind a fuse.
#[derive(Debug)]
pub(super) struct FusedProvider {
    pub(super) provider: ScriptedProvider,
    pub(super) batches: Fused<ScriptedBatches>,
}

impl fmt::Display for FusedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.provider.fmt(f)
    }
}

#[async_trait]
impl AiProvider for FusedProvider {
    fn model(&self) -> &ModelId {
        self.provider.model()
    }

    fn price(&self) -> Price {
        self.provider.price()
    }

    fn capability(&self) -> AiCapability {
        self.provider.capability()
    }

    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        self.provider.stream(request).await
    }

    fn batches(&self) -> Option<&dyn AiBatches> {
        Some(&self.batches)
    }
}
