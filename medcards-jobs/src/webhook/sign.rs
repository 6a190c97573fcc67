use std::fmt;

use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use medcards_core::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret, SecretString};

/// What a secret begins with when it is written down.
const PREFIX: &str = "whsec_";

/// The shortest and the longest secret that the specification allows, in bytes.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// A secret that is shared with whoever receives messages.
#[derive(Clone)]
pub struct WebhookSecret {
    key: Key,
}

impl WebhookSecret {
    /// Reads a secret: `whsec_` and 24 to 64 bytes in base64.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is none.
    pub fn new(secret: &SecretString) -> Result<Self> {
        let text = secret.expose_secret();
        let bytes = text
            .strip_prefix(PREFIX)
            .and_then(|base64| STANDARD.decode(base64).ok())
            .filter(|bytes| SECRET_LEN.contains(&bytes.len()));
        let Some(bytes) = bytes else {
            let context = "it must be whsec_ and 24 to 64 bytes in base64";
            return Err(Error::new(
                ErrorKind::Invalid,
                "read webhook secret",
                context,
            ));
        };
        Ok(Self {
            key: Key::new(HMAC_SHA256, &bytes),
        })
    }

    /// The signature of a message, as its header says it.
    pub(super) fn sign(&self, id: &str, timestamp_s: i64, body: &str) -> String {
        let signed = format!("{id}.{timestamp_s}.{body}");
        let tag = sign(&self.key, signed.as_bytes());
        format!("v1,{}", STANDARD.encode(tag))
    }
}

impl fmt::Debug for WebhookSecret {
    /// Says nothing of it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSecret").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_signed_as_others_sign_it() {
        // An example of the Standard Webhooks project.
        let secret = SecretString::from("whsec_plJ3nmyCDGBKInavdOK15jsl");
        // 18 bytes, which the specification does not allow for new secrets.
        WebhookSecret::new(&secret).unwrap_err();
        let bytes = STANDARD.decode("plJ3nmyCDGBKInavdOK15jsl").unwrap();
        let secret = WebhookSecret {
            key: Key::new(HMAC_SHA256, &bytes),
        };
        let body = r#"{"event_type":"ping","data":{"success":true}}"#;
        let signature = secret.sign("msg_loFOjxBNrRLzqYUf", 1_731_705_121, body);
        assert_eq!(signature, "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=");
    }

    #[test]
    fn what_is_no_secret_is_refused_and_not_shown() {
        for wrong in ["", "whsec_", "whsec_!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] {
            let error = WebhookSecret::new(&SecretString::from(wrong)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
        }
        let secret = SecretString::from("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let secret = WebhookSecret::new(&secret).unwrap();
        assert_eq!(format!("{secret:?}"), "WebhookSecret { .. }");
    }
}
