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

/// The most settlements that wait for Redis to come back. What goes beyond stays set aside there,
/// so that less is spent that day, never more.
const PENDING_MAX: usize = 10_000;

/// How often it is tried to hand them in.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// The most reservations of this process that are remembered with their day: as many as live calls
/// can be under way, many times over.
const OPEN_MAX: usize = 100_000;

/// Sets an amount aside if the budget allows: 1 if it did, 0 if not, -1 if nothing is known of the
/// day. The same reservation is granted once.
static RESERVE_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local day, held = KEYS[1], KEYS[2]
        if redis.call('EXISTS', day) == 0 then return -1 end
        if redis.call('HEXISTS', held, ARGV[1]) == 1 then return 1 end
        local sums = redis.call('HMGET', day, 'spent', 'aside')
        local wanted = tonumber(sums[1] or 0) + tonumber(sums[2] or 0) + tonumber(ARGV[2])
        if ARGV[3] ~= '' and wanted > tonumber(ARGV[3]) then return 0 end
        redis.call('HINCRBY', day, 'aside', ARGV[2])
        redis.call('HSET', held, ARGV[1], ARGV[2])
        redis.call('PEXPIRE', day, ARGV[4])
        redis.call('PEXPIRE', held, ARGV[4])
        return 1",
    )
});

/// Makes a day known with what the ledger has booked, unless it is known.
static SEED_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "if redis.call('EXISTS', KEYS[1]) == 0 then
            redis.call('HSET', KEYS[1], 'spent', ARGV[1], 'aside', 0)
            redis.call('PEXPIRE', KEYS[1], ARGV[2])
        end",
    )
});

/// Frees what a reservation set aside and books what was spent, once.
static SETTLE_SCRIPT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        "local day, held = KEYS[1], KEYS[2]
        local amount = redis.call('HGET', held, ARGV[1])
        if amount == 'settled' then return end
        if redis.call('EXISTS', day) == 0 then return end
        if amount then redis.call('HINCRBY', day, 'aside', '-' .. amount) end
        redis.call('HINCRBY', day, 'spent', ARGV[2])
        redis.call('HSET', held, ARGV[1], 'settled')
        redis.call('PEXPIRE', day, ARGV[3])
        redis.call('PEXPIRE', held, ARGV[3])",
    )
});

/// A spend ledger before which Redis stands as a gate that all processes share.
///
/// Money is set aside if both allow it, Redis first: so the budget is never exceeded as long as
/// either of the two is shared and has lost nothing. Totals are those of the ledger. When the budget
/// of a day is used up, Redis says so without a query of the ledger.
///
/// When Redis is away the ledger decides alone. When Redis has lost what it knew, it begins again
/// with what the ledger has booked on that day; what was set aside at that moment is known to the
/// ledger alone until it is settled. What a dead process had set aside stays set aside for its day,
/// as in any ledger.
///
/// Setting aside takes one round trip to Redis besides the ledger's time, at most 0.1 s of patience.
/// All keys expire nine days after they were last used.
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
    /// Which day the reservations of this process belong to.
    open: Mutex<HashMap<ReservationId, Date>>,
    /// What Redis has not heard of yet.
    pending: Mutex<VecDeque<Settled>>,
    granted: AtomicU64,
    refused: AtomicU64,
    passed_by: AtomicU64,
}

/// A reservation that is over.
#[derive(Clone, Copy, Debug)]
struct Settled {
    id: ReservationId,
    day: Date,
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

    /// Asks the gate; if it knows nothing of the day, tells it what the ledger has booked.
    async fn ask_gate(&self, wish: &Reservation, budget: &SpendBudget) -> Word {
        let Shared { ledger, gate } = &*self.shared;
        if let Some(word) = gate.reserve(wish, budget).await {
            return word;
        }
        let query = SpendQuery {
            from: wish.day,
            to: wish.day,
            by_case: false,
        };
        // If the ledger is away it will say so itself.
        let Ok(rows) = ledger.totals(&query).await else {
            return Word::Away;
        };
        let spent = rows.iter().map(|row| row.cost).sum();
        if gate.seed(wish.day, spent).await.is_err() {
            return Word::Away;
        }
        gate.reserve(wish, budget).await.unwrap_or(Word::Away)
    }
}

impl Gate {
    fn keys(&self, day: Date) -> [String; 2] {
        // Sums and reservations of a day change together.
        let tag = format!("spend-{day}");
        ["sums", "held"].map(|what| self.redis.key(&tag, what))
    }

    /// `None` if Redis knows nothing of the day.
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Option<Word> {
        let limit = budget.per_day.map(|limit| limit.get().to_string());
        let [sums, held] = self.keys(wish.day);
        let mut script = RESERVE_SCRIPT.key(sums);
        script.key(held);
        script.arg(wish.id.to_string()).arg(wish.amount.get());
        script.arg(limit.unwrap_or_default()).arg(millis(KEPT_FOR));
        match self.redis.script::<i64>(RESERVE, PATIENCE, &script).await {
            Ok(-1) => None,
            Ok(0) => Some(Word::Exhausted),
            Ok(_) => Some(Word::Granted),
            Err(error) => {
                tracing::debug!(%error, "the spend budget is kept by the ledger alone");
                Some(Word::Away)
            }
        }
    }

    async fn seed(&self, day: Date, spent: MicroDollars) -> Result<()> {
        let [sums, _] = self.keys(day);
        let mut script = SEED_SCRIPT.key(sums);
        script.arg(spent.get()).arg(millis(KEPT_FOR));
        self.redis.script(RESERVE, PATIENCE, &script).await
    }

    async fn settle(&self, settled: &Settled) -> Result<()> {
        let [sums, held] = self.keys(settled.day);
        let mut script = SETTLE_SCRIPT.key(sums);
        script.key(held);
        script.arg(settled.id.to_string()).arg(settled.cost.get());
        script.arg(millis(KEPT_FOR));
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
                let Some(next) = lock(&self.state.pending).front().copied() else {
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

fn is_final(kind: ErrorKind) -> bool {
    !kind.is_transient() && kind != ErrorKind::Full
}

#[async_trait]
impl<L: SpendLedger> SpendLedger for RedisSpendLedger<L> {
    async fn reserve(&self, wish: &Reservation, budget: &SpendBudget) -> Result<ReserveOutcome> {
        let Shared { ledger, gate } = &*self.shared;
        let word = self.ask_gate(wish, budget).await;
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
                open.insert(wish.id, wish.day);
            }
        }
        let reserved = ledger.reserve(wish, budget).await;
        // After an error no call is made. It may stay set aside in the ledger, which then counts it.
        if !matches!(reserved, Ok(ReserveOutcome::Granted)) {
            lock(&gate.state.open).remove(&wish.id);
            let freed = Settled {
                id: wish.id,
                day: wish.day,
                cost: MicroDollars::ZERO,
            };
            gate.settle_in_time(freed).await;
        }
        reserved
    }

    async fn settle(&self, reservation: ReservationId, spent: &SpendRow) -> Result<()> {
        let Shared { ledger, gate } = &*self.shared;
        ledger.settle(reservation, spent).await?;
        let day = lock(&gate.state.open).remove(&reservation);
        let settled = Settled {
            id: reservation,
            day: day.unwrap_or(spent.day),
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
