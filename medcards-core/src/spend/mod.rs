//! Money: integer micro-dollars, prices, and the ledger that no live call may overdraw.

mod budget;
mod ledger;
mod price;

pub use budget::{Payer, Purpose, SpendBudget, SpendScope, SpendSum};
pub use ledger::{Reservation, ReserveOutcome, SpendLedger, SpendQuery, SpendRow, settled_row};
pub use price::{Price, TokenUsage};

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

/// An amount of money: millionths of a US dollar, never negative, saturating.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct MicroDollars(u64);

impl MicroDollars {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The largest amount a store can hold: about nine million million dollars.
    pub const MAX: Self = Self(i64::MAX as u64);

    /// That many millionths of a dollar, at most [`Self::MAX`].
    #[must_use]
    pub const fn new(micros: u64) -> Self {
        if micros > Self::MAX.0 {
            Self::MAX
        } else {
            Self(micros)
        }
    }

    /// Millionths of a dollar.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The difference, or nothing if `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// That many times this amount.
    #[must_use]
    pub const fn times(self, count: u64) -> Self {
        Self::new(self.0.saturating_mul(count))
    }
}

impl Add for MicroDollars {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.0.saturating_add(other.0))
    }
}

impl AddAssign for MicroDollars {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for MicroDollars {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for MicroDollars {
    /// Dollars with six decimals, such as `$0.001250`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "${}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}
