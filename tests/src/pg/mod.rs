//! PostgreSQL clusters of any installed major version, started in a fraction of a second, with
//! replicas, PgBouncer, and the ways in which a server fails: killed, stopped, suspended.
//!
//! ```
//! use medcards_tests::pg::{Cluster, Installed};
//!
//! let cluster = Cluster::shared(Installed::oldest().major());
//! let database = cluster.fresh_database();
//! assert_eq!(database.psql("select 40 + 2"), "42");
//! ```

mod bouncer;
mod cluster;
mod database;
mod folder;
mod installed;
mod receiver;
mod tls;

pub use bouncer::Bouncer;
pub use cluster::Cluster;
pub use database::Database;
pub use folder::Folder;
pub use installed::Installed;
pub use receiver::WalReceiver;
pub use tls::Credentials;
