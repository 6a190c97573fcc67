use std::sync::OnceLock;

use bytes::Bytes;
use jiff::Timestamp;

use crate::feedback::{Feedback, Shared};

/// A shared feedback in a cache.
///
/// Feedback and lifetime are what a remote cache keeps; the rest is of this process.
#[derive(Debug)]
pub struct CacheEntry {
    feedback: Feedback<Shared>,
    lifetime: Lifetime,
    rendered: OnceLock<Bytes>,
}

impl CacheEntry {
    /// An entry that nobody has been served yet.
    #[must_use]
    pub fn new(feedback: Feedback<Shared>, lifetime: Lifetime) -> Self {
        Self {
            feedback,
            lifetime,
            rendered: OnceLock::new(),
        }
    }

    /// The feedback.
    #[must_use]
    pub fn feedback(&self) -> &Feedback<Shared> {
        &self.feedback
    }

    /// How long it may be served, and how.
    #[must_use]
    pub fn lifetime(&self) -> &Lifetime {
        &self.lifetime
    }

    /// The bytes that a frontend sends for this entry, made once by whoever asks first.
    pub fn rendered(&self, render: impl FnOnce(&Feedback<Shared>) -> Bytes) -> &Bytes {
        self.rendered.get_or_init(|| render(&self.feedback))
    }

    /// About how many bytes of memory it takes, the rendered bytes included.
    ///
    /// They are counted before they exist, as the text and a third more, so that the weight of an
    /// entry never changes.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        size_of::<Self>() + self.feedback.text.len() * 7 / 3 + 512
    }

}

/// What an entry is good for at some instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the four parts into which three instants cut time"
)]
pub enum Stage {
    /// Nothing.
    Expired,
    /// To be served as it is.
    Fresh,
    /// To be served if no new one can be had.
    LastResort,
    /// To be served while a new one is being fetched.
    Revalidate,
}

/// How long an entry may be served, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "three instants that every cache keeps"
)]
pub struct Lifetime {
    /// Until then it is served as it is.
    pub fresh_until: Timestamp,
    /// Until then it is served while a new one is being fetched.
    pub revalidate_until: Timestamp,
    /// Until then it is served if no new one can be had. A cache should forget it afterwards.
    pub keep_until: Timestamp,
}

impl Lifetime {
    /// What an entry is good for at `now`.
    #[must_use]
    pub fn stage(&self, now: Timestamp) -> Stage {
        if now < self.fresh_until {
            Stage::Fresh
        } else if now < self.revalidate_until {
            Stage::Revalidate
        } else if now < self.keep_until {
            Stage::LastResort
        } else {
            Stage::Expired
        }
    }
}
