use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use medcards_core::{Timestamp, UserId};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::problem::ProblemCode;

/// The namespace of user ids made of subjects that are not UUIDs. It never changes.
const SUBJECTS: Uuid = Uuid::from_u128(0x5f9a_7f0e_6d0c_4c5e_9b1e_2a6d_8c41_77d3);

/// The longest subject, in bytes; OpenID Connect allows 255.
const SUBJECT_BYTES_MAX: usize = 255;

/// A token in its three parts, with nothing believed yet.
pub(super) struct ParsedToken<'a> {
    header: TokenHeader,
    pub(super) claims: Claims,
    signed: &'a str,
    signature: &'a str,
}

#[derive(Deserialize)]
struct TokenHeader {
    alg: String,
    #[cfg(feature = "jwks")]
    #[serde(default)]
    kid: Option<String>,
    /// Extensions that must be understood. None is.
    #[serde(default)]
    crit: Option<Value>,
}

/// What a token says.
#[derive(Deserialize)]
pub(super) struct Claims {
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    aud: Value,
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    pub(super) role: Value,
    #[serde(default)]
    pub(super) roles: Value,
    #[serde(default)]
    pub(super) app_metadata: Value,
}

impl<'a> ParsedToken<'a> {
    pub(super) fn parse(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        Some(Self {
            header: part(header)?,
            claims: part(claims)?,
            signed,
            signature,
        })
    }

    /// The algorithm, if it is one that we take. `none` is not.
    pub(super) fn algorithm(&self) -> Option<Algorithm> {
        match self.header.alg.as_str() {
            _ if self.header.crit.is_some() => None,
            "HS256" => Some(Algorithm::HS256),
            "RS256" => Some(Algorithm::RS256),
            "ES256" => Some(Algorithm::ES256),
            "EdDSA" => Some(Algorithm::EdDSA),
            _ => None,
        }
    }

    /// Which of its keys the issuer signed it with.
    #[cfg(feature = "jwks")]
    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    /// Whether the signature was made with this key. A key of another kind than the algorithm asks
    /// for never fits, so that a public key cannot serve as a secret.
    pub(super) fn is_signed_with(&self, key: &DecodingKey) -> bool {
        self.algorithm().is_some_and(|algorithm| {
            crypto::verify(self.signature, self.signed.as_bytes(), key, algorithm).unwrap_or(false)
        })
    }
}

fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

impl Claims {
    pub(super) fn issuer(&self) -> Option<&str> {
        self.iss.as_deref()
    }

    /// Whether it names this audience, alone or among others.
    pub(super) fn is_for(&self, audience: &str) -> bool {
        match &self.aud {
            Value::String(given) => given == audience,
            Value::Array(given) => given.iter().any(|given| given == audience),
            _ => false,
        }
    }

    /// Checks that the token is good now. It must say until when it is.
    pub(super) fn check_times(&self, now: Timestamp, leeway: Duration) -> Result<(), ProblemCode> {
        let now = now.as_duration().as_secs_f64();
        let leeway = leeway.as_secs_f64();
        let exp = self.exp.ok_or(ProblemCode::TokenInvalid)?;
        if now >= exp + leeway {
            return Err(ProblemCode::TokenExpired);
        }
        if self.nbf.is_some_and(|nbf| now < nbf - leeway) {
            return Err(ProblemCode::TokenInvalid);
        }
        Ok(())
    }

    /// Until when it is good, with leeway.
    pub(super) fn good_until(&self, leeway: Duration) -> Timestamp {
        // A float too large saturates, and a second that no timestamp has counts as the last one.
        let exp = self.exp.unwrap_or_default().floor() as i64;
        let exp = Timestamp::from_second(exp).unwrap_or(Timestamp::MAX);
        exp.checked_add(leeway).unwrap_or(Timestamp::MAX)
    }

    /// The user: the subject itself if it is a UUID, else one made of issuer and subject.
    pub(super) fn user_id(&self) -> Option<UserId> {
        let fits = |sub: &&str| !sub.is_empty() && sub.len() <= SUBJECT_BYTES_MAX;
        let sub = self.sub.as_deref().filter(fits)?;
        let made = || {
            let name = format!("{}\n{sub}", self.issuer().unwrap_or_default());
            Uuid::new_v5(&SUBJECTS, name.as_bytes())
        };
        Some(UserId::from_uuid(
            Uuid::try_parse(sub).unwrap_or_else(|_| made()),
        ))
    }
}
