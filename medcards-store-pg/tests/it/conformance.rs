use std::sync::OnceLock;

use medcards_store_pg::{PgConfig, PgStore, Pooling};
use medcards_tests::pg::{Bouncer, Cluster, Database, Installed};

use crate::place::{config, fresh_database, newest, oldest};

/// Two replicas and a pooler of one cluster, for all checks of this process.
struct Surroundings {
    primary: Cluster,
    replicas: [Cluster; 2],
}

fn replicated(installed: &Installed) -> Surroundings {
    let primary = Cluster::start(installed, &[]);
    let replicas = [primary.replica(), primary.replica()];
    Surroundings { primary, replicas }
}

async fn bare(cluster: &'static Cluster) -> (PgStore, Database) {
    let database = fresh_database(cluster).await;
    (open(config(&database.url())).await, database)
}

async fn pooled(cluster: &'static Cluster, bouncer: &'static Bouncer) -> (PgStore, Database) {
    let database = fresh_database(cluster).await;
    let config = config(&bouncer.url(database.name()))
        .with_pooling(Pooling::Transaction)
        .with_connections_max(4);
    (open(config).await, database)
}

async fn with_replicas(surroundings: &'static Surroundings) -> (PgStore, Database) {
    let database = fresh_database(&surroundings.primary).await;
    let [one, other] = &surroundings.replicas;
    one.wait_until_caught_up(&surroundings.primary);
    other.wait_until_caught_up(&surroundings.primary);
    let urls = [one.url(database.name()), other.url(database.name())];
    let config = config(&database.url()).with_replicas(&urls).unwrap();
    (open(config.with_connections_max(4)).await, database)
}

async fn open(config: PgConfig) -> PgStore {
    PgStore::open(config).await.unwrap()
}

/// Both servers that the contract names are there; where CI runs, none may be missing.
#[test]
fn the_oldest_and_the_newest_server_are_installed() {
    let majors: Vec<_> = Installed::all().iter().map(Installed::major).collect();
    if std::env::var_os("CI").is_none() && !majors.contains(&18) {
        println!("NOT CHECKED ON POSTGRESQL 18: ./tests/run installs it");
        return;
    }
    assert!(majors.contains(&18), "only {majors:?} are installed");
    assert!(majors[0] < 18, "only {majors:?} are installed");
}

macro_rules! on {
    ($name:ident, $server:ident, |$cluster:ident| $make:expr) => {
        mod $name {
            use super::*;

            async fn make() -> (PgStore, Database) {
                let $cluster = $server();
                $make.await
            }

            medcards_core::store_conformance!(make);

            mod batches {
                use super::*;

                medcards_core::batch_conformance!(make);
            }

            mod sessions {
                use super::*;

                medcards_core::session_conformance!(make);
            }

            mod chats {
                use super::*;

                medcards_core::chat_conformance!(make);
            }

            mod shared_answers {
                use super::*;

                medcards_core::shared_answer_conformance!(make);
            }
        }
    };
}

/// The same for what follows from the log.
macro_rules! learning_on {
    ($name:ident, $server:ident, |$cluster:ident| $make:expr) => {
        mod $name {
            use super::*;

            async fn make() -> (PgStore, Database) {
                let $cluster = $server();
                $make.await
            }

            mod views {
                use super::*;

                medcards_core::view_conformance!(make);
            }

            mod jobs {
                use super::*;

                medcards_core::job_conformance!(make);
            }

            mod notices {
                use super::*;

                medcards_core::notice_conformance!(make);
            }
        }
    };
}

// The newest server by itself and with replicas, the oldest behind a pooler, which knows nothing of the
// server's version: each of them runs every statement.
on!(bare_on_newest, newest, |cluster| bare(cluster));

on!(pooled_on_oldest, oldest, |cluster| {
    static BOUNCER: OnceLock<Bouncer> = OnceLock::new();
    pooled(cluster, BOUNCER.get_or_init(|| cluster.bouncer(&[])))
});

on!(replicas_on_newest, newest, |cluster| {
    static SURROUNDINGS: OnceLock<Surroundings> = OnceLock::new();
    with_replicas(SURROUNDINGS.get_or_init(|| replicated(cluster.installed())))
});

// What differs between versions of the server is not in it: once bare, and once behind a pooler.
learning_on!(learning_bare_on_newest, newest, |cluster| bare(cluster));

learning_on!(learning_pooled_on_oldest, oldest, |cluster| {
    static BOUNCER: OnceLock<Bouncer> = OnceLock::new();
    pooled(cluster, BOUNCER.get_or_init(|| cluster.bouncer(&[])))
});
