use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use medcards_core::{Error, ErrorKind, Result, UserId};
use secrecy::{ExposeSecret, SecretString};

/// How many of the letters of a signature make an alias: 48 bits, so that two of a million users
/// hardly ever have the same.
const ALIAS_LEN: usize = 8;

/// What is signed begins with it. The zero byte is in no token, so that no alias is a part of one's
/// signature.
const PREFIX: &[u8] = b"alias\0";

/// Names users for others: always by the same word, from which nobody learns who it is.
///
/// User ids come from whoever keeps the accounts, and may be known elsewhere. An alias is the first
/// letters of the HMAC-SHA-256 of the id, in base64url: without the secret nobody can tell whose it
/// is, even who knows all ids. Every process with the same secret gives the same.
pub(crate) struct Aliases {
    key: EncodingKey,
}

impl Aliases {
    pub(crate) fn new(secret: &SecretString) -> Self {
        Self {
            key: EncodingKey::from_secret(secret.expose_secret().as_bytes()),
        }
    }

    pub(crate) fn of(&self, user_id: UserId) -> Result<String> {
        let message = [PREFIX, user_id.as_bytes()].concat();
        let mut signature =
            crypto::sign(&message, &self.key, Algorithm::HS256).map_err(|source| {
                let context = "an alias cannot be made";
                Error::new(ErrorKind::Unexpected, "name user", context).with_source(source)
            })?;
        signature.truncate(ALIAS_LEN);
        Ok(signature)
    }
}
