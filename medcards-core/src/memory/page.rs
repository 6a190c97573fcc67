use crate::Result;
use crate::store::{Page, PageCursor, PageLimit};

/// Takes one page from the rest of a list.
pub(super) fn page<T>(
    rest: impl Iterator<Item = T>,
    limit: PageLimit,
    cursor_after: impl Fn(&T) -> Result<PageCursor>,
) -> Result<Page<T>> {
    let mut items: Vec<T> = rest.take(limit.get() + 1).collect();
    let goes_on = items.len() > limit.get();
    items.truncate(limit.get());
    let next = items
        .last()
        .filter(|_| goes_on)
        .map(cursor_after)
        .transpose()?;
    Ok(Page { items, next })
}
