use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use super::{MicroDollars, Reservation};
use crate::id::UserId;
use crate::{Error, ErrorKind, Result};

/// What a model is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "stored: each purpose has a budget of its own"
)]
pub enum Purpose {
    /// A reply of the coach.
    Chat,
    /// Feedback for which a student waits.
    Feedback,
    /// Feedback that is written before it is asked for.
    Precompute,
}

impl Purpose {
    /// All purposes, by name.
    pub const ALL: [Self; 3] = [Self::Chat, Self::Feedback, Self::Precompute];

    /// The stable name, as stored and counted.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Feedback => "feedback",
            Self::Precompute => "precompute",
        }
    }

    /// Reads a stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|purpose| purpose.as_str() == name)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// On whose behalf a model is asked. The provider is never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "made for each request")]
pub struct Payer {
    /// Whose budget of the day counts it.
    pub user_id: UserId,
    /// Whether the part of the spend budget that is kept for such users may be used.
    pub is_premium: bool,
}

impl From<UserId> for Payer {
    /// A user without privilege.
    fn from(user_id: UserId) -> Self {
        Self {
            user_id,
            is_premium: false,
        }
    }
}

/// How much may be spent. Where there is no limit, anything may.
///
/// ```
/// use medcards_core::spend::{MicroDollars, SpendBudget};
///
/// let budget = SpendBudget {
///     per_day: Some(MicroDollars::new(5_000_000)),
///     per_month: Some(MicroDollars::new(100_000_000)),
///     premium_percent: 20,
///     ..SpendBudget::default()
/// };
/// # let _ = budget;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "built with struct update syntax")]
pub struct SpendBudget {
    /// On one day (UTC).
    pub per_day: Option<MicroDollars>,
    /// In one month (UTC).
    pub per_month: Option<MicroDollars>,
    /// On behalf of one user on one day.
    pub per_user: Option<MicroDollars>,
    /// For the coach on one day.
    pub chat_per_day: Option<MicroDollars>,
    /// For feedback for which a student waits, on one day.
    pub feedback_per_day: Option<MicroDollars>,
    /// For feedback written before it is asked for, on one day.
    pub precompute_per_day: Option<MicroDollars>,
    /// The last percent of day and month that only premium users may spend, at most 100.
    pub premium_percent: u8,
}

impl SpendBudget {
    /// A budget of the day alone.
    #[must_use]
    pub fn of_day(amount: MicroDollars) -> Self {
        Self {
            per_day: Some(amount),
            ..Self::default()
        }
    }

    /// The most that may be spent and set aside in a scope for a wish to be granted; `None` if
    /// there is no limit.
    ///
    /// Of day and month, one without privilege may use what is left of [`Self::premium_percent`],
    /// rounded down.
    #[must_use]
    pub fn limit(&self, scope: &SpendScope, wish: &Reservation) -> Option<MicroDollars> {
        let kept_back = if wish.payer.is_some_and(|payer| payer.is_premium) {
            0
        } else {
            u128::from(self.premium_percent.min(100))
        };
        let open = |limit: MicroDollars| {
            let part = u128::from(limit.get()) * (100 - kept_back) / 100;
            MicroDollars::new(u64::try_from(part).unwrap_or(u64::MAX))
        };
        match scope {
            SpendScope::Day(_) => self.per_day.map(open),
            SpendScope::Month(_) => self.per_month.map(open),
            SpendScope::Purpose(_, Purpose::Chat) => self.chat_per_day,
            SpendScope::Purpose(_, Purpose::Feedback) => self.feedback_per_day,
            SpendScope::Purpose(_, Purpose::Precompute) => self.precompute_per_day,
            SpendScope::User(..) => self.per_user,
        }
    }

    /// Whether a wish may be granted as far as one scope is concerned, of which `sum` is known.
    #[must_use]
    pub fn allows(&self, scope: &SpendScope, sum: SpendSum, wish: &Reservation) -> bool {
        self.limit(scope, wish).is_none_or(|limit| {
            // Not the sum of amounts, which stops at the greatest one.
            let amounts = [sum.spent, sum.set_aside, wish.amount];
            let wanted: u128 = amounts.iter().map(|amount| u128::from(amount.get())).sum();
            wanted <= u128::from(limit.get())
        })
    }
}

/// Something that has a sum of its own in the ledger.
///
/// Its text form, such as `day/2026-11-25`, `month/2026-11`, `purpose/2026-11-25/chat` or
/// `user/2026-11-25/{id}`, is what ledgers keep, so it never changes meaning.
///
/// ```
/// use medcards_core::spend::SpendScope;
///
/// let scope: SpendScope = "month/2026-11".parse()?;
/// assert_eq!(scope.to_string(), "month/2026-11");
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_enums,
    reason = "stored: every ledger keeps them all"
)]
pub enum SpendScope {
    /// A day (UTC).
    Day(Date),
    /// A month (UTC), as its first day.
    Month(Date),
    /// A purpose on a day.
    Purpose(Date, Purpose),
    /// A user on a day.
    User(Date, UserId),
}

impl SpendScope {
    /// The scopes in which money of a day counts: the day, its month, and the purpose and the user
    /// that are known.
    ///
    /// In the order of [`Reservation::scopes`].
    #[must_use]
    pub fn of(day: Date, purpose: Option<Purpose>, user_id: Option<UserId>) -> Vec<Self> {
        let mut scopes = vec![Self::Day(day), Self::Month(day.first_of_month())];
        scopes.extend(purpose.map(|purpose| Self::Purpose(day, purpose)));
        scopes.extend(user_id.map(|user_id| Self::User(day, user_id)));
        scopes
    }

    /// The day, or the first one of the month.
    #[must_use]
    pub fn day(&self) -> Date {
        let (Self::Day(day) | Self::Month(day) | Self::Purpose(day, _) | Self::User(day, _)) = self;
        *day
    }
}

impl fmt::Display for SpendScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "day/{day}"),
            Self::Month(day) => write!(f, "month/{}", day.strftime("%Y-%m")),
            Self::Purpose(day, purpose) => write!(f, "purpose/{day}/{purpose}"),
            Self::User(day, user_id) => write!(f, "user/{day}/{user_id}"),
        }
    }
}

impl FromStr for SpendScope {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let (kind, rest) = text.split_once('/')?;
            let dated = || rest.split_once('/');
            let scope = match kind {
                "day" => Self::Day(rest.parse().ok()?),
                "month" => Self::Month(format!("{rest}-01").parse().ok()?),
                "purpose" => {
                    let (day, purpose) = dated()?;
                    Self::Purpose(day.parse().ok()?, Purpose::from_name(purpose)?)
                }
                "user" => {
                    let (day, user_id) = dated()?;
                    Self::User(day.parse().ok()?, user_id.parse().ok()?)
                }
                _ => return None,
            };
            // One scope has one text.
            (scope.to_string() == text).then_some(scope)
        };
        parse().ok_or_else(|| {
            let context = "it is not of the form day/..., month/..., purpose/... or user/...";
            Error::new(ErrorKind::Invalid, "read spend scope", context)
        })
    }
}

/// What is known of a scope.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made by every ledger")]
pub struct SpendSum {
    /// What was spent.
    pub spent: MicroDollars,
    /// What is set aside and not settled.
    pub set_aside: MicroDollars,
}

impl Reservation {
    /// The scopes in which it counts: its day, its month, its purpose, and its user if it has one.
    ///
    /// In this order, which is also that in which a ledger must lock what it keeps of them.
    #[must_use]
    pub fn scopes(&self) -> Vec<SpendScope> {
        let user_id = self.payer.map(|payer| payer.user_id);
        SpendScope::of(self.day, Some(self.purpose), user_id)
    }
}
