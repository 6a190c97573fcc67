//! Locks that a failed test does not break for the others.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks, also after a test that held the lock has panicked: what the others do is as good as before.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
