//! The tests of this crate, in one binary.

// The conformance suite on the cache in memory.
mod conformance;
// What the cache forgets, and when.
mod forgetting;
// What processes share in Redis.
#[cfg(feature = "redis")]
mod redis;
