use async_trait::async_trait;
use medcards_core::feedback::Tier;
use medcards_core::jiff::civil::Date;
use medcards_core::spend::{
    MicroDollars, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow,
    SpendScope, SpendSum,
};
use medcards_core::{CaseId, Error, ErrorKind, ReservationId, Result};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PgStore;
use crate::column::{Columns, day, saturated};
use crate::error::{self, Failure};
use crate::node::{Transaction, transact};

const RESERVE: &str = "reserve spend";
const SETTLE: &str = "settle spend";
const ADD: &str = "add spend";
const TOTALS: &str = "add up spend";

/// The first day of the earliest whole year that a column can hold. Nothing was spent before.
const DAY_MIN: Date = Date::constant(-4712, 1, 1);

/// Makes sure of the rows of some days.
const MAKE_DAYS_SQL: &str = "
INSERT INTO spend_days (day, spent, set_aside)
SELECT day, 0, 0 FROM unnest($1::date[]) AS day ORDER BY day
ON CONFLICT (day) DO NOTHING";

/// All who change the sums of a day wait here for each other, always in the order of the days.
const LOCK_DAYS_SQL: &str = "
SELECT day, spent, set_aside FROM spend_days WHERE day = ANY ($1) ORDER BY day FOR UPDATE";

const PUT_DAY_SQL: &str = "UPDATE spend_days SET spent = $2, set_aside = $3 WHERE day = $1";

const FIND_RESERVATION_SQL: &str =
    "SELECT day, amount, settled FROM spend_reservations WHERE id = $1";

const INSERT_RESERVATION_SQL: &str =
    "INSERT INTO spend_reservations (id, day, amount, settled) VALUES ($1, $2, $3, false)";

/// A call that nobody reserved is owed all the same, and booked once.
const SETTLE_SQL: &str = "
INSERT INTO spend_reservations (id, day, amount, settled) VALUES ($1, $2, 0, true)
ON CONFLICT (id) DO UPDATE SET settled = true";

/// When a day begins: nobody settles again what was settled a week ago.
const FORGET_SETTLED_SQL: &str =
    "DELETE FROM spend_reservations WHERE settled AND day < $1::date - 7";

/// Rows of the same key are added up first, and all are taken in the order of the key. A sum beyond
/// 64 bits would be an error; it stays at the greatest amount.
const ADD_SQL: &str = "
INSERT INTO spend_totals (day, tier, model, case_id, resolutions, cost, saved)
SELECT day, tier, model, case_id,
       least(sum(resolutions), 9223372036854775807)::bigint,
       least(sum(cost), 9223372036854775807)::bigint,
       least(sum(saved), 9223372036854775807)::bigint
FROM unnest($1::date[], $2::text[], $3::text[], $4::uuid[], $5::bigint[], $6::bigint[],
            $7::bigint[]) AS given (day, tier, model, case_id, resolutions, cost, saved)
GROUP BY day, tier, model, case_id
ORDER BY day, tier, model, case_id
ON CONFLICT (day, tier, model, case_id) DO UPDATE SET
    resolutions = least(spend_totals.resolutions::numeric + excluded.resolutions,
                        9223372036854775807)::bigint,
    cost = least(spend_totals.cost::numeric + excluded.cost, 9223372036854775807)::bigint,
    saved = least(spend_totals.saved::numeric + excluded.saved, 9223372036854775807)::bigint";

const TOTALS_BY_CASE_SQL: &str = "
SELECT day, tier, model, case_id, resolutions, cost, saved
FROM spend_totals WHERE day BETWEEN $1 AND $2";

const TOTALS_SQL: &str = "
SELECT day, tier, model, NULL::uuid,
       least(sum(resolutions), 9223372036854775807)::bigint,
       least(sum(cost), 9223372036854775807)::bigint,
       least(sum(saved), 9223372036854775807)::bigint
FROM spend_totals WHERE day BETWEEN $1 AND $2 GROUP BY day, tier, model";

#[async_trait]
impl SpendLedger for PgStore {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        let reserved: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let [mut sums] = DaySums::lock(&mut transaction, [wish.day]).await?;
            // Looked for behind the lock: who reserves the same at the same time is seen.
            if find_reservation(&mut transaction, wish.id).await?.is_some() {
                return Ok(ReserveOutcome::Granted);
            }
            sums.set_aside += wish.amount;
            if budget.per_day.is_some_and(|limit| sums.exceed(limit)) {
                return Ok(ReserveOutcome::Exhausted);
            }
            let insert = sqlx::query(INSERT_RESERVATION_SQL)
                .bind(*wish.id.as_uuid())
                .bind(day(wish.day))
                .bind(saturated(wish.amount.get()));
            transaction.execute(insert).await?;
            sums.put(&mut transaction).await?;
            Ok(ReserveOutcome::Granted)
        });
        reserved.map_err(|failure| failure.during(RESERVE))
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let settled: Result<(), Failure> = transact!(self.primary(), |transaction| {
            let held = find_reservation(&mut transaction, reservation).await?;
            let held_day = held.as_ref().map_or(spent.day, |held| held.day);
            let [mut of_held, mut of_spent] =
                DaySums::lock(&mut transaction, [held_day, spent.day]).await?;
            // Again behind the lock: who settles the same at the same time is seen.
            let held = find_reservation(&mut transaction, reservation).await?;
            if held.as_ref().is_some_and(|held| held.settled) {
                return Ok(());
            }
            let amount = held.map_or(MicroDollars::ZERO, |held| held.amount);
            of_held.set_aside = of_held.set_aside.saturating_sub(amount);
            if held_day == spent.day {
                of_spent = of_held;
            } else {
                of_held.put(&mut transaction).await?;
            }
            of_spent.spent += spent.cost;
            of_spent.put(&mut transaction).await?;
            let settle = sqlx::query(SETTLE_SQL).bind(*reservation.as_uuid());
            transaction.execute(settle.bind(day(spent.day))).await?;
            transaction
                .execute(add_rows(std::slice::from_ref(spent)))
                .await?;
            Ok(())
        });
        settled.map_err(|failure| failure.during(SETTLE))
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let added: Result<(), Failure> = transact!(self.primary(), |transaction| {
            let mut costly: Vec<_> = rows
                .iter()
                .filter(|row| row.cost > MicroDollars::ZERO)
                .collect();
            costly.sort_by_key(|row| row.day);
            for row in costly {
                let [mut sums] = DaySums::lock(&mut transaction, [row.day]).await?;
                sums.spent += row.cost;
                sums.put(&mut transaction).await?;
            }
            transaction.execute(add_rows(rows)).await?;
            Ok(())
        });
        added.map_err(|failure| failure.during(ADD))
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        let rows = self.on_primary(TOTALS, || {
            let sql = match query.by_case {
                true => TOTALS_BY_CASE_SQL,
                false => TOTALS_SQL,
            };
            let [from, to] = [query.from, query.to].map(|asked| day(asked.max(DAY_MIN)));
            sqlx::query(sql).bind(from).bind(to)
        });
        let rows: Option<Vec<_>> = rows.await?.iter().map(read_row).collect();
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

fn add_rows(rows: &[SpendRow]) -> crate::session::Statement {
    fn all<T>(rows: &[SpendRow], of: impl Fn(&SpendRow) -> T) -> Vec<T> {
        rows.iter().map(of).collect()
    }
    let model = |row: &SpendRow| row.model.as_ref().map(|model| model.as_str().to_owned());
    sqlx::query(ADD_SQL)
        .bind(all(rows, |row| day(row.day)))
        .bind(all(rows, |row| row.tier.as_str()))
        .bind(all(rows, model))
        .bind(all(rows, |row| row.case_id.map(|id| *id.as_uuid())))
        .bind(all(rows, |row| saturated(row.resolutions)))
        .bind(all(rows, |row| saturated(row.cost.get())))
        .bind(all(rows, |row| saturated(row.saved.get())))
}

struct Held {
    day: Date,
    amount: MicroDollars,
    settled: bool,
}

async fn find_reservation(
    transaction: &mut Transaction<'_>,
    id: ReservationId,
) -> Result<Option<Held>, Failure> {
    let find = sqlx::query(FIND_RESERVATION_SQL).bind(*id.as_uuid());
    let Some(row) = transaction.fetch_optional(find).await? else {
        return Ok(None);
    };
    let read = || {
        let mut columns = Columns::of(&row);
        Some(Held {
            day: columns.day()?,
            amount: MicroDollars::new(columns.number()?),
            settled: columns.next()?,
        })
    };
    read().map(Some).ok_or(Failure::Unreadable("reservation"))
}

/// The sums of one day, locked until the end of the transaction.
#[derive(Clone, Copy)]
struct DaySums {
    day: Date,
    spent: MicroDollars,
    set_aside: MicroDollars,
}

impl DaySums {
    /// Locks the sums of some days and returns them in the order asked for.
    async fn lock<const N: usize>(
        transaction: &mut Transaction<'_>,
        days: [Date; N],
    ) -> Result<[Self; N], Failure> {
        let wanted: Vec<_> = days.iter().map(|date| day(*date)).collect();
        let made = sqlx::query(MAKE_DAYS_SQL).bind(wanted.clone());
        if transaction.execute(made).await? > 0
            && let Some(date) = days.first()
        {
            let forget = sqlx::query(FORGET_SETTLED_SQL).bind(day(*date));
            transaction.execute(forget).await?;
        }
        let rows = transaction
            .fetch(sqlx::query(LOCK_DAYS_SQL).bind(wanted))
            .await?;
        let read = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Some(Self {
                day: columns.day()?,
                spent: MicroDollars::new(columns.number()?),
                set_aside: MicroDollars::new(columns.number()?),
            })
        };
        let found: Option<Vec<Self>> = rows.iter().map(read).collect();
        let found = found.ok_or(Failure::Unreadable("sum of a day"))?;
        let of = |date: Date| found.iter().find(|sums| sums.day == date).copied();
        let mut sums = Vec::with_capacity(N);
        for date in days {
            sums.push(of(date).ok_or(Failure::Unreadable("sum of a day"))?);
        }
        sums.try_into()
            .map_err(|_few| Failure::Unreadable("sum of a day"))
    }

    async fn put(&self, transaction: &mut Transaction<'_>) -> Result<(), Failure> {
        let put = sqlx::query(PUT_DAY_SQL)
            .bind(day(self.day))
            .bind(saturated(self.spent.get()))
            .bind(saturated(self.set_aside.get()));
        transaction.execute(put).await.map(drop)
    }

    fn exceed(&self, limit: MicroDollars) -> bool {
        // Not the sum of amounts, which stops at the greatest one.
        u128::from(self.spent.get()) + u128::from(self.set_aside.get()) > u128::from(limit.get())
    }
}

pub(crate) fn read_row(row: &PgRow) -> Option<SpendRow> {
    let mut columns = Columns::of(row);
    Some(SpendRow {
        day: columns.day()?,
        tier: Tier::from_name(columns.next()?)?,
        model: match columns.next::<Option<&str>>()? {
            Some(model) => Some(model.parse().ok()?),
            None => None,
        },
        case_id: columns.next::<Option<Uuid>>()?.map(CaseId::from_uuid),
        resolutions: columns.number()?,
        cost: MicroDollars::new(columns.number()?),
        saved: MicroDollars::new(columns.number()?),
    })
}
