//! Buckets: the fixed hash ranges that decide where a user's rows live.

use std::fmt;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::id::UserId;

/// How many buckets there are. It never changes: rows carry their bucket.
pub const BUCKETS: u16 = 4096;

/// One of [`BUCKETS`] fixed hash ranges of user ids.
///
/// `xxh3_64(the sixteen bytes of the user id) mod 4096`, with seed 0, for ever. The hash is
/// [XXH3](https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md).
///
/// ```
/// use medcards_core::{UserId, shard::Bucket};
///
/// let user: UserId = "0190b7a8-1c5e-7000-8000-000000000001".parse()?;
/// assert!(Bucket::of(&user).get() < 4096);
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bucket(u16);

impl Bucket {
    /// The bucket of a user; it never changes for that user.
    #[must_use]
    pub fn of(user: &UserId) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the remainder is below 4096"
        )]
        Self((xxh3_64(user.as_bytes()) % u64::from(BUCKETS)) as u16)
    }

    /// The number of the bucket, below [`BUCKETS`].
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows in every deployment carry these numbers, so they may never change. Computed with the
    /// reference implementation of XXH3.
    #[test]
    fn buckets_of_known_users_never_change() {
        let vectors = [
            ("00000000-0000-0000-0000-000000000000", 2408),
            ("0190b7a8-1c5e-7000-8000-000000000001", 1654),
            ("ffffffff-ffff-ffff-ffff-ffffffffffff", 787),
            ("6ba7b810-9dad-11d1-80b4-00c04fd430c8", 3350),
        ];
        for (user, bucket) in vectors {
            assert_eq!(Bucket::of(&user.parse().unwrap()).get(), bucket, "{user}");
        }
    }
}
