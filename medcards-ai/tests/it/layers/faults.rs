//! A server that fails in each way, behind the whole stack: calls and waits are bounded, what it costs
//! is told and booked, the breaker opens and closes, and a student reads an answer every time.
//!
//! Waits are shortened, and the breaker's own pause is waited for by hand. With `--nocapture` the
//! figures are printed; `--ignored` makes those of the defaults.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use medcards_ai::layer::{AiStack, DeadlineConfig, RateLimitConfig, RetryConfig};
use medcards_ai::{AnthropicProvider, OpenAiProvider};
use medcards_core::ErrorKind::{self, *};
use medcards_core::ai::{AiFailure, AiProvider, Billed, Refusal, Reply};
use medcards_core::feedback::{FeedbackRequest, FeedbackResolver, RequestAudience, Tier};
use medcards_core::memory::{MemoryCache, MemoryStore};
use medcards_core::spend::{MicroDollars, Price};
use medcards_core::testing::{ManualClock, PlainPrompt, sample_case};
use medcards_core::time::{Clock, SystemClock};
use medcards_core::user::{Level, Locale};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use super::{Ledger, ask, figure, worst};
use crate::sample::KEY;
use crate::server::{Answer, End, Server};
use crate::streams::{ANTHROPIC, OPENAI};

/// How long everything waits.
#[derive(Clone, Copy, Debug, Default)]
struct Waits {
    retry: RetryConfig,
    deadline: DeadlineConfig,
    rate: RateLimitConfig,
    /// What a server asks for that has patience, or none, in milliseconds.
    soon_ms: u32,
    late_ms: u32,
}

impl Waits {
    fn defaults() -> Self {
        Self {
            soon_ms: 3_000,
            late_ms: 120_000,
            ..Self::default()
        }
    }

    /// A fraction of the defaults, but far more than a busy machine takes for what it does.
    fn short(fault: &Fault) -> Self {
        // As with the defaults, what never begins outlasts the patience of a retry.
        let patience_ms = if fault.kind == Timeout { 1_500 } else { 4_000 };
        Self {
            retry: RetryConfig {
                backoff: Duration::from_millis(25),
                backoff_max: Duration::from_millis(400),
                patience: Duration::from_millis(patience_ms),
                ..RetryConfig::default()
            },
            deadline: DeadlineConfig {
                first_event: Duration::from_millis(1_500),
                between_events: Duration::from_millis(1_500),
                total: Duration::from_secs(6),
            },
            rate: RateLimitConfig {
                wait_max: Duration::from_millis(600),
                pause: Duration::from_millis(300),
                ..RateLimitConfig::default()
            },
            soon_ms: 1_000,
            late_ms: 5_000,
        }
    }
}

/// Far longer than any call may take, even on a busy machine: patience, turn, place and total.
const CALL_MAX: Duration = Duration::from_secs(180);

/// The first pause of a breaker.
const PAUSE: Duration = Duration::from_secs(5);

/// Which provider is tested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    Anthropic,
    OpenAi,
}

impl Dialect {
    const ALL: [Self; 2] = [Self::Anthropic, Self::OpenAi];

    fn provider(self, url: &str) -> Arc<dyn AiProvider> {
        self.provider_at(url, Arc::new(SystemClock::new()))
    }

    fn provider_at(self, url: &str, clock: Arc<dyn Clock>) -> Arc<dyn AiProvider> {
        match self {
            Self::Anthropic => Arc::new(
                AnthropicProvider::builder("claude-haiku-4-5")
                    .with_base_url(url)
                    .with_clock(clock)
                    .with_key(SecretString::from(KEY))
                    .build()
                    .unwrap(),
            ),
            Self::OpenAi => Arc::new(
                OpenAiProvider::builder("gpt-test")
                    .with_base_url(url)
                    .with_clock(clock)
                    .with_key(SecretString::from(KEY))
                    .with_price(Price {
                        input: MicroDollars::new(1_000_000),
                        output: MicroDollars::new(5_000_000),
                        ..Price::default()
                    })
                    .build()
                    .unwrap(),
            ),
        }
    }

    fn reply(self) -> &'static str {
        match self {
            Self::Anthropic => ANTHROPIC,
            Self::OpenAi => OPENAI,
        }
    }

    /// The reply up to its first words.
    fn half(self) -> &'static str {
        let reply = self.reply();
        &reply[..reply.find(" is tempting").unwrap() + 40]
    }

    /// An error as the first event of a stream.
    fn error_event(self) -> &'static str {
        match self {
            Self::Anthropic => {
                "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n"
            }
            Self::OpenAi => "data: {\"error\":{\"type\":\"server_error\"}}\n\n",
        }
    }
}

/// A way to fail, and what comes of it.
struct Fault {
    name: &'static str,
    /// `None` if nothing listens.
    answer: fn(Dialect, &Waits) -> Option<Answer>,
    kind: ErrorKind,
    /// How often the server is asked in each call, until the breaker or a rate limit ends it.
    attempts: &'static [u64],
    /// How many worst cases the first call is billed at.
    worst_cases: u64,
    /// What refuses the call after those.
    then: Refusal,
}

const fn opens(
    name: &'static str,
    answer: fn(Dialect, &Waits) -> Option<Answer>,
    kind: ErrorKind,
    attempts: &'static [u64],
    worst_cases: u64,
) -> Fault {
    Fault {
        name,
        answer,
        kind,
        attempts,
        worst_cases,
        then: Refusal::BreakerOpen,
    }
}

const fn slows(
    name: &'static str,
    answer: fn(Dialect, &Waits) -> Option<Answer>,
    attempts: &'static [u64],
) -> Fault {
    Fault {
        name,
        answer,
        kind: RateLimited,
        attempts,
        worst_cases: 0,
        then: Refusal::RateLimited,
    }
}

/// One attempt in each call.
const ONE_EACH: &[u64] = &[1, 1, 1, 1, 1];

const FAULTS: [Fault; 15] = [
    opens("connection refused", |_, _| None, Unavailable, &[3, 2], 0),
    opens(
        "no head of an answer",
        |_, _| Some(Answer::events("").with_end(End::NoHead)),
        Timeout,
        ONE_EACH,
        1,
    ),
    opens(
        "no first word",
        |_, _| Some(Answer::events("").with_end(End::Silence)),
        Timeout,
        ONE_EACH,
        1,
    ),
    opens(
        "stalls midway",
        |dialect, _| Some(Answer::events(dialect.half()).with_end(End::Silence)),
        Timeout,
        ONE_EACH,
        1,
    ),
    opens(
        "cut midway",
        |dialect, _| Some(Answer::events(dialect.half()).with_end(End::Cut)),
        Unavailable,
        ONE_EACH,
        1,
    ),
    opens(
        "cut before a word",
        |_, _| Some(Answer::events("").with_end(End::Cut)),
        Unavailable,
        &[2, 2, 1],
        2,
    ),
    opens("500", |_, _| Some(status(500)), Unavailable, &[3, 2], 0),
    opens("529", |_, _| Some(status(529)), Unavailable, &[3, 2], 0),
    opens(
        "error within a 200",
        |dialect, _| Some(Answer::events(dialect.error_event())),
        Unavailable,
        &[2, 2, 1],
        2,
    ),
    opens(
        "garbage",
        |_, _| Some(Answer::events("data: {]\n\n")),
        Corrupt,
        ONE_EACH,
        1,
    ),
    opens(
        "a page of HTML",
        |_, _| Some(Answer::new(200, "text/html", "<html>Welcome!</html>")),
        Corrupt,
        ONE_EACH,
        1,
    ),
    opens("401", |_, _| Some(status(401)), Denied, ONE_EACH, 0),
    slows("429 without a time", |_, _| Some(status(429)), &[3]),
    slows(
        "429, retry soon",
        |_, waits| Some(retry_after(waits.soon_ms)),
        &[3],
    ),
    slows(
        "429, retry late",
        |_, waits| Some(retry_after(waits.late_ms)),
        &[1],
    ),
];

fn status(status: u16) -> Answer {
    Answer::json(status, r#"{"type":"error","error":{"type":"some_error"}}"#)
}

fn retry_after(wait_ms: u32) -> Answer {
    status(429).with_header("retry-after-ms", &wait_ms.to_string())
}

/// A server that fails until it is mended.
struct Sick {
    dialect: Dialect,
    is_mended: Arc<AtomicBool>,
    /// Where it listens, or will.
    address: SocketAddr,
    server: Option<Server>,
}

impl Sick {
    async fn new(fault: &Fault, dialect: Dialect, waits: &Waits) -> Self {
        let is_mended = Arc::new(AtomicBool::new(false));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = (fault.answer)(dialect, waits).map(|answer| {
            let is_mended = Arc::clone(&is_mended);
            Server::on(listener, move |_, _| {
                if is_mended.load(Ordering::Relaxed) {
                    Answer::events(dialect.reply())
                } else {
                    answer.clone()
                }
            })
        });
        Self {
            dialect,
            is_mended,
            address,
            server,
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    async fn mend(&mut self) {
        self.is_mended.store(true, Ordering::Relaxed);
        if self.server.is_none() {
            let listener = TcpListener::bind(self.address).await.unwrap();
            let reply = self.dialect.reply();
            self.server = Some(Server::on(listener, move |_, _| Answer::events(reply)));
        }
    }

    fn requests(&self) -> Option<u64> {
        let server = self.server.as_ref()?;
        Some(server.requests().len() as u64)
    }
}

/// A stack before such a server.
struct Bench {
    sick: Sick,
    provider: Arc<dyn AiProvider>,
    ledger: Arc<Ledger>,
    clock: Arc<ManualClock>,
    stack: AiStack,
}

impl Bench {
    async fn new(fault: &Fault, dialect: Dialect, waits: &Waits) -> Self {
        let sick = Sick::new(fault, dialect, waits).await;
        let provider = dialect.provider(&sick.url());
        let (ledger, clock) = (Ledger::new(), Arc::new(ManualClock::default()));
        let builder = AiStack::builder(
            Arc::clone(&provider),
            Arc::clone(&ledger) as _,
            Arc::clone(&clock) as _,
        );
        let stack = builder
            .with_retry(waits.retry)
            .with_deadline(waits.deadline)
            .with_rate_limits(waits.rate)
            .build()
            .unwrap();
        Self {
            sick,
            provider,
            ledger,
            clock,
            stack,
        }
    }

    /// Asks once, within the bound of any call.
    async fn ask(&self) -> Result<Reply, AiFailure> {
        let call = timeout(CALL_MAX, ask(&self.stack));
        call.await.expect("every call ends")
    }

    fn breaker(&self) -> &'static str {
        let label = ("model", self.stack.model().as_str());
        match figure(&self.stack, "medcards_ai_breaker_state", label) {
            0.0 => "closed",
            1.0 => "half-open",
            _ => "open",
        }
    }

    /// Asks until a call succeeds, as a rate limit is waited for.
    async fn ask_until_answered(&self) -> Reply {
        let until = Instant::now() + CALL_MAX;
        loop {
            match self.ask().await {
                Ok(reply) => return reply,
                Err(failure) => {
                    assert_eq!(failure.refusal, Some(Refusal::RateLimited), "{failure}");
                    assert!(Instant::now() < until, "the rate limit ends");
                    sleep(failure.error.retry_after().unwrap()).await;
                }
            }
        }
    }
}

/// Checks one way to fail, and returns its row of the table.
async fn check(fault: &Fault, dialect: Dialect, waits: Waits) -> String {
    let mut bench = Bench::new(fault, dialect, &waits).await;
    let what = format!("{} of {dialect:?}", fault.name);
    let mut told = MicroDollars::ZERO;
    let mut first_wait = Duration::ZERO;
    let mut first_cost = MicroDollars::ZERO;
    let mut asked = 0;
    for (index, attempts) in fault.attempts.iter().enumerate() {
        assert_eq!(bench.breaker(), "closed", "{what}");
        let began = Instant::now();
        let failure = bench.ask().await.unwrap_err();
        let waited = began.elapsed();
        assert_eq!(
            (failure.error.kind(), failure.refusal),
            (fault.kind, None),
            "{what}: {failure}"
        );
        let cost = match failure.billed {
            Billed::Booked(cost) => cost,
            Billed::Nothing => MicroDollars::ZERO,
            other => panic!("{what}: {other:?} is not booked"),
        };
        told += cost;
        asked += attempts;
        assert_eq!(
            bench.ledger.reserved(),
            asked,
            "attempts of {what}, call {index}"
        );
        if index == 0 {
            (first_wait, first_cost) = (waited, cost);
            let expected = worst(&bench.provider).times(fault.worst_cases);
            assert_eq!(cost, expected, "{what}");
        }
    }
    // A request is an attempt, and an attempt a request if anything listens.
    assert_eq!(bench.sick.requests().unwrap_or(asked), asked, "{what}");

    let began = Instant::now();
    let refused = bench.ask().await.unwrap_err();
    let refused_after = began.elapsed();
    assert_eq!(refused.refusal, Some(fault.then), "{what}: {refused}");
    assert_eq!(bench.ledger.reserved(), asked, "{what} is left alone");
    let state = bench.breaker();
    let opened = fault.then == Refusal::BreakerOpen;
    assert_eq!(state == "open", opened, "{what}");

    bench.sick.mend().await;
    if opened {
        assert_eq!(
            bench.ask().await.unwrap_err().refusal,
            Some(Refusal::BreakerOpen)
        );
        bench.clock.advance(PAUSE);
        for expected in ["half-open", "closed"] {
            told += bench.ask().await.unwrap().cost;
            assert_eq!(bench.breaker(), expected, "{what}");
        }
    } else {
        told += bench.ask_until_answered().await.cost;
    }

    bench.stack.close().await;
    let sum = bench.ledger.sum().await;
    assert_eq!(sum.set_aside, MicroDollars::ZERO, "{what}");
    assert_eq!(sum.spent, told, "{what}: what is told is what is booked");
    format!(
        "| {:<20} | {:<9} | {:<12} | {:>8} | {:>7} | {:>9} | {:>5} | {:>6} | {:>9} | {:<13} |",
        fault.name,
        format!("{dialect:?}"),
        fault.kind.as_str(),
        fault.attempts[0],
        first_wait.as_millis(),
        first_cost.to_string(),
        fault.attempts.len(),
        asked,
        state,
        format!("{:?}, {}", fault.then, refused_after.as_millis()),
    )
}

/// Checks all of them at once, and prints the table.
async fn check_all(waits: impl Fn(&Fault) -> Waits) {
    let runs = FAULTS
        .iter()
        .flat_map(|fault| Dialect::ALL.map(|dialect| check(fault, dialect, waits(fault))));
    let rows = join_all(runs).await;
    eprintln!(
        "first call: how often the server was asked, ms until the failure is known, what is booked; \
         then: calls and attempts until it is left alone, the breaker, why the next call is refused \
         and after how many ms"
    );
    for row in rows {
        eprintln!("{row}");
    }
}

#[tokio::test]
async fn each_way_to_fail_is_bounded_in_calls_waits_and_cost() {
    check_all(Waits::short).await;
}

#[tokio::test]
#[ignore = "takes minutes: it makes the figures of the defaults"]
async fn with_the_defaults_each_way_to_fail_is_bounded_too() {
    check_all(|_| Waits::defaults()).await;
}

/// Checks that a student reads the author's words while a server fails, and the model's afterwards.
async fn check_student(fault: &Fault, dialect: Dialect) {
    let what = format!("{} of {dialect:?}", fault.name);
    let waits = Waits::short(fault);
    let mut bench = Bench::new(fault, dialect, &waits).await;
    let store = MemoryStore::new();
    let clock = Arc::clone(&bench.clock) as Arc<dyn Clock>;
    let resolver = FeedbackResolver::builder(
        Arc::new(MemoryCache::new(1 << 20)),
        Arc::new(store.clone()),
        Arc::new(store),
        clock,
    )
    .live(
        Arc::new(bench.stack.clone()),
        Arc::new(PlainPrompt::default()),
    )
    .build()
    .await
    .unwrap();
    let wish = |n| {
        let case = Arc::new(sample_case(n));
        let chosen = [0].into_iter().collect();
        let key = resolver.key(&case, chosen, Locale::ENGLISH, Level::default());
        FeedbackRequest {
            key,
            case,
            audience: RequestAudience::Shared,
            payer: None,
        }
    };
    let calls = u32::try_from(fault.attempts.len()).unwrap() + 2;
    for n in 0..calls {
        let resolution = timeout(CALL_MAX, resolver.resolve(&wish(n))).await.unwrap();
        assert_eq!(resolution.tier(), Tier::Authored, "{what}, case {n}");
        assert!(!resolution.text().trim().is_empty(), "{what}, case {n}");
    }
    let asked: u64 = fault.attempts.iter().sum();
    assert_eq!(bench.ledger.reserved(), asked, "{what}");

    bench.sick.mend().await;
    bench.clock.advance(PAUSE);
    let until = Instant::now() + CALL_MAX;
    let mut n = calls;
    loop {
        n += 1;
        let resolution = timeout(CALL_MAX, resolver.resolve(&wish(n))).await.unwrap();
        assert!(!resolution.text().trim().is_empty(), "{what}, case {n}");
        if resolution.tier() == Tier::Live {
            break;
        }
        assert_eq!(
            fault.then,
            Refusal::RateLimited,
            "{what}: a probe answers at once"
        );
        assert!(Instant::now() < until, "{what}: the rate limit ends");
        sleep(waits.rate.wait_max).await;
    }
    resolver.close(CALL_MAX).await.unwrap();
}

#[tokio::test]
async fn a_student_reads_an_answer_every_time_whatever_fails() {
    let runs = FAULTS
        .iter()
        .flat_map(|fault| Dialect::ALL.map(|dialect| check_student(fault, dialect)));
    join_all(runs).await;
}

/// Checks that another model answers, unless the first had begun to.
async fn check_fallback(fault: &Fault, dialect: Dialect) {
    let what = format!("{} of {dialect:?}", fault.name);
    let waits = Waits::short(fault);
    let sick = Sick::new(fault, dialect, &waits).await;
    let other = match dialect {
        Dialect::Anthropic => Dialect::OpenAi,
        Dialect::OpenAi => Dialect::Anthropic,
    };
    let healthy = Server::start(Answer::events(other.reply())).await;
    let ledger = Ledger::new();
    let stack = AiStack::builder(
        dialect.provider(&sick.url()),
        Arc::clone(&ledger) as _,
        Arc::new(ManualClock::default()),
    )
    .with_fallback(other.provider(&healthy.url))
    .with_retry(waits.retry)
    .with_deadline(waits.deadline)
    .with_rate_limits(waits.rate)
    .build()
    .unwrap();
    let mut told = MicroDollars::ZERO;
    for _ in 0..fault.attempts.len() + 2 {
        match timeout(CALL_MAX, ask(&stack)).await.unwrap() {
            Ok(reply) => {
                assert_eq!(reply.model, *other.provider(&healthy.url).model(), "{what}");
                told += reply.cost;
            }
            Err(failure) => {
                assert!(fault.name.ends_with("midway"), "{what}: {failure}");
                let Billed::Booked(cost) = failure.billed else {
                    panic!("{what}: {failure:?}");
                };
                told += cost;
            }
        }
    }
    stack.close().await;
    assert_eq!(ledger.sum().await.spent, told, "{what}");
    let asked: u64 = fault.attempts.iter().sum();
    assert_eq!(sick.requests().unwrap_or(asked), asked, "{what}");
}

#[tokio::test]
async fn another_model_answers_whatever_fails_before_the_first_word() {
    let runs = FAULTS
        .iter()
        .flat_map(|fault| Dialect::ALL.map(|dialect| check_fallback(fault, dialect)));
    join_all(runs).await;
}

#[tokio::test]
async fn what_a_server_says_is_left_is_not_overdrawn() {
    for dialect in Dialect::ALL {
        // The clock stands, so that what is used up stays used up.
        let clock = Arc::new(ManualClock::default());
        let reset = (clock.now() + Duration::from_secs(30)).to_string();
        let server = Server::start(match dialect {
            Dialect::Anthropic => Answer::events(dialect.reply())
                .with_header("anthropic-ratelimit-requests-limit", "50")
                .with_header("anthropic-ratelimit-requests-remaining", "0")
                .with_header("anthropic-ratelimit-requests-reset", &reset),
            Dialect::OpenAi => Answer::events(dialect.reply())
                .with_header("x-ratelimit-limit-requests", "50")
                .with_header("x-ratelimit-remaining-requests", "0")
                .with_header("x-ratelimit-reset-requests", "30s"),
        })
        .await;
        let provider = dialect.provider_at(&server.url, Arc::clone(&clock) as _);
        let stack = AiStack::builder(provider, Ledger::new(), clock)
            .build()
            .unwrap();
        ask(&stack).await.unwrap();
        let failure = ask(&stack).await.unwrap_err();
        assert_eq!(failure.refusal, Some(Refusal::RateLimited), "{dialect:?}");
        assert!(failure.error.retry_after().unwrap() > Duration::from_secs(2));
        assert_eq!(server.requests().len(), 1, "{dialect:?}");
    }
}
