//! What the examples share and what their tests reach: settings, the built-in deck, the import,
//! and the simulator of a model's server.

pub mod config;
pub mod deck;
pub mod import;
pub mod provider;
pub mod secret;
pub mod simulator;
