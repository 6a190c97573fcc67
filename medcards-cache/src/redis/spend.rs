use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use medcards_core::jiff::civil::Date;
use medcards_core::metric::{Metric, MetricSource};
use medcards_core::spend::{
    MicroDollars, Reservation, ReserveOutcome, SpendBudget, SpendLedger, SpendQuery, SpendRow,
    SpendScope, SpendSum,
};
use medcards_core::{ErrorKind, ReservationId, Result};
use redis::Script;
use tokio::time::sleep;

use super::Redis;
use super::duration::millis;
use crate::lock::lock;

const RESERVE: &str = "reserve spend in Redis";
const SETTLE: &str = "settle spend in Redis";

/// How long Redis may take for money: a live call takes seconds, and a call that Redis did not hear
/// of is one that other processes do not see in the budget.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long what belongs to a day is kept: a settlement may come a week late.
const KEPT_FOR: Duration = Duration::from_hours(9 * 24);

/// How long what belongs to a month is kept: a settlement of its last day may come a week late.
const MONTH_KEPT_FOR: Duration = Duration::from_hours(40 * 24);

/// What all keys have in their braces: a reservation changes them together, so they share a slot.
const TAG: &str = "spend";

/// The most settlements that wait for Redis to come back. What goes beyond stays set aside there,
/// so that less is spent that day, never more.
const PENDING_MAX: usize = 10_000;

/// How often it is tried to hand them in.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The most reservations of this process that are remembered with their scopes: as many as live calls
/// can be under way, many times over.
const OPEN_MAX: usize = 100_000;

/// Sets an amount aside if the budget allows it in every scope: 1 if it did, 0 if not, -1 if nothing
/// is known of a scope, -2 if the sums are too large to count. The same reservation is granted once.
///
/// The first key has the reservations, the others are the scopes, each with its limit and how long
/// it is kept. Nothing is written before all are looked at.
static RESERVE_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local held = KEYS[1]
        for n = 2, #KEYS do
            if redis.call('EXISTS', KEYS[n]) == 0 then return -1 end
        end
        if redis.call('HEXISTS', held, ARGV[1]) == 1 then return 1 end
        for n = 2, #KEYS do
            local sums, limit = redis.call('HMGET', KEYS[n], 'spent', 'aside'), ARGV[2 * n]
            local wanted = tonumber(sums[1] or 0) + tonumber(sums[2] or 0) + tonumber(ARGV[2])
            if limit ~= '' and wanted > tonumber(limit) then return 0 end
            if wanted > 9e18 then return -2 end
        end
        for n = 2, #KEYS do
            redis.call('HINCRBY', KEYS[n], 'aside', ARGV[2])
            redis.call('PEXPIRE', KEYS[n], ARGV[2 * n + 1])
        end
        redis.call('HSET', held, ARGV[1], ARGV[2])
        redis.call('PEXPIRE', held, ARGV[3])
        return 1",
    )
});

/// Makes scopes known with what the ledger has booked, unless they are known.
static SEED_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "for n = 1, #KEYS do
            if redis.call('EXISTS', KEYS[n]) == 0 then
                redis.call('HSET', KEYS[n], 'spent', ARGV[2 * n - 1], 'aside', 0)
                redis.call('PEXPIRE', KEYS[n], ARGV[2 * n])
            end
        end",
    )
});

/// Frees what a reservation set aside and books what was spent, once, in the scopes that are known:
/// the others begin with what the ledger has booked.
///
/// The first key has the reservations, the others are the scopes, each with how long it is kept.
static SETTLE_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local held = KEYS[1]
        local amount = redis.call('HGET', held, ARGV[1])
        if amount == 'settled' then return end
        local is_known = false
        for n = 2, #KEYS do
            local aside = redis.call('HGET', KEYS[n], 'aside')
            if aside then
                is_known = true
                if amount and tonumber(aside) > tonumber(amount) then
                    redis.call('HINCRBY', KEYS[n], 'aside', '-' .. amount)
                elseif amount then
                    redis.call('HSET', KEYS[n], 'aside', 0)
                end
                redis.call('HINCRBY', KEYS[n], 'spent', ARGV[2])
                redis.call('PEXPIRE', KEYS[n], ARGV[n + 2])
            end
        end
        if is_known then
            redis.call('HSET', held, ARGV[1], 'settled')
            redis.call('PEXPIRE', held, ARGV[3])
        end",
    )
});

/// A spend ledger before which Redis stands as a gate that all processes share.
///
/// Money is set aside if both allow it, Redis first: so no limit of the budget, be it of a day, a
/// month, a purpose or a user, is ever exceeded as long as either of the two is shared and has lost
/// nothing. Totals and sums are those of the ledger. When the budget is used up, Redis says so
/// without a query of the ledger.
///
/// When Redis is away the ledger decides alone. When Redis has lost what it knew, it begins again
/// with what the ledger has booked in each scope; what was set aside at that moment is known to the
/// ledger alone until it is settled. What a dead process had set aside stays set aside in its scopes,
/// as in any ledger.
///
/// Setting aside takes one round trip to Redis besides the ledger's time, at most 0.1 s of patience;
/// two more, and a query of the ledger, for the first call of a user or for a purpose on a day. All
/// keys share one slot of a cluster. They expire nine days after they were last used, those of
/// months after forty.
#[derive(Clone)]
pub struct RedisSpendLedger<L> {
    shared: Arc<Shared<L>>,
}

struct Shared<L> {
    ledger: L,
    gate: Gate,
}

#[derive(Clone)]
struct Gate {
    redis: Redis,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// In which scopes the reservations of this process count.
    open: Mutex<HashMap<ReservationId, Vec<SpendScope>>>,
    /// What Redis has not heard of yet.
    pending: Mutex<VecDeque<Settled>>,
    granted: AtomicU64,
    refused: AtomicU64,
    passed_by: AtomicU64,
}

/// A reservation that is over.
#[derive(Clone, Debug)]
struct Settled {
    id: ReservationId,
    day: Date,
    scopes: Vec<SpendScope>,
    cost: MicroDollars,
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Away,
    Exhausted,
    Granted,
}

impl<L: SpendLedger> RedisSpendLedger<L> {
    /// Puts the gate before a ledger.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn new(redis: &Redis, ledger: L) -> Self {
        let state = Arc::<State>::default();
        let gate = Gate {
            redis: redis.clone(),
            state: Arc::clone(&state),
        };
        redis.spawn(|redis| {
            let gate = Gate { redis, state };
            async move { gate.hand_in().await }
        });
        Self {
            shared: Arc::new(Shared { ledger, gate }),
        }
    }

    /// How many settlements Redis has not heard of yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        lock(&self.shared.gate.state.pending).len()
    }

    /// Asks the gate; if it knows nothing of a scope, tells it what the ledger has booked.
    async fn ask_gate(
        &self,
        wish: &Reservation,
        scopes: &[SpendScope],
        budget: &SpendBudget,
    ) -> Word {
        let Shared { ledger, gate } = &*self.shared;
        if let Some(word) = gate.reserve(wish, scopes, budget).await {
            return word;
        }
        // If the ledger is away it will say so itself.
        let Ok(sums) = ledger.sums(scopes).await else {
            return Word::Away;
        };
        if gate.seed(scopes, &sums).await.is_err() {
            return Word::Away;
        }
        let word = gate.reserve(wish, scopes, budget).await;
        word.unwrap_or(Word::Away)
    }
}

impl Gate {
    /// The reservations of a day.
    fn held_key(&self, day: Date) -> String {
        self.redis.key(TAG, format_args!("held/{day}"))
    }

    fn key(&self, scope: &SpendScope) -> String {
        self.redis.key(TAG, scope)
    }

    /// `None` if Redis knows nothing of a scope.
    async fn reserve(
        &self,
        wish: &Reservation,
        scopes: &[SpendScope],
        budget: &SpendBudget,
    ) -> Option<Word> {
        let mut script = RESERVE_SCRIPT.key(self.held_key(wish.day));
        script.arg(wish.id.to_string()).arg(wish.amount.get());
        script.arg(millis(KEPT_FOR));
        for scope in scopes {
            let limit = budget.limit(scope, wish);
            let limit = limit.map(|limit| limit.get().to_string());
            script.key(self.key(scope)).arg(limit.unwrap_or_default());
            script.arg(kept_for(scope));
        }
        match self.redis.script::<i64>(RESERVE, PATIENCE, &script).await {
            Ok(-1) => None,
            Ok(0) => Some(Word::Exhausted),
            Ok(1) => Some(Word::Granted),
            // Sums beyond what a script counts exactly are left to the ledger.
            Ok(_) => Some(Word::Away),
            Err(error) => {
                tracing::debug!(%error, "the spend budget is kept by the ledger alone");
                Some(Word::Away)
            }
        }
    }

    async fn seed(&self, scopes: &[SpendScope], sums: &[SpendSum]) -> Result<()> {
        let mut script = SEED_SCRIPT.prepare_invoke();
        for (scope, sum) in scopes.iter().zip(sums) {
            script.key(self.key(scope)).arg(sum.spent.get());
            script.arg(kept_for(scope));
        }
        self.redis.script(RESERVE, PATIENCE, &script).await
    }

    async fn settle(&self, settled: &Settled) -> Result<()> {
        let mut script = SETTLE_SCRIPT.key(self.held_key(settled.day));
        script.arg(settled.id.to_string()).arg(settled.cost.get());
        script.arg(millis(KEPT_FOR));
        for scope in &settled.scopes {
            script.key(self.key(scope)).arg(kept_for(scope));
        }
        self.redis.script(SETTLE, PATIENCE, &script).await
    }

    /// Tells Redis of a settlement now, or when it is back.
    async fn settle_in_time(&self, settled: Settled) {
        match self.settle(&settled).await {
            Ok(()) => {}
            Err(error) if is_final(error.kind()) => {
                tracing::warn!(%error, "money stays set aside in Redis");
            }
            Err(_) => {
                let mut pending = lock(&self.state.pending);
                if pending.len() < PENDING_MAX {
                    pending.push_back(settled);
                }
            }
        }
    }

    /// Hands in what Redis has not heard of, for as long as there is a connection.
    async fn hand_in(self) {
        loop {
            sleep(RETRY_INTERVAL).await;
            loop {
                let Some(next) = lock(&self.state.pending).front().cloned() else {
                    break;
                };
                match self.settle(&next).await {
                    Err(error) if !is_final(error.kind()) => break,
                    // Settling twice books once, so one that is handed in again does no harm.
                    Ok(()) | Err(_) => drop(lock(&self.state.pending).pop_front()),
                }
            }
        }
    }
}

/// How long a key is kept after it was last used, in milliseconds.
fn kept_for(scope: &SpendScope) -> u64 {
    match scope {
        SpendScope::Month(_) => millis(MONTH_KEPT_FOR),
        SpendScope::Day(_) | SpendScope::Purpose(..) | SpendScope::User(..) => millis(KEPT_FOR),
    }
}

fn is_final(kind: ErrorKind) -> bool {
    !kind.is_transient() && kind != ErrorKind::Full
}

#[async_trait]
impl<L: SpendLedger> SpendLedger for RedisSpendLedger<L> {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        let Shared { ledger, gate } = &*self.shared;
        let scopes = wish.scopes();
        let word = self.ask_gate(wish, &scopes, budget).await;
        if word == Word::Exhausted {
            gate.state.refused.fetch_add(1, Ordering::Relaxed);
            return Ok(ReserveOutcome::Exhausted);
        }
        let count = match word {
            Word::Granted => &gate.state.granted,
            Word::Away | Word::Exhausted => &gate.state.passed_by,
        };
        count.fetch_add(1, Ordering::Relaxed);
        {
            let mut open = lock(&gate.state.open);
            if open.len() < OPEN_MAX {
                open.insert(wish.id, scopes.clone());
            }
        }
        let reserved = ledger.reserve(wish, budget).await;
        // After an error no call is made. It may stay set aside in the ledger, which then counts it.
        if !matches!(reserved, Ok(ReserveOutcome::Granted)) {
            lock(&gate.state.open).remove(&wish.id);
            let freed = Settled {
                id: wish.id,
                day: wish.day,
                scopes,
                cost: MicroDollars::ZERO,
            };
            gate.settle_in_time(freed).await;
        }
        reserved
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let Shared { ledger, gate } = &*self.shared;
        ledger.settle(reservation, spent).await?;
        let scopes = lock(&gate.state.open).remove(&reservation);
        let scopes = scopes.unwrap_or_else(|| SpendScope::of(spent.day, None, None));
        let settled = Settled {
            id: reservation,
            day: scopes.first().map_or(spent.day, SpendScope::day),
            scopes,
            cost: spent.cost,
        };
        gate.settle_in_time(settled).await;
        Ok(())
    }

    async fn add(&self, rows: &[SpendRow]) -> Result<()> {
        let Shared { ledger, gate } = &*self.shared;
        ledger.add(rows).await?;
        for row in rows.iter().filter(|row| row.cost > MicroDollars::ZERO) {
            let booked = Settled {
                id: ReservationId::from_uuid(uuid::Uuid::now_v7()),
                day: row.day,
                scopes: SpendScope::of(row.day, None, None),
                cost: row.cost,
            };
            gate.settle_in_time(booked).await;
        }
        Ok(())
    }

    async fn totals(&self, query: &SpendQuery) -> Result<Vec<SpendRow>> {
        self.shared.ledger.totals(query).await
    }

    async fn sums(&self, scopes: &[SpendScope]) -> Result<Vec<SpendSum>> {
        self.shared.ledger.sums(scopes).await
    }
}

impl<L: SpendLedger> MetricSource for RedisSpendLedger<L> {
    fn collect(&self, metrics: &mut Vec<Metric>) {
        let state = &self.shared.gate.state;
        for (outcome, count) in [
            ("granted", &state.granted),
            ("refused", &state.refused),
            ("away", &state.passed_by),
        ] {
            let help = "Live calls that asked the shared spend budget, by what it said.";
            let count = count.load(Ordering::Relaxed);
            let metric = Metric::counter("medcards_redis_spend_total", help, count);
            metrics.push(metric.with_label("outcome", outcome));
        }
        let help = "Settlements that Redis has not heard of yet.";
        let pending = self.pending() as f64;
        metrics.push(Metric::gauge("medcards_redis_spend_pending", help, pending));
    }
}

impl<L: fmt::Debug> fmt::Debug for RedisSpendLedger<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisSpendLedger")
            .field("ledger", &self.shared.ledger)
            .finish_non_exhaustive()
    }
}

impl<L: fmt::Display> fmt::Display for RedisSpendLedger<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisSpendLedger({})", self.shared.ledger)
    }
}
