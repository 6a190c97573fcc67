use std::sync::Arc;

use medcards::ai::{AiProvider, FeedbackPrompt};
use medcards::caches::{Redis, RedisSpendLedger};
use medcards::event::EventLog;
use medcards::postgres::{Keeping, PgStore};
use medcards::precompute::{PrecomputeConfig, Precomputer};
use medcards::providers::FeedbackTemplate;
use medcards::spend::SpendLedger;
use medcards::sqlite::{SqliteConfig, SqliteStore};
use medcards::time::{Clock, SystemClock};
use medcards::{Error, ErrorKind, Result};
use medcards_examples::config::{Ai, Config, Settings, StoreSettings};
use medcards_examples::provider::provider;

/// Everything that is needed to plan and to buy.
pub(crate) struct Wired {
    pub(crate) precomputer: Precomputer,
    pub(crate) prompt: Arc<dyn FeedbackPrompt>,
    pub(crate) log: Arc<dyn EventLog>,
    store: OpenedStore,
}

/// The store, as what it is, so that it can be closed.
enum OpenedStore {
    Postgres(PgStore),
    Sqlite(SqliteStore),
}

impl Wired {
    /// Opens the store of the server and its model.
    pub(crate) async fn open(settings: Settings) -> Result<Self> {
        let config = Config::read(settings)?;
        let Ai::Model(model) = &config.ai else {
            let context = "the authors write the feedback: set MEDCARDS_AI to anthropic, and \
                           MEDCARDS_AI_KEY";
            return Err(Error::new(ErrorKind::Invalid, "read settings", context));
        };
        let provider = provider(model)?;
        let redis = match &config.redis {
            Some(redis) => Some(Redis::connect(redis.clone()).await?),
            None => None,
        };
        match &config.store {
            StoreSettings::Postgres(pg) => {
                // The servers look after the database, with their settings.
                let pg = (**pg).clone().with_keeping(Keeping::Elsewhere);
                let store = PgStore::open(pg).await?;
                let opened = OpenedStore::Postgres(store.clone());
                Self::on(Arc::new(store), opened, &config, redis, provider)
            }
            StoreSettings::Sqlite(file) => {
                let store = SqliteStore::open(SqliteConfig::new(file)).await?;
                let opened = OpenedStore::Sqlite(store.clone());
                Self::on(Arc::new(store), opened, &config, redis, provider)
            }
        }
    }

    fn on<S>(
        shared: Arc<S>,
        store: OpenedStore,
        config: &Config,
        redis: Option<Redis>,
        provider: Arc<dyn AiProvider>,
    ) -> Result<Self>
    where
        S: medcards::store::Store + medcards::precompute::BatchStore,
    {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let prompt: Arc<dyn FeedbackPrompt> = Arc::new(FeedbackTemplate::new());
        // Where servers share a budget in Redis, this counts against the same.
        let ledger: Arc<dyn SpendLedger> = match redis {
            Some(redis) => Arc::new(RedisSpendLedger::new(&redis, Arc::clone(&shared))),
            None => Arc::clone(&shared) as _,
        };
        let precomputer = Precomputer::new(
            PrecomputeConfig {
                spend_budget: config.budget,
                ..PrecomputeConfig::default()
            },
            Arc::clone(&shared) as _,
            Arc::clone(&shared) as _,
            Arc::clone(&shared) as _,
            ledger,
            provider,
            Arc::clone(&prompt),
            clock,
        )?;
        Ok(Self {
            precomputer,
            prompt,
            log: shared,
            store,
        })
    }

    pub(crate) async fn close(self) {
        match self.store {
            OpenedStore::Postgres(store) => store.close().await,
            OpenedStore::Sqlite(store) => store.close().await,
        }
    }
}
