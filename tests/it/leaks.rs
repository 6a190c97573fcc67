//! What is said to one student reaches no other, nor anything that is shared.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use medcards_cache::MokaCache;
use medcards_core::ai::{
    AiCapability, AiEvent, AiFailure, AiProvider, AiRequest, AiStream, ModelId, PersonalContext,
    ReplyEnd, StopReason,
};
use medcards_core::app::{AnswerForm, Medcards};
use medcards_core::cache::Cache;
use medcards_core::chat::{
    ChatEvent, ChatQuestion, Coach, SharedAnswer, SharedAnswers, SimilarQuestions, TurnOrigin,
};
use medcards_core::feedback::{
    FeedbackEvent, FeedbackRequest, PrecomputedStore, RequestAudience, ReviewState, Tier,
};
use medcards_core::id::{SharedAnswerId, TurnId};
use medcards_core::metric::MetricSource;
use medcards_core::spend::{Price, TokenUsage};
use medcards_core::store::{Consistency, PageLimit};
use medcards_core::testing::{PlainChat, PlainPrompt, sample_content, sample_user_id};
use medcards_core::time::SystemClock;
use medcards_core::user::Locale;
use medcards_core::{AnswerId, CaseId, UserId};
use medcards_store_sqlite::{SqliteConfig, SqliteStore};
use regex::Regex;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

const CASES: u32 = 5;
const USERS: u32 = 120;
/// Questions of each user about each case.
const QUESTIONS: u32 = 3;

static MARKER: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"zq(\d+)qz").unwrap());

fn marker(user: u32) -> String {
    format!("zq{user}qz")
}

/// Whose markers a text has in it.
fn marked(text: &str) -> BTreeSet<u32> {
    let found = MARKER.captures_iter(text);
    found.map(|found| found[1].parse().unwrap()).collect()
}

/// The worst of all models: it says whatever it was told.
#[derive(Debug)]
struct Echo(ModelId);

impl fmt::Display for Echo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Echo")
    }
}

#[async_trait]
impl AiProvider for Echo {
    fn model(&self) -> &ModelId {
        &self.0
    }

    fn price(&self) -> Price {
        Price::default()
    }

    fn capability(&self) -> AiCapability {
        AiCapability::LIVE
    }

    async fn stream(&self, request: AiRequest) -> Result<AiStream, AiFailure> {
        let texts = request
            .prompt
            .parts
            .iter()
            .map(|part| part.text().to_owned());
        let mut events: Vec<_> = texts.map(|text| Ok(AiEvent::Delta(text + "\n"))).collect();
        events.push(Ok(AiEvent::End(ReplyEnd {
            stop: StopReason::Complete,
            usage: TokenUsage::default(),
            model: self.0.clone(),
            cost: Default::default(),
        })));
        // Others get their turn between two deltas.
        let slowly = futures_util::stream::iter(events).then(|event| async {
            tokio::task::yield_now().await;
            event
        });
        Ok(slowly.boxed())
    }
}

/// Reads all that is traced, at every level, and keeps what has a marker in it.
#[derive(Clone, Default)]
struct Trace {
    seen: Arc<AtomicU64>,
    leaks: Arc<Mutex<Vec<String>>>,
    ids: Arc<AtomicU64>,
}

impl Trace {
    fn look(&self, record: impl FnOnce(&mut Reader)) {
        let mut reader = Reader(String::new());
        record(&mut reader);
        self.seen.fetch_add(1, Ordering::Relaxed);
        if MARKER.is_match(&reader.0) {
            self.leaks.lock().unwrap().push(reader.0);
        }
    }
}

struct Reader(String);

impl tracing::field::Visit for Reader {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        let _ = write!(self.0, "{field}={value:?} ");
    }
}

impl Subscriber for Trace {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.look(|reader| span.record(reader));
        Id::from_u64(self.ids.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        self.look(|reader| values.record(reader));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.look(|reader| event.record(reader));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

struct Platform {
    medcards: Medcards,
    coach: Coach,
    cache: MokaCache,
    store: SqliteStore,
    cases: Vec<CaseId>,
    _dir: tempfile::TempDir,
}

impl Platform {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteConfig::new(dir.path().join("leaks.db"))).await;
        let store = store.unwrap();
        let cache = MokaCache::builder(Arc::new(SystemClock::new())).build();
        let echo = Arc::new(Echo("echo-1".parse().unwrap()));
        let medcards = Medcards::builder(Arc::new(store.clone()))
            .cache(Arc::new(cache.clone()))
            .ai(Arc::clone(&echo) as _, Arc::new(PlainPrompt::default()))
            .build()
            .await
            .unwrap();
        let contents = (0..CASES).map(sample_content).collect();
        let published = medcards.store().publish(contents, medcards.now()).await;
        let cases: Vec<_> = published.unwrap().iter().map(|case| case.case_id).collect();
        let coach = Coach::builder(medcards.clone(), store.clone(), Arc::new(PlainChat::new()))
            .ai(echo)
            .reuse(Arc::new(SimilarQuestions::new(Arc::new(store.clone()))))
            .build()
            .unwrap();
        Self {
            medcards,
            coach,
            cache,
            store,
            cases,
            _dir: dir,
        }
    }

    async fn answer(&self, user_id: UserId, case_id: CaseId) -> AnswerId {
        let form = AnswerForm {
            options: vec!["B".to_owned()],
            ..AnswerForm::default()
        };
        let submitted = self.medcards.submit_answer(user_id, case_id, form).await;
        submitted.unwrap().answer.id
    }

    async fn request(&self, user_id: UserId, answer_id: AnswerId) -> FeedbackRequest {
        let strong = Consistency::Strong;
        let request = self
            .medcards
            .feedback_request(user_id, answer_id, &strong)
            .await;
        (*request.unwrap()).clone()
    }
}

/// How many replies of each kind one student got.
#[derive(Debug, Default, PartialEq, Eq)]
struct Count {
    shared: u32,
    personal: u32,
    live: u32,
    reused: u32,
}

/// All that one student does, with a marker in whatever is personal.
async fn study(platform: Arc<Platform>, user: u32) -> Count {
    let user_id = sample_user_id(user);
    let own = BTreeSet::from([user]);
    let mut count = Count::default();
    for case_id in platform.cases.clone() {
        let answer_id = platform.answer(user_id, case_id).await;
        let shared = platform.request(user_id, answer_id).await;
        let personal = FeedbackRequest {
            audience: RequestAudience::Personal(PersonalContext {
                user_id,
                text: format!("I am {} and was wrong before", marker(user)),
            }),
            ..shared.clone()
        };
        let resolver = platform.medcards.resolver();
        // Before, between and after, streamed and whole.
        let first = resolver.resolve(&personal).await;
        assert_eq!(
            (first.tier(), marked(first.text())),
            (Tier::Live, own.clone())
        );
        let whole = resolver.resolve(&shared).await;
        assert_eq!(marked(whole.text()), BTreeSet::new(), "shared feedback");
        let mut stream = resolver.resolve_stream(personal);
        let mut deltas = String::new();
        while let Some(event) = stream.next().await {
            match event {
                FeedbackEvent::Delta(delta) => deltas.push_str(&delta),
                FeedbackEvent::End(end) => {
                    assert_eq!(marked(end.resolution.text()), own, "personal feedback");
                }
            }
        }
        assert_eq!(marked(&deltas), own, "personal feedback as it came");
        count.shared += 1;
        count.personal += 2;

        for n in 0..QUESTIONS {
            // The last question is one that a shared answer has, in other words.
            let (text, is_reused) = match n + 1 == QUESTIONS {
                true => ("Why give furosemide here?".to_owned(), true),
                false => (format!("I am {}. Why number {n}?", marker(user)), false),
            };
            let question = ChatQuestion {
                turn_id: Some(TurnId::new(platform.medcards.now())),
                answer_id,
                text,
            };
            assert!(marked(&format!("{question:?}")).is_empty(), "debug output");
            let mut stream = platform.coach.ask(user_id, question).await.unwrap();
            let (mut deltas, mut ended) = (String::new(), None);
            while let Some(event) = stream.next().await {
                let event = event.unwrap();
                assert!(marked(&format!("{event:?}")).is_empty(), "debug output");
                match event {
                    ChatEvent::Delta { text, .. } => deltas.push_str(&text),
                    ChatEvent::Restart => panic!("nothing is replaced here"),
                    ChatEvent::End(turn) => ended = turn.reply.clone(),
                }
            }
            let reply = ended.unwrap();
            assert_eq!(reply.text, deltas);
            let expected = if is_reused {
                BTreeSet::new()
            } else {
                own.clone()
            };
            assert_eq!(marked(&deltas), expected, "a reply of the coach");
            match reply.origin {
                TurnOrigin::Live => count.live += 1,
                TurnOrigin::Reused => count.reused += 1,
                origin => panic!("{origin:?}"),
            }
        }
        let limit = PageLimit::default();
        let turns = platform
            .coach
            .turns(user_id, answer_id, None, limit)
            .await
            .unwrap();
        for turn in turns.items {
            let texts = turn.question + &turn.reply.unwrap().text;
            assert!(marked(&texts).is_subset(&own), "what is kept of a chat");
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_words_of_one_student_reach_another_or_anything_shared() {
    let trace = Trace::default();
    tracing::subscriber::set_global_default(trace.clone()).unwrap();
    tracing::info!("looked at from here on");
    let platform = Arc::new(Platform::start().await);
    let now = platform.medcards.now();
    for case_id in &platform.cases {
        let case = platform.store_case(*case_id).await;
        let shared = SharedAnswer {
            id: SharedAnswerId::new(now),
            case_id: *case_id,
            case_version: case,
            locale: Locale::ENGLISH,
            question: "Why is furosemide given?".to_owned(),
            answer: "Because there is too much water.".to_owned(),
            reviewer: sample_user_id(USERS + 1),
            reviewed_at: now,
        };
        platform.store.put_shared_answer(&shared).await.unwrap();
    }

    let students = (0..USERS).map(|user| tokio::spawn(study(Arc::clone(&platform), user)));
    let students: Vec<_> = students.collect();
    for student in students {
        let expected = Count {
            shared: CASES,
            personal: 2 * CASES,
            live: (QUESTIONS - 1) * CASES,
            reused: CASES,
        };
        assert_eq!(student.await.unwrap(), expected, "everything was asked");
    }
    platform.coach.close(Duration::from_secs(30)).await;
    platform
        .medcards
        .close(Duration::from_secs(30))
        .await
        .unwrap();

    // Nothing shared has a marker in it.
    let mut rows = 0;
    for state in [ReviewState::Unreviewed, ReviewState::Approved] {
        let page = platform
            .store
            .list_feedback(state, None, PageLimit::MAX)
            .await
            .unwrap();
        assert_eq!(page.next, None);
        for (key, feedback) in page.items {
            rows += 1;
            assert!(marked(&feedback.text).is_empty(), "precomputed feedback");
            let entry = platform.cache.get_local(&key).expect("it is cached too");
            assert!(marked(&entry.feedback().text).is_empty(), "cached feedback");
        }
    }
    assert_eq!(rows, CASES, "one feedback for all who chose the same");
    platform.cache.run_pending_tasks();
    assert_eq!(
        platform.cache.len(),
        u64::from(CASES),
        "and nothing else is cached"
    );
    for case_id in &platform.cases {
        let shared = platform.store.list_shared_answers(*case_id).await.unwrap();
        assert_eq!(shared.len(), 1, "no chat became a shared answer");
        assert!(marked(&(shared[0].question.clone() + &shared[0].answer)).is_empty());
    }
    let mut metrics = Vec::new();
    platform.cache.collect(&mut metrics);
    let figures = format!(
        "{metrics:?} {:?} {:?} {:?} {:?}",
        platform.medcards.resolver().counts(),
        platform.coach.tally(),
        platform.medcards,
        platform.coach,
    );
    assert!(marked(&figures).is_empty(), "figures");
    let tally = platform.coach.tally();
    assert_eq!(tally.live, u64::from(USERS * CASES * (QUESTIONS - 1)));
    assert_eq!(tally.reused, u64::from(USERS * CASES));

    assert!(
        trace.seen.load(Ordering::Relaxed) > 0,
        "traces were looked at"
    );
    assert_eq!(*trace.leaks.lock().unwrap(), Vec::<String>::new(), "traces");
}

impl Platform {
    async fn store_case(&self, case_id: CaseId) -> medcards_core::case::CaseVersion {
        let case = self
            .medcards
            .store()
            .find_case(case_id, None)
            .await
            .unwrap();
        case.unwrap().version
    }
}
