use std::collections::HashMap;

use async_trait::async_trait;
use medcards_core::feedback::Tier;
use medcards_core::jiff::civil::Date;
use medcards_core::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery,
    SpendRow, SpendScope, SpendSum,
};
use medcards_core::{CaseId, ReservationId, Result, UserId};
use serde_json::json;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, saturated};
use crate::error::{self, Failure};
use crate::writer::Write;

const RESERVE: &str = "reserve spend";
const SETTLE: &str = "settle spend";
const ADD: &str = "add spend";
const TOTALS: &str = "add up spend";
const SUMS: &str = "find spend sums";

const FIND_RESERVATION_SQL: &str =
    "SELECT day, amount, settled, purpose, user_id FROM spend_reservations WHERE id = ?";

const INSERT_RESERVATION_SQL: &str = "
INSERT INTO spend_reservations (id, day, amount, settled, purpose, user_id)
VALUES (?, ?, ?, 0, ?, ?)";

/// A call that nobody reserved is owed all the same, and booked once.
const SETTLE_SQL: &str = "
INSERT INTO spend_reservations (id, day, amount, settled) VALUES (?, ?, 0, 1)
ON CONFLICT (id) DO UPDATE SET settled = 1";

/// On the first reservation of a day: nobody settles again what was settled a week ago.
const FORGET_SETTLED_SQL: &str =
    "DELETE FROM spend_reservations WHERE settled = 1 AND day < date(?, '-7 days')";

/// On the first reservation of a day: days are kept for a week, months for a year.
const FORGET_SCOPES_SQL: &str = "
DELETE FROM spend_scopes WHERE day < date(?1, '-7 days')
    AND (scope NOT GLOB 'month/*' OR day < date(?1, 'start of month', '-1 year'))";

const FIND_DAY_SQL: &str = "SELECT spent, set_aside FROM spend_days WHERE day = ?";

const FIND_SCOPE_SQL: &str = "SELECT spent, set_aside FROM spend_scopes WHERE scope = ?";

const PUT_DAY_SQL: &str = "
INSERT INTO spend_days (day, spent, set_aside) VALUES (?, ?, ?)
ON CONFLICT (day) DO UPDATE SET spent = excluded.spent, set_aside = excluded.set_aside";

const PUT_SCOPE_SQL: &str = "
INSERT INTO spend_scopes (day, spent, set_aside, scope) VALUES (?, ?, ?, ?)
ON CONFLICT (scope) DO UPDATE SET spent = excluded.spent, set_aside = excluded.set_aside";

const SUMS_SQL: &str = "
SELECT 'day/' || day, spent, set_aside FROM spend_days
WHERE day IN (SELECT value FROM json_each(?))
UNION ALL
SELECT scope, spent, set_aside FROM spend_scopes
WHERE scope IN (SELECT value FROM json_each(?))";

/// A sum beyond 64 bits would become a fraction; `min` keeps it at the greatest amount.
const ADD_SQL: &str = "
INSERT INTO spend_totals (day, tier, model, case_id, resolutions, cost, saved)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (day, tier, model, case_id) DO UPDATE SET
    resolutions = min(resolutions + excluded.resolutions, 9223372036854775807),
    cost = min(cost + excluded.cost, 9223372036854775807),
    saved = min(saved + excluded.saved, 9223372036854775807)";

const TOTALS_BY_CASE_SQL: &str = "
SELECT day, tier, model, case_id, resolutions, cost, saved
FROM spend_totals WHERE day BETWEEN ? AND ?";

/// `total` adds as a fraction, which is exact up to nine million million; `sum` would fail where it
/// exceeds 64 bits.
const TOTALS_SQL: &str = "
SELECT day, tier, model, x'',
       CAST(min(total(resolutions), 9223372036854774784.0) AS INTEGER),
       CAST(min(total(cost), 9223372036854774784.0) AS INTEGER),
       CAST(min(total(saved), 9223372036854774784.0) AS INTEGER)
FROM spend_totals WHERE day BETWEEN ? AND ? GROUP BY day, tier, model";

#[async_trait]
impl SpendLedger for SqliteStore {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        self.writes()
            .write(Reserve {
                wish: wish.clone(),
                budget: *budget,
            })
            .await
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        self.writes()
            .write(Settle {
                reservation,
                spent: spent.clone(),
            })
            .await
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        self.writes()
            .write(Add {
                rows: rows.to_vec(),
            })
            .await
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        let sql = if query.by_case {
            TOTALS_BY_CASE_SQL
        } else {
            TOTALS_SQL
        };
        let rows = sqlx::query(sql)
            .bind(query.from.to_string())
            .bind(query.to.to_string())
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(TOTALS, source))?;
        let rows: Option<Vec<_>> = rows.iter().map(read_row).collect();
        let mut rows = rows.ok_or_else(|| error::corrupt(TOTALS, "total"))?;
        // Tiers sort by cost, which their names do not tell.
        rows.sort_unstable_by(|a, b| {
            (a.day, a.tier, &a.model, a.case_id).cmp(&(b.day, b.tier, &b.model, b.case_id))
        });
        Ok(rows)
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        let texts: Vec<_> = scopes.iter().map(ToString::to_string).collect();
        let days = scopes.iter().filter_map(|scope| match scope {
            SpendScope::Day(day) => Some(day.to_string()),
            SpendScope::Month(_) | SpendScope::Purpose(..) | SpendScope::User(..) => None,
        });
        // One statement, so that all are of the same moment.
        let rows = sqlx::query(SUMS_SQL)
            .bind(json!(days.collect::<Vec<_>>()).to_string())
            .bind(json!(texts).to_string())
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(SUMS, source))?;
        let read = |row: &SqliteRow| {
            let mut columns = Columns::of(row);
            let scope: String = columns.next()?;
            let spent = MicroDollars::new(columns.number()?);
            let set_aside = MicroDollars::new(columns.number()?);
            Some((scope, SpendSum { spent, set_aside }))
        };
        let sums: Option<HashMap<_, _>> = rows.iter().map(read).collect();
        let sums = sums.ok_or_else(|| error::corrupt(SUMS, "spend sum"))?;
        let known = |scope| sums.get(scope).copied().unwrap_or_default();
        Ok(texts.iter().map(known).collect())
    }
}

struct Reserve {
    wish: Reservation,
    budget: SpendBudget,
}

#[async_trait]
impl Write for Reserve {
    type Output = ReserveOutcome;

    const OPERATION: &'static str = RESERVE;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<ReserveOutcome, Failure> {
        let Reservation {
            id,
            day,
            amount,
            purpose,
            payer,
        } = &self.wish;
        if find_reservation(connection, *id).await?.is_some() {
            return Ok(ReserveOutcome::Granted);
        }
        let scopes = self.wish.scopes();
        let mut sums = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let found = find_sum(connection, &scope).await?;
            if found.is_none() && scope == SpendScope::Day(*day) {
                forget(connection, *day).await?;
            }
            let sum = found.unwrap_or_default();
            if !self.budget.allows(&scope, sum, &self.wish) {
                return Ok(ReserveOutcome::Exhausted);
            }
            sums.push((scope, sum));
        }
        sqlx::query(INSERT_RESERVATION_SQL)
            .bind(id.as_bytes().as_slice())
            .bind(day.to_string())
            .bind(saturated(amount.get()))
            .bind(purpose.as_str())
            .bind(payer.map(|payer| payer.user_id.as_bytes().to_vec()))
            .execute(&mut *connection)
            .await?;
        for (scope, mut sum) in sums {
            sum.set_aside += *amount;
            put_sum(connection, &scope, sum).await?;
        }
        Ok(ReserveOutcome::Granted)
    }
}

struct Settle {
    reservation: ReservationId,
    spent: SpendRow,
}

#[async_trait]
impl Write for Settle {
    type Output = ();

    const OPERATION: &'static str = SETTLE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        let (scopes, amount) = match find_reservation(connection, self.reservation).await? {
            Some(held) if held.settled => return Ok(()),
            Some(held) => (
                SpendScope::of(held.day, held.purpose, held.user_id),
                held.amount,
            ),
            None => (
                SpendScope::of(self.spent.day, None, None),
                MicroDollars::ZERO,
            ),
        };
        book(connection, &self.spent, &scopes, amount).await?;
        sqlx::query(SETTLE_SQL)
            .bind(self.reservation.as_bytes().as_slice())
            .bind(self.spent.day.to_string())
            .execute(connection)
            .await?;
        Ok(())
    }
}

struct Add {
    rows: Vec<SpendRow>,
}

#[async_trait]
impl Write for Add {
    type Output = ();

    const OPERATION: &'static str = ADD;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        for row in &self.rows {
            let scopes = SpendScope::of(row.day, None, None);
            book(connection, row, &scopes, MicroDollars::ZERO).await?;
        }
        Ok(())
    }
}

/// Adds a row to the totals, and its cost to what some scopes have spent; frees in them what had
/// been set aside for it.
async fn book(
    connection: &mut SqliteConnection,
    row: &SpendRow,
    scopes: &[SpendScope],
    freed: MicroDollars,
) -> Result<(), Failure> {
    if row.cost > MicroDollars::ZERO || freed > MicroDollars::ZERO {
        let mut sums = Vec::with_capacity(scopes.len());
        for scope in scopes {
            let mut sum = find_sum(connection, scope).await?.unwrap_or_default();
            sum.set_aside = sum.set_aside.saturating_sub(freed);
            sum.spent += row.cost;
            sums.push((scope, sum));
        }
        for (scope, sum) in sums {
            put_sum(connection, scope, sum).await?;
        }
    }
    sqlx::query(ADD_SQL)
        .bind(row.day.to_string())
        .bind(row.tier.as_str())
        .bind(row.model.as_ref().map_or("", |model| model.as_str()))
        .bind(
            row.case_id
                .map_or_else(Vec::new, |id| id.as_bytes().to_vec()),
        )
        .bind(saturated(row.resolutions))
        .bind(saturated(row.cost.get()))
        .bind(saturated(row.saved.get()))
        .execute(connection)
        .await?;
    Ok(())
}

struct Held {
    day: Date,
    amount: MicroDollars,
    settled: bool,
    purpose: Option<Purpose>,
    user_id: Option<UserId>,
}

async fn find_reservation(
    connection: &mut SqliteConnection,
    id: ReservationId,
) -> Result<Option<Held>, Failure> {
    let query = sqlx::query(FIND_RESERVATION_SQL).bind(id.as_bytes().as_slice());
    let Some(row) = query.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let read = || {
        let mut columns = Columns::of(&row);
        let day = columns.next::<&str>()?.parse().ok()?;
        let amount = MicroDollars::new(columns.number()?);
        Some(Held {
            day,
            amount,
            settled: columns.number::<u8>()? == 1,
            purpose: read_purpose(&mut columns)?,
            user_id: read_user_id(&mut columns)?,
        })
    };
    read()
        .map(Some)
        .ok_or_else(|| error::unreadable("reservation"))
}

/// The next column as a purpose, or `None` inside if it is null.
pub(crate) fn read_purpose(columns: &mut Columns<'_>) -> Option<Option<Purpose>> {
    match columns.next::<Option<&str>>()? {
        Some(name) => Some(Some(Purpose::from_name(name)?)),
        None => Some(None),
    }
}

/// The next column as a user, or `None` inside if it is null.
pub(crate) fn read_user_id(columns: &mut Columns<'_>) -> Option<Option<UserId>> {
    match columns.next::<Option<&[u8]>>()? {
        Some(id) => Some(Some(UserId::from_bytes(id.try_into().ok()?))),
        None => Some(None),
    }
}

async fn find_sum(
    connection: &mut SqliteConnection,
    scope: &SpendScope,
) -> Result<Option<SpendSum>, Failure> {
    let query = match scope {
        SpendScope::Day(day) => sqlx::query(FIND_DAY_SQL).bind(day.to_string()),
        _ => sqlx::query(FIND_SCOPE_SQL).bind(scope.to_string()),
    };
    let Some(row) = query.fetch_optional(connection).await? else {
        return Ok(None);
    };
    let read = || {
        let mut columns = Columns::of(&row);
        let spent = MicroDollars::new(columns.number()?);
        let set_aside = MicroDollars::new(columns.number()?);
        Some(SpendSum { spent, set_aside })
    };
    read()
        .map(Some)
        .ok_or_else(|| error::unreadable("spend sum"))
}

async fn put_sum(
    connection: &mut SqliteConnection,
    scope: &SpendScope,
    sum: SpendSum,
) -> Result<(), sqlx::Error> {
    let sql = match scope {
        SpendScope::Day(_) => PUT_DAY_SQL,
        _ => PUT_SCOPE_SQL,
    };
    let mut query = sqlx::query(sql)
        .bind(scope.day().to_string())
        .bind(saturated(sum.spent.get()))
        .bind(saturated(sum.set_aside.get()));
    if sql == PUT_SCOPE_SQL {
        query = query.bind(scope.to_string());
    }
    query.execute(connection).await.map(drop)
}

async fn forget(connection: &mut SqliteConnection, day: Date) -> Result<(), sqlx::Error> {
    for sql in [FORGET_SETTLED_SQL, FORGET_SCOPES_SQL] {
        let query = sqlx::query(sql).bind(day.to_string());
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

pub(crate) fn read_row(row: &SqliteRow) -> Option<SpendRow> {
    let mut columns = Columns::of(row);
    Some(SpendRow {
        day: columns.next::<&str>()?.parse().ok()?,
        tier: Tier::from_name(columns.next()?)?,
        model: match columns.next()? {
            "" => None,
            model => Some(model.parse().ok()?),
        },
        case_id: match columns.next::<&[u8]>()? {
            [] => None,
            id => Some(CaseId::from_bytes(id.try_into().ok()?)),
        },
        resolutions: columns.number()?,
        cost: MicroDollars::new(columns.number()?),
        saved: MicroDollars::new(columns.number()?),
    })
}
