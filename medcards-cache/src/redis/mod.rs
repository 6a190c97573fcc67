//! What processes share in Redis.

mod config;
mod link;

pub use config::RedisConfig;
pub use link::Redis;
