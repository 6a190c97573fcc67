use serde::{Deserialize, Serialize};

/// How many of something have so many right answers of a thousand.
///
/// One row of some kilobytes, however many it counts, so that the place of one among all is one read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// One count for each permille, as far as the highest that ever was.
    counts: Vec<u32>,
}

impl Histogram {
    /// How many are counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.counts.iter().copied().map(u64::from).sum()
    }

    /// The share of those that stand below this permille, with half of those that stand on it, 0 to 1;
    /// `None` if nothing is counted.
    #[must_use]
    pub fn share_below(&self, permille: u16) -> Option<f64> {
        let total = self.total();
        let at = usize::from(permille);
        let below: u64 = self.counts.iter().take(at).copied().map(u64::from).sum();
        let same = self.counts.get(at).copied().map_or(0, u64::from);
        (total > 0).then(|| (below as f64 + same as f64 / 2.0) / total as f64)
    }

    /// Counts one elsewhere: no more where it stood, if it did, and where it stands, if it does.
    pub(super) fn shift(&mut self, from: Option<u16>, to: Option<u16>) {
        if let Some(count) = from.and_then(|from| self.counts.get_mut(usize::from(from))) {
            *count = count.saturating_sub(1);
        }
        let Some(to) = to.map(usize::from) else {
            return;
        };
        if self.counts.len() <= to {
            self.counts.resize(to + 1, 0);
        }
        self.counts[to] = self.counts[to].saturating_add(1);
    }
}

/// How many of a thousand, rounded down; `None` of nothing.
pub(super) fn permille(part: u64, whole: u64) -> Option<u16> {
    let share = part.min(whole).saturating_mul(1_000).checked_div(whole)?;
    u16::try_from(share).ok()
}
