//! Caches of feedback for MEDCARDS.
//!
//! [`MokaCache`] keeps feedback in the memory of one process: it weighs entries by their bytes,
//! forgets each when its own time is over, and keeps what is asked for often
//! ([TinyLFU](https://arxiv.org/abs/1512.00727)).
//!
//! ```
//! use std::sync::Arc;
//!
//! use medcards_cache::MokaCache;
//! use medcards_core::time::SystemClock;
//!
//! let cache = MokaCache::builder(Arc::new(SystemClock::new())).bytes_max(16 << 20).build();
//! assert_eq!(cache.to_string(), "MokaCache(16 MiB)");
//! ```
//!
//! | what | limit |
//! | --- | --- |
//! | bytes of all entries | [`MokaCacheBuilder::bytes_max`], 64 MiB by default |
//! | time of an entry | its own [`keep_until`](medcards_core::cache::Lifetime::keep_until), looked at once a minute |
#![cfg_attr(feature = "redis", doc = include_str!("redis/about.md"))]

#[cfg(feature = "redis")]
mod lock;
#[cfg(feature = "moka")]
mod moka;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod tiered;

#[cfg(feature = "moka")]
pub use self::moka::{MokaCache, MokaCacheBuilder};
#[cfg(feature = "redis")]
pub use self::redis::{
    LimiterCounts, Redis, RedisCache, RedisCacheCounts, RedisConfig, RedisCounts,
    RedisLeaderboards, RedisLeases, RedisRateLimiter, RedisRateLimiterBuilder, RedisSessions,
    RedisSpendLedger,
};
#[cfg(feature = "redis")]
pub use self::tiered::{
    FarCache, LogPage, LogPosition, NearCache, Notice, Removal, TieredCache, TieredCounts,
};
