//! What processes share in Redis.

mod address;
mod backoff;
mod cache;
mod complaints;
mod config;
mod counts;
mod duration;
mod failure;
mod leaderboards;
mod leases;
mod limiter;
mod link;
mod processes;
mod seldom;
mod sessions;
mod spend;
mod wire;

pub use cache::{RedisCache, RedisCacheCounts};
pub use config::RedisConfig;
pub use counts::RedisCounts;
pub use leaderboards::RedisLeaderboards;
pub use leases::RedisLeases;
pub use limiter::{LimiterCounts, RedisRateLimiter, RedisRateLimiterBuilder};
pub use link::Redis;
pub use sessions::RedisSessions;
pub use spend::RedisSpendLedger;
