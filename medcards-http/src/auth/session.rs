use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use medcards_core::session::SessionKey;
use medcards_core::{Error, ErrorKind, Result};

/// What the tokens of sessions begin with: no JWT does, and whoever finds one in the wrong place
/// knows what it is. Another kind of token takes another number.
const PREFIX: &str = "mcs1.";

/// How many random bytes a token has: nobody guesses one, however many there are.
const SECRET_BYTES: usize = 32;

/// A new token, and the name of its session.
pub(crate) fn new_token() -> Result<(String, SessionKey)> {
    let mut secret = [0; SECRET_BYTES];
    rand::fill(&mut secret).map_err(|source| {
        let context = "the system gives no random bytes";
        Error::new(ErrorKind::Unexpected, "make session token", context).with_source(source)
    })?;
    let token = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(secret));
    let key = key_of(&token);
    Ok((token, key))
}

/// Whether it looks like the token of a session and not like a JWT.
pub(super) fn is_of_session(token: &str) -> bool {
    token.starts_with(PREFIX)
}

/// The name of the session of a token; `None` for a text that is no token.
pub(super) fn parse(token: &str) -> Option<SessionKey> {
    let secret = URL_SAFE_NO_PAD.decode(token.strip_prefix(PREFIX)?).ok()?;
    (secret.len() == SECRET_BYTES).then(|| key_of(token))
}

fn key_of(token: &str) -> SessionKey {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    SessionKey::from_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_leads_to_its_session_and_no_two_are_alike() {
        let (token, key) = new_token().unwrap();
        assert_eq!(parse(&token), Some(key));
        assert_ne!(new_token().unwrap().1, key);
    }

    /// Another digest would sign everybody out.
    #[test]
    fn a_token_is_one_session_for_ever() {
        let key = parse("mcs1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8").unwrap();
        let hex: String = key.as_bytes()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(hex, "b32bac51dae702f4");
    }

    #[test]
    fn a_text_that_differs_from_a_token_is_none() {
        let good = "mcs1.AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        // The last letter of 43 has two bits to spare, which must be zero.
        let other_bits = format!("{}9", &good[..good.len() - 1]);
        for text in [
            "mcs1.",
            &good[..good.len() - 1],
            &format!("{good}A"),
            &format!("{good}="),
            &other_bits,
            &good.replace("mcs1", "mcs2"),
            &good.replace("mcs1", "MCS1"),
            &good.replace('A', "+"),
            &good.replace('A', "é"),
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
