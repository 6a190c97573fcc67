use serde::{Deserialize, Serialize};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use super::user_stats::UserStatsRow;
use crate::answer::Answer;
use crate::id::{CaseId, UserId};
use crate::view::{Changes, Item, ProjectionRow, RowKey, Stop};

/// How many cases of a user are kept in the user's own row. Most users never have more; those of the
/// others go on to [`PAGES`].
const FIRST_CASES_MAX: usize = 64;

/// The rows in which the further cases of a user are kept, by the first bits of their prints. With
/// 20,000 cases a page has about 7.5 kB.
const PAGES: [Item; 16] = [
    Item::named("cases-0"),
    Item::named("cases-1"),
    Item::named("cases-2"),
    Item::named("cases-3"),
    Item::named("cases-4"),
    Item::named("cases-5"),
    Item::named("cases-6"),
    Item::named("cases-7"),
    Item::named("cases-8"),
    Item::named("cases-9"),
    Item::named("cases-a"),
    Item::named("cases-b"),
    Item::named("cases-c"),
    Item::named("cases-d"),
    Item::named("cases-e"),
    Item::named("cases-f"),
];

/// The length of what is kept of a case, in bytes.
const PRINT_LEN: usize = 6;

/// Which cases a user has answered, as 6 bytes each.
///
/// What is kept is a hash of the id. With the four bits that choose the page it has 52 bits: of 20,000
/// cases any two are taken for one with a chance of 1 in 20 million.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaseSet {
    /// In ascending order, so that the same cases always give the same row.
    prints: Vec<u8>,
}

/// What is kept of a case, and on which page.
#[derive(Clone, Copy)]
struct Print {
    page: Item,
    bytes: [u8; PRINT_LEN],
}

impl Print {
    fn of(case_id: CaseId) -> Self {
        let hash = xxh3_64(case_id.as_bytes());
        let [_, rest @ .., page] = hash.to_be_bytes();
        Self {
            page: PAGES[usize::from(page) % PAGES.len()],
            bytes: rest,
        }
    }
}

impl CaseSet {
    /// How many cases there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.prints.len() / PRINT_LEN
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where a case stands, or would stand.
    fn find(&self, print: [u8; PRINT_LEN]) -> Result<usize, usize> {
        self.prints.as_chunks::<PRINT_LEN>().0.binary_search(&print)
    }

    fn insert(&mut self, print: [u8; PRINT_LEN]) -> bool {
        let Err(index) = self.find(print) else {
            return false;
        };
        let at = index * PRINT_LEN;
        self.prints.splice(at..at, print);
        true
    }
}

/// All cases that a user has answered, as the view `user-stats` knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenCases {
    /// In ascending order.
    prints: Vec<[u8; PRINT_LEN]>,
}

impl SeenCases {
    /// The rows of the view from which [`read`](Self::read) makes it.
    #[must_use]
    pub fn keys(user_id: UserId) -> Vec<RowKey> {
        let owner = *user_id.as_uuid();
        let pages = PAGES.map(|page| RowKey::new(owner, page));
        [RowKey::of_user(user_id)]
            .into_iter()
            .chain(pages)
            .collect()
    }

    /// Makes it of those of its rows that there are.
    #[must_use]
    pub fn read<'a>(rows: impl IntoIterator<Item = &'a UserStatsRow>) -> Self {
        let sets = rows.into_iter().filter_map(UserStatsRow::case_set);
        let prints = sets.flat_map(|set| set.prints.as_chunks::<PRINT_LEN>().0);
        let mut prints: Vec<_> = prints.copied().collect();
        prints.sort_unstable();
        Self { prints }
    }

    /// Whether no case is known to be answered.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.prints.is_empty()
    }

    /// Whether a case was answered.
    #[must_use]
    pub fn contains(&self, case_id: CaseId) -> bool {
        let print = Print::of(case_id).bytes;
        self.prints.binary_search(&print).is_ok()
    }

    /// Takes note that a case was answered.
    pub fn insert(&mut self, case_id: CaseId) {
        let print = Print::of(case_id).bytes;
        if let Err(place) = self.prints.binary_search(&print) {
            self.prints.insert(place, print);
        }
    }
}

/// Makes a case one that the user has answered, and says whether it was not before.
///
/// `first` is the set in the user's own row. Rows of the view that are pages are told by `read` and
/// made by `write`. The cost is a search in a sorted list, and a copy of a page for the cases of a user
/// that come after the first 64.
pub(super) fn is_first_answer<R: ProjectionRow>(
    answer: &Answer,
    first: &mut CaseSet,
    changes: &mut Changes<R>,
    read: fn(&R) -> Option<&CaseSet>,
    write: fn(CaseSet) -> R,
) -> Result<bool, Stop> {
    let print = Print::of(answer.case_id);
    if first.find(print.bytes).is_ok() {
        return Ok(false);
    }
    if first.len() < FIRST_CASES_MAX {
        return Ok(first.insert(print.bytes));
    }
    let key = page_of(*answer.user_id.as_uuid(), print);
    let mut page = changes
        .find(key)?
        .and_then(read)
        .cloned()
        .unwrap_or_default();
    let is_new = page.insert(print.bytes);
    if is_new {
        changes.put(key, write(page))?;
    }
    Ok(is_new)
}

/// The row that [`is_first_answer`] may ask for besides the user's own.
pub(super) fn likely_page(answer: &Answer) -> RowKey {
    page_of(*answer.user_id.as_uuid(), Print::of(answer.case_id))
}

const fn page_of(owner: Uuid, print: Print) -> RowKey {
    RowKey::new(owner, print.page)
}
