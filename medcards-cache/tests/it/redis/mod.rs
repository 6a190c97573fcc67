//! What processes share in Redis, against real servers.

mod cache;
mod conformance;
mod leaderboards;
mod limiter;
mod link;
mod places;
mod server;
mod sessions;
mod spend;
