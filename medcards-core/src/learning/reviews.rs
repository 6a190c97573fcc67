//! Spacing: when a student should see a case again.
