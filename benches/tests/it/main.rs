//! Tests of what a bench cannot fail on.

/// A local hit allocates nothing.
mod allocations;
