//! The tests of this crate, in one binary.

<<<<<<< HEAD
// The circuit breaker against a model of it.
mod breaker;
=======
// The coach.
mod coach;
>>>>>>> 91c1da6 (chat: reply to each question once, whoever asks how often)
// The conformance suite on the backends in memory.
mod conformance;
// The doubles that other tests rely on.
mod doubles;
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
