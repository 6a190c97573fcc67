//! Who calls: bearer tokens, checked. They are JWTs, or those of sessions.

#[cfg(feature = "jwks")]
mod jwks;
mod roles;
mod session;
mod strangers;
mod token;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use medcards_core::app::Medcards;
use medcards_core::session::{SessionKey, SessionStore};
use medcards_core::spend::Payer;
use medcards_core::user::{User, UserKind};
use medcards_core::{Error, ErrorKind, Result, Timestamp, UserId};
use quick_cache::sync::Cache;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;

use self::roles::Roles;
pub(crate) use self::session::new_token as new_session_token;
use self::strangers::{STRANGERS_QUOTA, Strangers};
use self::token::{Claims, ParsedToken};
use crate::api::Shared;
use crate::config::{Guests, HttpConfig};
use crate::problem::{Problem, ProblemCode};
use crate::routes::LIVE_PATH;

/// The issuer of guest tokens. Nobody else's tokens are checked with the guest secret.
const GUEST_ISSUER: &str = "urn:medcards:guest";

/// How many checked tokens are remembered, at most [`TOKEN_REMEMBERED_BYTES_MAX`] each: 20 MB.
const TOKENS_REMEMBERED_MAX: usize = 10_000;

/// The longest token that is remembered, in bytes. Those of Supabase have about 900.
const TOKEN_REMEMBERED_BYTES_MAX: usize = 2_048;

/// The longest token that is looked at, in bytes: as much as proxies let a header have.
const TOKEN_BYTES_MAX: usize = 8_192;

/// What stands before a token that is sent as a subprotocol.
const SUBPROTOCOL_PREFIX: &str = "bearer.";

/// How long a checked token is remembered, so that a key which its issuer has withdrawn is not
/// believed for longer.
const TOKEN_REMEMBERED_FOR: Duration = Duration::from_mins(5);

/// How far the clocks of issuer and server may differ.
const LEEWAY: Duration = Duration::from_secs(30);

/// The length, in bytes, from which a secret is as strong as the signature made with it.
const SECRET_BYTES_STRONG: usize = 32;

/// Who calls, as the token says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) user_id: UserId,
    pub(crate) kind: UserKind,
    /// The session, if that is what it was known by.
    pub(crate) session: Option<SessionKey>,
    /// Until when the token is good, unless a session is used or revoked meanwhile.
    pub(crate) good_until: Timestamp,
    roles: Roles,
}

impl Caller {
    /// Whether it has the role `admin`.
    pub(crate) fn is_admin(&self) -> bool {
        self.roles.is_admin
    }

    /// On whose behalf a model is asked.
    pub(crate) fn payer(&self) -> Payer {
        Payer {
            user_id: self.user_id,
            is_premium: self.roles.is_premium,
        }
    }
}

/// Who calls, or why that is not known. The edge finds out, handlers ask for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity(pub(crate) std::result::Result<Caller, ProblemCode>);

/// Checks tokens, and signs those of guests.
pub(crate) struct Auth {
    secret: Option<DecodingKey>,
    #[cfg(feature = "jwks")]
    jwks: Option<jwks::Jwks>,
    issuer: Option<String>,
    audience: Option<String>,
    guest: Option<GuestKeys>,
    guests: Guests,
    sessions: Option<Arc<dyn SessionStore>>,
    /// `None` if there are no limits at all.
    strangers: Option<Strangers>,
    medcards: Medcards,
    remembered: Cache<Box<str>, Remembered>,
}

struct GuestKeys {
    signing: EncodingKey,
    checking: DecodingKey,
    ttl: Duration,
}

#[derive(Clone, Copy)]
struct Remembered {
    caller: Caller,
    until: Timestamp,
}

/// What a guest token says.
#[derive(Serialize)]
struct GuestClaims<'a> {
    iss: &'a str,
    sub: UserId,
    kind: UserKind,
    iat: i64,
    exp: i64,
}

impl Auth {
    pub(crate) fn new(config: &HttpConfig, medcards: Medcards) -> Result<Self> {
        // Fails if somebody chose a provider before, which is then as good.
        let _ = crypto::aws_lc::DEFAULT_PROVIDER.install_default();
        #[cfg(feature = "jwks")]
        let jwks = config
            .jwks_url
            .as_deref()
            .map(|url| jwks::Jwks::new(url, std::sync::Arc::clone(medcards.clock())))
            .transpose()?;
        #[cfg(feature = "jwks")]
        let has_jwks = jwks.is_some();
        #[cfg(not(feature = "jwks"))]
        let has_jwks = false;
        let secret = config.jwt_secret.as_ref().map(checked_secret).transpose()?;
        let guest_secret = config.guest_secret.as_ref().or(config.jwt_secret.as_ref());
        let guest = guest_secret
            .map(|secret| guest_keys(secret, config))
            .transpose()?;
        if secret.is_none() && !has_jwks && guest.is_none() {
            return Err(invalid(
                "set a JWT secret or a JWKS address, so that tokens can be checked",
            ));
        }
        if config.guests == Guests::Enabled && guest.is_none() {
            return Err(invalid(
                "set a guest secret, so that guests can be given tokens",
            ));
        }
        Ok(Self {
            secret: secret.map(|secret| DecodingKey::from_secret(secret.as_bytes())),
            #[cfg(feature = "jwks")]
            jwks,
            issuer: config.jwt_issuer.clone(),
            audience: config.jwt_audience.clone(),
            guest,
            guests: config.guests,
            sessions: config.sessions.clone(),
            strangers: config
                .quota
                .map(|_| Strangers::new(Arc::clone(medcards.clock()))),
            medcards,
            remembered: Cache::new(TOKENS_REMEMBERED_MAX),
        })
    }

    /// Finds out who calls, from a network that is found out only if need be.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        path: &str,
        network: impl FnOnce() -> Option<IpAddr> + Send,
    ) -> Identity {
        let token = match bearer_token(headers, path) {
            Ok(token) => token,
            Err(code) => return Identity(Err(code)),
        };
        let now = self.medcards.now();
        if session::is_of_session(token) {
            // Boxed for the same reason as below.
            return Identity(Box::pin(self.check_session(token, network(), now)).await);
        }
        match self.remembered.get(token) {
            Some(remembered) if now < remembered.until => Identity(Ok(remembered.caller)),
            // Boxed, so that a token checked lately does not carry the size of fetching keys.
            _ => Identity(Box::pin(self.check_and_remember(token, now)).await),
        }
    }

    /// Signs a token for a new guest, if guests are taken.
    pub(crate) fn guest_token(&self, user_id: UserId) -> std::result::Result<String, Problem> {
        let (Guests::Enabled, Some(guest)) = (self.guests, &self.guest) else {
            return Err(Problem::new(ProblemCode::GuestsDisabled)
                .with_detail("get a token from whoever keeps the accounts"));
        };
        let now = self.medcards.now();
        let claims = GuestClaims {
            iss: GUEST_ISSUER,
            sub: user_id,
            kind: UserKind::Guest,
            iat: now.as_second(),
            exp: (now + guest.ttl).as_second(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &guest.signing).map_err(
            |source| {
                Error::new(
                    ErrorKind::Unexpected,
                    "sign guest token",
                    "the signature cannot be made",
                )
                .with_source(source)
                .into()
            },
        )
    }

    /// Who keeps sessions, if anybody does.
    pub(crate) fn sessions(&self) -> std::result::Result<&Arc<dyn SessionStore>, Problem> {
        self.sessions.as_ref().ok_or_else(|| {
            Problem::new(ProblemCode::SessionsDisabled)
                .with_detail("send the token that you were given when you signed in")
        })
    }

    /// Whether the session of a caller, if that is what it was known by, has not ended.
    ///
    /// # Errors
    /// Those of whoever keeps sessions.
    pub(crate) async fn is_session_live(&self, caller: &Caller) -> Result<bool> {
        let (Some(key), Some(sessions)) = (&caller.session, &self.sessions) else {
            return Ok(true);
        };
        let found = sessions.touch_session(key, self.medcards.now()).await?;
        Ok(found.is_some())
    }

    /// Finds the session of a token, each time anew: one that was revoked must end at once.
    async fn check_session(
        &self,
        token: &str,
        network: Option<IpAddr>,
        now: Timestamp,
    ) -> std::result::Result<Caller, ProblemCode> {
        let sessions = self.sessions.as_ref().ok_or(ProblemCode::TokenInvalid)?;
        let key = session::parse(token).ok_or(ProblemCode::TokenMalformed)?;
        if let Some(strangers) = &self.strangers
            && !strangers.may_ask(&key, network).await
        {
            return Err(ProblemCode::RateLimited);
        }
        let found = sessions.touch_session(&key, now).await.map_err(|error| {
            tracing::error!(%error, "a session cannot be looked up");
            ProblemCode::SessionsUnavailable
        })?;
        if let Some(strangers) = &self.strangers {
            strangers.answered(&key, network, found.is_some()).await;
        }
        let session = found.ok_or(ProblemCode::SessionEnded)?;
        Ok(Caller {
            user_id: session.user_id,
            kind: session.kind,
            session: Some(key),
            good_until: session.expires_at,
            // Whoever gives roles must be able to take them back, and is not asked about a session.
            roles: Roles::default(),
        })
    }

    async fn check_and_remember(
        &self,
        token: &str,
        now: Timestamp,
    ) -> std::result::Result<Caller, ProblemCode> {
        let parsed = ParsedToken::parse(token).ok_or(ProblemCode::TokenMalformed)?;
        let caller = self.check(&parsed, now).await?;
        if token.len() <= TOKEN_REMEMBERED_BYTES_MAX {
            let until = parsed
                .claims
                .good_until(LEEWAY)
                .min(now + TOKEN_REMEMBERED_FOR);
            self.remembered
                .insert(token.into(), Remembered { caller, until });
        }
        Ok(caller)
    }

    async fn check(
        &self,
        token: &ParsedToken<'_>,
        now: Timestamp,
    ) -> std::result::Result<Caller, ProblemCode> {
        let claims = &token.claims;
        let is_guest = claims.issuer() == Some(GUEST_ISSUER);
        let is_signed = match (is_guest, token.algorithm()) {
            (true, Some(Algorithm::HS256)) => self
                .guest
                .as_ref()
                .is_some_and(|guest| token.is_signed_with(&guest.checking)),
            (false, Some(Algorithm::HS256)) => self
                .secret
                .as_ref()
                .is_some_and(|secret| token.is_signed_with(secret)),
            (false, Some(algorithm)) => self.is_signed_by_issuer(token, algorithm).await?,
            (true, Some(_)) | (_, None) => false,
        };
        if !is_signed {
            return Err(ProblemCode::TokenInvalid);
        }
        claims.check_times(now, LEEWAY)?;
        let is_wanted = is_guest || self.wants(claims);
        let user_id = claims
            .user_id()
            // That one stands for everyone, and is no student.
            .filter(|user_id| is_wanted && *user_id != UserId::EVERYONE)
            .ok_or(ProblemCode::TokenInvalid)?;
        let kind = if is_guest {
            UserKind::Guest
        } else {
            UserKind::Registered
        };
        Ok(Caller {
            user_id,
            kind,
            session: None,
            good_until: claims.good_until(LEEWAY),
            roles: if is_guest {
                Roles::default()
            } else {
                Roles::of(claims)
            },
        })
    }

    /// Whether the token is from the issuer and for the audience that the configuration asks for.
    fn wants(&self, claims: &Claims) -> bool {
        let issuer = self.issuer.as_deref();
        let audience = self.audience.as_deref();
        issuer.is_none_or(|wanted| claims.issuer() == Some(wanted))
            && audience.is_none_or(|wanted| claims.is_for(wanted))
    }

    #[cfg(feature = "jwks")]
    async fn is_signed_by_issuer(
        &self,
        token: &ParsedToken<'_>,
        algorithm: Algorithm,
    ) -> std::result::Result<bool, ProblemCode> {
        let Some(jwks) = &self.jwks else {
            return Ok(false);
        };
        let key = jwks.find(token.key_id(), algorithm).await?;
        Ok(key.is_some_and(|key| token.is_signed_with(&key)))
    }

    #[cfg(not(feature = "jwks"))]
    #[expect(clippy::unused_async, reason = "the same as with the feature")]
    async fn is_signed_by_issuer(
        &self,
        _token: &ParsedToken<'_>,
        _algorithm: Algorithm,
    ) -> std::result::Result<bool, ProblemCode> {
        Ok(false)
    }
}

fn invalid(context: &'static str) -> Error {
    Error::new(ErrorKind::Invalid, "configure tokens", context)
}

fn checked_secret(secret: &SecretString) -> Result<&str> {
    let secret = secret.expose_secret();
    if secret.is_empty() {
        return Err(invalid(
            "the secret is empty, so that anyone could sign tokens",
        ));
    }
    if secret.len() < SECRET_BYTES_STRONG {
        tracing::warn!(
            "a token secret has less than {SECRET_BYTES_STRONG} bytes and may be guessed"
        );
    }
    Ok(secret)
}

fn guest_keys(secret: &SecretString, config: &HttpConfig) -> Result<GuestKeys> {
    let secret = checked_secret(secret)?.as_bytes();
    Ok(GuestKeys {
        signing: EncodingKey::from_secret(secret),
        checking: DecodingKey::from_secret(secret),
        ttl: config.guest_token_ttl,
    })
}

/// The token of a request, which a browser cannot send with a WebSocket but as a subprotocol.
fn bearer_token<'a>(
    headers: &'a HeaderMap,
    path: &str,
) -> std::result::Result<&'a str, ProblemCode> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else {
        return match path == LIVE_PATH {
            true => subprotocol_token(headers),
            false => Err(ProblemCode::TokenMissing),
        };
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let token = text.and_then(|text| {
        let (scheme, token) = text.split_once(' ')?;
        let token = token.trim_matches(' ');
        let fits = (1..=TOKEN_BYTES_MAX).contains(&token.len());
        (fits && scheme.eq_ignore_ascii_case("bearer")).then_some(token)
    });
    token.ok_or(ProblemCode::TokenMalformed)
}

/// The token among the subprotocols that a client names.
fn subprotocol_token(headers: &HeaderMap) -> std::result::Result<&str, ProblemCode> {
    let values = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    let named = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut tokens = named.filter_map(|name| name.trim().strip_prefix(SUBPROTOCOL_PREFIX));
    let token = tokens.next().ok_or(ProblemCode::TokenMissing)?;
    let fits = (1..=TOKEN_BYTES_MAX).contains(&token.len());
    match fits && tokens.next().is_none() {
        true => Ok(token),
        false => Err(ProblemCode::TokenMalformed),
    }
}

impl FromRequestParts<Shared> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        _app: &Shared,
    ) -> std::result::Result<Self, Problem> {
        // The edge puts it there for every path of /v1.
        let Identity(caller) = parts
            .extensions
            .get::<Identity>()
            .copied()
            .unwrap_or(Identity(Err(ProblemCode::TokenMissing)));
        caller.map_err(|code| match code {
            ProblemCode::RateLimited => Problem::new(code)
                .with_detail("too many unknown sessions were tried from this network")
                .with_retry_after(STRANGERS_QUOTA.window()),
            _ => code.into(),
        })
    }
}

/// A caller who is known as a user from now on.
pub(crate) struct Student(pub(crate) User);

impl FromRequestParts<Shared> for Student {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Shared,
    ) -> std::result::Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        Ok(Self(
            app.medcards
                .ensure_user(caller.user_id, caller.kind)
                .await?,
        ))
    }
}

/// A caller with the role `admin`, who is known as a user too.
pub(crate) struct Admin(pub(crate) UserId);

impl FromRequestParts<Shared> for Admin {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Shared,
    ) -> std::result::Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        if !caller.roles.is_admin {
            return Err(
                Problem::new(ProblemCode::RoleMissing).with_detail("this needs the role admin")
            );
        }
        app.medcards
            .ensure_user(caller.user_id, caller.kind)
            .await?;
        Ok(Self(caller.user_id))
    }
}

/// A caller with the role `reviewer` or `admin`, who is known as a user too.
pub(crate) struct Reviewer(pub(crate) UserId);

impl FromRequestParts<Shared> for Reviewer {
    type Rejection = Problem;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Shared,
    ) -> std::result::Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, app).await?;
        if !caller.roles.is_reviewer {
            return Err(Problem::new(ProblemCode::RoleMissing)
                .with_detail("this needs the role reviewer or admin"));
        }
        app.medcards
            .ensure_user(caller.user_id, caller.kind)
            .await?;
        Ok(Self(caller.user_id))
    }
}
