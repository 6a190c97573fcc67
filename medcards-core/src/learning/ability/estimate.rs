use serde::{Deserialize, Serialize};

/// The furthest an estimate may lie from 0: beyond the chances 0.000006 and 0.999994, where answers
/// say nothing more.
const MEAN_MAX: f64 = 12.0;

/// The least variance that is left after an update, so that rounding never makes it 0 or negative.
const VARIANCE_MIN: f64 = 1e-6;

/// Something that is not known for sure: a normal distribution.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a mean and a variance")]
pub struct Estimate {
    /// The most likely value.
    pub mean: f64,
    /// The square of the deviation.
    pub variance: f64,
}

impl Estimate {
    /// This value, give or take the root of that variance.
    #[must_use]
    pub const fn new(mean: f64, variance: f64) -> Self {
        Self { mean, variance }
    }

    /// By how much it is typically wrong.
    #[must_use]
    pub fn deviation(&self) -> f64 {
        self.variance.max(0.0).sqrt()
    }

    /// Less certain by this variance, but never less than with `most`.
    pub(super) fn drifted(self, variance: f64, most: f64) -> Self {
        let drifted = (self.variance + variance).min(most.max(self.variance));
        Self::new(self.mean, drifted)
    }

    /// Drawn towards 0 by a factor, and towards its stationary variance.
    pub(super) fn faded(self, keep: f64, stationary: f64) -> Self {
        let variance = self.variance * keep * keep + stationary * (1.0 - keep * keep);
        Self::new(self.mean * keep, variance)
    }

    /// After an observation of a sum that it is in, `scale` times.
    pub(super) fn observed(self, scale: f64, surprise: &Surprise) -> Self {
        let mean = self.mean + scale * self.variance * surprise.error;
        let shrink = self.variance * self.variance * scale * scale * surprise.weight;
        Self {
            mean: mean.clamp(-MEAN_MAX, MEAN_MAX),
            variance: (self.variance - shrink).max(VARIANCE_MIN),
        }
    }
}

/// How far an answer was from what was expected, and how much that says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surprise {
    pub(super) error: f64,
    pub(super) weight: f64,
}
