mod sums;

use async_trait::async_trait;
use medcards_core::feedback::Tier;
use medcards_core::jiff::civil::Date;
use medcards_core::spend::{
    MicroDollars, Purpose, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery,
    SpendRow, SpendScope, SpendSum,
};
use medcards_core::{CaseId, Error, ErrorKind, ReservationId, Result, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use self::sums::Sums;
use crate::PgStore;
use crate::column::{Columns, day, saturated};
use crate::error::{self, Failure};
use crate::node::{Transaction, transact};

const RESERVE: &str = "reserve spend";
const SETTLE: &str = "settle spend";
const ADD: &str = "add spend";
const TOTALS: &str = "add up spend";
const SUMS: &str = "find spend sums";

/// The first day of the earliest whole year that a column can hold. Nothing was spent before.
const DAY_MIN: Date = Date::constant(-4712, 1, 1);

const FIND_RESERVATION_SQL: &str = "
SELECT day, amount, settled, purpose, user_id FROM spend_reservations WHERE id = $1";

const INSERT_RESERVATION_SQL: &str = "
INSERT INTO spend_reservations (id, day, amount, settled, purpose, user_id)
VALUES ($1, $2, $3, false, $4, $5) ON CONFLICT (id) DO NOTHING";

/// A call that nobody reserved is owed all the same, and booked once.
const INSERT_SETTLED_SQL: &str = "
INSERT INTO spend_reservations (id, day, amount, settled) VALUES ($1, $2, 0, true)
ON CONFLICT (id) DO NOTHING";

const SETTLE_SQL: &str =
    "UPDATE spend_reservations SET settled = true WHERE id = $1 AND NOT settled";

/// How often settling is begun: once more if somebody reserves the same at that moment.
const SETTLE_BEGUN_MAX: u32 = 2;

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
        let scopes = wish.scopes();
        let reserved: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let mut sums = Sums::lock(&mut transaction, scopes.iter().copied()).await?;
            let allows = |scope| budget.allows(scope, sums.of(scope), wish);
            if !scopes.iter().all(allows) {
                // Looked for behind the lock: who reserves the same at the same time is seen.
                let held = find_reservation(&mut transaction, wish.id).await?;
                return Ok(match held {
                    Some(_) => ReserveOutcome::Granted,
                    None => ReserveOutcome::Exhausted,
                });
            }
            let insert = sqlx::query(INSERT_RESERVATION_SQL)
                .bind(*wish.id.as_uuid())
                .bind(day(wish.day))
                .bind(saturated(wish.amount.get()))
                .bind(wish.purpose.as_str())
                .bind(wish.payer.map(|payer| *payer.user_id.as_uuid()));
            if transaction.execute(insert).await? > 0 {
                sums.change(&scopes, |sum| sum.set_aside += wish.amount);
                sums.put(&mut transaction).await?;
            }
            Ok(ReserveOutcome::Granted)
        });
        reserved.map_err(|failure| failure.during(RESERVE))
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        for _ in 0..SETTLE_BEGUN_MAX {
            let settled: Result<bool, Failure> = transact!(self.primary(), |transaction| {
                let held = find_reservation(&mut transaction, reservation).await?;
                if held.as_ref().is_some_and(|held| held.settled) {
                    return Ok(true);
                }
                let (scopes, amount) = match &held {
                    Some(held) => (
                        SpendScope::of(held.day, held.purpose, held.user_id),
                        held.amount,
                    ),
                    None => (SpendScope::of(spent.day, None, None), MicroDollars::ZERO),
                };
                let mut sums = Sums::lock(&mut transaction, scopes.iter().copied()).await?;
                // Behind the lock: of those who settle the same at the same time one does.
                let settle = match &held {
                    Some(_) => sqlx::query(SETTLE_SQL).bind(*reservation.as_uuid()),
                    None => sqlx::query(INSERT_SETTLED_SQL)
                        .bind(*reservation.as_uuid())
                        .bind(day(spent.day)),
                };
                if transaction.execute(settle).await? == 0 {
                    return Ok(held.is_some());
                }
                sums.change(&scopes, |sum| {
                    sum.set_aside = sum.set_aside.saturating_sub(amount);
                    sum.spent += spent.cost;
                });
                sums.put(&mut transaction).await?;
                transaction
                    .execute(add_rows(std::slice::from_ref(spent)))
                    .await?;
                Ok(true)
            });
            if settled.map_err(|failure| failure.during(SETTLE))? {
                return Ok(());
            }
        }
        let context = "others reserve and forget the same: try again";
        Err(Error::new(ErrorKind::Busy, SETTLE, context))
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        if rows.is_empty() {
            return Ok(());
        }
        let costly: Vec<_> = rows
            .iter()
            .filter(|row| row.cost > MicroDollars::ZERO)
            .map(|row| (SpendScope::of(row.day, None, None), row.cost))
            .collect();
        let added: Result<(), Failure> = transact!(self.primary(), |transaction| {
            if !costly.is_empty() {
                let scopes = costly.iter().flat_map(|(scopes, _)| scopes.iter().copied());
                let mut sums = Sums::lock(&mut transaction, scopes).await?;
                for (scopes, cost) in &costly {
                    sums.change(scopes, |sum| sum.spent += *cost);
                }
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
        let rows = self.on_primary(SUMS, || sums::find(scopes)).await?;
        sums::read(&rows, scopes).map_err(|failure| failure.during(SUMS))
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
    purpose: Option<Purpose>,
    user_id: Option<UserId>,
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
            purpose: read_purpose(&mut columns)?,
            user_id: columns.next::<Option<Uuid>>()?.map(UserId::from_uuid),
        })
    };
    read().map(Some).ok_or(Failure::Unreadable("reservation"))
}

/// The next column as a purpose, or `None` inside if it is null.
pub(crate) fn read_purpose(columns: &mut Columns<'_>) -> Option<Option<Purpose>> {
    match columns.next::<Option<&str>>()? {
        Some(name) => Some(Some(Purpose::from_name(name)?)),
        None => Some(None),
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
