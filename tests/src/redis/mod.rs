//! Redis on free ports of this machine: [one server](RedisServer), a primary and its replica under
//! [`Sentinels`], and a [cluster](RedisCluster), each with the ways in which servers fail.
//!
//! ```
//! use medcards_tests::redis::{RedisServer, fresh_namespace};
//!
//! let server = RedisServer::shared();
//! let key = fresh_namespace() + ":answer";
//! server.command(&["SET", &key, "42"]);
//! assert_eq!(server.command(&["GET", &key]), "42");
//! ```
//!
//! Servers of a process may be shared: starting one takes a tenth of a second, Sentinels and a
//! cluster take seconds. Whoever hurts a server starts one of their own.

mod cli;
mod cluster;
mod sentinels;
mod server;

pub use cluster::RedisCluster;
pub use sentinels::Sentinels;
pub use server::RedisServer;

use std::sync::atomic::{AtomicU64, Ordering};

/// How many namespaces this process was given.
static NAMESPACES: AtomicU64 = AtomicU64::new(0);

/// What no other caller in this process puts before its keys: `test7`.
pub fn fresh_namespace() -> String {
    format!("test{}", NAMESPACES.fetch_add(1, Ordering::Relaxed))
}
