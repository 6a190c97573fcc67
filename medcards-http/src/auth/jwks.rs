use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use medcards_core::time::Clock;
use medcards_core::{Error, ErrorKind, Result};
use reqwest::redirect::Policy;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

use crate::problem::ProblemCode;

/// How long a fetch may take. Callers with a key that is not known yet wait for it.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);

/// The shortest time between two fetches, however many unknown keys are named meanwhile.
const FETCH_PAUSE: Duration = Duration::from_secs(10);

/// How old the keys may get before they are fetched again, so that a withdrawn one is noticed.
const KEYS_FRESH_FOR: Duration = Duration::from_mins(10);

/// The longest key set that is read, in bytes: a hundred large RSA keys.
const KEY_SET_BYTES_MAX: usize = 256 * 1024;

/// The most keys of a set that are kept.
const KEYS_MAX: usize = 100;

/// The public keys of an issuer, fetched when they are needed.
///
/// Cloning gives a handle on the same keys.
#[derive(Clone)]
pub(super) struct Jwks {
    inner: Arc<Inner>,
}

struct Inner {
    client: reqwest::Client,
    url: reqwest::Url,
    clock: Arc<dyn Clock>,
    keys: ArcSwapOption<KeySet>,
    /// When a fetch last began, by the clock's monotonic time. Held while one is under way.
    last_fetch_us: Mutex<Option<u64>>,
}

struct KeySet {
    keys: Vec<IssuerKey>,
    fetched_us: u64,
}

struct IssuerKey {
    id: Option<String>,
    algorithm: Algorithm,
    key: Arc<DecodingKey>,
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

impl Jwks {
    pub(super) fn new(url: &str, clock: Arc<dyn Clock>) -> Result<Self> {
        let invalid = |context| Error::new(ErrorKind::Invalid, "configure JWKS", context);
        let url: reqwest::Url = url
            .parse()
            .map_err(|source| invalid("the address is not a URL").with_source(source))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid("the address must begin with https:// or http://"));
        }
        let client = reqwest::Client::builder()
            .timeout(FETCH_DEADLINE)
            .redirect(Policy::none())
            .build()
            .map_err(|source| invalid("the HTTP client cannot be made").with_source(source))?;
        let inner = Inner {
            client,
            url,
            clock,
            keys: ArcSwapOption::empty(),
            last_fetch_us: Mutex::new(None),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The key with this id for this algorithm; `None` if the issuer has no such key.
    ///
    /// Keys that are known are served without waiting, also while they are too old and new ones are
    /// being fetched, and when none can be had.
    pub(super) async fn find(
        &self,
        key_id: Option<&str>,
        algorithm: Algorithm,
    ) -> std::result::Result<Option<Arc<DecodingKey>>, ProblemCode> {
        if let Some(key) = self.known(key_id, algorithm) {
            if self.is_old() {
                drop(self.renew());
            }
            return Ok(Some(key));
        }
        // It fails only if the runtime is ending.
        let _ = self.renew().await;
        if self.inner.keys.load().is_none() {
            return Err(ProblemCode::KeysUnavailable);
        }
        Ok(self.known(key_id, algorithm))
    }

    fn known(&self, key_id: Option<&str>, algorithm: Algorithm) -> Option<Arc<DecodingKey>> {
        let keys = self.inner.keys.load();
        let mut fitting = keys.as_ref()?.keys.iter().filter(|key| {
            key.algorithm == algorithm && (key_id.is_none() || key.id.as_deref() == key_id)
        });
        let found = fitting.next()?;
        // Without an id the token must leave no choice.
        (key_id.is_some() || fitting.next().is_none()).then(|| Arc::clone(&found.key))
    }

    /// Fetches the keys in a task of its own, so that a caller who hangs up costs nobody the keys.
    fn renew(&self) -> JoinHandle<()> {
        let jwks = self.clone();
        tokio::spawn(async move { jwks.fetch_unless_recent().await })
    }

    fn is_old(&self) -> bool {
        let keys = self.inner.keys.load();
        keys.as_ref()
            .is_none_or(|keys| is_over(keys.fetched_us, KEYS_FRESH_FOR, self.now_us()))
    }

    /// Fetches the keys, one task at a time and not more often than allowed.
    async fn fetch_unless_recent(&self) {
        let mut last_fetch_us = self.inner.last_fetch_us.lock().await;
        let now_us = self.now_us();
        let may_fetch = last_fetch_us.is_none_or(|last| is_over(last, FETCH_PAUSE, now_us));
        if !may_fetch {
            return;
        }
        *last_fetch_us = Some(now_us);
        match self.fetch().await {
            Ok(keys) => self.inner.keys.store(Some(Arc::new(KeySet {
                keys,
                fetched_us: now_us,
            }))),
            Err(error) => tracing::warn!(%error, "the keys that check tokens cannot be fetched"),
        }
    }

    async fn fetch(&self) -> Result<Vec<IssuerKey>> {
        let failed = |context| Error::new(ErrorKind::Unavailable, "fetch JWKS", context);
        let response = self.inner.client.get(self.inner.url.clone()).send().await;
        let response = response.and_then(reqwest::Response::error_for_status);
        let mut response = response
            .map_err(|source| failed("the issuer did not answer well").with_source(source))?;
        let mut body = Vec::new();
        while let Some(chunk) = response
            .chunk()
            .await
            .map_err(|source| failed("the key set broke off").with_source(source))?
        {
            body.extend_from_slice(&chunk);
            if body.len() > KEY_SET_BYTES_MAX {
                return Err(failed("the key set is too large"));
            }
        }
        let document: Document = serde_json::from_slice(&body)
            .map_err(|source| failed("the issuer gave no key set").with_source(source))?;
        // A key of a kind that we do not know must not cost us the others.
        Ok(document
            .keys
            .into_iter()
            .filter_map(IssuerKey::read)
            .take(KEYS_MAX)
            .collect())
    }

    fn now_us(&self) -> u64 {
        self.inner.clock.monotonic_us()
    }
}

fn is_over(since_us: u64, time: Duration, now_us: u64) -> bool {
    u128::from(now_us.saturating_sub(since_us)) >= time.as_micros()
}

impl IssuerKey {
    /// Reads a public key that signs; its kind decides the algorithm, never the token.
    fn read(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let signs = !matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption));
        let declared = jwk.common.key_algorithm.map(Algorithm::try_from);
        let agrees = declared.is_none_or(|declared| declared.is_ok_and(|given| given == algorithm));
        let key = Arc::new(DecodingKey::from_jwk(&jwk).ok()?);
        (signs && agrees).then_some(Self {
            id: jwk.common.key_id,
            algorithm,
            key,
        })
    }
}

impl fmt::Debug for Jwks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwks")
            .field("url", &self.inner.url.as_str())
            .finish_non_exhaustive()
    }
}
