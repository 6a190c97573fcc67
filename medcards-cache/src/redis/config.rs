use std::time::Duration;

use medcards_core::{Error, ErrorKind, Result};
use secrecy::{ExposeSecret, SecretString};

/// Where Redis is, and how long it may take.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    url: SecretString,
    pub(super) namespace: String,
    pub(super) patience: Duration,
}

impl RedisConfig {
    /// Reads the address of a server: `redis://[[user]:password@]host[:port][/database]`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no such address.
    pub fn new(url: &str) -> Result<Self> {
        redis::Client::open(url).map_err(|_| {
            // Not the error itself: it may repeat the password.
            Error::new(
                ErrorKind::Invalid,
                "read Redis address",
                "it must look like redis://user:password@host:6379",
            )
        })?;
        Ok(Self {
            url: url.into(),
            namespace: "medcards".to_owned(),
            patience: Duration::from_millis(10),
        })
    }

    pub(super) fn client(&self) -> redis::RedisResult<redis::Client> {
        redis::Client::open(self.url.expose_secret())
    }
}
