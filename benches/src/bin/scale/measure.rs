//! What users wait for: each of them once, one after the other.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use hdrhistogram::Histogram;
use medcards_core::UserId;
use medcards_core::app::Medcards;
use medcards_core::case::CaseFilter;
use medcards_core::leaderboard::{Board, Period};
use medcards_core::learning::Learning;
use medcards_core::store::{Consistency, PageLimit};
use serde::{Deserialize, Serialize};
use sqlx::Connection;

use crate::Error;
use crate::arguments::{Measure, Wait};

/// A screen of a student's history.
const SCREEN: u32 = 20;

/// The longest leaderboard.
const BOARD: usize = 100;

/// How many neighbours a user sees on each side.
const NEIGHBOURS: usize = 2;

/// As many as one user asks at once: the next case reads four things at the same time.
const CONNECTIONS: u32 = 4;

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
    let store = measure.database.open(CONNECTIONS).await?;
    let medcards = Medcards::builder(Arc::new(store.clone())).build().await?;
    let learning = Learning::new(medcards, Arc::new(store.clone()));
    if measure.wait == Wait::NextCase {
        // One of all users waits for it otherwise, as on a server every ten minutes.
        let started = Instant::now();
        learning.refresh_catalogue().await?;
        let ms = started.elapsed().as_secs_f64() * 1_000.0;
        eprintln!("read which cases there are in {ms:.0} ms");
    }
    let mut connection = measure.database.connect().await?;
    sqlx::raw_sql(BEGINNING).execute(&mut connection).await?;
    connection.close().await?;
    // Three digits of what is at most a minute.
    let mut waited_us = Histogram::<u64>::new_with_max(60_000_000, 3)?;
    for user_id in users? {
        let started = Instant::now();
        ask(&learning, measure.wait, user_id).await?;
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
async fn ask(learning: &Learning, wait: Wait, user_id: UserId) -> Result<(), Error> {
    let store = learning.medcards().store();
    let fresh = &Consistency::Strong;
    let is_there = match wait {
        Wait::LastAnswers => {
            let limit = PageLimit::new(SCREEN)?;
            let page = store.list_answers(user_id, None, limit, fresh).await?;
            !page.items.is_empty()
        }
        Wait::Totals => store.user_stats(user_id, fresh).await?.answered > 0,
        Wait::Dashboard => learning.dashboard(user_id, fresh).await?.total.answers > 0,
        Wait::NextCase => {
            let filter = CaseFilter::default();
            learning.next_case(user_id, &filter, fresh).await?.is_some()
        }
        Wait::Leaderboard => {
            let (board, boards) = (Board::overall(Period::AllTime), learning.leaderboards());
            let top = boards.top(&board, BOARD).await?;
            boards.standing(&board, user_id, NEIGHBOURS).await?;
            !top.standings.is_empty()
        }
    };
    match is_there {
        true => Ok(()),
        false => Err(format!("there is nothing for user {user_id}").into()),
    }
}
