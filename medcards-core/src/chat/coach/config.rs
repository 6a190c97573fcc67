use std::time::Duration;

use crate::spend::SpendBudget;
use crate::{Error, ErrorKind, Result};

/// How the coach behaves. Each value has a default that suits one server process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CoachConfig {
    /// How long a reply may take, with or without readers. Default: 60 seconds.
    pub reply_deadline: Duration,
    /// How long after its beginning an attempt counts as broken off: its process is dead, and
    /// whoever asks next begins another. More than a living process can take; if not, a reply is
    /// paid twice, and shown once all the same. Default: 2 minutes.
    pub broken_after: Duration,
    /// How many replies may be under way at once in this process. Default: 256, as many connections
    /// as a provider commonly lets one client have.
    pub turns_max: usize,
    /// How many streams may wait at once for a reply that another process writes, each at the price
    /// of up to ten reads a second. Default: 256.
    pub polls_max: usize,
    /// How many summaries may be written at once in this process. Default: 16; beyond it older turns
    /// are left out.
    pub summaries_max: usize,
    /// What may be spent, if the provider does not keep a budget already. Default: no limit.
    pub spend_budget: SpendBudget,
}

impl Default for CoachConfig {
    fn default() -> Self {
        Self {
            reply_deadline: Duration::from_secs(60),
            broken_after: Duration::from_mins(2),
            turns_max: 256,
            polls_max: 256,
            summaries_max: 16,
            spend_budget: SpendBudget::default(),
        }
    }
}

impl CoachConfig {
    pub(super) fn check(&self) -> Result<()> {
        let invalid = |context| Err(Error::new(ErrorKind::Invalid, "build coach", context));
        if self.turns_max == 0 || self.polls_max == 0 {
            return invalid("turns_max and polls_max must be at least 1");
        }
        // A day: sums of such times stay far within what a timestamp can hold.
        let longest = Duration::from_hours(24);
        if self.reply_deadline.is_zero() || self.broken_after > longest {
            return invalid("reply_deadline must be above zero, and broken_after at most a day");
        }
        if self.broken_after < self.reply_deadline {
            return invalid("broken_after must be at least as long as reply_deadline");
        }
        Ok(())
    }
}
