//! The months of `interactions`: their names, and how a missing one is made.

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};

use medcards_core::jiff::tz::TimeZone;
use medcards_core::{Error, ErrorKind, Timestamp};
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgRow;

use crate::column::Columns;
use crate::config::Retention;
use crate::error::Failure;
use crate::node::{Node, Transaction, transact};
use crate::store::Lock;

/// The years that answers may be of: what lies outside comes from a broken clock.
const YEARS: std::ops::Range<i32> = 2000..2200;

/// Whether a table of this name is there, and whether it is a partition of `interactions`.
const FIND_SQL: &str = "
SELECT to_regclass($1) IS NOT NULL, EXISTS (
    SELECT FROM pg_inherits
    WHERE inhrelid = to_regclass($1) AND inhparent = to_regclass('interactions')
)";

const LIST_SQL: &str = "
SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = to_regclass('interactions')
ORDER BY relname";

/// Tables that were partitions once.
const LIST_DETACHED_SQL: &str = "
SELECT relname::text FROM pg_class
WHERE relkind = 'r' AND NOT relispartition
  AND relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('interactions'))
  AND relname ~ '^interactions_[0-9]{4}_[0-9]{2}$'
ORDER BY relname";

/// A calendar month (UTC), counted from the year 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Month(i32);

impl Month {
    /// The month of an instant.
    pub(crate) fn of(instant: Timestamp) -> Self {
        let date = instant.to_zoned(TimeZone::UTC).date();
        Self(i32::from(date.year()) * 12 + i32::from(date.month()) - 1)
    }

    /// The month of a partition with this name.
    fn named(table: &str) -> Option<Self> {
        let (year, month) = table.strip_prefix("interactions_")?.split_once('_')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        (1..=12)
            .contains(&month)
            .then_some(Self(year * 12 + month - 1))
    }

    /// The month that comes so many later.
    pub(crate) fn plus(self, months: i32) -> Self {
        Self(self.0 + months)
    }

    /// Whether answers of this month can be kept at all.
    pub(crate) fn is_kept(self) -> bool {
        YEARS.contains(&self.year())
    }

    fn year(self) -> i32 {
        self.0.div_euclid(12)
    }

    fn number(self) -> i32 {
        self.0.rem_euclid(12) + 1
    }

    /// The name of its partition.
    pub(crate) fn table(self) -> String {
        format!("interactions_{:04}_{:02}", self.year(), self.number())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year(), self.number())
    }
}

/// Which months there are, as far as this process knows.
#[derive(Debug)]
pub(crate) struct Partitions {
    retention: Retention,
    known: Mutex<HashSet<Month>>,
    /// The oldest month that retention leaves, as the keeper last computed it.
    oldest: AtomicI32,
}

impl Partitions {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            retention,
            known: Mutex::default(),
            oldest: AtomicI32::new(i32::MIN),
        }
    }

    /// Remembers the time by the server's clock, which decides what is too old.
    pub(crate) fn learn_time(&self, now: Timestamp) {
        if let Retention::Detach(months) | Retention::Drop(months) = self.retention {
            let months = i32::try_from(months).unwrap_or(i32::MAX / 2);
            let oldest = Month::of(now).plus(-months);
            self.oldest.store(oldest.0, Ordering::Relaxed);
        }
    }

    /// Refuses an answer whose month is not kept.
    pub(crate) fn check(
        &self,
        operation: &'static str,
        created_at: Timestamp,
    ) -> Result<(), Error> {
        let month = Month::of(created_at);
        let refused = |context| Err(Error::new(ErrorKind::Invalid, operation, context));
        if !month.is_kept() {
            return refused("its instant lies outside the years 2000 to 2199: check the clock");
        }
        if month.0 < self.oldest.load(Ordering::Relaxed) {
            return refused("its month is older than answers are kept");
        }
        Ok(())
    }

    /// Makes the partition of a month, if no process has made it yet.
    pub(crate) async fn ensure(&self, node: &Node, month: Month) -> Result<(), Failure> {
        if self.known().contains(&month) {
            return Ok(());
        }
        let table = month.table();
        transact!(node, |transaction| {
            transaction.execute(Lock::Partitions.take()).await?;
            match look_at(&mut transaction, month).await? {
                Is::Attached => Ok(()),
                Is::Detached => Err(Failure::Refused(Error::new(
                    ErrorKind::Invalid,
                    "make partition",
                    format!("{table} was detached: answers of {month} are not kept any more"),
                ))),
                Is::Missing => {
                    let sql = make_sql(month);
                    transaction.lease().run(AssertSqlSafe(sql)).await?;
                    tracing::info!(partition = %table, "a partition was made");
                    Ok(())
                }
            }
        })?;
        self.known().insert(month);
        Ok(())
    }

    /// Forgets what was made: a statement said that it is missing.
    pub(crate) fn forget(&self, month: Month) {
        self.known().remove(&month);
    }

    /// Detaches the months that retention does not leave, and drops them if it says so; says how
    /// many of each.
    ///
    /// Each step is a transaction of its own that waits for its lock only briefly: while it waits,
    /// so does everyone who comes after it. What is not had now is tried again in the next round.
    pub(crate) async fn retire(&self, node: &Node) -> Result<(u32, u32), Failure> {
        let oldest = self.oldest.load(Ordering::Relaxed);
        let (mut detached, mut dropped) = (0, 0);
        if self.retention == Retention::Forever || oldest == i32::MIN {
            return Ok((detached, dropped));
        }
        for month in months(node, LIST_SQL).await? {
            if month.0 < oldest {
                let sql = format!(
                    "ALTER TABLE interactions DETACH PARTITION {}",
                    month.table()
                );
                self.forget(month);
                if change(node, month, Is::Attached, sql).await? {
                    tracing::info!(partition = %month.table(), "a partition was detached");
                    detached += 1;
                }
            }
        }
        if matches!(self.retention, Retention::Drop(_)) {
            for month in months(node, LIST_DETACHED_SQL).await? {
                let sql = format!("DROP TABLE {}", month.table());
                if month.0 < oldest && change(node, month, Is::Detached, sql).await? {
                    tracing::info!(partition = %month.table(), "a detached partition was dropped");
                    dropped += 1;
                }
            }
        }
        Ok((detached, dropped))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashSet<Month>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The months whose tables this statement lists.
async fn months(node: &Node, sql: &'static str) -> Result<Vec<Month>, Failure> {
    let rows = node.fetch(|| sqlx::query(sql)).await?;
    let names = rows
        .iter()
        .filter_map(|row| Columns::of(row).next::<String>());
    Ok(names.filter_map(|name| Month::named(&name)).collect())
}

/// What a table of a month is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Attached,
    Detached,
    Missing,
}

async fn look_at(transaction: &mut Transaction<'_>, month: Month) -> Result<Is, Failure> {
    let find = sqlx::query(FIND_SQL).bind(month.table());
    let row = transaction.fetch_optional(find).await?;
    let read = |row: &PgRow| {
        let mut columns = Columns::of(row);
        Some(match (columns.next::<bool>()?, columns.next::<bool>()?) {
            (_, true) => Is::Attached,
            (true, false) => Is::Detached,
            (false, false) => Is::Missing,
        })
    };
    row.as_ref()
        .and_then(read)
        .ok_or(Failure::Unreadable("partition"))
}

/// Changes the table of a month that is as it should be; `false` if its lock was not had in time,
/// or another process was faster.
async fn change(node: &Node, month: Month, is: Is, sql: String) -> Result<bool, Failure> {
    let done: Result<bool, Failure> = transact!(node, |transaction| {
        transaction.lease().run(RETIRE_LOCK_TIMEOUT_SQL).await?;
        let rows = transaction.fetch(Lock::Partitions.try_take()).await?;
        let has_lock = rows.first().and_then(|row| Columns::of(row).next::<bool>());
        if has_lock != Some(true) || look_at(&mut transaction, month).await? != is {
            return Ok(false);
        }
        transaction.lease().run(AssertSqlSafe(sql.clone())).await?;
        Ok(true)
    });
    match done {
        Err(failure) if failure.is_of_lock() => Ok(false),
        done => done,
    }
}

/// Everyone queues behind a lock that is waited for, so it is not waited for long.
const RETIRE_LOCK_TIMEOUT_SQL: &str = "SET LOCAL lock_timeout = '100ms'";

/// Made apart and then attached, which holds up no reader and no writer; `PARTITION OF` would.
fn make_sql(month: Month) -> String {
    let (table, next) = (month.table(), month.plus(1));
    format!(
        "CREATE TABLE {table} (LIKE interactions INCLUDING ALL);
         ALTER TABLE interactions ATTACH PARTITION {table}
         FOR VALUES FROM ('{month}-01 00:00:00+00') TO ('{next}-01 00:00:00+00')"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_are_named_after_the_instants_in_them() {
        for (instant, table, next) in [
            (
                "2026-01-31T23:59:59.999Z",
                "interactions_2026_01",
                "2026-02",
            ),
            ("2025-12-01T00:00:00Z", "interactions_2025_12", "2026-01"),
        ] {
            let month = Month::of(instant.parse().unwrap());
            assert_eq!(month.table(), table);
            assert_eq!(month.plus(1).to_string(), next);
            assert_eq!(Month::named(table), Some(month));
        }
        for other in [
            "interactions",
            "interactions_2026_13",
            "interactions_2026_01_copy",
            "events",
        ] {
            assert_eq!(Month::named(other), None, "{other}");
        }
    }
}
