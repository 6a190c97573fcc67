//! What users wait for: each of them once, one after the other.

use std::fs;
use std::time::Instant;

use hdrhistogram::Histogram;
use medcards_core::UserId;
use medcards_core::answer::AnswerStore;
use medcards_core::case::CaseFilter;
use medcards_core::store::{Consistency, PageLimit};
use medcards_store_pg::PgStore;
use serde::{Deserialize, Serialize};
use sqlx::Connection;

use crate::Error;
use crate::arguments::{Measure, Wait};

/// A screen of a student's history.
const SCREEN: u32 = 20;

/// The longest leaderboard.
const BOARD: u32 = 100;

/// A statement after which the log of the server has those that are measured.
pub(crate) const BEGINNING: &str = "SELECT 'here begins what is measured'";

/// How long users waited, in milliseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Waited {
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
}

pub(crate) async fn measure(measure: &Measure) -> Result<(), Error> {
    let users: Result<Vec<UserId>, _> = fs::read_to_string(&measure.users)?
        .lines()
        .map(str::parse)
        .collect();
    let store = measure.database.open().await?;
    let mut connection = measure.database.connect().await?;
    sqlx::raw_sql(BEGINNING).execute(&mut connection).await?;
    connection.close().await?;
    // Three digits of what is at most a minute.
    let mut waited_us = Histogram::<u64>::new_with_max(60_000_000, 3)?;
    for user_id in users? {
        let started = Instant::now();
        ask(&store, measure.wait, user_id).await?;
        waited_us.saturating_record(u64::try_from(started.elapsed().as_micros())?);
    }
    store.close().await;
    let at = |quantile| waited_us.value_at_quantile(quantile) as f64 / 1_000.0;
    let waited = Waited {
        p50: at(0.5),
        p95: at(0.95),
        p99: at(0.99),
        max: at(1.0),
    };
    println!("{}", serde_json::to_string(&waited)?);
    Ok(())
}

/// Asks for what a user waits for. Every user has answered, so that nothing is an error.
async fn ask(store: &PgStore, wait: Wait, user_id: UserId) -> Result<(), Error> {
    let fresh = &Consistency::Strong;
    let is_there = match wait {
        Wait::LastAnswers => {
            let limit = PageLimit::new(SCREEN)?;
            let page = store.list_answers(user_id, None, limit, fresh).await?;
            !page.items.is_empty()
        }
        Wait::Totals => store.user_stats(user_id, fresh).await?.answered > 0,
        Wait::Dashboard => store.dashboard(user_id, fresh).await?.answered > 0,
        Wait::NextCase => {
            let filter = CaseFilter::default();
            store.next_case(user_id, &filter, fresh).await?.is_some()
        }
        Wait::Leaderboard => !store.leaderboard(BOARD, fresh).await?.is_empty(),
    };
    match is_there {
        true => Ok(()),
        false => Err(format!("there is nothing for user {user_id}").into()),
    }
}
