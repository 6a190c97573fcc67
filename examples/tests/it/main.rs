//! What the examples promise.

/// Settings: which source counts, and what is refused.
mod config;
/// The built-in deck: what it holds, and that loading it twice changes nothing.
mod deck;
/// The import: formats, refusals, versions, limits.
mod import;
/// The secret of the data folder.
mod secret;
/// The simulator of a model's server, over HTTP in both dialects.
#[cfg(test)]
mod simulator;
