//! Every backend in memory: for tests, for trying things out, and as the plainest reading of each
//! trait's promises.
//!
//! Nothing here survives the process.

mod answers;
mod batches;
mod cache;
mod cases;
mod chats;
mod events;
mod jobs;
mod leaderboards;
mod leases;
mod limiter;
mod notices;
mod page;
mod precomputed;
mod sessions;
mod spend;
mod store;
mod users;
mod views;

pub use cache::MemoryCache;
pub use leaderboards::MemoryLeaderboards;
pub use leases::MemoryLeases;
pub use limiter::MemoryRateLimiter;
pub use store::MemoryStore;
