use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::{StreamExt, stream};
use medcards_core::feedback::{
    Audience, Feedback, FeedbackEnd, FeedbackEvent, FeedbackRequest, FeedbackStream, Freshness,
    Origin, Resolution, ReviewState, Tier, authored_text,
};
use medcards_core::spend::Payer;
use medcards_core::store::Consistency;
use medcards_core::{AnswerId, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::{ACCEL_BUFFERING, NO_STORE, json_bytes};
use crate::api::Shared;
use crate::auth::Caller;
use crate::drain::Drain;
use crate::negotiate::{WantedConsistency, WantedForm};
use crate::params::PathId;
use crate::problem::{Problem, ProblemCode};

/// How often a silent stream is kept alive: proxies close one that is silent for 30 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Room for what follows the rendered part of a feedback.
const TAIL_BYTES: usize = 256;

/// Feedback on a choice. The last event of a stream has `is_replaced` besides.
#[derive(ToSchema)]
#[schema(as = Feedback)]
#[expect(dead_code, reason = "describes what is written by hand, for speed")]
struct FeedbackBody {
    /// The words.
    text: String,
    /// The model that wrote them; null for the author.
    #[schema(required = true)]
    model: Option<String>,
    /// Who wrote them: `authored`, `batch`, `live` or `reviewer`.
    origin: String,
    /// What a reviewer said: `approved` or `unreviewed`.
    review: String,
    /// The edition of the prompt that the model was given.
    #[schema(required = true)]
    prompt_version: Option<u32>,
    #[schema(format = DateTime)]
    written_at: String,
    /// The tier that gave it: `local`, `remote`, `precomputed`, `live` or `authored`.
    tier: String,
    /// `fresh`, `stale_while_revalidating` or `stale_on_failure`.
    freshness: String,
    /// What it cost now, in millionths of a dollar.
    cost_microdollars: u64,
    /// What asking the model now would have cost besides.
    saved_microdollars: u64,
    /// How long it took to find.
    latency_us: u64,
    /// What each tier that was asked did, cheapest first.
    tiers: Vec<TierBody>,
    /// In the last event of a stream only: whether `text` differs from the deltas joined, so that
    /// what was shown must be replaced.
    #[schema(required = false)]
    is_replaced: bool,
}

/// What a tier did.
#[derive(ToSchema)]
#[schema(as = TierOutcome)]
#[expect(dead_code, reason = "describes what is written by hand, for speed")]
struct TierBody {
    tier: String,
    /// `hit`, `miss`, `stale`, `failed`, `rejected`, or why it was not asked.
    outcome: String,
}

/// The part of a feedback that is the same for everyone who gets it.
#[derive(Serialize)]
struct Words<'a> {
    text: &'a str,
    model: Option<&'a str>,
    origin: &'a str,
    review: &'a str,
    prompt_version: Option<u32>,
    written_at: Timestamp,
}

/// Show the feedback on an answer.
///
/// With `Accept: text/event-stream` it comes as it is written: events `delta` with
/// `{"text": "..."}`, then exactly one `end` with the whole.
#[utoipa::path(
    get,
    path = "/v1/answers/{id}/feedback",
    tag = "answers",
    params(
        ("id" = uuid::Uuid, Path, description = "The id of the answer."),
        ("medcards-consistency" = Option<String>, Header, description = "What submitting the answer, or a later one, gave."),
    ),
    responses(
        (status = 200, description = "The feedback.", content(
            (FeedbackBody = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 404, description = "`answer_not_found`"),
        (status = 406, description = "`not_acceptable`"),
    ),
    security(("bearer" = [])),
)]
pub(super) async fn show_feedback(
    State(app): State<Shared>,
    caller: Caller,
    PathId(answer_id): PathId<AnswerId>,
    form: WantedForm,
    WantedConsistency(consistency): WantedConsistency,
) -> Result<Response, Problem> {
    // An answer never changes: what is remembered of it is as fresh as can be.
    let remembered = app.medcards.remembered_request(caller.payer(), answer_id);
    if let Some(request) = &remembered
        && form == WantedForm::Json
        && let Some(resolution) = app.medcards.resolver().resolve_local(request)
    {
        return Ok(json_bytes(render(&resolution, None)));
    }
    // Boxed, so that the quick way above does not carry the size of the slow one.
    Box::pin(search(app, caller.payer(), answer_id, consistency, form)).await
}

/// Finds feedback that is not at hand.
async fn search(
    app: Shared,
    student: Payer,
    answer_id: AnswerId,
    consistency: Consistency,
    form: WantedForm,
) -> Result<Response, Problem> {
    let request = app
        .medcards
        .feedback_request(student, answer_id, &consistency)
        .await
        .map_err(|error| Problem::from(error).or_not_found(ProblemCode::AnswerNotFound))?;
    match form {
        WantedForm::EventStream => Ok(streamed(&app, request)),
        WantedForm::Json => {
            let resolution = app.medcards.resolver().resolve(&request).await;
            Ok(json_bytes(render(&resolution, None)))
        }
    }
}

/// The resolution as JSON: the words, which a cache entry keeps as bytes, and what is of this
/// request.
fn render(resolution: &Resolution, is_replaced: Option<bool>) -> Bytes {
    let made;
    let words = match resolution.entry() {
        Some(entry) => entry.rendered(words_of_feedback),
        None => {
            made = words_of_resolution(resolution);
            &made
        }
    };
    let tail = Tail {
        tier: resolution.tier(),
        freshness: resolution.freshness(),
        cost: resolution.cost().get(),
        saved: resolution.saved().get(),
        latency_us: resolution.latency_us(),
        is_replaced,
    };
    let outcomes = resolution
        .trace()
        .outcomes()
        .map(|(tier, outcome)| (tier, outcome.as_str()));
    tail.after(words, outcomes)
}

fn words_of_feedback<A: Audience>(feedback: &Feedback<A>) -> Bytes {
    written(&Words {
        text: &feedback.text,
        model: feedback.model.as_ref().map(|model| model.as_str()),
        origin: feedback.origin.as_str(),
        review: feedback.review.as_str(),
        prompt_version: feedback.prompt_version.map(|version| version.get()),
        written_at: feedback.written_at,
    })
}

fn words_of_resolution(resolution: &Resolution) -> Bytes {
    written(&Words {
        text: resolution.text(),
        model: resolution.model().map(|model| model.as_str()),
        origin: resolution.origin().as_str(),
        review: resolution.review().as_str(),
        prompt_version: resolution.prompt_version().map(|version| version.get()),
        written_at: resolution.written_at(),
    })
}

/// The JSON of the words without its last brace, so that more can follow.
fn written(words: &Words<'_>) -> Bytes {
    // Texts and numbers always serialise.
    let mut json = serde_json::to_vec(words).unwrap_or_else(|_| b"{\"text\":\"\"}".to_vec());
    json.pop();
    json.into()
}

/// What is of one request alone.
struct Tail {
    tier: Tier,
    freshness: Freshness,
    cost: u64,
    saved: u64,
    latency_us: u64,
    is_replaced: Option<bool>,
}

impl Tail {
    /// Writes the tail after the words. Its names hold nothing that JSON would have to escape.
    fn after<'a>(&self, words: &[u8], outcomes: impl Iterator<Item = (Tier, &'a str)>) -> Bytes {
        let mut json = BytesMut::with_capacity(words.len() + TAIL_BYTES);
        json.put_slice(words);
        for part in [
            ",\"tier\":\"",
            self.tier.as_str(),
            "\",\"freshness\":\"",
            self.freshness.as_str(),
        ] {
            json.put_slice(part.as_bytes());
        }
        json.put_slice(b"\",\"cost_microdollars\":");
        put_number(&mut json, self.cost);
        json.put_slice(b",\"saved_microdollars\":");
        put_number(&mut json, self.saved);
        json.put_slice(b",\"latency_us\":");
        put_number(&mut json, self.latency_us);
        json.put_slice(b",\"tiers\":[");
        for (index, (tier, outcome)) in outcomes.enumerate() {
            let lead = if index == 0 {
                "{\"tier\":\""
            } else {
                ",{\"tier\":\""
            };
            for part in [lead, tier.as_str(), "\",\"outcome\":\"", outcome, "\"}"] {
                json.put_slice(part.as_bytes());
            }
        }
        json.put_slice(match self.is_replaced {
            None => b"]}",
            Some(false) => b"],\"is_replaced\":false}",
            Some(true) => b"],\"is_replaced\":true}",
        });
        json.freeze()
    }
}

fn put_number(json: &mut BytesMut, number: u64) {
    json.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn streamed(app: &Shared, request: Arc<FeedbackRequest>) -> Response {
    let events = app.medcards.resolver().resolve_stream((*request).clone());
    let drain = app.drain.clone();
    let state = Streaming {
        patience_over: Box::pin(async move { Drain::patience_over(&drain).await }),
        events: Some(events),
        request,
    };
    let stream = stream::unfold(state, |mut state| async move {
        let event = state.next().await?;
        Some((Ok::<_, Infallible>(event), state))
    });
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive");
    let mut response = Sse::new(stream).keep_alive(keep_alive).into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, NO_STORE);
    response
        .headers_mut()
        .insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// A stream of feedback that ends when the server's patience is over.
struct Streaming {
    events: Option<FeedbackStream>,
    patience_over: Pin<Box<dyn Future<Output = ()> + Send>>,
    request: Arc<FeedbackRequest>,
}

impl Streaming {
    async fn next(&mut self) -> Option<Event> {
        let events = self.events.as_mut()?;
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = &mut self.patience_over => {
                self.events = None;
                return Some(self.closing());
            }
        };
        match event? {
            FeedbackEvent::Delta(text) => Some(delta(&text)),
            FeedbackEvent::End(FeedbackEnd {
                resolution,
                is_replaced,
            }) => {
                self.events = None;
                Some(end(&render(&resolution, Some(is_replaced))))
            }
        }
    }

    /// The end of a stream that the server cannot wait for: what the author wrote.
    fn closing(&self) -> Event {
        let FeedbackRequest { key, case, .. } = &*self.request;
        let text = authored_text(case, key.chosen, key.locale);
        let words = written(&Words {
            text: &text,
            model: None,
            origin: Origin::Authored.as_str(),
            review: ReviewState::Approved.as_str(),
            prompt_version: None,
            written_at: case.published_at,
        });
        let tail = Tail {
            tier: Tier::Authored,
            freshness: Freshness::Fresh,
            cost: 0,
            saved: 0,
            latency_us: 0,
            is_replaced: Some(true),
        };
        end(&tail.after(
            &words,
            [(Tier::Live, "closing"), (Tier::Authored, "hit")].into_iter(),
        ))
    }
}

fn delta(text: &str) -> Event {
    #[derive(Serialize)]
    struct Delta<'a> {
        text: &'a str,
    }
    // A text always serialises.
    Event::default()
        .event("delta")
        .data(serde_json::to_string(&Delta { text }).unwrap_or_default())
}

fn end(json: &[u8]) -> Event {
    // What was written here is UTF-8.
    Event::default()
        .event("end")
        .data(String::from_utf8_lossy(json))
}
