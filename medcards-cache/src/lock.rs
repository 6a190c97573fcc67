//! Locks that a panic does not break.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after somebody panicked who held the lock: everything in this crate that is behind one
/// is whole at every moment, because each change of it is one call.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
