//! What is seen while rows go by.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use medcards::transfer::Part;

/// A bar of the rows of all parts, which nobody sees but on a terminal.
pub(crate) struct Bar {
    bar: ProgressBar,
    /// How long each part took, and when the last rows came.
    times: Mutex<([Duration; Part::ALL.len()], Instant)>,
}

impl Bar {
    pub(crate) fn new(what: &'static str, total: u64) -> Self {
        let style = ProgressStyle::with_template(
            "{prefix} {msg:12} {wide_bar} {human_pos}/{human_len} {per_sec} {eta}",
        );
        let bar = ProgressBar::new(total)
            .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            .with_prefix(what);
        Self {
            bar,
            times: Mutex::new(([Duration::ZERO; Part::ALL.len()], Instant::now())),
        }
    }

    /// Notes that these rows are done.
    pub(crate) fn add(&self, part: Part, rows: u64) {
        self.bar.set_message(part.as_str());
        self.bar.inc(rows);
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let (taken, last) = &mut *times;
        taken[part as usize] += now.duration_since(*last);
        *last = now;
    }

    /// How long each part took.
    pub(crate) fn times(&self) -> [Duration; Part::ALL.len()] {
        self.times.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
