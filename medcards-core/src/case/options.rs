use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use xxhash_rust::xxh3::xxh3_64;

use super::CaseVersion;
use crate::id::{CaseId, UserId};
use crate::{Error, ErrorKind, Result};

/// The most options a case may have: as many as there are letters.
pub const OPTIONS_MAX: usize = 26;

/// The name of an option within its case, such as `B`. It stays with the option when shuffled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct OptionKey(Box<str>);

impl OptionKey {
    /// The longest key, in bytes.
    pub const LEN_MAX: usize = 16;

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for OptionKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = !text.is_empty() && text.len() <= Self::LEN_MAX;
        if fits
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
        {
            return Ok(Self(text.into()));
        }
        Err(Error::new(
            ErrorKind::Invalid,
            "read option key",
            "it must have 1 to 16 letters, digits, - or _",
        ))
    }
}

impl<'de> Deserialize<'de> for OptionKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for OptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for OptionKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// A set of options of one case version, by their authored positions.
///
/// Serialised as a list of positions from 0, ascending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OptionSet(u32);

impl OptionSet {
    /// No option at all.
    pub const EMPTY: Self = Self(0);

    /// The set with these bits, position 0 being the lowest; `None` if a bit is beyond the last
    /// position a case may have.
    #[must_use]
    pub const fn from_bits(bits: u32) -> Option<Self> {
        if bits >> OPTIONS_MAX == 0 {
            Some(Self(bits))
        } else {
            None
        }
    }

    /// The bits, position 0 being the lowest.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Adds the option at an authored position.
    ///
    /// # Panics
    /// If the position is not below [`OPTIONS_MAX`], which no case allows.
    pub const fn insert(&mut self, position: usize) {
        assert!(position < OPTIONS_MAX, "a case has at most 26 options");
        self.0 |= 1 << position;
    }

    /// Whether the option at an authored position is in the set.
    #[must_use]
    pub const fn contains(self, position: usize) -> bool {
        position < OPTIONS_MAX && self.0 & (1 << position) != 0
    }

    /// How many options are in the set.
    #[must_use]
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Whether no option is in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The authored positions in the set, ascending.
    pub fn positions(self) -> impl Iterator<Item = usize> {
        (0..OPTIONS_MAX).filter(move |position| self.contains(*position))
    }
}

impl FromIterator<usize> for OptionSet {
    fn from_iter<I: IntoIterator<Item = usize>>(positions: I) -> Self {
        let mut set = Self::EMPTY;
        for position in positions {
            set.insert(position);
        }
        set
    }
}

impl Serialize for OptionSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.positions())
    }
}

impl<'de> Deserialize<'de> for OptionSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let positions = Vec::<usize>::deserialize(deserializer)?;
        if positions.iter().any(|position| *position >= OPTIONS_MAX) {
            return Err(serde::de::Error::custom("an option's position is below 26"));
        }
        Ok(positions.into_iter().collect())
    }
}

/// The order in which options were shown: a permutation of authored positions.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct OptionOrder(Box<[u8]>);

impl OptionOrder {
    /// The order of the author, for a case with `count` options.
    #[must_use]
    pub fn authored(count: usize) -> Self {
        Self((0..count.min(OPTIONS_MAX)).map(position_byte).collect())
    }

    /// Reads authored positions in the order shown; `None` if they are not a permutation.
    #[must_use]
    pub fn from_positions(positions: &[u8]) -> Option<Self> {
        let mut seen = OptionSet::EMPTY;
        for position in positions {
            let position = usize::from(*position);
            if position >= positions.len().min(OPTIONS_MAX) || seen.contains(position) {
                return None;
            }
            seen.insert(position);
        }
        Some(Self(positions.into()))
    }

    /// Authored positions, in the order shown.
    #[must_use]
    pub fn positions(&self) -> &[u8] {
        &self.0
    }

    /// Fisher-Yates driven by `xxh3_64(user, case, version, step)`.
    pub(super) fn shuffled(
        count: usize,
        user_id: &UserId,
        case_id: &CaseId,
        version: CaseVersion,
    ) -> Self {
        let mut order = Self::authored(count);
        let mut seed = [0_u8; 40];
        seed[..16].copy_from_slice(user_id.as_bytes());
        seed[16..32].copy_from_slice(case_id.as_bytes());
        seed[32..36].copy_from_slice(&version.get().to_le_bytes());
        for last in (1..order.0.len()).rev() {
            seed[36..].copy_from_slice(&(last as u32).to_le_bytes());
            let picked = (xxh3_64(&seed) % (last as u64 + 1)) as usize;
            order.0.swap(last, picked);
        }
        order
    }
}

impl<'de> Deserialize<'de> for OptionOrder {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let positions = Vec::<u8>::deserialize(deserializer)?;
        Self::from_positions(&positions)
            .ok_or_else(|| serde::de::Error::custom("an option order is a permutation"))
    }
}

fn position_byte(position: usize) -> u8 {
    u8::try_from(position).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients and stored answers rely on these orders, so they may never change. Computed with the
    /// reference implementation of XXH3.
    #[test]
    fn the_order_of_a_known_student_and_case_never_changes() {
        let case = "0190b7a8-1c5e-7000-8000-0000000000aa";
        let (ours, other) = (
            "0190b7a8-1c5e-7000-8000-000000000001",
            "6ba7b810-9dad-11d1-80b4-00c04fd430c8",
        );
        let vectors: [(usize, &str, u32, &[u8]); 4] = [
            (4, ours, 1, &[2, 1, 0, 3]),
            (4, ours, 2, &[0, 1, 3, 2]),
            (5, other, 1, &[4, 1, 3, 2, 0]),
            (
                26,
                ours,
                1,
                &[
                    10, 19, 18, 14, 0, 3, 24, 8, 4, 1, 6, 25, 21, 12, 11, 23, 16, 7, 20, 15, 17,
                    22, 2, 9, 13, 5,
                ],
            ),
        ];
        for (count, user, version, expected) in vectors {
            let version = CaseVersion::new(version).unwrap();
            let order = OptionOrder::shuffled(
                count,
                &user.parse().unwrap(),
                &case.parse().unwrap(),
                version,
            );
            assert_eq!(order.positions(), expected, "{count} options of {user}");
        }
    }

    #[test]
    fn an_order_is_a_permutation_or_refused() {
        for (positions, is_order) in [
            (&[0_u8, 1, 2][..], true),
            (&[2, 0, 1], true),
            (&[], true),
            (&[0, 0, 1], false),
            (&[1, 2, 3], false),
            (&[255], false),
        ] {
            assert_eq!(
                OptionOrder::from_positions(positions).is_some(),
                is_order,
                "{positions:?}"
            );
        }
    }
}
