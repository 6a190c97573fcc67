use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

/// Settings as somebody wrote them, unchecked. All are optional.
///
/// The same names in three places: `--rate-limit` as a flag, `MEDCARDS_RATE_LIMIT` in the
/// environment, `rate_limit` in the file.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "read by clap and serde")]
pub struct Settings {
    /// A TOML file of settings: the names below in lower case, such as `rate_limit = "off"`
    #[arg(long, env = "MEDCARDS_CONFIG", value_name = "FILE", global = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// The folder of the SQLite file and the secret, made if missing [default: ./medcards-data]
    #[arg(long, env = "MEDCARDS_DATA", value_name = "FOLDER", global = true)]
    pub data: Option<PathBuf>,

    /// What this process does: all; serve, which leaves views and jobs to others; or work, which keeps
    /// those and listens only to be watched [default: all]
    #[arg(long, env = "MEDCARDS_ROLE", value_name = "ROLE")]
    pub role: Option<String>,

    /// A TOML file with the rules of badges: an array of tables `badge`, each with name, title, of and
    /// at_least, such as of = "answers" [default: those that come with the library]
    #[arg(long, env = "MEDCARDS_BADGES", value_name = "FILE")]
    pub badges: Option<PathBuf>,

    /// Where badges and regraded answers are told of as they happen, as Standard Webhooks says. Set it
    /// in the environment if there is a token in it [default: nowhere]
    #[arg(
        long,
        env = "MEDCARDS_WEBHOOK_URL",
        value_name = "URL",
        hide_env_values = true
    )]
    pub webhook_url: Option<SecretString>,

    /// What those messages are signed with: whsec_ and 24 to 64 bytes in base64. Set it in the
    /// environment: other users of this machine can read flags
    #[arg(
        long,
        env = "MEDCARDS_WEBHOOK_SECRET",
        value_name = "SECRET",
        hide_env_values = true
    )]
    pub webhook_secret: Option<SecretString>,

    /// Where to listen; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, env = "MEDCARDS_LISTEN", value_name = "ADDRESS:PORT")]
    pub listen: Option<String>,

    /// Where everything is kept: a SQLite file in the data folder, or a PostgreSQL database,
    /// postgres://user:password@host:port/database, of which several hosts have commas between them.
    /// Set an address with a password in the environment: other users of this machine can read flags
    /// [default: medcards.sqlite]
    #[arg(
        long,
        env = "MEDCARDS_STORE",
        value_name = "NAME|URL",
        hide_env_values = true
    )]
    pub store: Option<SecretString>,

    /// The replicas of that database to read from: addresses like its own, with spaces between. Set
    /// them in the environment too [default: none]
    #[arg(
        long,
        env = "MEDCARDS_REPLICAS",
        value_name = "URLS",
        hide_env_values = true
    )]
    pub replicas: Option<SecretString>,

    /// What stands before that database: transaction for a pooler such as PgBouncer or Supavisor in
    /// transaction mode, or none [default: none]
    #[arg(long, env = "MEDCARDS_POOLER", value_name = "MODE")]
    pub pooler: Option<String>,

    /// The most connections to that database, and to each replica, besides two that write answers
    /// [default: 10]
    #[arg(long, env = "MEDCARDS_CONNECTIONS", value_name = "COUNT")]
    #[serde(deserialize_with = "text_or_number")]
    pub connections: Option<String>,

    /// How long that database keeps answers: forever; or 24 months, after which a month of them
    /// becomes a table of its own; or `24 months, drop`, which deletes it [default: forever]
    #[arg(long, env = "MEDCARDS_RETENTION", value_name = "TIME")]
    pub retention: Option<String>,

    /// What processes share in Redis: redis://host:6379, rediss://... over TLS,
    /// redis+sentinel://host:26379,host:26379/name or redis+cluster://host:6379,host:6379, each with
    /// user:password@ before the first host if need be. Set one with a password in the environment
    /// [default: none, each process is on its own]
    #[arg(
        long,
        env = "MEDCARDS_REDIS",
        value_name = "URL",
        hide_env_values = true
    )]
    pub redis: Option<SecretString>,

    /// What the names of all keys in Redis begin with: another one for each deployment on one server
    /// [default: medcards]
    #[arg(long, env = "MEDCARDS_REDIS_NAMESPACE", value_name = "NAME")]
    pub redis_namespace: Option<String>,

    /// How long a request may wait for one answer of Redis, 1ms to 5s; more than its answers take as a
    /// rule [default: 10ms]
    #[arg(long, env = "MEDCARDS_REDIS_PATIENCE", value_name = "TIME")]
    pub redis_patience: Option<String>,

    /// Who writes feedback: authored, anthropic or openai [default: authored]
    #[arg(long, env = "MEDCARDS_AI", value_name = "WHO")]
    pub ai: Option<String>,

    /// The model's server, if not that of Anthropic or OpenAI
    #[arg(long, env = "MEDCARDS_AI_URL", value_name = "URL")]
    pub ai_url: Option<String>,

    /// The key for it. Set it in the environment: other users of this machine can read flags
    #[arg(
        long,
        env = "MEDCARDS_AI_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub ai_key: Option<SecretString>,

    /// The model [default for anthropic: claude-haiku-4-5]
    #[arg(long, env = "MEDCARDS_AI_MODEL", value_name = "NAME")]
    pub ai_model: Option<String>,

    /// What it costs, if it is not in the price list: dollars per million tokens read and written,
    /// such as 1.00/5.00; or free
    #[arg(long, env = "MEDCARDS_AI_PRICE", value_name = "IN/OUT")]
    pub ai_price: Option<String>,

    /// A second model, asked while the first is away or refuses: anthropic or openai
    /// [default: none, the authors' words]
    #[arg(long, env = "MEDCARDS_FALLBACK", value_name = "WHO")]
    pub fallback: Option<String>,

    /// Its server [default: that of the first, if both are the same]
    #[arg(long, env = "MEDCARDS_FALLBACK_URL", value_name = "URL")]
    pub fallback_url: Option<String>,

    /// Its key [default: that of the first, if both are the same]
    #[arg(
        long,
        env = "MEDCARDS_FALLBACK_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    pub fallback_key: Option<SecretString>,

    /// Its name
    #[arg(long, env = "MEDCARDS_FALLBACK_MODEL", value_name = "NAME")]
    pub fallback_model: Option<String>,

    /// Its price
    #[arg(long, env = "MEDCARDS_FALLBACK_PRICE", value_name = "IN/OUT")]
    pub fallback_price: Option<String>,

    /// Whether the coach may answer a question with what a reviewer answered to another student who
    /// meant the same: on or off [default: off]
    #[arg(long, env = "MEDCARDS_SEMANTIC_REUSE", value_name = "WHEN")]
    pub semantic_reuse: Option<String>,

    /// What models may cost, as a list: $5/day (UTC), $100/month, $0.20/user for one user on one
    /// day, $1/chat, $2/feedback and $1/precompute for one purpose on one day, and premium=20% for
    /// the last percent of day and month that only premium users may spend; or off [default: $5/day]
    #[arg(long, env = "MEDCARDS_SPEND_BUDGET", value_name = "$/day,…")]
    pub spend_budget: Option<String>,

    /// The secret that signs tokens (HS256), such as that of Supabase; the same for all servers on
    /// one database [default: made at the first start and kept in the data folder]
    #[arg(
        long,
        env = "MEDCARDS_JWT_SECRET",
        value_name = "SECRET",
        hide_env_values = true,
        global = true
    )]
    pub jwt_secret: Option<SecretString>,

    /// Where the public keys of tokens of another issuer are
    #[arg(long, env = "MEDCARDS_JWKS_URL", value_name = "URL")]
    pub jwks_url: Option<String>,

    /// How much one client may ask, such as 100/1m; or off, which also turns off the three limits
    /// below unless they are set [default: 100/1m]
    #[arg(long, env = "MEDCARDS_RATE_LIMIT", value_name = "COUNT/TIME")]
    pub rate_limit: Option<String>,

    /// How many sessions and guests may begin at one address, such as 100/1m; or off
    /// [default: 100/1m]
    #[arg(long, env = "MEDCARDS_LOGIN_LIMIT", value_name = "COUNT/TIME")]
    pub login_limit: Option<String>,

    /// How many feedbacks one client may ask for, such as 60/1m; or off [default: 60/1m]
    #[arg(long, env = "MEDCARDS_AI_LIMIT", value_name = "COUNT/TIME")]
    pub ai_limit: Option<String>,

    /// How often one client may write to the coach, such as 20/1m; or off [default: 20/1m]
    #[arg(long, env = "MEDCARDS_CHAT_LIMIT", value_name = "COUNT/TIME")]
    pub chat_limit: Option<String>,

    /// The networks of your proxies, whose X-Forwarded-For is believed, with commas between
    /// [default: none]
    #[arg(long, env = "MEDCARDS_TRUSTED_PROXIES", value_name = "NETWORKS")]
    pub trusted_proxies: Option<String>,

    /// Whether anyone may have a guest token: auto, on or off; auto means only when nobody but this
    /// machine can reach the server [default: auto]
    #[arg(long, env = "MEDCARDS_GUESTS", value_name = "WHEN")]
    pub guests: Option<String>,

    /// How and what to log: fmt or json, a filter, or both: json,medcards_http=debug [default: fmt]
    #[arg(long, env = "MEDCARDS_LOG", value_name = "FORMAT,FILTER")]
    pub log: Option<String>,
}

impl Settings {
    /// Takes from `file` what is not set here.
    pub(super) fn or(self, file: Self) -> Self {
        Self {
            config: self.config,
            data: self.data.or(file.data),
            role: self.role.or(file.role),
            badges: self.badges.or(file.badges),
            webhook_url: self.webhook_url.or(file.webhook_url),
            webhook_secret: self.webhook_secret.or(file.webhook_secret),
            listen: self.listen.or(file.listen),
            store: self.store.or(file.store),
            replicas: self.replicas.or(file.replicas),
            pooler: self.pooler.or(file.pooler),
            connections: self.connections.or(file.connections),
            retention: self.retention.or(file.retention),
            redis: self.redis.or(file.redis),
            redis_namespace: self.redis_namespace.or(file.redis_namespace),
            redis_patience: self.redis_patience.or(file.redis_patience),
            ai: self.ai.or(file.ai),
            ai_url: self.ai_url.or(file.ai_url),
            ai_key: self.ai_key.or(file.ai_key),
            ai_model: self.ai_model.or(file.ai_model),
            ai_price: self.ai_price.or(file.ai_price),
            fallback: self.fallback.or(file.fallback),
            fallback_url: self.fallback_url.or(file.fallback_url),
            fallback_key: self.fallback_key.or(file.fallback_key),
            fallback_model: self.fallback_model.or(file.fallback_model),
            fallback_price: self.fallback_price.or(file.fallback_price),
            semantic_reuse: self.semantic_reuse.or(file.semantic_reuse),
            spend_budget: self.spend_budget.or(file.spend_budget),
            jwt_secret: self.jwt_secret.or(file.jwt_secret),
            jwks_url: self.jwks_url.or(file.jwks_url),
            rate_limit: self.rate_limit.or(file.rate_limit),
            login_limit: self.login_limit.or(file.login_limit),
            ai_limit: self.ai_limit.or(file.ai_limit),
            chat_limit: self.chat_limit.or(file.chat_limit),
            trusted_proxies: self.trusted_proxies.or(file.trusted_proxies),
            guests: self.guests.or(file.guests),
            log: self.log.or(file.log),
        }
    }

    /// Drops what is set to nothing, which is how many tools unset a variable.
    pub(super) fn without_empty(self) -> Self {
        let text = |text: Option<String>| text.filter(|text| !text.trim().is_empty());
        let path = |path: Option<PathBuf>| path.filter(|path| !path.as_os_str().is_empty());
        let secret = |secret: Option<SecretString>| {
            secret.filter(|secret| !secret.expose_secret().trim().is_empty())
        };
        Self {
            config: path(self.config),
            data: path(self.data),
            role: text(self.role),
            badges: path(self.badges),
            webhook_url: secret(self.webhook_url),
            webhook_secret: secret(self.webhook_secret),
            listen: text(self.listen),
            store: secret(self.store),
            replicas: secret(self.replicas),
            pooler: text(self.pooler),
            connections: text(self.connections),
            retention: text(self.retention),
            redis: secret(self.redis),
            redis_namespace: text(self.redis_namespace),
            redis_patience: text(self.redis_patience),
            ai: text(self.ai),
            ai_url: text(self.ai_url),
            ai_key: secret(self.ai_key),
            ai_model: text(self.ai_model),
            ai_price: text(self.ai_price),
            fallback: text(self.fallback),
            fallback_url: text(self.fallback_url),
            fallback_key: secret(self.fallback_key),
            fallback_model: text(self.fallback_model),
            fallback_price: text(self.fallback_price),
            semantic_reuse: text(self.semantic_reuse),
            spend_budget: text(self.spend_budget),
            jwt_secret: secret(self.jwt_secret),
            jwks_url: text(self.jwks_url),
            rate_limit: text(self.rate_limit),
            login_limit: text(self.login_limit),
            ai_limit: text(self.ai_limit),
            chat_limit: text(self.chat_limit),
            trusted_proxies: text(self.trusted_proxies),
            guests: text(self.guests),
            log: text(self.log),
        }
    }
}

/// Takes a number without quotes, as one writes it in a file.
fn text_or_number<'de, D: Deserializer<'de>>(file: D) -> Result<Option<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a number, or a text with one")]
    enum Given {
        Number(i64),
        Text(String),
    }

    Ok(Some(match Given::deserialize(file)? {
        Given::Number(number) => number.to_string(),
        Given::Text(text) => text,
    }))
}
