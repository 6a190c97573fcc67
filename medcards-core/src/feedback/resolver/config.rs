use std::time::Duration;

use crate::spend::SpendBudget;

/// How a resolver behaves. Each value has a default that suits one server process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolverConfig {
    /// How long a cached feedback is fresh, before jitter. Default: 24 hours.
    pub ttl: Duration,
    /// By how much of [`Self::ttl`] the jitter shortens or lengthens it at most, in percent, so that
    /// keys cached together do not expire together. Default: 10. At most 50.
    pub ttl_jitter_percent: u8,
    /// How long after that a feedback is served while a new one is fetched. Default: 1 hour.
    pub grace: Duration,
    /// How long after that a feedback is served if no new one can be had. Default: 7 days.
    pub stale_on_failure: Duration,
    /// How long a failed live call keeps its key from being tried again. Default: 30 seconds.
    pub failure_ttl: Duration,
    /// How long a refused or rejected reply keeps its key from being tried again. Default: 10
    /// minutes.
    pub rejection_ttl: Duration,
    /// How long a caller waits for whatever tier, or, streaming, for the first words. Then the
    /// authored explanation is served. Default: 8 seconds.
    pub deadline: Duration,
    /// How long the part of the cache beyond this process may take. Default: 50 milliseconds.
    pub cache_deadline: Duration,
    /// How long the store may take for a precomputed feedback. Default: 250 milliseconds.
    pub precomputed_deadline: Duration,
    /// How long a live call may take, with or without callers. Default: 60 seconds.
    pub generation_deadline: Duration,
    /// How many live calls may be under way at once in this process. Default: 256, as many
    /// connections as a provider commonly lets one client have.
    pub generations_max: usize,
    /// What may be spent, if the provider does not keep a budget already. Default: no limit.
    pub spend_budget: SpendBudget,
    /// Whether live feedback is kept in the store of precomputed feedback, so that it outlives the
    /// cache and can be reviewed. Default: yes.
    pub keep_generated: bool,
    /// Whether feedback that no reviewer has looked at is served. Default: yes.
    pub serve_unreviewed: bool,
    /// How often the totals of what was served go to the ledger. Default: 1 second.
    pub flush_interval: Duration,
    /// How often new keys of precomputed feedback, and what reviewers said elsewhere, are read from the
    /// store. Default: 30 seconds.
    pub key_refresh_interval: Duration,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            ttl: Duration::from_hours(24),
            ttl_jitter_percent: 10,
            grace: Duration::from_hours(1),
            stale_on_failure: Duration::from_hours(7 * 24),
            failure_ttl: Duration::from_secs(30),
            rejection_ttl: Duration::from_mins(10),
            deadline: Duration::from_secs(8),
            cache_deadline: Duration::from_millis(50),
            precomputed_deadline: Duration::from_millis(250),
            generation_deadline: Duration::from_secs(60),
            generations_max: 256,
            spend_budget: SpendBudget::default(),
            keep_generated: true,
            serve_unreviewed: true,
            flush_interval: Duration::from_secs(1),
            key_refresh_interval: Duration::from_secs(30),
        }
    }
}
