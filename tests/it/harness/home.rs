//! Where a server keeps what outlives it: a folder, and perhaps a database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::job::{Effects, JobOutcome, Settlement};
use medcards_core::store::{LearningStore, Store};
use medcards_core::time::{Clock, SystemClock};
use medcards_store_pg::{Keeping, PgConfig, PgStore};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use medcards_tests::pg::{Bouncer, Cluster, Database, Installed};
use medcards_tests::redis::RedisServer;
use tempfile::TempDir;

use super::{Launch, until};

/// The file of the store in the data folder.
const FILE: &str = "medcards.sqlite";

/// How many replicas a primary has that has any: another one to turn to.
const REPLICAS: usize = 2;

/// More than any lease lasts, and than a job waits between two attempts: an hour.
const LEASES_OVER: Duration = Duration::from_hours(2);

/// Whether all of the log is shown, and all notices.
const IS_SHOWN: &str = "
SELECT NOT EXISTS (
    SELECT FROM events WHERE transaction_id >= pg_snapshot_xmin(pg_current_snapshot())
    UNION ALL
    SELECT FROM notices WHERE transaction_id >= pg_snapshot_xmin(pg_current_snapshot())
)";

/// How many jobs are claimed at a time.
const JOBS_PER_CLAIM: usize = 100;

/// What a server is started on, again and again if need be. Dropping it removes all of it.
#[derive(Debug)]
pub(crate) struct Home {
    folder: TempDir,
    settings: Vec<(&'static str, String)>,
    // Dropped before its server, which has to drop it.
    database: Option<Database>,
    bouncers: Vec<Bouncer>,
    replicas: Vec<Cluster>,
    redis: Option<RedisServer>,
    /// A PostgreSQL server that no other test uses.
    primary: Option<Cluster>,
}

impl Home {
    /// A SQLite file in an empty folder.
    pub(crate) fn sqlite() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
            settings: Vec::new(),
            database: None,
            bouncers: Vec::new(),
            replicas: Vec::new(),
            redis: None,
            primary: None,
        }
    }

    /// An empty PostgreSQL database, of the oldest major version that there is.
    pub(crate) fn postgres() -> Self {
        Self::sqlite().in_a_database()
    }

    /// The same with a Redis of its own.
    pub(crate) fn with_redis(mut self) -> Self {
        let redis = RedisServer::start();
        // A machine that is busy with all of this is no reason to take Redis for away.
        let patience = ("MEDCARDS_REDIS_PATIENCE", "2s".to_owned());
        self.settings
            .extend([("MEDCARDS_REDIS", redis.url()), patience]);
        self.redis = Some(redis);
        self
    }

    /// The same behind a pooler in transaction mode.
    pub(crate) fn postgres_behind_a_pooler() -> Self {
        Self::postgres().behind_a_pooler()
    }

    /// An empty database on a PostgreSQL server of its own, which may be hurt.
    pub(crate) fn postgres_of_its_own() -> Self {
        Self::on_a_primary(&Installed::oldest())
    }

    /// The same behind a pooler in transaction mode.
    pub(crate) fn postgres_of_its_own_behind_a_pooler() -> Self {
        Self::postgres_of_its_own().behind_a_pooler()
    }

    /// A server of its own, of the newest major version that there is, with two replicas, each behind
    /// a pooler in transaction mode.
    pub(crate) fn postgres_with_replicas() -> Self {
        let newest = Installed::all().pop().unwrap();
        let mut home = Self::on_a_primary(&newest).behind_a_pooler();
        for _ in 0..REPLICAS {
            let replica = home.cluster().replica();
            home.bouncers.push(replica.bouncer(&[]));
            home.replicas.push(replica);
        }
        let name = home.database().name();
        let urls = home.bouncers[1..].iter().map(|bouncer| bouncer.url(name));
        let urls: Vec<_> = urls.collect();
        home.settings.push(("MEDCARDS_REPLICAS", urls.join(" ")));
        home
    }

    fn on_a_primary(installed: &Installed) -> Self {
        let home = Self {
            primary: Some(Cluster::start(installed, &[])),
            ..Self::sqlite()
        };
        home.in_a_database()
    }

    fn in_a_database(mut self) -> Self {
        let database = self.cluster().fresh_database();
        self.settings.push(("MEDCARDS_STORE", database.url()));
        self.database = Some(database);
        self
    }

    fn behind_a_pooler(mut self) -> Self {
        let bouncer = self.cluster().bouncer(&[]);
        self.settings = vec![
            ("MEDCARDS_STORE", bouncer.url(self.database().name())),
            ("MEDCARDS_POOLER", "transaction".to_owned()),
        ];
        self.bouncers.push(bouncer);
        self
    }

    /// The data folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What a program must be told to work on it, beside the folder.
    pub(crate) fn settings(&self) -> &[(&'static str, String)] {
        &self.settings
    }

    /// The database, if it is not a file.
    pub(crate) fn database(&self) -> &Database {
        self.database.as_ref().expect("it is not a file")
    }

    /// The PostgreSQL server that the database is on.
    pub(crate) fn cluster(&self) -> &Cluster {
        self.primary.as_ref().unwrap_or_else(|| shared_cluster())
    }

    /// The replicas of that server.
    pub(crate) fn replicas(&self) -> &[Cluster] {
        &self.replicas
    }

    /// A server on it.
    pub(crate) fn launch(&self) -> Launch {
        self.launch_in(self.folder())
    }

    /// Another server on its database, with a folder of its own.
    pub(crate) fn launch_in(&self, folder: &Path) -> Launch {
        let launch = Launch::on(folder);
        self.settings
            .iter()
            .fold(launch, |launch, (name, value)| launch.with(name, value))
    }

    /// Does something with the store itself, and closes it: a server may be started then. A file is
    /// no server's meanwhile.
    pub(crate) async fn with_store<T>(&self, act: impl AsyncFnOnce(&dyn Store) -> T) -> T {
        match &self.database {
            Some(database) => {
                let store = Self::pg_store(database).await;
                let done = act(&store).await;
                store.close().await;
                done
            }
            None => {
                let store = self.sqlite_store().await;
                let done = act(&store).await;
                store.close().await;
                done
            }
        }
    }

    /// The same with what was learnt of it.
    pub(crate) async fn with_learning<T>(
        &self,
        act: impl AsyncFnOnce(&dyn Store, &dyn LearningStore) -> T,
    ) -> T {
        match &self.database {
            Some(database) => {
                let store = Self::pg_store(database).await;
                let done = act(&store, &store).await;
                store.close().await;
                done
            }
            None => {
                let store = self.sqlite_store().await;
                let done = act(&store, &store).await;
                store.close().await;
                done
            }
        }
    }

    /// Ends what a server held that was killed, as time would: the leads of views, and its jobs, which
    /// all are due then.
    pub(crate) async fn end_leases(&self) {
        self.with_learning(async |_, learnt| {
            for view in learnt.list_views().await.unwrap() {
                if let Some((runner, _)) = view.lead {
                    learnt.give_up_lead(&view.name, runner).await.unwrap();
                }
            }
            let now = SystemClock::new().now();
            let counts = learnt.job_counts(now).await.unwrap();
            let kinds: Vec<_> = counts.into_iter().map(|it| it.kind).collect();
            let mut ended = Vec::new();
            loop {
                let later = now + LEASES_OVER;
                let claimed = learnt
                    .claim(&kinds, JOBS_PER_CLAIM, later, LEASES_OVER)
                    .await
                    .unwrap();
                if claimed.is_empty() {
                    break;
                }
                ended.extend(claimed.iter().map(|job| Settlement {
                    claim: job.claim(),
                    outcome: JobOutcome::Retry {
                        at: now,
                        reason: "its server was killed".to_owned(),
                    },
                    effects: Effects::default(),
                }));
            }
            for some in ended.chunks(JOBS_PER_CLAIM) {
                learnt.settle(some.to_vec(), now).await.unwrap();
            }
        })
        .await;
    }

    /// Waits until readers of the log and of notices see all of them: PostgreSQL holds back what was written, while
    /// anything older is under way anywhere on its cluster.
    pub(crate) async fn log_is_shown(&self) {
        let Some(database) = &self.database else {
            return;
        };
        until("the log is shown", async || {
            (database.psql(IS_SHOWN).trim() == "t").then_some(())
        })
        .await;
    }

    async fn pg_store(database: &Database) -> PgStore {
        let config = PgConfig::new(&database.url()).unwrap();
        let config = config.with_keeping(Keeping::Elsewhere);
        PgStore::open(config).await.unwrap()
    }

    async fn sqlite_store(&self) -> SqliteStore {
        let config = SqliteConfig::new(self.folder().join(FILE));
        SqliteStore::open(config).await.unwrap()
    }

    /// The store itself, for a look past the server. A file is no server's meanwhile.
    pub(crate) async fn store(&self) -> Arc<dyn Store> {
        match &self.database {
            Some(database) => Arc::new(Self::pg_store(database).await),
            None => Arc::new(self.sqlite_store().await),
        }
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
