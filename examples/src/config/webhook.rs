use std::fmt;

use medcards::jobs::webhook::{Webhook, WebhookSecret};
use medcards::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret, SecretString};

use super::{Settings, wrong};

const URL: &str = "MEDCARDS_WEBHOOK_URL";
const SECRET: &str = "MEDCARDS_WEBHOOK_SECRET";

/// Which server is told of badges and regraded answers.
#[derive(Clone)]
pub struct WebhookSettings {
    /// Secret as a whole: many services know who calls by a token in it.
    url: SecretString,
    secret: WebhookSecret,
}

impl WebhookSettings {
    /// Reads which server it is; `None` if none is told.
    pub(super) fn read(settings: &Settings) -> Result<Option<Self>> {
        let is_alone = |name, other| {
            let what = format!("is set, but {other} is not: set that too, or unset this");
            Err(wrong(name, what))
        };
        let (url, secret) = match (&settings.webhook_url, &settings.webhook_secret) {
            (None, None) => return Ok(None),
            (Some(_), None) => return is_alone(URL, SECRET),
            (None, Some(_)) => return is_alone(SECRET, URL),
            (Some(url), Some(secret)) => (url.clone(), secret),
        };
        let secret = WebhookSecret::new(secret).map_err(|error| refused(SECRET, &error))?;
        let settings = Self { url, secret };
        settings.webhook()?;
        Ok(Some(settings))
    }

    /// What sends messages there.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the HTTP client cannot start.
    pub fn webhook(&self) -> Result<Webhook> {
        let webhook = Webhook::new(self.url.expose_secret().trim(), self.secret.clone());
        webhook.map_err(|error| refused(URL, &error))
    }
}

/// The value is not repeated: it is a secret.
fn refused(name: &str, error: &Error) -> Error {
    let context = format!("{name} cannot be used: {}", error.context());
    Error::new(ErrorKind::Invalid, "read settings", context)
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings").finish_non_exhaustive()
    }
}
