use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use xxhash_rust::xxh3::xxh3_128;

use super::json::chained;
use super::{Part, ROWS_PER_STEP, Row, TransferSource};
use crate::id::UserId;
use crate::{Error, ErrorKind, Result};

/// How many objections are kept by name; the others are counted.
pub const OBJECTIONS_MAX: usize = 100;

/// How many users that differ are named; the others are counted.
const USERS_NAMED_MAX: usize = 100;

/// What a store holds: how many rows, and hashes by which two stores are compared.
///
/// Some 50 bytes a user are kept, however many answers there are.
#[derive(Clone, Debug, Default)]
pub struct Inventory {
    parts: [PartSum; Part::ALL.len()],
    /// Each user's row, then awards, answers, events, turns and summaries of chats, and jobs, each in
    /// order, as one hash.
    users: HashMap<UserId, u128>,
    objections: Vec<Objection>,
    objection_count: u64,
}

/// The rows of a part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartSum {
    /// How many.
    pub rows: u64,
    /// All of them in one hash: for events and jobs in their order, for what has no order without.
    pub hash: u128,
}

/// Why a row cannot be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Objection {
    /// The row, without anything that it says.
    pub row: String,
    /// What is wrong with it.
    pub reason: Cow<'static, str>,
}

/// In what two stores differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Differences {
    /// The parts that are not equal.
    pub parts: Vec<Part>,
    /// Some users who are not equal.
    pub users: Vec<UserId>,
    /// How many users are not equal.
    pub user_count: u64,
}

impl Inventory {
    /// Reads everything, and asks `objection` about each row; tells `seen` how many rows of a part
    /// were read since it was told last.
    ///
    /// # Errors
    /// Those of the storage. A row that cannot be read is an objection.
    ///
    /// # Cancel safety
    /// It changes nothing.
    pub async fn take<S: TransferSource + ?Sized>(
        source: &S,
        objection: impl Fn(&Row) -> Option<&'static str> + Send + Sync,
        mut seen: impl FnMut(Part, u64) + Send,
    ) -> Result<Self> {
        let mut inventory = Self::default();
        for part in Part::ALL {
            let mut place = None;
            loop {
                let limit = ROWS_PER_STEP.min(part.rows_max());
                let batch = source.read_rows(part, place.as_ref(), limit).await?;
                for name in &batch.unreadable {
                    let reason = "it is not in the expected form, and cannot be read";
                    inventory.object(name.clone(), reason);
                }
                for row in &batch.rows {
                    inventory.add(row);
                    if let Some(reason) = objection(row) {
                        inventory.object(row.name(), reason);
                    }
                }
                seen(part, (batch.rows.len() + batch.unreadable.len()) as u64);
                match batch.next {
                    Some(next) => place = Some(next),
                    None => break,
                }
            }
        }
        Ok(inventory)
    }

    /// The rows of a part.
    #[must_use]
    pub fn part(&self, part: Part) -> PartSum {
        self.parts[part as usize]
    }

    /// How many users have rows.
    #[must_use]
    pub fn user_count(&self) -> u64 {
        self.users.len() as u64
    }

    /// The first [`OBJECTIONS_MAX`] rows that cannot be moved.
    #[must_use]
    pub fn objections(&self) -> &[Objection] {
        &self.objections
    }

    /// How many rows cannot be moved.
    #[must_use]
    pub fn objection_count(&self) -> u64 {
        self.objection_count
    }

    /// Names this state of the store: another one has another fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let whole = |hash, part: Part| {
            let PartSum { rows, hash: sum } = self.part(part);
            chained(chained(chained(hash, part as u128), rows.into()), sum)
        };
        Fingerprint(Part::ALL.into_iter().fold(0, whole))
    }

    /// In what another store differs from this one.
    #[must_use]
    pub fn compare(&self, other: &Self) -> Differences {
        let parts = Part::ALL
            .into_iter()
            .filter(|part| self.part(*part) != other.part(*part));
        let mut users: Vec<_> = self
            .users
            .iter()
            .filter(|(user, hash)| other.users.get(user) != Some(hash))
            .map(|(user, _)| *user)
            .chain(
                other
                    .users
                    .keys()
                    .filter(|user| !self.users.contains_key(user))
                    .copied(),
            )
            .collect();
        let user_count = users.len() as u64;
        users.sort_unstable();
        users.truncate(USERS_NAMED_MAX);
        Differences {
            parts: parts.collect(),
            users,
            user_count,
        }
    }

    fn add(&mut self, row: &Row) {
        let hash = row.hash();
        let part = row.part();
        let sum = &mut self.parts[part as usize];
        sum.rows += 1;
        sum.hash = match part {
            Part::Events | Part::Jobs => chained(sum.hash, hash),
            // Stores sort them in their own ways. Each is hashed again, so that the sum says more
            // than the rows do.
            _ => sum.hash.wrapping_add(xxh3_128(&hash.to_le_bytes())),
        };
        if let Some(user_id) = row.user_id() {
            let of_user = self.users.entry(user_id).or_default();
            *of_user = chained(*of_user, hash);
        }
    }

    fn object(&mut self, row: String, reason: &'static str) {
        self.objection_count += 1;
        if self.objections.len() < OBJECTIONS_MAX {
            let reason = reason.into();
            self.objections.push(Objection { row, reason });
        }
    }
}

impl Differences {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty() && self.user_count == 0
    }
}

/// A hash of everything that a store holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        u128::from_str_radix(text, 16).map(Self).map_err(|source| {
            let context = "it must have 32 hexadecimal digits";
            Error::new(ErrorKind::Invalid, "read fingerprint", context).with_source(source)
        })
    }
}
