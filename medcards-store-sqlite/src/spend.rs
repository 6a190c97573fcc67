use async_trait::async_trait;
use medcards_core::feedback::Tier;
use medcards_core::jiff::civil::Date;
use medcards_core::spend::{
    MicroDollars, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow,
    SpendScope, SpendSum,
};
use medcards_core::{CaseId, Error, ErrorKind, ReservationId, Result};
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

const FIND_RESERVATION_SQL: &str =
    "SELECT day, amount, settled FROM spend_reservations WHERE id = ?";

const INSERT_RESERVATION_SQL: &str =
    "INSERT INTO spend_reservations (id, day, amount, settled) VALUES (?, ?, ?, 0)";

/// A call that nobody reserved is owed all the same, and booked once.
const SETTLE_SQL: &str = "
INSERT INTO spend_reservations (id, day, amount, settled) VALUES (?, ?, 0, 1)
ON CONFLICT (id) DO UPDATE SET settled = 1";

/// On the first reservation of a day: nobody settles again what was settled a week ago.
const FORGET_SETTLED_SQL: &str =
    "DELETE FROM spend_reservations WHERE settled = 1 AND day < date(?, '-7 days')";

const FIND_DAY_SQL: &str = "SELECT spent, set_aside FROM spend_days WHERE day = ?";

const PUT_DAY_SQL: &str = "
INSERT INTO spend_days (day, spent, set_aside) VALUES (?, ?, ?)
ON CONFLICT (day) DO UPDATE SET spent = excluded.spent, set_aside = excluded.set_aside";

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
        let context = format!("no sums of {} scopes are kept", scopes.len());
        Err(Error::new(ErrorKind::Invalid, "add up spend", context))
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
            id, day, amount, ..
        } = &self.wish;
        if find_reservation(connection, *id).await?.is_some() {
            return Ok(ReserveOutcome::Granted);
        }
        let mut sums = DaySums::find(connection, *day).await?;
        if sums.is_new {
            let query = sqlx::query(FORGET_SETTLED_SQL).bind(day.to_string());
            query.execute(&mut *connection).await?;
        }
        sums.set_aside += *amount;
        if self.budget.per_day.is_some_and(|limit| sums.exceed(limit)) {
            return Ok(ReserveOutcome::Exhausted);
        }
        sqlx::query(INSERT_RESERVATION_SQL)
            .bind(id.as_bytes().as_slice())
            .bind(day.to_string())
            .bind(saturated(amount.get()))
            .execute(&mut *connection)
            .await?;
        sums.put(connection, *day).await?;
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
        match find_reservation(connection, self.reservation).await? {
            Some(held) if held.settled => return Ok(()),
            Some(held) => {
                let mut sums = DaySums::find(connection, held.day).await?;
                sums.set_aside = sums.set_aside.saturating_sub(held.amount);
                sums.put(connection, held.day).await?;
            }
            None => {}
        }
        sqlx::query(SETTLE_SQL)
            .bind(self.reservation.as_bytes().as_slice())
            .bind(self.spent.day.to_string())
            .execute(&mut *connection)
            .await?;
        book(connection, &self.spent).await
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
            book(connection, row).await?;
        }
        Ok(())
    }
}

/// Adds a row to the totals, and its cost to what its day has spent.
async fn book(connection: &mut SqliteConnection, row: &SpendRow) -> Result<(), Failure> {
    if row.cost > MicroDollars::ZERO {
        let mut sums = DaySums::find(connection, row.day).await?;
        sums.spent += row.cost;
        sums.put(connection, row.day).await?;
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
        })
    };
    read()
        .map(Some)
        .ok_or_else(|| error::unreadable("reservation"))
}

/// The sums of one day.
#[derive(Default)]
struct DaySums {
    is_new: bool,
    spent: MicroDollars,
    set_aside: MicroDollars,
}

impl DaySums {
    async fn find(connection: &mut SqliteConnection, day: Date) -> Result<Self, Failure> {
        let query = sqlx::query(FIND_DAY_SQL).bind(day.to_string());
        let Some(row) = query.fetch_optional(connection).await? else {
            return Ok(Self {
                is_new: true,
                ..Self::default()
            });
        };
        let read = || {
            let mut columns = Columns::of(&row);
            let spent = MicroDollars::new(columns.number()?);
            Some(Self {
                is_new: false,
                spent,
                set_aside: MicroDollars::new(columns.number()?),
            })
        };
        read().ok_or_else(|| error::unreadable("sum of a day"))
    }

    async fn put(&self, connection: &mut SqliteConnection, day: Date) -> Result<(), sqlx::Error> {
        let query = sqlx::query(PUT_DAY_SQL).bind(day.to_string());
        let query = query
            .bind(saturated(self.spent.get()))
            .bind(saturated(self.set_aside.get()));
        query.execute(connection).await.map(drop)
    }

    fn exceed(&self, limit: MicroDollars) -> bool {
        // Not the sum of amounts, which stops at the greatest one.
        u128::from(self.spent.get()) + u128::from(self.set_aside.get()) > u128::from(limit.get())
    }
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
