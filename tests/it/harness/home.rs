//! Where a server keeps what outlives it: a folder, and perhaps a database.

use std::path::Path;

use medcards_tests::pg::{Bouncer, Cluster, Database, Installed};
use tempfile::TempDir;

use super::Launch;

/// What a server is started on, again and again if need be. Dropping it removes all of it.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    _database: Option<Database>,
    _bouncer: Option<Bouncer>,
}

impl Home {
    /// A SQLite file in an empty folder.
    pub(crate) fn sqlite() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            settings: Vec::new(),
            _database: None,
            _bouncer: None,
        }
    }

    /// An empty PostgreSQL database, of the oldest major version that there is.
    pub(crate) fn postgres() -> Self {
        let database = shared_cluster().fresh_database();
        Self {
            settings: vec![("MEDCARDS_STORE", database.url())],
            _database: Some(database),
            ..Self::sqlite()
        }
    }

    /// The same behind a pooler in transaction mode.
    pub(crate) fn postgres_behind_a_pooler() -> Self {
        let cluster = shared_cluster();
        let database = cluster.fresh_database();
        let bouncer = cluster.bouncer(&[]);
        Self {
            settings: vec![
                ("MEDCARDS_STORE", bouncer.url(database.name())),
                ("MEDCARDS_POOLER", "transaction".to_owned()),
            ],
            _database: Some(database),
            _bouncer: Some(bouncer),
            ..Self::sqlite()
        }
    }

    /// The data folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a program must be told to work on it, beside the folder.
    pub(crate) fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// A server on it.
    pub(crate) fn launch(&self) -> Launch {
        let launch = Launch::on(self.folder());
        self.settings
            .iter()
            .fold(launch, |launch, (name, value)| launch.with(name, value))
    }
}

fn shared_cluster() -> &'static Cluster {
    Cluster::shared(Installed::oldest().major())
}

/// Makes a test of each journey on each store: an async function that takes a [`Home`].
macro_rules! on_each_store {
    ($($journey:ident),* $(,)?) => {$(
        mod $journey {
            use crate::harness::Home;

            #[tokio::test]
            async fn on_sqlite() {
                super::$journey(Home::sqlite()).await;
            }

            #[tokio::test]
            async fn on_postgres() {
                super::$journey(Home::postgres()).await;
            }

            #[tokio::test]
            async fn on_postgres_behind_a_pooler() {
                super::$journey(Home::postgres_behind_a_pooler()).await;
            }
        }
    )*};
}
pub(crate) use on_each_store;
