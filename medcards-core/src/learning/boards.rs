//! Boards and cohorts, kept in the store.
