//! The tests of this crate, in one binary.

// The circuit breaker against a model of it.
mod breaker;
// The coach.
mod coach;
// The conformance suite on the backends in memory.
mod conformance;
// The doubles that other tests rely on.
mod doubles;
// What events change in a view.
mod folding;
// What is derived from answers.
mod learning;
// Boards that are fed from a log.
mod leaderboards;
// What the backends in memory promise besides.
mod memory;
// The tiered resolver.
mod resolver;
// Proof that each check of the conformance suite can fail.
mod sabotage;
mod secrecy;
// Feedback that is written before it is asked for.
mod precompute;
// The platform in one value.
mod platform;
