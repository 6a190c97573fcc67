//! What processes share in Redis, against real servers.

mod link;
mod server;
