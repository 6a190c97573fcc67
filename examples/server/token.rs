//! Tokens made by hand.

use std::time::Duration;

use clap::{Args, ValueEnum};
use jsonwebtoken::{EncodingKey, Header};
use medcards::time::{Clock, SystemClock};
use medcards::{Error, ErrorKind, Result, UserId};
use medcards_examples::config::{Config, Settings, read_ttl};
use medcards_examples::secret::read_secret;
use secrecy::ExposeSecret;
use serde_json::json;

/// Which token is wanted.
#[derive(Args)]
pub(crate) struct TokenArguments {
    /// What its owner may do
    #[arg(long, value_enum, default_value = "student")]
    role: Role,

    /// How long it is good, such as 30m, 12h or 7d
    #[arg(long, default_value = "1h", value_parser = read_ttl)]
    ttl: Duration,

    /// Its owner, a UUID [default: a new one]
    #[arg(long, value_name = "UUID")]
    sub: Option<UserId>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Role {
    /// Answer cases, and also import them and read spending
    Admin,
    /// Answer cases, and also review written feedback
    Reviewer,
    /// Answer cases
    Student,
}

/// Prints a token and nothing else.
#[expect(clippy::print_stdout, reason = "it is what was asked for")]
pub(crate) fn print(wanted: &TokenArguments, settings: Settings) -> Result<()> {
    let config = Config::read(settings)?;
    let secret = match config.jwt_secret {
        Some(secret) => secret,
        None => read_secret(&config.data)?,
    };
    let now = SystemClock::new().now();
    let sub = wanted.sub.unwrap_or_else(|| UserId::new(now));
    let issued = now.as_second();
    let ttl = i64::try_from(wanted.ttl.as_secs()).unwrap_or(i64::MAX);
    let mut claims = json!({
        "sub": sub.to_string(),
        "iat": issued,
        "exp": issued.saturating_add(ttl),
    });
    match wanted.role {
        Role::Admin => claims["role"] = "admin".into(),
        Role::Reviewer => claims["role"] = "reviewer".into(),
        Role::Student => {}
    }
    let key = EncodingKey::from_secret(secret.expose_secret().as_bytes());
    let token = jsonwebtoken::encode(&Header::default(), &claims, &key).map_err(|source| {
        Error::new(ErrorKind::Unexpected, "sign token", "it cannot be signed").with_source(source)
    })?;
    println!("{token}");
    Ok(())
}
