//! What is spent and set aside in each scope.
//!
//! A day stands in a table of its own, which programs of an older format know too. All who change
//! the sums of a day wait at its row, in the order of the days, so that it guards the purposes and
//! users of that day as well; then they wait for the months, in the order of their texts. So no two
//! of them wait for each other.

use std::collections::{BTreeMap, BTreeSet};

use medcards_core::Result;
use medcards_core::jiff::civil::Date;
use medcards_core::spend::{MicroDollars, SpendScope, SpendSum};
use sqlx::postgres::PgRow;

use super::DAY_MIN;
use crate::column::{Columns, day, saturated};
use crate::error::Failure;
use crate::node::Transaction;
use crate::session::Statement;

/// Makes sure of the rows of some days.
const MAKE_DAYS_SQL: &str = "
INSERT INTO spend_days (day, spent, set_aside)
SELECT day, 0, 0 FROM unnest($1::date[]) AS day ORDER BY day
ON CONFLICT (day) DO NOTHING";

const LOCK_DAYS_SQL: &str = "
SELECT day, NULL::text, spent, set_aside FROM spend_days
WHERE day = ANY ($1) ORDER BY day FOR UPDATE";

const MAKE_SCOPES_SQL: &str = "
INSERT INTO spend_scopes (scope, day, spent, set_aside)
SELECT scope, day, 0, 0 FROM unnest($1::text[], $2::date[]) AS given (scope, day) ORDER BY scope
ON CONFLICT (scope) DO NOTHING";

const LOCK_SCOPES_SQL: &str = "
SELECT day, scope, spent, set_aside FROM spend_scopes
WHERE scope = ANY ($1) ORDER BY scope FOR UPDATE";

const FIND_SQL: &str = "
SELECT day, NULL::text, spent, set_aside FROM spend_days WHERE day = ANY ($1)
UNION ALL
SELECT day, scope, spent, set_aside FROM spend_scopes WHERE scope = ANY ($2)";

/// A purpose or a user of whom the day knew nothing has no row yet.
const PUT_SQL: &str = "
WITH days AS (
    UPDATE spend_days SET spent = given.spent, set_aside = given.set_aside
    FROM unnest($1::date[], $2::bigint[], $3::bigint[]) AS given (day, spent, set_aside)
    WHERE spend_days.day = given.day
)
INSERT INTO spend_scopes (scope, day, spent, set_aside)
SELECT scope, day, spent, set_aside
FROM unnest($4::text[], $5::date[], $6::bigint[], $7::bigint[])
    AS given (scope, day, spent, set_aside)
ON CONFLICT (scope) DO UPDATE SET spent = excluded.spent, set_aside = excluded.set_aside";

/// When a day begins: nobody settles again what was settled a week ago.
const FORGET_SETTLED_SQL: &str =
    "DELETE FROM spend_reservations WHERE settled AND day < $1::date - 7";

/// When a day begins: days are kept for a week, months for a year. What somebody changes at this
/// moment is forgotten another day.
const FORGET_SCOPES_SQL: &str = "
DELETE FROM spend_scopes WHERE scope IN (
    SELECT scope FROM spend_scopes
    WHERE day < $1::date - 7
      AND (scope NOT LIKE 'month/%' OR day < date_trunc('month', $1::date) - interval '1 year')
    ORDER BY scope FOR UPDATE SKIP LOCKED)";

/// How often rows are locked: once more after those that were missing are made.
const LOCKS_MAX: u32 = 2;

/// The sums of some scopes, by scope.
pub(super) struct Sums(BTreeMap<SpendScope, SpendSum>);

impl Sums {
    /// Locks the sums of some scopes until the end of the transaction. The day of each scope must be
    /// among them.
    pub(super) async fn lock(
        transaction: &mut Transaction<'_>,
        scopes: impl IntoIterator<Item = SpendScope>,
    ) -> Result<Self, Failure> {
        let mut sums: BTreeMap<_, _> = scopes.into_iter().map(|s| (s, None)).collect();
        Self::lock_days(transaction, &mut sums).await?;
        // Behind the lock of the day, so that what others did meanwhile is seen.
        Self::lock_scopes(transaction, &mut sums).await?;
        let known = |(scope, sum): (_, Option<SpendSum>)| (scope, sum.unwrap_or_default());
        Ok(Self(sums.into_iter().map(known).collect()))
    }

    async fn lock_days(
        transaction: &mut Transaction<'_>,
        sums: &mut BTreeMap<SpendScope, Option<SpendSum>>,
    ) -> Result<(), Failure> {
        let days: Vec<_> = sums.keys().filter_map(day_of).collect();
        let wanted: Vec<_> = days.iter().copied().map(day).collect();
        for _ in 0..LOCKS_MAX {
            let lock = sqlx::query(LOCK_DAYS_SQL).bind(wanted.clone());
            let rows = transaction.fetch(lock).await?;
            if rows.len() == days.len() {
                return take(&rows, sums);
            }
            let make = sqlx::query(MAKE_DAYS_SQL).bind(wanted.clone());
            let made = transaction.execute(make).await?;
            if made > 0
                && let Some(first) = days.first()
            {
                for forget in [FORGET_SETTLED_SQL, FORGET_SCOPES_SQL] {
                    let forget = sqlx::query(forget).bind(day(*first));
                    transaction.execute(forget).await?;
                }
            }
        }
        Err(Failure::Unreadable("sum of a day"))
    }

    async fn lock_scopes(
        transaction: &mut Transaction<'_>,
        sums: &mut BTreeMap<SpendScope, Option<SpendSum>>,
    ) -> Result<(), Failure> {
        let others: Vec<_> = sums.keys().filter(|s| day_of(s).is_none()).collect();
        let texts: Vec<_> = others.iter().map(ToString::to_string).collect();
        for _ in 0..LOCKS_MAX {
            let lock = sqlx::query(LOCK_SCOPES_SQL).bind(texts.clone());
            let rows = transaction.fetch(lock).await?;
            take(&rows, sums)?;
            // A month without a row would not be guarded: other days write to it too.
            let missing = |(scope, sum): (&SpendScope, &Option<_>)| {
                let is_missing = matches!(scope, SpendScope::Month(_)) && sum.is_none();
                is_missing.then_some(*scope)
            };
            let missing: Vec<_> = sums.iter().filter_map(missing).collect();
            if missing.is_empty() {
                return Ok(());
            }
            let texts: Vec<_> = missing.iter().map(ToString::to_string).collect();
            let days: Vec<_> = missing.iter().map(|scope| day(scope.day())).collect();
            let make = sqlx::query(MAKE_SCOPES_SQL).bind(texts).bind(days);
            transaction.execute(make).await?;
        }
        Err(Failure::Unreadable("sum of a month"))
    }

    /// What is known of a scope.
    pub(super) fn of(&self, scope: &SpendScope) -> SpendSum {
        self.0.get(scope).copied().unwrap_or_default()
    }

    /// Changes the sums of some scopes.
    pub(super) fn change(&mut self, scopes: &[SpendScope], change: impl Fn(&mut SpendSum)) {
        for scope in scopes {
            change(self.0.entry(*scope).or_default());
        }
    }

    /// Writes what is locked.
    pub(super) async fn put(&self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        transaction.execute(self.put_all()).await.map(drop)
    }

    fn put_all(&self) -> Statement {
        fn all<T>(
            sums: &[(&SpendScope, &SpendSum)],
            of: impl Fn(&SpendScope, &SpendSum) -> T,
        ) -> Vec<T> {
            sums.iter().map(|(scope, sum)| of(scope, sum)).collect()
        }
        let (days, others): (Vec<_>, Vec<_>) = self
            .0
            .iter()
            .partition(|(scope, _)| day_of(scope).is_some());
        let spent = |_: &SpendScope, sum: &SpendSum| saturated(sum.spent.get());
        let set_aside = |_: &SpendScope, sum: &SpendSum| saturated(sum.set_aside.get());
        sqlx::query(PUT_SQL)
            .bind(all(&days, |scope, _| day(scope.day())))
            .bind(all(&days, spent))
            .bind(all(&days, set_aside))
            .bind(all(&others, |scope, _| scope.to_string()))
            .bind(all(&others, |scope, _| day(scope.day())))
            .bind(all(&others, spent))
            .bind(all(&others, set_aside))
    }
}

fn day_of(scope: &SpendScope) -> Option<Date> {
    match scope {
        SpendScope::Day(day) => Some(*day),
        SpendScope::Month(_) | SpendScope::Purpose(..) | SpendScope::User(..) => None,
    }
}

/// Asks what is known of some scopes, without a lock.
pub(super) fn find(scopes: &[SpendScope]) -> Statement {
    let kept = scopes.iter().filter(|scope| scope.day() >= DAY_MIN);
    let (days, others): (Vec<&SpendScope>, Vec<_>) =
        kept.partition(|scope| day_of(scope).is_some());
    let days: Vec<_> = days.iter().map(|scope| day(scope.day())).collect();
    let others: BTreeSet<_> = others.iter().map(ToString::to_string).collect();
    let others: Vec<_> = others.into_iter().collect();
    sqlx::query(FIND_SQL).bind(days).bind(others)
}

/// Reads what is known of some scopes, in their order.
pub(super) fn read(rows: &[PgRow], scopes: &[SpendScope]) -> Result<Vec<SpendSum>, Failure> {
    let mut sums = scopes.iter().map(|scope| (*scope, None)).collect();
    take(rows, &mut sums)?;
    let known = |scope| sums.get(scope).copied().flatten().unwrap_or_default();
    Ok(scopes.iter().map(known).collect())
}

fn take(rows: &[PgRow], sums: &mut BTreeMap<SpendScope, Option<SpendSum>>) -> Result<(), Failure> {
    let read = |row: &PgRow| {
        let mut columns = Columns::of(row);
        let day = columns.day()?;
        let scope = match columns.next::<Option<&str>>()? {
            Some(text) => text.parse().ok()?,
            None => SpendScope::Day(day),
        };
        let spent = MicroDollars::new(columns.number()?);
        let set_aside = MicroDollars::new(columns.number()?);
        Some((scope, Some(SpendSum { spent, set_aside })))
    };
    for row in rows {
        let (scope, sum) = read(row).ok_or(Failure::Unreadable("spend sum"))?;
        sums.insert(scope, sum);
    }
    Ok(())
}
