//! What a cache before another asks of both.

mod far;

pub use self::far::{FarCache, LogPage, LogPosition, NearCache, Notice, Removal};
