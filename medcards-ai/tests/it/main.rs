//! The tests of this crate, one module for each promise.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "these are tests, helpers included"
)]

mod authored;
mod batches;
mod batches_openai;
mod cached;
mod chat;
mod configuration;
mod errors;
mod layers;
mod precompute;
mod prices;
mod rates;
mod real_servers;
mod redaction;
mod replies;
mod requests;
mod sample;
mod server;
mod streams;
mod template;
mod waits;
