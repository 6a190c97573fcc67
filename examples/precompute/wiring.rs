use std::sync::Arc;

use medcards::ai::{AiProvider, FeedbackPrompt};
use medcards::caches::{Redis, RedisSpendLedger};
use medcards::event::EventLog;
use medcards::postgres::{Keeping, PgStore};
use medcards::precompute::{PrecomputeConfig, Precomputer};
use medcards::providers::{
    AnthropicProvider, FeedbackTemplate, OpenAiProvider, TokenLimitField, price_of,
};
use medcards::spend::SpendLedger;
use medcards::sqlite::{SqliteConfig, SqliteStore};
use medcards::time::{Clock, SystemClock};
use medcards::{Error, ErrorKind, Result};
use medcards_examples::config::{Ai, Config, Dialect, ModelSettings, Settings, StoreSettings};

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

fn provider(settings: &ModelSettings) -> Result<Arc<dyn AiProvider>> {
    if settings.price.is_none() && price_of(&settings.model).is_none() {
        let context = format!(
            "the price of {} is not known: set MEDCARDS_AI_PRICE to dollars per million tokens read \
             and written, such as 1.00/5.00",
            settings.model
        );
        return Err(Error::new(ErrorKind::Invalid, "read settings", context));
    }
    match settings.dialect {
        Dialect::Anthropic => anthropic(settings),
        Dialect::OpenAi => openai(settings),
    }
}

fn anthropic(settings: &ModelSettings) -> Result<Arc<dyn AiProvider>> {
    let mut builder = AnthropicProvider::builder(&settings.model);
    if let Some(key) = &settings.key {
        builder = builder.with_key(key.clone());
    }
    if let Some(url) = &settings.url {
        builder = builder.with_base_url(url);
    }
    if let Some(price) = settings.price {
        builder = builder.with_price(price);
    }
    Ok(Arc::new(builder.build()?))
}

fn openai(settings: &ModelSettings) -> Result<Arc<dyn AiProvider>> {
    let mut builder = OpenAiProvider::builder(&settings.model);
    if let Some(key) = &settings.key {
        builder = builder.with_key(key.clone());
    }
    if let Some(url) = &settings.url {
        builder = builder
            .with_base_url(url)
            .with_token_limit_field(TokenLimitField::MaxTokens);
    }
    if let Some(price) = settings.price {
        builder = builder.with_price(price);
    }
    Ok(Arc::new(builder.build()?))
}
