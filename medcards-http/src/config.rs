use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use medcards_core::chat::Coach;
use medcards_core::leaderboard::Leaderboards;
use medcards_core::learning::Learning;
use medcards_core::learning::habits::BadgeRule;
use medcards_core::limit::{Quota, RateLimiter};
use medcards_core::metric::MetricSource;
use medcards_core::session::SessionStore;
use secrecy::SecretString;

/// Whether anyone may become a guest user.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "they may or they may not")]
pub enum Guests {
    /// Nobody becomes a guest. Tokens given before are good until they expire.
    #[default]
    Disabled,
    /// Anyone gets a guest user and its token for the asking.
    Enabled,
}

/// How the API behaves. Checked once, by [`router`](crate::router).
///
/// ```
/// use medcards_http::{Guests, HttpConfig};
///
/// let config = HttpConfig::new()
///     .with_jwt_secret("at least 32 bytes that nobody guesses")
///     .with_guests(Guests::Enabled)
///     .with_quota(None);
/// ```
#[derive(Clone)]
#[must_use = "hand it to medcards_http::router"]
pub struct HttpConfig {
    pub(crate) jwt_secret: Option<SecretString>,
    pub(crate) jwt_issuer: Option<String>,
    pub(crate) jwt_audience: Option<String>,
    #[cfg(feature = "jwks")]
    pub(crate) jwks_url: Option<String>,
    pub(crate) guests: Guests,
    pub(crate) guest_secret: Option<SecretString>,
    pub(crate) guest_token_ttl: Duration,
    pub(crate) sessions: Option<Arc<dyn SessionStore>>,
    pub(crate) quota: Option<Quota>,
    // Of those that are not set, the default holds if there is a quota at all.
    pub(crate) login_quota: Option<Option<Quota>>,
    pub(crate) ai_quota: Option<Option<Quota>>,
    pub(crate) chat_quota: Option<Option<Quota>>,
    pub(crate) route_quotas: Vec<(String, Quota)>,
    pub(crate) route_costs: Vec<(String, u32)>,
    pub(crate) address_quota: Option<Quota>,
    pub(crate) leaderboards: Option<Arc<dyn Leaderboards>>,
    pub(crate) alias_secret: Option<SecretString>,
    pub(crate) coach: Option<Coach>,
    pub(crate) learning: Option<Learning>,
    pub(crate) badges: Vec<BadgeRule>,
    pub(crate) live_connections_max: usize,
    pub(crate) live_connections_per_user_max: usize,
    pub(crate) limiter: Option<Arc<dyn RateLimiter>>,
    pub(crate) metrics: Vec<Arc<dyn MetricSource>>,
    pub(crate) trusted_proxies: Vec<String>,
    pub(crate) cors_origins: Vec<String>,
    pub(crate) body_bytes_max: usize,
    pub(crate) import_bytes_max: u64,
    pub(crate) connections_max: usize,
    pub(crate) request_timeout: Duration,
    pub(crate) drain_patience: Duration,
}

impl HttpConfig {
    /// How many sessions and guests one address may begin in a minute: a hundred, because a lecture
    /// hall behind one address comes in all at once, and no token can be guessed in so few calls.
    pub const LOGIN_QUOTA_DEFAULT: Quota = Quota::per_minute(100);

    /// How many feedbacks a client may ask for in a minute: one a second, faster than anyone reads.
    pub const AI_QUOTA_DEFAULT: Quota = Quota::per_minute(60);

    /// How many times a client may write to the coach in a minute: faster than anyone types.
    pub const CHAT_QUOTA_DEFAULT: Quota = Quota::per_minute(20);

    /// The defaults. At least one way to check tokens must be added: a secret or a JWKS address.
    pub fn new() -> Self {
        Self {
            jwt_secret: None,
            jwt_issuer: None,
            jwt_audience: None,
            #[cfg(feature = "jwks")]
            jwks_url: None,
            guests: Guests::default(),
            guest_secret: None,
            guest_token_ttl: Duration::from_hours(30 * 24),
            sessions: None,
            quota: Some(Quota::DEFAULT),
            login_quota: None,
            ai_quota: None,
            chat_quota: None,
            route_quotas: Vec::new(),
            route_costs: Vec::new(),
            address_quota: None,
            leaderboards: None,
            alias_secret: None,
            coach: None,
            learning: None,
            badges: BadgeRule::built_in(),
            live_connections_max: 8_000,
            live_connections_per_user_max: 10,
            limiter: None,
            metrics: Vec::new(),
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            body_bytes_max: 64 * 1024,
            import_bytes_max: 256 * 1024 * 1024,
            connections_max: 10_000,
            request_timeout: Duration::from_secs(30),
            drain_patience: Duration::from_secs(10),
        }
    }

    /// The secret with which HS256 tokens are signed, as Supabase Auth and many others do.
    ///
    /// One of less than 32 bytes is weaker than the signature; it is taken with a warning.
    /// Default: none.
    pub fn with_jwt_secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.jwt_secret = Some(secret.into());
        self
    }

    /// The only issuer (`iss`) whose tokens are taken. Default: any that signs rightly.
    pub fn with_jwt_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.jwt_issuer = Some(issuer.into());
        self
    }

    /// The audience (`aud`) that a token must name, such as `authenticated`. Default: not looked at.
    pub fn with_jwt_audience(mut self, audience: impl Into<String>) -> Self {
        self.jwt_audience = Some(audience.into());
        self
    }

    /// Where the public keys of the issuer are, for tokens signed with RS256, ES256 or EdDSA.
    /// Default: none.
    #[cfg(feature = "jwks")]
    pub fn with_jwks_url(mut self, url: impl Into<String>) -> Self {
        self.jwks_url = Some(url.into());
        self
    }

    /// Whether anyone may become a guest. Default: [`Guests::Disabled`].
    pub fn with_guests(mut self, guests: Guests) -> Self {
        self.guests = guests;
        self
    }

    /// The secret with which guest tokens are signed. Default: that of
    /// [`with_jwt_secret`](Self::with_jwt_secret).
    pub fn with_guest_secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.guest_secret = Some(secret.into());
        self
    }

    /// How long a guest token is good. Default: 30 days.
    pub fn with_guest_token_ttl(mut self, ttl: Duration) -> Self {
        self.guest_token_ttl = ttl;
        self
    }

    /// Who keeps sessions: with it, whoever has a token can trade it for one that lives on while it is
    /// used and can be revoked. Default: nobody, and the routes of sessions say so.
    ///
    /// A session outlives the token with which it was begun, by
    /// [30 days](medcards_core::session::SESSION_AGE_MAX) at most, and whoever issued that token is
    /// not asked again. So it never carries the role `admin`, which the issuer must be able to take
    /// back within the life of a token: administrators send that itself.
    ///
    /// Each call with the token of a session asks the store once; nothing is remembered in this
    /// process, so that what was revoked is refused at once. If the store fails, the call is answered
    /// with `sessions_unavailable` (503), because nobody knows whether the session is good.
    pub fn with_sessions(mut self, sessions: Arc<dyn SessionStore>) -> Self {
        self.sessions = Some(sessions);
        self
    }

    /// How much of `/v1` a client may use: a user, or an address without a token. A client at an
    /// IPv6 address is its /64 network, of which it can take any address.
    ///
    /// Most calls cost 1; a search of cases costs 3, an import 10, and none more than all of the
    /// quota. `None` turns off this quota, and the others for which nothing was set. Default: 100
    /// in a minute.
    pub fn with_quota(mut self, quota: Option<Quota>) -> Self {
        self.quota = quota;
        self
    }

    /// How many sessions and guests one address may begin, besides the quota of the client; `None`
    /// for no such limit. Default: [`LOGIN_QUOTA_DEFAULT`](Self::LOGIN_QUOTA_DEFAULT), or none
    /// without a [quota](Self::with_quota).
    pub fn with_login_quota(mut self, quota: Option<Quota>) -> Self {
        self.login_quota = Some(quota);
        self
    }

    /// How many feedbacks a client may ask for, besides its quota; `None` for no such limit. Those
    /// that come from a cache count too. Default: [`AI_QUOTA_DEFAULT`](Self::AI_QUOTA_DEFAULT), or
    /// none without a [quota](Self::with_quota).
    pub fn with_ai_quota(mut self, quota: Option<Quota>) -> Self {
        self.ai_quota = Some(quota);
        self
    }

    /// How often a client may write to the coach, besides its quota; `None` for no such limit.
    /// Default: [`CHAT_QUOTA_DEFAULT`](Self::CHAT_QUOTA_DEFAULT), or none without a
    /// [quota](Self::with_quota).
    pub fn with_chat_quota(mut self, quota: Option<Quota>) -> Self {
        self.chat_quota = Some(quota);
        self
    }

    /// How many calls of one route a client may make, besides its quotas. The route is written as
    /// in the description of the API, such as `GET /v1/cases/{case_id}`; of two quotas for one
    /// route the later holds. [`router`](crate::router) refuses a route that does not exist.
    /// Default: none.
    pub fn with_route_quota(mut self, route: impl Into<String>, quota: Quota) -> Self {
        self.route_quotas.push((route.into(), quota));
        self
    }

    /// What a call of one route costs, whatever its parameters; 0 is free. The route is written as
    /// in [`with_route_quota`](Self::with_route_quota). Costs count against the quotas of the
    /// client and the address; against all others a call is one call. Default: as
    /// [`with_quota`](Self::with_quota) says.
    pub fn with_route_cost(mut self, route: impl Into<String>, cost: u32) -> Self {
        self.route_costs.push((route.into(), cost));
        self
    }

    /// How much of `/v1` all clients of one address may use together, with a token or without;
    /// `None` for no such limit.
    ///
    /// It stops who makes users to have their quotas. But a campus, a hospital or a mobile network
    /// may have a single address for thousands of students: allow as much as all of them need.
    /// Default: none.
    pub fn with_address_quota(mut self, quota: Option<Quota>) -> Self {
        self.address_quota = quota;
        self
    }

    /// The leaderboards to show. Whoever makes them also keeps them fed, by a
    /// [`BoardKeeper`](medcards_core::leaderboard::BoardKeeper), which is best given here itself: it
    /// knows whether they have everything. Default: those of [`with_learning`](Self::with_learning), or
    /// else none; their paths say so.
    pub fn with_leaderboards(mut self, leaderboards: Arc<dyn Leaderboards>) -> Self {
        self.leaderboards = Some(leaderboards);
        self
    }

    /// The secret that turns user ids into the aliases that others see on leaderboards, so that who
    /// knows an id learns nothing there. Servers of one platform need the same. Default: the secret of
    /// guests, or else that of [`with_jwt_secret`](Self::with_jwt_secret).
    pub fn with_alias_secret(mut self, secret: impl Into<SecretString>) -> Self {
        self.alias_secret = Some(secret.into());
        self
    }

    /// The coach that students ask about cases they answered. It is of the same platform, and closed by
    /// whoever made it, before the platform. Default: none; its paths say so.
    pub fn with_coach(mut self, coach: Coach) -> Self {
        self.coach = Some(coach);
        self
    }

    /// What is learnt from answers: dashboards, reviews, streaks, badges, boards, the next case, notices,
    /// and what there is to do about it. It is of the same platform; whoever makes it also keeps it up.
    /// Default: nothing; the paths say so.
    pub fn with_learning(mut self, learning: Learning) -> Self {
        self.learning = Some(learning);
        self
    }

    /// The rules by which badges are awarded, to show how far students are. Whoever keeps the view of
    /// habits needs the same. Default: [`BadgeRule::built_in`].
    pub fn with_badges(mut self, rules: Vec<BadgeRule>) -> Self {
        self.badges = rules;
        self
    }

    /// The most live connections of this process. Default: 8,000, which leaves room for requests among
    /// the [connections](Self::with_connections_max) that are held open.
    pub fn with_live_connections_max(mut self, connections: usize) -> Self {
        self.live_connections_max = connections;
        self
    }

    /// The most live connections that a user has in this process at once. Default: 10, which is more
    /// than anyone looks at.
    pub fn with_live_connections_per_user_max(mut self, connections: usize) -> Self {
        self.live_connections_per_user_max = connections;
        self
    }

    /// Who counts the calls. Default: the memory of this process.
    pub fn with_limiter(mut self, limiter: Arc<dyn RateLimiter>) -> Self {
        self.limiter = Some(limiter);
        self
    }

    /// Shows the metrics of a backend at `/metrics` too. May be called for several. Default: none.
    pub fn with_metrics(mut self, source: Arc<dyn MetricSource>) -> Self {
        self.metrics.push(source);
        self
    }

    /// The proxies, as addresses or networks such as `10.0.0.0/8`, whose `X-Forwarded-For` is
    /// believed. Default: none, so that the client is whoever opened the connection.
    pub fn with_trusted_proxies(
        mut self,
        networks: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.trusted_proxies = networks.into_iter().map(Into::into).collect();
        self
    }

    /// The origins, such as `https://app.example.org`, whose pages may call the API from a browser;
    /// `*` means any. Default: none.
    pub fn with_cors_origins(
        mut self,
        origins: impl IntoIterator<Item = impl Into<String>>,
    ) -> Self {
        self.cors_origins = origins.into_iter().map(Into::into).collect();
        self
    }

    /// The longest JSON body that is read, in bytes. Default: 64 KiB, thirty times an answer.
    pub fn with_body_bytes_max(mut self, bytes: usize) -> Self {
        self.body_bytes_max = bytes;
        self
    }

    /// The longest import that is read, in bytes. It is read as a stream. Default: 256 MiB.
    pub fn with_import_bytes_max(mut self, bytes: u64) -> Self {
        self.import_bytes_max = bytes;
        self
    }

    /// The most connections that [`serve`](crate::serve) holds open; more wait to be accepted.
    /// Default: 10,000, at about 20 kB each.
    pub fn with_connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// How long a request may take until its response begins. Streams may take longer, and an
    /// import as long as its body keeps coming. Default: 30 seconds.
    pub fn with_request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long requests and streams under way may take to end when the server stops. Default: 10
    /// seconds.
    pub fn with_drain_patience(mut self, patience: Duration) -> Self {
        self.drain_patience = patience;
        self
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpConfig")
            .field("guests", &self.guests)
            .field("quota", &self.quota)
            .field("login_quota", &self.login_quota)
            .field("ai_quota", &self.ai_quota)
            .field("chat_quota", &self.chat_quota)
            .field("route_quotas", &self.route_quotas)
            .field("route_costs", &self.route_costs)
            .field("address_quota", &self.address_quota)
            .field("trusted_proxies", &self.trusted_proxies)
            .field("cors_origins", &self.cors_origins)
            .field("request_timeout", &self.request_timeout)
            .finish_non_exhaustive()
    }
}
