//! Feedback that is written before it is asked for.

/// What is expected to be asked for.
mod forecast;
/// Processes that are killed at a chosen step.
mod fuse;
/// What is worth being written.
mod plan;
/// Having it written, and paying for it once.
mod running;
