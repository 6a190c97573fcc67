//! Rate limits: a sliding window, decided here, counted by a backend.

mod window;

pub use window::{WindowCounts, decide};

use std::fmt;
use std::fmt::{Debug, Display};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Error, ErrorKind, Result};

/// How much is allowed in a window, written `100/1m`.
///
/// ```
/// use medcards_core::limit::Quota;
///
/// let quota: Quota = "100/1m".parse()?;
/// assert_eq!((quota.limit(), quota.window().as_secs()), (100, 60));
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Quota {
    limit: u32,
    window: Duration,
}

impl Quota {
    /// A hundred in a minute.
    pub const DEFAULT: Self = Self::per_minute(100);

    /// Allows `limit` in a minute, and at least one.
    #[must_use]
    pub const fn per_minute(limit: u32) -> Self {
        Self {
            limit: if limit == 0 { 1 } else { limit },
            window: Duration::from_mins(1),
        }
    }

    /// Allows `limit` in `window`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the limit is zero, or the window is not between one second and
    /// one day.
    pub fn new(limit: u32, window: Duration) -> Result<Self> {
        let fits = (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&window);
        if limit == 0 || !fits {
            return Err(Error::new(
                ErrorKind::Invalid,
                "read quota",
                "it must allow at least 1 in a window of 1s to 24h, such as 100/1m",
            ));
        }
        Ok(Self { limit, window })
    }

    /// How much is allowed.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// In which time.
    #[must_use]
    pub const fn window(&self) -> Duration {
        self.window
    }
}

impl FromStr for Quota {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (limit, window) = text.split_once('/')?;
            let digits = window.find(|c: char| !c.is_ascii_digit())?;
            let (count, unit) = window.split_at(digits);
            let seconds = match unit {
                "s" => 1,
                "m" => 60,
                "h" => 3_600,
                _ => return None,
            };
            let window = Duration::from_secs(count.parse::<u64>().ok()?.checked_mul(seconds)?);
            Self::new(limit.parse().ok()?, window).ok()
        };
        parse().ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "read quota",
                "it must look like 100/1m: a count, then a window of 1s to 24h in s, m or h",
            )
        })
    }
}

impl Display for Quota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.window.as_secs();
        match (seconds % 3_600, seconds % 60) {
            (0, _) => write!(f, "{}/{}h", self.limit, seconds / 3_600),
            (_, 0) => write!(f, "{}/{}m", self.limit, seconds / 60),
            _ => write!(f, "{}/{seconds}s", self.limit),
        }
    }
}

/// Whose calls are counted together: a scope such as `user`, and a name within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LimitKey {
    text: Box<str>,
    scope_len: usize,
}

impl LimitKey {
    /// Counts the calls of `name` within `scope`.
    #[must_use]
    pub fn new(scope: &str, name: impl Display) -> Self {
        Self {
            text: format!("{scope}:{name}").into(),
            scope_len: scope.len(),
        }
    }

    /// Scope and name, with a colon between.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scope.
    #[must_use]
    pub fn scope(&self) -> &str {
        &self.text[..self.scope_len]
    }

    /// The name within it. A backend of many servers keeps the counts of one name together.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.text[self.scope_len + 1..]
    }
}

/// A call to count: under which key, against which quota, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each call")]
pub struct LimitedCall {
    /// Whose call it is.
    pub key: LimitKey,
    /// How much is allowed.
    pub quota: Quota,
    /// How much the call counts.
    pub cost: u32,
}

/// Whether a call may go on, and what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every limiter")]
pub struct LimitDecision {
    /// Whether the call may go on.
    pub is_allowed: bool,
    /// How much may still be done now.
    pub remaining: u32,
    /// When all of the quota is there again, if nothing more is done.
    pub reset_after: Duration,
    /// When a refused call may be tried again; zero if it was allowed.
    pub retry_after: Duration,
}

/// Counts calls against quotas.
#[async_trait]
pub trait RateLimiter: Debug + Display + Send + Sync + 'static {
    /// Counts one call against several quotas, or refuses it: it goes on if each of them allows it,
    /// and else counts against none. The decisions come in the order given; of a call that was
    /// refused, those that would have allowed it say so.
    ///
    /// Over any window the calls allowed do not exceed a quota by more than the sliding window's
    /// estimate errs; see [`decide`]. Of two calls at the same time neither sees the other half
    /// counted, if all keys have the same [name](LimitKey::name). No key may be given twice.
    ///
    /// # Errors
    /// Those of the backend; the caller decides whether the call goes on.
    ///
    /// # Cancel safety
    /// A dropped future may have counted the call.
    async fn check_all(&self, calls: &[LimitedCall]) -> Result<Vec<LimitDecision>>;

    /// Counts a call of this cost against one quota, or refuses it. A refused call is not counted.
    ///
    /// # Errors
    /// Those of the backend; the caller decides whether the call goes on.
    ///
    /// # Cancel safety
    /// A dropped future may have counted the call.
    async fn check(&self, key: &LimitKey, quota: &Quota, cost: u32) -> Result<LimitDecision> {
        let call = LimitedCall {
            key: key.clone(),
            quota: *quota,
            cost,
        };
        let decisions = self.check_all(std::slice::from_ref(&call)).await?;
        decisions.first().copied().ok_or_else(|| {
            Error::new(
                ErrorKind::Unexpected,
                "check limit",
                "the limiter decided nothing",
            )
        })
    }
}

#[async_trait]
impl<T: RateLimiter + ?Sized> RateLimiter for Arc<T> {
    async fn check_all(&self, calls: &[LimitedCall]) -> Result<Vec<LimitDecision>> {
        (**self).check_all(calls).await
    }

    async fn check(&self, key: &LimitKey, quota: &Quota, cost: u32) -> Result<LimitDecision> {
        (**self).check(key, quota, cost).await
    }
}
