//! The tests of this crate, in one binary.

// The conformance suite on the cache in memory.
#[cfg(feature = "moka")]
mod conformance;
// What the cache forgets, and when.
#[cfg(feature = "moka")]
mod forgetting;
// What processes share in Redis.
#[cfg(all(feature = "moka", feature = "redis"))]
mod redis;
