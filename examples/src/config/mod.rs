//! The settings of the example server: flags over environment over file over default.

mod badges;
mod settings;
mod store;
mod value;
mod webhook;

pub use settings::Settings;
pub use store::StoreSettings;
pub use value::{Guests, LogFormat, Role, read_ttl};
pub use webhook::WebhookSettings;

use std::fmt;
use std::fs;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use medcards::caches::RedisConfig;
use medcards::http::HttpConfig;
use medcards::learning::habits::BadgeRule;
use medcards::limit::Quota;
use medcards::spend::{MicroDollars, Price, SpendBudget};
use medcards::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

/// The most that models may cost in a day unless told otherwise: five dollars are some thousand
/// feedbacks of a small model, and an accident that one can live with.
pub const SPEND_BUDGET_DEFAULT: MicroDollars = MicroDollars::new(5_000_000);

/// The shortest secret that signs tokens for others than this machine: HS256 wants as many bytes as
/// its hash has.
pub const JWT_SECRET_LEN_MIN: usize = 32;

/// The longest file of settings, in bytes: what is longer is some other file.
const FILE_LEN_MAX: u64 = 64 * 1024;

/// Settings that were checked, with a default for what nobody set.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// What this process does.
    pub role: Role,
    /// By which rules badges are awarded.
    pub badges: Vec<BadgeRule>,
    /// Which server is told of badges and regraded answers; `None` if none is.
    pub webhook: Option<WebhookSettings>,
    /// Where to listen.
    pub listen: SocketAddr,
    /// The folder of the store and the secret.
    pub data: PathBuf,
    /// Where everything is kept.
    pub store: StoreSettings,
    /// What processes share; `None` if each is on its own.
    pub redis: Option<RedisConfig>,
    /// Who writes feedback.
    pub ai: Ai,
    /// Who writes it while that one is away.
    pub fallback: Option<Box<ModelSettings>>,
    /// Whether the coach reuses answers that a reviewer wrote for all.
    pub semantic_reuse: bool,
    /// What may be spent on it.
    pub budget: SpendBudget,
    /// The secret that signs tokens; `None` to make one and keep it in the folder.
    pub jwt_secret: Option<SecretString>,
    /// Where the keys of other issuers' tokens are.
    pub jwks_url: Option<String>,
    /// How much one client may ask; `None` for no limit.
    pub rate_limit: Option<Quota>,
    /// How many sessions and guests may begin at one address; `None` for no limit.
    pub login_limit: Option<Quota>,
    /// How many feedbacks one client may ask for; `None` for no limit.
    pub ai_limit: Option<Quota>,
    /// How often one client may write to the coach; `None` for no limit.
    pub chat_limit: Option<Quota>,
    /// The networks whose forwarding headers are believed, such as `10.0.0.0/8`.
    pub trusted_proxies: Vec<String>,
    /// Whether anyone may have a guest token.
    pub guests: Guests,
    /// How logs are written.
    pub log_format: LogFormat,
    /// Which logs are written, as `tracing` filters them.
    pub log_filter: String,
}

/// Who writes feedback.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_enums, reason = "the wiring must know them all")]
pub enum Ai {
    /// The authors of the cases.
    Authored {
        /// Whether a key is set all the same, which is then not used.
        key_is_set: bool,
    },
    /// A model.
    Model(Box<ModelSettings>),
}

/// Which model writes feedback, and how it is reached.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the wiring uses each of these")]
pub struct ModelSettings {
    /// What its server speaks.
    pub dialect: Dialect,
    /// Its name.
    pub model: String,
    /// Its server, if not that of the dialect's maker.
    pub url: Option<String>,
    /// The key.
    pub key: Option<SecretString>,
    /// What it costs, if not what the price list says.
    pub price: Option<Price>,
}

/// What a model's server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "the wiring must know them all")]
pub enum Dialect {
    /// Anthropic Messages.
    Anthropic,
    /// Chat completions of OpenAI.
    OpenAi,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Dialect {
    /// The name, as in the settings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
        }
    }
}

impl Config {
    /// Reads the file, if one is named, and checks everything.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], naming the setting and what it should be.
    pub fn read(given: Settings) -> Result<Self> {
        let given = given.without_empty();
        let settings = match &given.config {
            Some(path) => given
                .clone()
                .or(read_toml::<Settings>(path)?.without_empty()),
            None => given,
        };
        Self::check(settings)
    }

    /// Whether the server keeps anything in its folder: the store, or the secret it made.
    #[must_use]
    pub fn uses_folder(&self) -> bool {
        matches!(self.store, StoreSettings::Sqlite(_)) || self.jwt_secret.is_none()
    }

    fn check(settings: Settings) -> Result<Self> {
        let listen = listen(settings.listen.as_deref().unwrap_or("127.0.0.1:8080"))?;
        let data = settings
            .data
            .clone()
            .unwrap_or_else(|| "./medcards-data".into());
        let ai = ai(&settings)?;
        let (log_format, log_filter) = value::log(settings.log.as_deref())?;
        let trusted_proxies = value::list(settings.trusted_proxies.as_deref());
        let rate_limit = limit(
            "MEDCARDS_RATE_LIMIT",
            settings.rate_limit.as_deref(),
            Some(Quota::DEFAULT),
        )?;
        let limit_besides = |name, text: &Option<String>, default| {
            limit(name, text.as_deref(), rate_limit.map(|_| default))
        };
        Ok(Self {
            badges: badges::badges(settings.badges.as_deref())?,
            role: value::role(settings.role.as_deref())?,
            webhook: WebhookSettings::read(&settings)?,
            store: StoreSettings::read(&settings, &data)?,
            data,
            redis: redis(&settings)?,
            budget: budget(&settings)?,
            jwt_secret: jwt_secret(&settings, listen)?,
            rate_limit,
            login_limit: limit_besides(
                "MEDCARDS_LOGIN_LIMIT",
                &settings.login_limit,
                HttpConfig::LOGIN_QUOTA_DEFAULT,
            )?,
            ai_limit: limit_besides(
                "MEDCARDS_AI_LIMIT",
                &settings.ai_limit,
                HttpConfig::AI_QUOTA_DEFAULT,
            )?,
            chat_limit: limit_besides(
                "MEDCARDS_CHAT_LIMIT",
                &settings.chat_limit,
                HttpConfig::CHAT_QUOTA_DEFAULT,
            )?,
            guests: value::guests(
                settings.guests.as_deref(),
                listen,
                !trusted_proxies.is_empty(),
            )?,
            trusted_proxies,
            jwks_url: settings.jwks_url.clone(),
            semantic_reuse: semantic_reuse(&settings)?,
            fallback: fallback(&settings, &ai)?,
            ai,
            listen,
            log_format,
            log_filter,
        })
    }
}

/// The error for a setting that cannot be: `name` as in the environment.
fn wrong(name: &str, what: impl fmt::Display) -> Error {
    Error::new(
        ErrorKind::Invalid,
        "read settings",
        format!("{name} {what}"),
    )
}

fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let failed = |context: String| Error::new(ErrorKind::Invalid, "read settings", context);
    let unreadable =
        |source| failed(format!("{} cannot be read", path.display())).with_source(source);
    if fs::metadata(path).map_err(unreadable)?.len() > FILE_LEN_MAX {
        return Err(failed(format!(
            "{} is too long for a file of settings",
            path.display()
        )));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    toml::from_str(&text).map_err(|source| {
        // Only the message: the rest of this error repeats the line, which may hold a secret.
        let before = source.span().and_then(|span| text.get(..span.start));
        let line = before.map(|before| before.matches('\n').count() + 1);
        let place = line
            .map(|line| format!(", line {line}"))
            .unwrap_or_default();
        failed(format!("{}{place}: {}", path.display(), source.message()))
    })
}

fn redis(settings: &Settings) -> Result<Option<RedisConfig>> {
    let Some(url) = &settings.redis else {
        let of_redis = [
            ("MEDCARDS_REDIS_NAMESPACE", &settings.redis_namespace),
            ("MEDCARDS_REDIS_PATIENCE", &settings.redis_patience),
        ];
        return match of_redis.into_iter().find(|(_, value)| value.is_some()) {
            None => Ok(None),
            Some((name, _)) => Err(wrong(
                name,
                "is set, but MEDCARDS_REDIS is not: set that too, or unset this",
            )),
        };
    };
    // An address is not repeated: there may be a password in it.
    let mut config = RedisConfig::new(url.expose_secret()).map_err(|error| {
        let what = format!("is no address of Redis: {}", error.context());
        wrong("MEDCARDS_REDIS", what)
    })?;
    if let Some(namespace) = &settings.redis_namespace {
        config = config.with_namespace(namespace);
        checked(&config, "MEDCARDS_REDIS_NAMESPACE", namespace)?;
    }
    if let Some(patience) = &settings.redis_patience {
        let read = value::milliseconds(patience);
        config = config.with_patience(read.unwrap_or_default());
        checked(&config, "MEDCARDS_REDIS_PATIENCE", patience)?;
    }
    Ok(Some(config))
}

/// Refuses a value with which Redis cannot be used.
fn checked(config: &RedisConfig, name: &str, value: &str) -> Result<()> {
    config
        .check()
        .map_err(|error| wrong(name, format!("is `{value}`: {}", error.context())))
}

fn listen(text: &str) -> Result<SocketAddr> {
    let found = text
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next());
    found.ok_or_else(|| {
        let what = format!(
            "is `{text}`: it must be an address and a port, such as 127.0.0.1:8080, or \
             0.0.0.0:8080 to be reached from other machines"
        );
        wrong("MEDCARDS_LISTEN", what)
    })
}

/// The settings of one model, and what they are called.
struct Given {
    name: &'static str,
    who: Option<String>,
    model: Option<String>,
    url: Option<String>,
    key: Option<SecretString>,
    price: Option<String>,
}

impl Given {
    /// Which of the settings besides the first is set.
    fn named(&self) -> Option<&'static str> {
        let set = [
            ("MODEL", self.model.is_some()),
            ("URL", self.url.is_some()),
            ("KEY", self.key.is_some()),
            ("PRICE", self.price.is_some()),
        ];
        set.into_iter()
            .find_map(|(what, is_set)| is_set.then_some(what))
    }
}

fn ai(settings: &Settings) -> Result<Ai> {
    let given = Given {
        name: "MEDCARDS_AI",
        who: settings.ai.clone().filter(|who| who != "authored"),
        model: settings.ai_model.clone(),
        url: settings.ai_url.clone(),
        key: settings.ai_key.clone(),
        price: settings.ai_price.clone(),
    };
    match model(given, "authored, anthropic or openai")? {
        Some(model) => Ok(Ai::Model(Box::new(model))),
        None => Ok(Ai::Authored {
            key_is_set: settings.ai_key.is_some(),
        }),
    }
}

fn fallback(settings: &Settings, ai: &Ai) -> Result<Option<Box<ModelSettings>>> {
    let mut given = Given {
        name: "MEDCARDS_FALLBACK",
        who: settings.fallback.clone(),
        model: settings.fallback_model.clone(),
        url: settings.fallback_url.clone(),
        key: settings.fallback_key.clone(),
        price: settings.fallback_price.clone(),
    };
    if given.who.is_none()
        && let Some(what) = given.named()
    {
        let what = format!("{}_{what}", given.name);
        return Err(wrong(
            &what,
            "is set, but MEDCARDS_FALLBACK is not: set that too, or unset this",
        ));
    }
    let Ai::Model(first) = ai else {
        return match given.who {
            None => Ok(None),
            Some(_) => Err(wrong(
                given.name,
                "is set, but MEDCARDS_AI is authored: set that to a model, or unset this",
            )),
        };
    };
    let is_same = given.who.as_deref() == Some(first.dialect.as_str());
    if is_same && given.url.is_none() {
        given.url = first.url.clone();
        given.key = given.key.or_else(|| first.key.clone());
    }
    let second = model(given, "anthropic or openai")?;
    match &second {
        Some(second) if second.model == first.model && second.url == first.url => Err(wrong(
            "MEDCARDS_FALLBACK_MODEL",
            "is the first model: name another, or another server",
        )),
        _ => Ok(second.map(Box::new)),
    }
}

/// The settings of a model, checked; `None` if there is none.
fn model(given: Given, whos: &str) -> Result<Option<ModelSettings>> {
    let name = |what: &str| format!("{}_{what}", given.name);
    let (dialect, default) = match given.who.as_deref() {
        None => return Ok(None),
        Some("anthropic") => (Dialect::Anthropic, Some("claude-haiku-4-5")),
        Some("openai") => (Dialect::OpenAi, None),
        Some(other) => {
            let what = format!("is `{other}`: it must be {whos}");
            return Err(wrong(given.name, what));
        }
    };
    if given.key.is_none() && given.url.is_none() {
        let what = format!(
            "is not set, but {}={dialect} needs a key; or set {} to a server that needs none",
            given.name,
            name("URL")
        );
        return Err(wrong(&name("KEY"), what));
    }
    let model = given.model.clone().or(default.map(str::to_owned));
    let model = model.ok_or_else(|| {
        let what = format!(
            "is not set, but {}={dialect} needs the name of a model",
            given.name
        );
        wrong(&name("MODEL"), what)
    })?;
    let price = given.price.as_deref();
    let price = price
        .map(|text| value::price(&name("PRICE"), text))
        .transpose()?;
    let (url, key) = (given.url, given.key);
    Ok(Some(ModelSettings {
        dialect,
        model,
        url,
        key,
        price,
    }))
}

fn semantic_reuse(settings: &Settings) -> Result<bool> {
    match settings.semantic_reuse.as_deref() {
        None | Some("off") => Ok(false),
        Some("on") => Ok(true),
        Some(other) => {
            let what = format!("is `{other}`: it must be on or off");
            Err(wrong("MEDCARDS_SEMANTIC_REUSE", what))
        }
    }
}

fn budget(settings: &Settings) -> Result<SpendBudget> {
    match settings.spend_budget.as_deref() {
        None => Ok(SpendBudget::of_day(SPEND_BUDGET_DEFAULT)),
        Some("off") => Ok(SpendBudget::default()),
        Some(text) => value::budget(text),
    }
}

fn jwt_secret(settings: &Settings, listen: SocketAddr) -> Result<Option<SecretString>> {
    let Some(secret) = &settings.jwt_secret else {
        return Ok(None);
    };
    if secret.expose_secret().len() < JWT_SECRET_LEN_MIN && !listen.ip().is_loopback() {
        let what = format!(
            "has fewer than {JWT_SECRET_LEN_MIN} bytes, which can be guessed: make one with \
             `openssl rand -hex 32`, or unset it to have one made"
        );
        return Err(wrong("MEDCARDS_JWT_SECRET", what));
    }
    Ok(Some(secret.clone()))
}

/// Reads a quota, or `off`.
fn limit(name: &str, text: Option<&str>, default: Option<Quota>) -> Result<Option<Quota>> {
    match text {
        None => Ok(default),
        Some("off") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|source: Error| {
            let what = format!("is `{text}`: {}; or off", source.context());
            wrong(name, what)
        }),
    }
}
