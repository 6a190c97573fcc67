use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use medcards_core::app::Medcards;
use medcards_core::chat::Coach;
use medcards_core::feedback::ResolverConfig;
use medcards_core::learning::Learning;
use medcards_core::memory::MemoryStore;
use medcards_core::spend::SpendBudget;
use medcards_core::store::Store;
use medcards_core::testing::{
    FaultPlan, Faulty, ManualClock, PlainChat, PlainPrompt, ScriptedProvider, sample_content,
};
use medcards_core::{AnswerId, CaseId};
use medcards_http::{Api, Guests, HttpConfig};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const SECRET: &str = "a test secret of at least 32 bytes";

/// A platform in memory, with its API.
pub(crate) struct World {
    pub(crate) api: Api,
    pub(crate) medcards: Medcards,
    pub(crate) provider: ScriptedProvider,
    pub(crate) plan: FaultPlan,
    /// Where everything is kept, without the faults of the plan.
    pub(crate) memory: MemoryStore,
    pub(crate) clock: Arc<ManualClock>,
}

/// What a request got.
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl World {
    /// Guests are taken, sessions are kept, nothing is limited, and a scripted model writes feedback.
    pub(crate) async fn new() -> Self {
        Self::with(|config| config).await
    }

    /// The same without a coach, and without what is learnt from answers.
    pub(crate) async fn without_coach() -> Self {
        let mut world = Self::new().await;
        let config = HttpConfig::new()
            .with_jwt_secret(SECRET)
            .with_guests(Guests::Enabled);
        world.api = medcards_http::router(world.medcards.clone(), config).unwrap();
        world
    }

    pub(crate) async fn with(configure: impl FnOnce(HttpConfig) -> HttpConfig) -> Self {
        Self::sharing(&MemoryStore::new(), configure).await
    }

    /// One process more on this memory.
    pub(crate) async fn sharing(
        memory: &MemoryStore,
        configure: impl FnOnce(HttpConfig) -> HttpConfig,
    ) -> Self {
        Self::in_memory(memory.clone(), SpendBudget::default(), configure).await
    }

    async fn in_memory(
        memory: MemoryStore,
        budget: SpendBudget,
        configure: impl FnOnce(HttpConfig) -> HttpConfig,
    ) -> Self {
        let plan = FaultPlan::new();
        let store = Arc::new(Faulty::new(memory.clone(), plan.clone()));
        Self::made_of(store, memory, plan, budget, configure).await
    }

    /// One where no more than this may be spent.
    pub(crate) async fn within(budget: SpendBudget) -> Self {
        Self::in_memory(MemoryStore::new(), budget, |config| config).await
    }

    /// One process more on this store.
    pub(crate) async fn on(store: Arc<dyn Store>) -> Self {
        let (memory, plan) = (MemoryStore::new(), FaultPlan::new());
        let budget = SpendBudget::default();
        Self::made_of(store, memory, plan, budget, |config| config).await
    }

    async fn made_of(
        store: Arc<dyn Store>,
        memory: MemoryStore,
        plan: FaultPlan,
        budget: SpendBudget,
        configure: impl FnOnce(HttpConfig) -> HttpConfig,
    ) -> Self {
        let sessions = Faulty::new(MemoryStore::new(), plan.clone());
        let clock = Arc::new(ManualClock::default());
        let provider = ScriptedProvider::new();
        let mut resolver = ResolverConfig::default();
        resolver.spend_budget = budget;
        let medcards = Medcards::builder(store)
            .resolver(resolver)
            .ai(Arc::new(provider.clone()), Arc::new(PlainPrompt::default()))
            .clock(Arc::clone(&clock) as _)
            .build()
            .await
            .unwrap();
        let chats = Arc::new(Faulty::new(MemoryStore::new(), plan.clone()));
        let prompt = Arc::new(PlainChat::new());
        let coach = Coach::builder_with(medcards.clone(), Arc::clone(&chats) as _, chats, prompt)
            .ai(Arc::new(provider.clone()))
            .build()
            .unwrap();
        let kept = Arc::new(Faulty::new(memory.clone(), plan.clone()));
        let learning = Learning::new(medcards.clone(), kept);
        let config = HttpConfig::new()
            .with_jwt_secret(SECRET)
            .with_guests(Guests::Enabled)
            .with_learning(learning)
            .with_coach(coach)
            .with_sessions(Arc::new(sessions))
            .with_quota(None);
        let api = medcards_http::router(medcards.clone(), configure(config)).unwrap();
        Self {
            api,
            medcards,
            provider,
            plan,
            memory,
            clock,
        }
    }

    /// Publishes sample cases, and returns the id of the first.
    pub(crate) async fn publish(&self, cases: u32) -> CaseId {
        let contents = (0..cases).map(sample_content).collect();
        let published = self
            .medcards
            .store()
            .publish(contents, self.medcards.now())
            .await;
        published.unwrap()[0].case_id
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Reply {
        let response = self.api.router().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Reply {
            status: head.status,
            headers: head.headers,
            body,
        }
    }

    /// A token of a new guest.
    pub(crate) async fn guest(&self) -> String {
        let reply = self
            .send(request(Method::POST, "/v1/guest", None, Body::empty()))
            .await;
        reply.expect(201)["token"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn get(&self, token: &str, path: &str) -> Reply {
        self.send(request(Method::GET, path, Some(token), Body::empty()))
            .await
    }

    pub(crate) async fn post(&self, token: &str, path: &str, body: &Value) -> Reply {
        let mut request = request(Method::POST, path, Some(token), body.to_string().into());
        request
            .headers_mut()
            .insert("content-type", "application/json".parse().unwrap());
        self.send(request).await
    }

    pub(crate) async fn delete(&self, token: &str, path: &str) -> Reply {
        self.send(request(Method::DELETE, path, Some(token), Body::empty()))
            .await
    }

    /// A new session of whoever has this token: its id and its token.
    pub(crate) async fn session(&self, token: &str) -> (String, String) {
        let begun = request(Method::POST, "/v1/sessions", Some(token), Body::empty());
        let begun = self.send(begun).await.expect(201);
        let text = |name: &str| begun[name].as_str().unwrap().to_owned();
        (text("session"), text("token"))
    }

    /// A token of an administrator.
    pub(crate) fn admin(&self) -> String {
        sign_with_secret(
            &json!({"sub": "someone@example.org", "role": "admin", "exp": self.in_an_hour()}),
        )
    }

    pub(crate) fn in_an_hour(&self) -> i64 {
        self.medcards.now().as_second() + 3_600
    }

    /// A new answer id, made now.
    pub(crate) fn answer_id(&self) -> AnswerId {
        AnswerId::new(self.medcards.now())
    }
}

/// A token signed with the secret of the configuration.
pub(crate) fn sign_with_secret(claims: &Value) -> String {
    sign(claims, SECRET)
}

pub(crate) fn sign(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

pub(crate) fn request(
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Body,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(body).unwrap()
}

impl Reply {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }

    /// The body, if the status is as expected.
    #[track_caller]
    pub(crate) fn expect(&self, status: u16) -> Value {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        self.json()
    }

    /// Checks that it is a whole problem with this status and code.
    #[track_caller]
    pub(crate) fn expect_problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["type"], format!("urn:medcards:problem:{code}"));
        assert_eq!(problem["status"], status);
        assert_eq!(problem["request_id"], self.header("x-request-id"));
        assert!(
            problem["title"]
                .as_str()
                .is_some_and(|title| !title.is_empty())
        );
        problem
    }

    #[track_caller]
    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name}"));
        value.to_str().unwrap()
    }
}
