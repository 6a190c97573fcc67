use std::fmt;

use uuid::Uuid;

use crate::id::{CaseId, UserId};

/// The longest [`Item`], in bytes.
pub const ITEM_LEN_MAX: usize = 40;

/// Names a row of a view: whose it is, and which of theirs.
///
/// All rows of an owner can be read in the order of their items, or in the order of their places.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an owner and an item")]
pub struct RowKey {
    /// A user, a case, or whatever else has rows; nil for the one of a view that has only one.
    pub owner: Uuid,
    /// Which row of the owner.
    pub item: Item,
}

impl RowKey {
    /// The row of that name of this owner.
    #[must_use]
    pub const fn new(owner: Uuid, item: Item) -> Self {
        Self { owner, item }
    }

    /// The one row of a user.
    #[must_use]
    pub const fn of_user(user_id: UserId) -> Self {
        Self::new(*user_id.as_uuid(), Item::NONE)
    }

    /// The one row of a case.
    #[must_use]
    pub const fn of_case(case_id: CaseId) -> Self {
        Self::new(*case_id.as_uuid(), Item::NONE)
    }

    /// A row of nobody, for what a view keeps once.
    #[must_use]
    pub const fn of_view(item: Item) -> Self {
        Self::new(Uuid::nil(), item)
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:?}", self.owner, self.item)
    }
}

/// Which row of its owner: up to [`ITEM_LEN_MAX`] bytes, ordered as bytes are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Item {
    bytes: [u8; ITEM_LEN_MAX],
    len: u8,
}

impl Item {
    /// Of an owner that has one row.
    pub const NONE: Self = Self {
        bytes: [0; ITEM_LEN_MAX],
        len: 0,
    };

    /// Takes these bytes, or `None` if there are too many.
    #[must_use]
    pub fn from_bytes(given: &[u8]) -> Option<Self> {
        let mut bytes = [0; ITEM_LEN_MAX];
        bytes.get_mut(..given.len())?.copy_from_slice(given);
        let len = u8::try_from(given.len()).ok()?;
        Some(Self { bytes, len })
    }

    /// A short name, written out in the program. What is over [`ITEM_LEN_MAX`] bytes is cut off.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        let given = name.as_bytes();
        let mut bytes = [0; ITEM_LEN_MAX];
        let mut len = 0;
        while len < given.len() && len < ITEM_LEN_MAX {
            bytes[len] = given[len];
            len += 1;
        }
        Self {
            bytes,
            len: len as u8,
        }
    }

    /// That of something with an id, such as a case of a user.
    #[must_use]
    pub fn of(id: &Uuid) -> Self {
        let mut bytes = [0; ITEM_LEN_MAX];
        bytes[..16].copy_from_slice(id.as_bytes());
        Self { bytes, len: 16 }
    }

    /// The id inside, if it was made by [`Item::of`].
    #[must_use]
    pub fn id(&self) -> Option<Uuid> {
        Uuid::from_slice(self.as_bytes()).ok()
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Debug for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id() {
            Some(id) => id.fmt(f),
            None => write!(f, "{}", self.as_bytes().escape_ascii()),
        }
    }
}
