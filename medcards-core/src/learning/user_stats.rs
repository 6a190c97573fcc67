//! How a student does.
