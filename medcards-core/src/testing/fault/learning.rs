//! Faults of what is kept beside the log: jobs, notices and views.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::{Faulty, Operation};
use crate::Result;
use crate::event::LogPosition;
use crate::id::{JobId, UserId};
use crate::job::{
    ClaimedJob, DeadJob, Enqueued, JobClaim, JobCounts, JobKind, JobQueue, NewJob, Settled,
    Settlement,
};
use crate::notice::{Notice, NoticeStore};
use crate::store::{Consistency, Hint};
use crate::view::{
    Award, Committed, EditionNumber, EditionOf, Item, RowKey, Runner, SetAside, ShelfQuery,
    StoredRow, ViewCommit, ViewName, ViewState, ViewStore,
};

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: JobQueue> JobQueue for Faulty<T> {
    async fn enqueue(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Enqueued>> {
        let call = self.inner.enqueue(jobs, now);
        self.plan.apply(Operation::EnqueueJobs, call).await
    }

    async fn claim(
        &self,
        kinds: &[JobKind],
        limit: usize,
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<ClaimedJob>> {
        let call = self.inner.claim(kinds, limit, now, lease);
        self.plan.apply(Operation::ClaimJobs, call).await
    }

    async fn heartbeat(
        &self,
        claims: &[JobClaim],
        now: Timestamp,
        lease: Duration,
    ) -> Result<Vec<JobClaim>> {
        let call = self.inner.heartbeat(claims, now, lease);
        self.plan.apply(Operation::HeartbeatJobs, call).await
    }

    async fn settle(&self, settlements: Vec<Settlement>, now: Timestamp) -> Result<Vec<Settled>> {
        let call = self.inner.settle(settlements, now);
        self.plan.apply(Operation::SettleJobs, call).await
    }

    async fn next_due(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>> {
        let call = self.inner.next_due(kinds);
        self.plan.apply(Operation::NextDue, call).await
    }

    fn enqueued(&self) -> Hint {
        self.inner.enqueued()
    }

    async fn list_dead(&self, after: Option<JobId>, limit: usize) -> Result<Vec<DeadJob>> {
        let call = self.inner.list_dead(after, limit);
        self.plan.apply(Operation::ListDead, call).await
    }

    async fn requeue(&self, jobs: &[JobId], now: Timestamp) -> Result<u64> {
        let call = self.inner.requeue(jobs, now);
        self.plan.apply(Operation::RequeueJobs, call).await
    }

    async fn discard(&self, jobs: &[JobId]) -> Result<u64> {
        let call = self.inner.discard(jobs);
        self.plan.apply(Operation::DiscardJobs, call).await
    }

    async fn job_counts(&self, now: Timestamp) -> Result<Vec<JobCounts>> {
        let call = self.inner.job_counts(now);
        self.plan.apply(Operation::JobCounts, call).await
    }

    async fn sweep_keys(&self, now: Timestamp, limit: usize) -> Result<u64> {
        let call = self.inner.sweep_keys(now, limit);
        self.plan.apply(Operation::SweepKeys, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: NoticeStore> NoticeStore for Faulty<T> {
    async fn read_notices(&self, after: LogPosition, limit: usize) -> Result<Vec<Notice>> {
        let call = self.inner.read_notices(after, limit);
        self.plan.apply(Operation::ReadNotices, call).await
    }

    async fn list_notices(
        &self,
        user_id: UserId,
        after: LogPosition,
        limit: usize,
    ) -> Result<Vec<Notice>> {
        let call = self.inner.list_notices(user_id, after, limit);
        self.plan.apply(Operation::ListNotices, call).await
    }

    async fn last_notice(&self) -> Result<LogPosition> {
        let call = self.inner.last_notice();
        self.plan.apply(Operation::LastNotice, call).await
    }

    fn noticed(&self) -> Hint {
        self.inner.noticed()
    }

    async fn sweep_notices(&self, before: Timestamp, limit: usize) -> Result<u64> {
        let call = self.inner.sweep_notices(before, limit);
        self.plan.apply(Operation::SweepNotices, call).await
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl<T: ViewStore> ViewStore for Faulty<T> {
    async fn view(&self, name: &ViewName) -> Result<ViewState> {
        let call = self.inner.view(name);
        self.plan.apply(Operation::FindView, call).await
    }

    async fn list_views(&self) -> Result<Vec<ViewState>> {
        let call = self.inner.list_views();
        self.plan.apply(Operation::ListViews, call).await
    }

    async fn begin_edition(
        &self,
        name: &ViewName,
        version: u64,
        corrections: u64,
        now: Timestamp,
    ) -> Result<ViewState> {
        let call = self.inner.begin_edition(name, version, corrections, now);
        self.plan.apply(Operation::BeginEdition, call).await
    }

    async fn take_lead(
        &self,
        name: &ViewName,
        runner: Runner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<bool> {
        let call = self.inner.take_lead(name, runner, now, lease);
        self.plan.apply(Operation::TakeLead, call).await
    }

    async fn give_up_lead(&self, name: &ViewName, runner: Runner) -> Result<()> {
        let call = self.inner.give_up_lead(name, runner);
        self.plan.apply(Operation::GiveUpLead, call).await
    }

    async fn find_rows(
        &self,
        edition: &EditionOf,
        keys: &[RowKey],
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let call = self.inner.find_rows(edition, keys, consistency);
        self.plan.apply(Operation::FindRows, call).await
    }

    async fn list_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let call = self
            .inner
            .list_rows(edition, owner, after, limit, consistency);
        self.plan.apply(Operation::ListRows, call).await
    }

    async fn list_shelf(
        &self,
        edition: &EditionOf,
        query: &ShelfQuery,
        consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let call = self.inner.list_shelf(edition, query, consistency);
        self.plan.apply(Operation::ListShelf, call).await
    }

    async fn commit(&self, commit: ViewCommit) -> Result<Committed> {
        let call = self.inner.commit(commit);
        self.plan.apply(Operation::CommitView, call).await
    }

    async fn switch(&self, name: &ViewName, edition: EditionNumber) -> Result<bool> {
        let call = self.inner.switch(name, edition);
        self.plan.apply(Operation::SwitchView, call).await
    }

    async fn list_set_aside(&self, edition: EditionNumber, limit: usize) -> Result<Vec<SetAside>> {
        let call = self.inner.list_set_aside(edition, limit);
        self.plan.apply(Operation::ListSetAside, call).await
    }

    async fn sweep_rows(&self, limit: usize) -> Result<u64> {
        let call = self.inner.sweep_rows(limit);
        self.plan.apply(Operation::SweepRows, call).await
    }

    async fn list_awards(&self, user_id: UserId, consistency: &Consistency) -> Result<Vec<Award>> {
        let call = self.inner.list_awards(user_id, consistency);
        self.plan.apply(Operation::ListAwards, call).await
    }
}
