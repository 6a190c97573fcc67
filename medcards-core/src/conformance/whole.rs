use crate::store::{LearningStore, Store};

/// A store with what is learnt from its log: what the checks of views, jobs and notices need.
///
/// Implemented for whatever implements the narrow traits; never implement it by hand.
pub trait WholeStore: Store + LearningStore {}

impl<T> WholeStore for T where T: Store + LearningStore + ?Sized {}
