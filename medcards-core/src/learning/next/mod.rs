//! Which case a student sees next, and why.

mod reason;

pub use reason::{LastTime, NextReason};
