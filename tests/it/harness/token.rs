//! Tokens as an identity provider makes them, and as nobody should.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{EncodingKey, Header, encode};
use medcards_core::time::{Clock, SystemClock};
use serde_json::{Value, json};

/// The secret of every server that the harness starts.
pub(crate) const SECRET: &str = "a-secret-for-tests-of-at-least-thirty-two-bytes";

/// What a token says.
#[derive(Clone, Debug)]
pub(crate) struct Claims(Value);

impl Claims {
    /// Somebody, for the next hour.
    pub(crate) fn of(user_id: &str) -> Self {
        Self(json!({"sub": user_id, "exp": seconds_from_now(3_600)}))
    }

    /// With another claim, or with none of this name if it is null.
    pub(crate) fn with(mut self, name: &str, value: Value) -> Self {
        match value {
            Value::Null => drop(self.0.as_object_mut().unwrap().remove(name)),
            value => self.0[name] = value,
        }
        self
    }

    /// Signed as the server expects it.
    pub(crate) fn sign(&self) -> String {
        self.sign_with(SECRET)
    }

    /// Signed with some secret.
    pub(crate) fn sign_with(&self, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        encode(&Header::default(), &self.0, &key).unwrap()
    }
}

/// A token with any header, any claims and any signature.
pub(crate) fn forge(header: &Value, claims: &Claims, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(&claims.0))
}

/// A token of an admin.
pub(crate) fn admin_token() -> String {
    Claims::of(&super::uuid_v7())
        .with("role", json!("admin"))
        .sign()
}

/// Seconds since 1970, that many from now.
pub(crate) fn seconds_from_now(seconds: i64) -> i64 {
    SystemClock::new().now().as_second() + seconds
}
