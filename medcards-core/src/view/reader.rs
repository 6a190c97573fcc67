use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use uuid::Uuid;

use super::{
    EditionOf, Item, PlacedRow, ProjectionRow, RowKey, ShelfQuery, StoredRow, ViewName, ViewStore,
};
use crate::store::Consistency;
use crate::{Error, ErrorKind, Result};

/// Reads the rows of a view, of whichever edition is the current one.
pub struct View<R> {
    name: ViewName,
    store: Arc<dyn ViewStore>,
    row: PhantomData<fn() -> R>,
}

impl<R: ProjectionRow> View<R> {
    /// Reads a view in this store.
    #[must_use]
    pub fn new(name: ViewName, store: Arc<dyn ViewStore>) -> Self {
        Self {
            name,
            store,
            row: PhantomData,
        }
    }

    /// The name of the view.
    #[must_use]
    pub const fn name(&self) -> &ViewName {
        &self.name
    }

    /// A row, or `None` if there is none.
    ///
    /// # Errors
    /// Those of the storage; [`ErrorKind::Corrupt`] for a row that another version of the projection
    /// wrote.
    pub async fn find(&self, key: RowKey, consistency: &Consistency) -> Result<Option<R>> {
        let rows = self.find_all(&[key], consistency).await?;
        Ok(rows.into_iter().next().map(|(_, row)| row))
    }

    /// Rows by their keys, in any order.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn find_all(
        &self,
        keys: &[RowKey],
        consistency: &Consistency,
    ) -> Result<Vec<(RowKey, R)>> {
        let rows = self
            .store
            .find_rows(&self.current(), keys, consistency)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The rows of an owner in the order of their items, after this one.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn list(
        &self,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        consistency: &Consistency,
    ) -> Result<Vec<(RowKey, R)>> {
        let rows = self
            .store
            .list_rows(&self.current(), owner, after, limit, consistency)
            .await?;
        rows.iter().map(read).collect()
    }

    /// The rows of an owner in the order of their places.
    ///
    /// # Errors
    /// As [`find`](Self::find).
    pub async fn shelf(
        &self,
        query: &ShelfQuery,
        consistency: &Consistency,
    ) -> Result<Vec<PlacedRow<R>>> {
        let rows = self
            .store
            .list_shelf(&self.current(), query, consistency)
            .await?;
        let placed = |stored: &StoredRow| {
            let (key, row) = read(stored)?;
            let place = stored.place.ok_or_else(|| {
                Error::new(ErrorKind::Corrupt, "read view", "a row has lost its place")
            })?;
            Ok(PlacedRow { key, place, row })
        };
        rows.iter().map(placed).collect()
    }

    fn current(&self) -> EditionOf {
        EditionOf::Current(self.name.clone())
    }
}

fn read<R: ProjectionRow>(stored: &StoredRow) -> Result<(RowKey, R)> {
    Ok((stored.key, R::from_bytes(&stored.bytes)?))
}

impl<R> Clone for View<R> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            store: Arc::clone(&self.store),
            row: PhantomData,
        }
    }
}

impl<R> fmt::Debug for View<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("name", &self.name)
            .field("store", &self.store)
            .finish()
    }
}
