//! How a session stands in Redis: a byte that says how to read the rest, then the rest.

use medcards_core::session::{Session, SessionKey};
use medcards_core::user::UserKind;
use medcards_core::{Timestamp, UserId};
use minicbor::{Decode, Encode};

/// What stands there for a session that was revoked.
pub(super) const REVOKED: &[u8] = &[0];

/// The form of today: [`Kept`] in CBOR. Another form takes another byte, and is a miss to whoever
/// does not know it.
const VERSION: u8 = 1;

/// A session without its key, which is in the name.
#[derive(Debug, Encode, Decode)]
struct Kept {
    #[cbor(n(0), with = "minicbor::bytes")]
    user_id: [u8; 16],
    /// 0 for a guest, 1 for a registered user.
    #[n(1)]
    kind: u8,
    #[n(2)]
    created_at_us: i64,
    #[n(3)]
    expires_at_us: i64,
}

/// The bytes of a session; `None` for one of a kind that has no form yet.
pub(super) fn write(session: &Session) -> Option<Vec<u8>> {
    let kind = match session.kind {
        UserKind::Guest => 0,
        UserKind::Registered => 1,
        _ => return None,
    };
    let kept = Kept {
        user_id: *session.user_id.as_bytes(),
        kind,
        created_at_us: session.created_at.as_microsecond(),
        expires_at_us: session.expires_at.as_microsecond(),
    };
    let mut bytes = vec![VERSION];
    minicbor::encode(&kept, &mut bytes).ok()?;
    Some(bytes)
}

/// The session in these bytes; `None` if they are of a form that this program does not know.
pub(super) fn read(key: &SessionKey, bytes: &[u8]) -> Option<Session> {
    let (&VERSION, rest) = bytes.split_first()? else {
        return None;
    };
    let kept: Kept = minicbor::decode(rest).ok()?;
    let kind = match kept.kind {
        0 => UserKind::Guest,
        1 => UserKind::Registered,
        _ => return None,
    };
    Some(Session {
        key: *key,
        user_id: UserId::from_bytes(kept.user_id),
        kind,
        created_at: Timestamp::from_microsecond(kept.created_at_us).ok()?,
        expires_at: Timestamp::from_microsecond(kept.expires_at_us).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: SessionKey = SessionKey::from_bytes([7; 32]);

    fn session(kind: UserKind) -> Session {
        let now = Timestamp::from_microsecond(1_768_464_000_000_001).unwrap();
        Session::new(KEY, UserId::from_bytes([5; 16]), kind, now)
    }

    /// Programs of two versions share a Redis while one takes the place of the other.
    #[test]
    fn sessions_keep_their_form() {
        let bytes = write(&session(UserKind::Registered)).unwrap();
        let mut expected = vec![1, 0x84, 0x50];
        expected.extend([5; 16]);
        expected.extend([1, 0x1b, 0, 6, 0x48, 0x68, 0x9c, 0x84, 0xa0, 1]);
        expected.extend([0x1b, 0, 6, 0x48, 0x7c, 0xba, 0x5c, 0, 1]);
        assert_eq!(bytes, expected);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for kind in [UserKind::Guest, UserKind::Registered] {
            let session = session(kind);
            let bytes = write(&session).unwrap();
            assert_eq!(read(&KEY, &bytes), Some(session));
            for length in 0..bytes.len() {
                assert_eq!(read(&KEY, &bytes[..length]), None, "{length} bytes");
            }
            let newer = [&[2], &bytes[1..]].concat();
            assert_eq!(read(&KEY, &newer), None);
        }
        assert_eq!(read(&KEY, REVOKED), None);
    }
}
