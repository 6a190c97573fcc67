//! The resolver in your own axum program: `cargo run --release --example embed`.
//!
//! Nothing to install. With `ANTHROPIC_API_KEY` set, a model writes the feedback, once for each
//! option and for at most a dollar a day; without, students read what the author wrote.

#![expect(clippy::print_stdout, reason = "it talks to who runs it")]

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::{Router, routing::get};
use medcards::CaseId;
use medcards::app::Medcards;
use medcards::case::{CaseQuery, OptionSet};
use medcards::feedback::{FeedbackRequest, RequestAudience, ResolverConfig};
use medcards::memory::MemoryStore;
use medcards::providers::{AnthropicProvider, FeedbackTemplate};
use medcards::spend::MicroDollars;
use medcards::user::Level;
use medcards_examples::deck::load_deck;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut config = ResolverConfig::default();
    config.spend_budget.per_day = Some(MicroDollars::new(1_000_000));
    let mut builder = Medcards::builder(Arc::new(MemoryStore::new())).resolver(config);
    if let Ok(key) = std::env::var("ANTHROPIC_API_KEY") {
        let model = AnthropicProvider::builder("claude-haiku-4-5").with_key(key.into());
        builder = builder.ai(Arc::new(model.build()?), Arc::new(FeedbackTemplate::new()));
    }
    let medcards = builder.build().await?;
    load_deck(&**medcards.store(), medcards.now()).await?;

    let router = Router::new()
        .route("/", get(cases))
        .route("/feedback/{case_id}/{key}", get(feedback))
        .with_state(medcards);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}/", listener.local_addr()?);
    Ok(axum::serve(listener, router).await?)
}

/// Lists some cases, with an address for the feedback on each option.
async fn cases(State(medcards): State<Medcards>) -> Result<String, StatusCode> {
    let page = medcards.store().list_cases(&CaseQuery::default()).await;
    let mut text = String::new();
    for case in page.map_err(|_error| StatusCode::BAD_GATEWAY)?.items {
        text += &format!("{}\n", case.content.stem());
        for option in case.content.options() {
            text += &format!("  /feedback/{}/{}  {}\n", case.id, option.key, option.text);
        }
    }
    Ok(text)
}

/// Finds the feedback on one option in the cheapest tier that has it, and says which that was.
async fn feedback(
    State(medcards): State<Medcards>,
    Path((case_id, key)): Path<(CaseId, String)>,
) -> Result<String, StatusCode> {
    let found = medcards.store().find_case(case_id, None).await;
    let case = found.ok().flatten().ok_or(StatusCode::NOT_FOUND)?;
    let option = case.content.position_of(&key);
    let chosen = OptionSet::from_iter([option.ok_or(StatusCode::NOT_FOUND)?]);
    let request = FeedbackRequest {
        key: medcards
            .resolver()
            .key(&case, chosen, case.content.locale(), Level::default()),
        case,
        audience: RequestAudience::Shared,
        payer: None,
    };
    let it = medcards.resolver().resolve(&request).await;
    let (tier, time, cost) = (it.tier(), it.latency_us(), it.cost());
    let text = it.text();
    Ok(format!("{text}\n\n({tier}, {time} µs, cost {cost})\n"))
}
