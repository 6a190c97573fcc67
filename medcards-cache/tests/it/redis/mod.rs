//! What processes share in Redis, against real servers.

mod cache;
mod conformance;
mod leaderboards;
mod leases;
mod limiter;
mod link;
mod logs;
mod lost;
mod places;
mod sessions;
mod spend;
mod tiered;
#[cfg(feature = "redis-tls")]
mod tls;
