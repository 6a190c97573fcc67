use std::fmt::Debug;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Changes, Facts, RowKey, Stop, ViewName};
use crate::event::Event;
use crate::{Error, ErrorKind, Result};

/// Says what each event of the log changes in a view: a pure function, which reads no clock and
/// knows no store.
pub trait Projection: Debug + Send + Sync + 'static {
    /// A row. A view with rows of several kinds has an enum here.
    type Row: ProjectionRow;

    /// The name of the view, which never changes.
    fn name(&self) -> ViewName;

    /// Which rules these are. When they change, this becomes greater, and the view is built anew.
    fn version(&self) -> u64;

    /// The rows that an event will probably ask for, so that they are read together with those of the
    /// events around it. Leaving one out costs a read; naming one too many costs a little. The cases of the
    /// event are known by then.
    fn likely_rows(&self, event: &Event, facts: &Facts) -> Vec<RowKey>;

    /// Where a row stands among those of its owner, if it is to be found by place.
    fn place(&self, key: &RowKey, row: &Self::Row) -> Option<i64>;

    /// Applies an event. What it changes counts if it returns `Ok`, and not at all otherwise.
    ///
    /// # Errors
    /// [`Stop::Missing`] as [`Changes::find`] returned it: it is called again once the row is there.
    /// [`Stop::SetAside`] for an event that cannot be counted.
    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<Self::Row>,
    ) -> Result<(), Stop>;
}

impl<T: Projection + ?Sized> Projection for Arc<T> {
    type Row = T::Row;

    fn name(&self) -> ViewName {
        (**self).name()
    }

    fn version(&self) -> u64 {
        (**self).version()
    }

    fn likely_rows(&self, event: &Event, facts: &Facts) -> Vec<RowKey> {
        (**self).likely_rows(event, facts)
    }

    fn place(&self, key: &RowKey, row: &Self::Row) -> Option<i64> {
        (**self).place(key, row)
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<Self::Row>,
    ) -> Result<(), Stop> {
        (**self).apply(event, facts, changes)
    }
}

/// What a row of a view is. Implemented for whatever fits; never implement it by hand.
///
/// The stored form is [postcard](https://postcard.jamesmunns.com/wire-format): small, and without
/// names. So a field that is added, removed or moved makes another [`Projection::version`].
pub trait ProjectionRow:
    Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The stored form.
    ///
    /// # Errors
    /// [`ErrorKind::Unexpected`] if it has none, such as a sequence of unknown length.
    fn to_bytes(&self) -> Result<Vec<u8>> {
        postcard::to_allocvec(self).map_err(|source| {
            let context = "a row has no stored form: see ProjectionRow";
            Error::new(ErrorKind::Unexpected, "write view", context).with_source(source)
        })
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes are not of such a row.
    fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = || {
            let context = "a row is not in the expected form: rebuild the view";
            Error::new(ErrorKind::Corrupt, "read view", context)
        };
        match postcard::take_from_bytes(bytes) {
            Ok((row, [])) => Ok(row),
            // A row of which something is left is of another version, which had more.
            Ok(_) => Err(corrupt()),
            Err(source) => Err(corrupt().with_source(source)),
        }
    }
}

impl<T> ProjectionRow for T where
    T: Clone + Debug + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
}
