//! Feedback that is written before it is asked for.

/// What is expected to be asked for.
mod forecast;
/// What is worth being written.
mod plan;
