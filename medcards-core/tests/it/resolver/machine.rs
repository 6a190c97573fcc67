//! The resolver as a state machine: random requests, hang-ups, reviews, purges, failures and time,
//! in random order, against what must hold whatever happens.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt};
use medcards_core::ErrorKind;
use medcards_core::ai::{
    AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, Billed, ModelId, StopReason,
};
use medcards_core::feedback::{
    FeedbackEvent, FeedbackResolver, ResolverConfig, Review, ReviewDecision, Tier,
};
use medcards_core::memory::MemoryStore;
use medcards_core::spend::{
    MicroDollars, Price, SpendBudget, SpendLedger, SpendScope, SpendSum, TokenUsage,
};
use medcards_core::testing::{
    Gate, Operation, SAMPLE_START, Script, ScriptedProvider, sample_user_id,
};
use proptest::prelude::*;
use tokio::task::JoinHandle;

use super::Bench;

/// How many cases are asked about: few, so that requests meet.
const CASES: u32 = 2;

/// What one live call reserves here is some hundred micro-dollars: a few calls fit at once.
const BUDGET: u64 = 20_000;

#[derive(Clone, Debug)]
enum Step {
    /// A student asks, and hangs up after so many looks at what has come.
    Ask {
        case: u32,
        streaming: bool,
        patience: Option<u8>,
    },
    /// Some events of the provider arrive.
    Admit(u8),
    /// The next call ends like this.
    Next(Fate),
    Advance(u32),
    Purge(u32),
    Review(u32, Word),
    /// A backend does not answer the next call of this kind until it is released.
    Hang(Operation),
    Release,
    /// Tasks run for a while.
    Run(u8),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Refused,
    Breaks,
    Rejected,
    Whole,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Word {
    Approve,
    Mend,
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    let case = 0..CASES;
    prop_oneof![
        6 => (case.clone(), any::<bool>(), proptest::option::of(0_u8..6)).prop_map(
            |(case, streaming, patience)| Step::Ask { case, streaming, patience }
        ),
        4 => (1_u8..8).prop_map(Step::Admit),
        3 => prop_oneof![
            Just(Fate::Refused),
            Just(Fate::Breaks),
            Just(Fate::Rejected),
            Just(Fate::Whole),
        ]
        .prop_map(Step::Next),
        1 => (1_u32..200_000).prop_map(Step::Advance),
        2 => case.clone().prop_map(Step::Purge),
        3 => (case, prop_oneof![Just(Word::Approve), Just(Word::Mend), Just(Word::Withdraw)])
            .prop_map(|(case, word)| Step::Review(case, word)),
        3 => prop_oneof![
            Just(Operation::CacheGet),
            Just(Operation::CachePut),
            Just(Operation::FindFeedback),
            Just(Operation::PutFeedback),
            Just(Operation::Settle),
        ]
        .prop_map(Step::Hang),
        2 => Just(Step::Release),
        4 => (1_u8..20).prop_map(Step::Run),
    ]
}

/// A provider that knows how many calls of each prompt are under way.
#[derive(Clone)]
struct Watched {
    inner: ScriptedProvider,
    open: Arc<Mutex<HashMap<String, usize>>>,
    /// What it billed so far.
    billed: Arc<Mutex<MicroDollars>>,
}

impl Watched {
    fn fails(&self, failure: &AiFailure) {
        let cost = match failure.billed {
            Billed::Nothing => MicroDollars::ZERO,
            Billed::Tokens(usage) => self.inner.price().cost(usage),
            Billed::Booked(_) | Billed::Unknown => panic!("no script bills like this"),
        };
        *self.billed.lock().expect("whole") += cost;
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.inner, f)
    }
}

struct Open(Arc<Mutex<HashMap<String, usize>>>, String);

impl Drop for Open {
    fn drop(&mut self) {
        *self
            .0
            .lock()
            .expect("whole")
            .get_mut(&self.1)
            .expect("it works") -= 1;
    }
}

struct OpenStream {
    stream: AiStream,
    provider: Watched,
    _open: Open,
}

impl Stream for OpenStream {
    type Item = Result<AiEvent, AiFailure>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let event = std::task::ready!(this.stream.poll_next_unpin(context));
        match &event {
            Some(Ok(AiEvent::End(end))) => *this.provider.billed.lock().expect("whole") += end.cost,
            Some(Err(failure)) => this.provider.fails(failure),
            _ => {}
        }
        Poll::Ready(event)
    }
}

#[async_trait]
impl AiProvider for Watched {
    fn model(&self) -> &ModelId {
        self.inner.model()
    }

    fn price(&self) -> Price {
        self.inner.price()
    }

    fn capability(&self) -> AiCapability {
        self.inner.capability()
    }

    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let prompt: String = request
            .prompt
            .parts
            .iter()
            .map(|part| part.text())
            .collect();
        let open = {
            let mut all = self.open.lock().expect("whole");
            let open = all.entry(prompt.clone()).or_default();
            *open += 1;
            assert_eq!(*open, 1, "two live calls of one key at once");
            Open(Arc::clone(&self.open), prompt)
        };
        let stream = self.inner.stream(request).await;
        let stream = stream.inspect_err(|failure| self.fails(failure))?;
        let provider = self.clone();
        Ok(OpenStream {
            stream,
            provider,
            _open: open,
        }
        .boxed())
    }
}

/// What a student read, and when they asked.
struct Read {
    case: u32,
    asked_at: usize,
    words: Option<(String, Tier)>,
}

struct Machine {
    bench: Bench,
    gate: Gate,
    /// The last word of a reviewer on each case, with the step after which it stands.
    words: HashMap<u32, (usize, Word)>,
    reads: Vec<JoinHandle<Read>>,
    scripts: u64,
    billed: Arc<Mutex<MicroDollars>>,
}

impl Machine {
    async fn new() -> Self {
        let mut config = ResolverConfig::default();
        config.spend_budget = SpendBudget::of_day(MicroDollars::new(BUDGET));
        let provider = Watched {
            inner: ScriptedProvider::new(),
            open: Arc::default(),
            billed: Arc::default(),
        };
        let billed = Arc::clone(&provider.billed);
        let scripted = provider.inner.clone();
        let bench = Bench::over(config, MemoryStore::new(), scripted, Arc::new(provider)).await;
        Self {
            bench,
            gate: Gate::new(),
            words: HashMap::new(),
            reads: Vec::new(),
            scripts: 0,
            billed,
        }
    }

    fn push(&mut self, fate: Fate) {
        self.scripts += 1;
        let usage = TokenUsage {
            input: 100,
            output: 40,
            ..TokenUsage::default()
        };
        let text = format!("Words of call {}, which are long enough.", self.scripts);
        let whole = Script::deltas([text.as_str(), " And more."]);
        let script = match fate {
            Fate::Refused => Script::fails(ErrorKind::Unavailable, Billed::Nothing),
            Fate::Breaks => whole.then_fails(ErrorKind::Unavailable, Billed::Tokens(usage)),
            Fate::Rejected => whole.then_ends(StopReason::MaxTokens, usage),
            Fate::Whole => whole.then_ends(StopReason::Complete, usage),
        };
        self.bench.provider.push(script.gated(&self.gate));
    }

    async fn take(&mut self, at: usize, step: Step) {
        match step {
            Step::Ask {
                case,
                streaming,
                patience,
            } => self.ask(at, case, streaming, patience),
            Step::Admit(events) => self.gate.admit(events.into()),
            Step::Next(fate) => self.push(fate),
            Step::Advance(seconds) => self
                .bench
                .clock
                .advance(Duration::from_secs(seconds.into())),
            Step::Purge(case) => {
                let case_id = self.bench.request(case).case.id;
                self.bench
                    .resolver
                    .purge_case(case_id)
                    .await
                    .expect("it works");
            }
            Step::Review(case, word) => self.review(at, case, word).await,
            Step::Hang(operation) => self.bench.faults.hang_next(operation, 1),
            Step::Release => self.bench.faults.release(),
            Step::Run(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
        }
        let sum = self.sum().await;
        assert!(
            (sum.spent + sum.set_aside).get() <= BUDGET,
            "the budget is exceeded after step {at}: {sum:?}"
        );
    }

    fn ask(&mut self, asked_at: usize, case: u32, streaming: bool, patience: Option<u8>) {
        let (resolver, request) = (self.bench.resolver.clone(), self.bench.request(case));
        let read = async move {
            if streaming {
                read_stream(&resolver, request, patience).await
            } else {
                let resolve = async {
                    let resolution = resolver.resolve(&request).await;
                    (resolution.text().to_owned(), resolution.tier())
                };
                hang_up_after(patience, resolve).await
            }
        };
        self.reads.push(tokio::spawn(async move {
            Read {
                case,
                asked_at,
                words: read.await,
            }
        }));
    }

    async fn review(&mut self, at: usize, case: u32, word: Word) {
        let decision = match word {
            Word::Approve => ReviewDecision::Approve,
            Word::Mend => ReviewDecision::Mend(mended(case)),
            Word::Withdraw => ReviewDecision::Withdraw,
        };
        let review = Review {
            decision,
            reviewer: sample_user_id(1),
            reviewed_at: SAMPLE_START,
        };
        let key = self.bench.request(case).key;
        match self.bench.resolver.review(&key, review).await {
            Ok(_) if word == Word::Approve => {
                // It makes words stand that may be anyone's by now.
                self.words.remove(&case);
            }
            Ok(_) => drop(self.words.insert(case, (at, word))),
            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound),
        }
    }

    async fn sum(&self) -> SpendSum {
        let now = medcards_core::time::Clock::now(&*self.bench.clock);
        let day = now.to_zoned(medcards_core::jiff::tz::TimeZone::UTC).date();
        let sums = self.bench.store.sums(&[SpendScope::Day(day)]).await;
        sums.expect("it works")[0]
    }

    /// Lets everything come to its end and looks at what everyone read.
    async fn end(mut self) {
        self.gate.open();
        self.bench.faults.clear();
        self.bench.faults.release();
        for read in std::mem::take(&mut self.reads) {
            let read = read.await.expect("nobody panics");
            let Some((text, tier)) = read.words else {
                continue;
            };
            assert!(!text.trim().is_empty(), "an answer without words");
            // Of a review that came later a student who asked before may know nothing.
            match self.words.get(&read.case) {
                Some((at, Word::Withdraw)) if *at < read.asked_at => {
                    assert_eq!(tier, Tier::Authored, "withdrawn words were served: {text}");
                }
                Some((at, Word::Mend)) if *at < read.asked_at => {
                    assert_eq!(
                        text,
                        mended(read.case),
                        "a reviewer's words were not served"
                    );
                }
                _ => {}
            }
        }
        let patience = Duration::from_mins(5);
        self.bench.resolver.close(patience).await.expect("it works");
        let rows = self.bench.totals().await;
        let spent: MicroDollars = rows.iter().map(|row| row.cost).sum();
        let billed = *self.billed.lock().expect("whole");
        assert_eq!(spent, billed, "every call is booked, once");
        assert_eq!(
            self.sum().await.set_aside,
            MicroDollars::ZERO,
            "nothing stays set aside"
        );
        assert_eq!(self.bench.resolver.counts().flights, 0);
    }
}

fn mended(case: u32) -> String {
    format!("What a reviewer wrote of case {case}.")
}

/// Looks at a future so many times, then drops it.
async fn hang_up_after<T>(patience: Option<u8>, work: impl Future<Output = T>) -> Option<T> {
    let Some(patience) = patience else {
        return Some(work.await);
    };
    let mut work = std::pin::pin!(work);
    for _ in 0..=patience {
        if let Poll::Ready(done) = futures_util::poll!(work.as_mut()) {
            return Some(done);
        }
        tokio::task::yield_now().await;
    }
    None
}

async fn read_stream(
    resolver: &FeedbackResolver,
    request: medcards_core::feedback::FeedbackRequest,
    patience: Option<u8>,
) -> Option<(String, Tier)> {
    let mut stream = resolver.resolve_stream(request);
    let read = async {
        let mut shown = String::new();
        while let Some(event) = stream.next().await {
            match event {
                FeedbackEvent::Delta(delta) => shown.push_str(&delta),
                FeedbackEvent::End(end) => {
                    let text = end.resolution.text().to_owned();
                    assert_eq!(end.is_replaced, shown != text);
                    return (text, end.resolution.tier());
                }
            }
        }
        panic!("a stream has an end")
    };
    hang_up_after(patience, read).await
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_there_is_an_answer_and_no_word_is_served_or_paid_wrongly(
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .map_err(|source| TestCaseError::fail(source.to_string()))?;
        runtime.block_on(async {
            let mut machine = Machine::new().await;
            for (at, step) in steps.into_iter().enumerate() {
                machine.take(at, step).await;
            }
            machine.end().await;
        });
    }
}
