use std::sync::LazyLock;

use medcards_store_pg::{Keeping, PgConfig, PgStore};
use medcards_tests::pg::{Cluster, Database, Installed};

/// As a server is run that must lose nothing: what is committed is on the disk.
const SETTINGS: [(&str, &str); 8] = [
    ("fsync", "on"),
    ("full_page_writes", "on"),
    ("synchronous_commit", "on"),
    ("wal_level", "replica"),
    ("shared_buffers", "256MB"),
    // No checkpoint falls into one turn and not into another.
    ("max_wal_size", "8GB"),
    ("checkpoint_timeout", "1h"),
    ("max_connections", "300"),
];

/// The server of all benches, started by the first that runs.
static CLUSTER: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::start(&Installed::oldest(), &SETTINGS));

/// The folder with the programs of the server.
pub(crate) fn programs() -> &'static std::path::Path {
    CLUSTER.installed().bin()
}

/// An empty database.
pub(crate) fn database() -> Database {
    CLUSTER.fresh_database()
}

/// Opens the store in a database, with so many connections for readers.
///
/// Nothing runs beside what is measured: the views of the log, which the baseline does not have, are
/// not brought up to date.
pub(crate) async fn open(database: &Database, readers: u64) -> PgStore {
    let config = PgConfig::new(&database.url())
        .expect("the address is sound")
        .with_keeping(Keeping::Elsewhere)
        .with_connections_max(u32::try_from(readers).expect("a bench has few readers"));
    PgStore::open(config)
        .await
        .expect("the server takes connections")
}
