//! Which case a student sees next, and why.
