//! Streaks and badges.
