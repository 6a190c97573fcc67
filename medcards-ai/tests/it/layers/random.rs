//! The whole stack under random scripts, arrivals and hang-ups: nothing leaks, every call gets an
//! answer or a failure in bounded time, and the ledger holds exactly what was billed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use medcards_ai::layer::{AiStack, ConcurrencyConfig};
use medcards_core::ErrorKind;
use medcards_core::ai::{AiFailure, AiProvider, Billed, BreakerConfig, Reply, collect_reply};
use medcards_core::spend::{MicroDollars, TokenUsage};
use medcards_core::testing::{Script, ScriptedProvider};
use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};

use super::{Double, Ledger, TokioClock, ask, figure, request, worst};

const CONCURRENCY: ConcurrencyConfig = ConcurrencyConfig {
    calls_max: 3,
    queue_max: 2,
    wait_max: Duration::from_secs(2),
};

/// The longest that a call may take: of each provider the patience of retries, the waits for a turn
/// and for a place, and the total of the last attempt.
const CALL_MAX: Duration = Duration::from_secs(2 * (10 + 2 + 2 + 45));

/// The most attempts of one call: three of each provider.
const ATTEMPTS_MAX: usize = 6;

/// A caller: when it comes, and how long it stays.
type Caller = (u64, Option<u64>);

/// What a provider does: its script, and how long each call takes to begin, in milliseconds.
type Course = (Vec<Script>, u64);

fn courses() -> impl Strategy<Value = Course> {
    let kind = prop::sample::select(vec![
        ErrorKind::Corrupt,
        ErrorKind::Denied,
        ErrorKind::Invalid,
        ErrorKind::RateLimited,
        ErrorKind::Timeout,
        ErrorKind::Unavailable,
    ]);
    let usage = TokenUsage {
        input: 11,
        ..TokenUsage::default()
    };
    let billed = prop::sample::select(vec![
        Billed::Nothing,
        Billed::Unknown,
        Billed::Tokens(usage),
    ]);
    let words = prop::sample::select(vec![0_usize, 1, 3]);
    let script = prop_oneof![
        3 => words.clone().prop_map(|words| Script::deltas(vec!["word "; words])),
        2 => (kind.clone(), billed.clone()).prop_map(|(kind, billed)| Script::fails(kind, billed)),
        2 => (words.clone(), kind, billed)
            .prop_map(|(words, kind, billed)| Script::deltas(vec!["word "; words]).then_fails(kind, billed)),
        1 => words.clone().prop_map(|words| Script::deltas(vec!["word "; words]).then_hangs()),
        1 => words.prop_map(|words| Script::deltas(vec!["word "; words]).then_breaks_off()),
        1 => Just(Script::hangs()),
    ];
    (prop::collection::vec(script, 0..30), 0..3_000_u64)
}

fn callers() -> impl Strategy<Value = Vec<Caller>> {
    let stays = prop_oneof![3 => Just(None), 1 => (0..12_000_u64).prop_map(Some)];
    prop::collection::vec((0..20_000_u64, stays), 1..24)
}

fn double(name: &str, (scripts, delay_ms): Course) -> Arc<Double> {
    let double = Double::of(ScriptedProvider::new().with_model(name.parse().unwrap()));
    double.delay(Duration::from_millis(delay_ms));
    for script in scripts {
        double.scripted.push(script);
    }
    double
}

/// What a caller got; `None` if it hung up.
async fn call(stack: &AiStack, (comes_ms, stays_ms): Caller) -> Option<Result<Reply, AiFailure>> {
    sleep(Duration::from_millis(comes_ms)).await;
    let began = Instant::now();
    let call = async { collect_reply(stack.stream(request()).await?).await };
    let stays = stays_ms.map_or(Duration::from_hours(24), Duration::from_millis);
    let got = timeout(stays, call).await.ok();
    assert!(
        got.is_none() || began.elapsed() <= CALL_MAX,
        "{:?}",
        began.elapsed()
    );
    got
}

async fn check(first: Course, second: Course, callers: Vec<Caller>) {
    let (first, second) = (double("first", first), double("second", second));
    let ledger = Ledger::new();
    let clock = TokioClock::start();
    let stack = AiStack::builder(Arc::clone(&first) as _, Arc::clone(&ledger) as _, clock)
        .with_fallback(Arc::clone(&second) as _)
        .with_concurrency(CONCURRENCY)
        .build()
        .unwrap();
    let got = join_all(callers.iter().map(|caller| call(&stack, *caller))).await;

    let asked = first.calls() + second.calls();
    assert!(asked <= callers.len() * ATTEMPTS_MAX, "{asked} attempts");
    for name in ["medcards_ai_calls_under_way", "medcards_ai_calls_waiting"] {
        for model in ["first", "second"] {
            assert_eq!(
                figure(&stack, name, ("model", model)),
                0.0,
                "{name} of {model}"
            );
        }
    }
    let outcomes = [
        "complete",
        "declined",
        "dropped",
        "failed",
        "incomplete",
        "refused",
    ];
    let counted: f64 = outcomes
        .iter()
        .map(|outcome| figure(&stack, "medcards_ai_calls_total", ("outcome", outcome)))
        .sum();
    assert_eq!(counted, callers.len() as f64, "each call is counted once");

    stack.close().await;
    let sum = ledger.sum().await;
    assert_eq!(sum.set_aside, MicroDollars::ZERO, "all is settled");
    assert_eq!(
        ledger.reserved(),
        asked as u64,
        "no call without a reservation"
    );
    let told: MicroDollars = got
        .iter()
        .flatten()
        .map(|got| match got {
            Ok(reply) => reply.cost,
            Err(failure) => match failure.billed {
                Billed::Booked(cost) => cost,
                Billed::Nothing => MicroDollars::ZERO,
                other => panic!("{other:?} is not booked"),
            },
        })
        .sum();
    let hung_up = got.iter().filter(|got| got.is_none()).count() as u64;
    let untold = worst(&first).times(hung_up * ATTEMPTS_MAX as u64);
    assert!(told <= sum.spent, "{told} told, {} spent", sum.spent);
    assert!(
        sum.spent <= told + untold,
        "{told} told, {} spent",
        sum.spent
    );

    // However it ended, it recovers as soon as the providers do.
    sleep(BreakerConfig::default().pause_max).await;
    for double in [&first, &second] {
        double.delay(Duration::ZERO);
        drain(double).await;
    }
    for _ in 0..4 {
        let reply = ask(&stack).await.unwrap();
        assert_eq!(reply.model, *first.model());
    }
    for model in ["first", "second"] {
        let state = figure(&stack, "medcards_ai_breaker_state", ("model", model));
        assert!(state < 2.0);
    }
}

/// Plays what is left of a script.
async fn drain(double: &Double) {
    for _ in 0..30 {
        let _ = timeout(Duration::from_secs(1), ask(double)).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_leaks_and_every_call_ends(
        first in courses(),
        second in courses(),
        callers in callers(),
    ) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(first, second, callers));
    }
}
