//! Puts the backends together. The only file that names each of them.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use medcards::ai::AiProvider;
use medcards::app::Medcards;
use medcards::cache::Cache;
use medcards::caches::{
    MokaCache, Redis, RedisCache, RedisLeaderboards, RedisLeases, RedisRateLimiter, RedisSessions,
    RedisSpendLedger, TieredCache,
};
use medcards::chat::{ChatStore, Coach, SharedAnswers, SimilarQuestions};
use medcards::feedback::ResolverConfig;
use medcards::http::{Api, Guests, HttpConfig};
use medcards::jobs::learning::LearningRunner;
use medcards::leaderboard::{BoardKeeper, FallbackLeaderboards, Leaderboards};
use medcards::learning::Learning;
use medcards::learning::ability::AbilityProjection;
use medcards::learning::boards::{BoardsProjection, StoredLeaderboards};
use medcards::learning::case_stats::CaseStatsProjection;
use medcards::learning::habits::HabitsProjection;
use medcards::learning::reviews::ReviewsProjection;
use medcards::learning::user_stats::UserStatsProjection;
use medcards::lease::FeedbackLeases;
use medcards::limit::RateLimiter;
use medcards::memory::MemoryRateLimiter;
use medcards::metric::MetricSource;
use medcards::postgres::PgStore;
use medcards::providers::{AiStack, AuthoredProvider, ChatTemplate, FeedbackTemplate};
use medcards::session::SessionStore;
use medcards::spend::SpendLedger;
use medcards::sqlite::{SqliteConfig, SqliteStore};
use medcards::store::{LearningStore, Store};
use medcards::time::{Clock, SystemClock};
use medcards::{Error, ErrorKind, Result};
use medcards_examples::config::{self, Config, StoreSettings};
use medcards_examples::deck::{DeckCounts, load_deck_once};
use medcards_examples::provider::provider;
use medcards_examples::secret::{ensure_secret, guest_secret};
use secrecy::SecretString;
use tokio::net::TcpListener;

use crate::page;

/// How much memory cached feedback may take: about 20,000 of them.
pub(crate) const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// How long requests and streams under way may take to end when the server stops: more than a live
/// call commonly takes, less than service managers wait before they kill.
const DRAIN_PATIENCE: Duration = Duration::from_secs(10);

/// How long jobs that run may take to end: more than any of ours takes. One that does not is done again.
const WORK_PATIENCE: Duration = Duration::from_secs(5);

/// How long after that live calls may take to be booked.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// The platform, ready to be served.
pub(crate) struct Wired {
    pub(crate) address: SocketAddr,
    pub(crate) deck: DeckCounts,
    pub(crate) model: Option<Arc<dyn AiProvider>>,
    medcards: Medcards,
    coach: Coach,
    common: Common,
    runner: Option<LearningRunner>,
    store: OpenedStore,
    listener: TcpListener,
    api: Api,
}

/// What is built on an opened store.
struct Built {
    medcards: Medcards,
    coach: Coach,
    common: Common,
    runner: Option<LearningRunner>,
    deck: DeckCounts,
    api: Api,
}

impl Wired {
    /// Opens the store, loads the deck and takes the port.
    pub(crate) async fn new(config: &Config) -> Result<Self> {
        let listener = bind(config.listen).await?;
        let address = listener
            .local_addr()
            .map_err(|source| not_bound(config.listen, source))?;
        if config.uses_folder() {
            make_folder(config)?;
        }
        let models = models(config)?;
        let redis = match &config.redis {
            Some(redis) => Some(Redis::connect(redis.clone()).await?),
            None => None,
        };
        let store = OpenedStore::open(&config.store).await?;
        let first = models.first().cloned();
        match Self::on(config, &store, redis, models).await {
            Ok(built) => Ok(Self {
                address,
                deck: built.deck,
                model: first,
                medcards: built.medcards,
                coach: built.coach,
                common: built.common,
                runner: built.runner,
                store,
                listener,
                api: built.api,
            }),
            Err(error) => {
                store.close().await;
                Err(error)
            }
        }
    }

    async fn on(
        config: &Config,
        opened: &OpenedStore,
        redis: Option<Redis>,
        models: Vec<Arc<dyn AiProvider>>,
    ) -> Result<Built> {
        let store = opened.shared();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let secrets = Secrets::of(config)?;
        let deck = load_deck_once(&*store, clock.now()).await?;
        let mut resolver = ResolverConfig::default();
        resolver.spend_budget = config.budget;
        let common = match redis {
            None => Common::of_one(opened, Arc::clone(&clock)),
            Some(redis) => Common::in_redis(redis, opened, Arc::clone(&clock)),
        };
        let ai = Ai::of(config, models, &common.ledger, &clock)?;
        let mut medcards = Medcards::builder(store)
            .cache(Arc::clone(&common.cache))
            .ledger(Arc::clone(&common.ledger))
            .clock(clock);
        if let Some(leases) = &common.leases {
            medcards = medcards.leases(Arc::clone(leases));
        }
        let medcards = medcards
            .resolver(resolver)
            .ai(Arc::clone(&ai.provider), Arc::new(FeedbackTemplate::new()))
            .build()
            .await?;
        let coach = opened.coach(config, &medcards, ai.provider)?;
        let learning = Learning::builder(medcards.clone(), opened.learning())
            .leaderboards(Arc::clone(&common.boards))
            .build();
        let runner = match config.role.works() {
            true => Some(run(config, &medcards, opened.learning())?),
            false => None,
        };
        let guests = if config.guests.are_served() {
            Guests::Enabled
        } else {
            Guests::Disabled
        };
        let mut http = HttpConfig::new()
            .with_limiter(Arc::clone(&common.limiter))
            .with_sessions(Arc::clone(&common.sessions))
            .with_jwt_secret(secrets.users)
            .with_guest_secret(secrets.guests)
            .with_guests(guests)
            .with_quota(config.rate_limit)
            .with_login_quota(config.login_limit)
            .with_ai_quota(config.ai_limit)
            .with_chat_quota(config.chat_limit)
            .with_coach(coach.clone())
            .with_learning(learning)
            .with_badges(config.badges.clone())
            .with_trusted_proxies(&config.trusted_proxies)
            .with_drain_patience(DRAIN_PATIENCE);
        for source in common.metrics.iter().chain(&ai.metrics) {
            http = http.with_metrics(Arc::clone(source));
        }
        http = http.with_metrics(Arc::new(coach.clone()));
        if let Some(url) = &config.jwks_url {
            http = http.with_jwks_url(url);
        }
        if let Some(runner) = &runner {
            http = http.with_metrics(Arc::new(runner.clone()));
        }
        let api = match config.role.serves() {
            true => medcards::http::router(medcards.clone(), http)?.with_routes(page::router()),
            false => medcards::http::operation_router(medcards.clone(), http)?,
        };
        Ok(Built {
            medcards,
            coach,
            common,
            runner,
            deck,
            api,
        })
    }

    /// Whether there is a Redis that cannot be reached.
    pub(crate) fn redis_is_away(&self) -> bool {
        self.common.redis.as_ref().is_some_and(Redis::is_away)
    }

    /// Serves until `stop` completes, then ends everything in order: requests, live calls, jobs and
    /// what reads the log, store.
    pub(crate) async fn serve(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let Self {
            medcards,
            coach,
            common,
            runner,
            store,
            listener,
            api,
            ..
        } = self;
        let served = medcards::http::serve(listener, api, stop).await;
        coach.close(CLOSE_PATIENCE).await;
        let closed = medcards.close(CLOSE_PATIENCE).await;
        if let Some(runner) = runner {
            runner.stop(WORK_PATIENCE).await;
        }
        common.close().await;
        store.close().await;
        closed?;
        served.map_err(|source| {
            Error::new(ErrorKind::Unavailable, "serve", "the port broke").with_source(source)
        })
    }
}

/// What processes have in common, or what stands in for it in one process alone.
struct Common {
    cache: Arc<dyn Cache>,
    limiter: Arc<dyn RateLimiter>,
    sessions: Arc<dyn SessionStore>,
    boards: Arc<dyn Leaderboards>,
    leases: Option<Arc<dyn FeedbackLeases>>,
    ledger: Arc<dyn SpendLedger>,
    metrics: Vec<Arc<dyn MetricSource>>,
    keeper: Option<BoardKeeper>,
    redis: Option<Redis>,
}

impl Common {
    /// For a process that shares nothing but its store.
    fn of_one(opened: &OpenedStore, clock: Arc<dyn Clock>) -> Self {
        let cache = Arc::new(near_cache(&clock));
        Self {
            cache: Arc::clone(&cache) as _,
            boards: Arc::new(opened.boards(Arc::clone(&clock))),
            limiter: Arc::new(MemoryRateLimiter::new(clock)),
            sessions: opened.sessions(),
            leases: None,
            ledger: opened.shared(),
            metrics: vec![cache],
            keeper: None,
            redis: None,
        }
    }

    /// For one of many.
    fn in_redis(redis: Redis, opened: &OpenedStore, clock: Arc<dyn Clock>) -> Self {
        let store = opened.shared();
        let far = RedisCache::new(redis.clone(), Arc::clone(&clock));
        let cache = Arc::new(TieredCache::new(near_cache(&clock), far));
        let limiter = Arc::new(RedisRateLimiter::new(redis.clone()));
        let leases = Arc::new(RedisLeases::new(&redis));
        let ledger = Arc::new(RedisSpendLedger::new(&redis, Arc::clone(&store)));
        let far = Arc::new(RedisLeaderboards::new(redis.clone()));
        let keeper = BoardKeeper::start(store, Arc::clone(&far) as _);
        let near = Arc::new(opened.boards(clock));
        let boards = FallbackLeaderboards::new(far, near).with_keeper(keeper.clone());
        let sessions = Arc::new(RedisSessions::new(opened.sessions(), redis.clone()));
        Self {
            cache: Arc::clone(&cache) as _,
            limiter: Arc::clone(&limiter) as _,
            sessions: Arc::clone(&sessions) as _,
            boards: Arc::new(boards),
            leases: Some(Arc::clone(&leases) as _),
            ledger: Arc::clone(&ledger) as _,
            metrics: vec![
                Arc::new(redis.clone()),
                cache,
                limiter,
                leases,
                ledger,
                sessions,
                Arc::new(keeper.clone()),
            ],
            keeper: Some(keeper),
            redis: Some(redis),
        }
    }

    /// Ends what reads the log, and the connection.
    async fn close(self) {
        if let Some(keeper) = self.keeper {
            keeper.stop().await;
        }
        if let Some(redis) = self.redis {
            redis.close().await;
        }
    }
}

/// Keeps all views, and does all jobs.
fn run(
    config: &Config,
    medcards: &Medcards,
    learning: Arc<dyn LearningStore>,
) -> Result<LearningRunner> {
    let mut runner = LearningRunner::builder(medcards, learning);
    if let Some(settings) = &config.webhook {
        runner = runner.webhook(settings.webhook()?);
    }
    runner
        .product_jobs()?
        .view(UserStatsProjection::new())
        .view(CaseStatsProjection::new())
        .view(AbilityProjection::new())
        .view(ReviewsProjection::new())
        .view(HabitsProjection::with_rules(config.badges.clone())?)
        .view(BoardsProjection::new())
        .start()
}

fn near_cache(clock: &Arc<dyn Clock>) -> MokaCache {
    MokaCache::builder(Arc::clone(clock))
        .bytes_max(CACHE_BYTES)
        .build()
}

/// The store, as what it is, so that it can be closed.
enum OpenedStore {
    Postgres(PgStore),
    Sqlite(SqliteStore),
}

impl OpenedStore {
    async fn open(settings: &StoreSettings) -> Result<Self> {
        match settings {
            StoreSettings::Postgres(config) => {
                PgStore::open((**config).clone()).await.map(Self::Postgres)
            }
            StoreSettings::Sqlite(file) => SqliteStore::open(SqliteConfig::new(file))
                .await
                .map(Self::Sqlite),
        }
    }

    /// Where what is learnt is kept.
    fn learning(&self) -> Arc<dyn LearningStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// The boards in the store.
    fn boards(&self, clock: Arc<dyn Clock>) -> StoredLeaderboards {
        StoredLeaderboards::new(self.shared(), self.learning(), clock)
    }

    fn sessions(&self) -> Arc<dyn SessionStore> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    /// The coach, whose chats are kept where everything is.
    fn coach(
        &self,
        config: &Config,
        medcards: &Medcards,
        provider: Arc<dyn AiProvider>,
    ) -> Result<Coach> {
        let (chats, shared): (Arc<dyn ChatStore>, Arc<dyn SharedAnswers>) = match self {
            Self::Postgres(store) => (Arc::new(store.clone()), Arc::new(store.clone())),
            Self::Sqlite(store) => (Arc::new(store.clone()), Arc::new(store.clone())),
        };
        let reuse = config
            .semantic_reuse
            .then(|| SimilarQuestions::new(Arc::clone(&shared)));
        let prompt = Arc::new(ChatTemplate::new());
        let mut coach = Coach::builder_with(medcards.clone(), chats, shared, prompt).ai(provider);
        if let Some(reuse) = reuse {
            coach = coach.reuse(Arc::new(reuse));
        }
        coach.build()
    }

    fn shared(&self) -> Arc<dyn Store> {
        match self {
            Self::Postgres(store) => Arc::new(store.clone()),
            Self::Sqlite(store) => Arc::new(store.clone()),
        }
    }

    async fn close(&self) {
        match self {
            Self::Postgres(store) => store.close().await,
            Self::Sqlite(store) => store.close().await,
        }
    }
}

/// What tokens are signed with.
///
/// Those of guests never with a secret that was given: it may be another service's, which would
/// believe them. Servers that share a store derive theirs from it, so that each takes the guests of
/// the others; a server alone has one of its own.
struct Secrets {
    users: SecretString,
    guests: SecretString,
}

impl Secrets {
    fn of(config: &Config) -> Result<Self> {
        match (&config.store, &config.jwt_secret) {
            (StoreSettings::Postgres(_), Some(given)) => Ok(Self {
                users: given.clone(),
                guests: guest_secret(given),
            }),
            (_, given) => {
                let own = ensure_secret(&config.data)?;
                Ok(Self {
                    users: given.clone().unwrap_or_else(|| own.clone()),
                    guests: own,
                })
            }
        }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .map_err(|source| not_bound(address, source))
}

fn not_bound(address: SocketAddr, source: std::io::Error) -> Error {
    let context = format!(
        "{address} cannot be had: stop what uses it, or set MEDCARDS_LISTEN to another, such as \
         127.0.0.1:0 for any free port"
    );
    Error::new(ErrorKind::Unavailable, "listen", context).with_source(source)
}

fn make_folder(config: &Config) -> Result<()> {
    fs::create_dir_all(&config.data).map_err(|source| {
        let context = format!(
            "the folder {} cannot be made: set MEDCARDS_DATA to one that can be written",
            config.data.display()
        );
        Error::new(ErrorKind::ReadOnly, "open data folder", context).with_source(source)
    })
}

/// Who writes feedback, and what that is measured by.
struct Ai {
    provider: Arc<dyn AiProvider>,
    metrics: Vec<Arc<dyn MetricSource>>,
}

impl Ai {
    /// The models with all layers around them, or the authors where there is none.
    fn of(
        config: &Config,
        models: Vec<Arc<dyn AiProvider>>,
        ledger: &Arc<dyn SpendLedger>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self> {
        let mut models = models.into_iter();
        let Some(first) = models.next() else {
            return Ok(Self {
                provider: Arc::new(AuthoredProvider::new()),
                metrics: Vec::new(),
            });
        };
        let mut stack = AiStack::builder(first, Arc::clone(ledger), Arc::clone(clock))
            .with_spend_budget(config.budget);
        for fallback in models {
            stack = stack.with_fallback(fallback);
        }
        let stack = Arc::new(stack.build()?);
        Ok(Self {
            provider: Arc::clone(&stack) as _,
            metrics: vec![stack],
        })
    }
}

/// The models that were asked for, the first one first.
fn models(config: &Config) -> Result<Vec<Arc<dyn AiProvider>>> {
    let first = match &config.ai {
        config::Ai::Authored { .. } => None,
        config::Ai::Model(settings) => Some(settings),
    };
    let models = [first, config.fallback.as_ref()].into_iter().flatten();
    models.map(|settings| provider(settings)).collect()
}
