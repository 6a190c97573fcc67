//! Builds what is learnt from the log, and checks it against the answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use medcards_core::app::Medcards;
use medcards_core::event::{EventLog, LogPosition};
use medcards_core::learning::Learning;
use medcards_core::store::Consistency;
use medcards_core::view::{ViewName, ViewState};
use medcards_core::{Result, UserId};
use medcards_jobs::learning::LearningRunner;
use sqlx::{Connection, PgConnection, Row};
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::Error;
use crate::arguments::Database;

/// How often it is looked how far it has come.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// How often that is said.
const SAY_INTERVAL: Duration = Duration::from_secs(15);

/// As a server has.
const CONNECTIONS: u32 = 10;

/// How many dashboards are read at once: few enough for the connections.
const READERS: usize = 8;

/// How long the runner may take to stop: it does no jobs that it would have to wait for.
const PATIENCE: Duration = Duration::from_secs(10);

const EVENTS: &str = "SELECT count(*) FROM events";

const ANSWERS: &str = "SELECT count(*) FROM interactions";

const COUNTED: &str = "SELECT user_id, answered, correct FROM user_stats_cache";

pub(crate) async fn project(database: &Database) -> Result<(), Error> {
    let store = database.open(CONNECTIONS).await?;
    let mut connection = database.connect().await?;
    let events = number(&mut connection, EVENTS).await?;
    let medcards = Medcards::builder(Arc::new(store.clone())).build().await?;
    let runner = LearningRunner::builder(&medcards, Arc::new(store.clone()))
        .product_views()
        .with_workers(false)
        .start()?;
    let learning = Learning::new(medcards, Arc::new(store.clone()));
    build(&runner, &learning, events).await?;
    runner.stop(PATIENCE).await;
    for view in learning.views().await? {
        let position = view.current.map_or(LogPosition::START, |it| it.position);
        let behind = store.count_events(position).await?;
        if behind > 0 {
            return Err(format!("{} lacks {behind} events", view.name).into());
        }
    }

    let started = Instant::now();
    store.refresh_stats_cache().await?;
    println!(
        "refreshed user_stats_cache in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    check(&learning, &mut connection).await?;
    store.close().await;
    // As autovacuum does a minute later.
    sqlx::raw_sql("VACUUM (ANALYZE) view_rows, awards, notices, user_stats_cache")
        .execute(&mut connection)
        .await?;
    connection.close().await?;
    Ok(())
}

/// Waits until every view is whole, and says how long each took.
async fn build(runner: &LearningRunner, learning: &Learning, events: i64) -> Result<(), Error> {
    let (started, mut said) = (Instant::now(), Instant::now());
    let views = runner.runner_statuses().len();
    let mut built: Vec<ViewName> = Vec::with_capacity(views);
    while built.len() < views {
        tokio::time::sleep(LOOK_INTERVAL).await;
        let seconds = started.elapsed().as_secs_f64();
        for view in learning.views().await? {
            if is_whole(&view) && !built.contains(&view.name) {
                let (name, rate) = (view.name, events as f64 / seconds);
                println!("  {name:12} after {seconds:6.1} s: {rate:.0} events/s");
                built.push(name);
            }
        }
        if said.elapsed() >= SAY_INTERVAL {
            said = Instant::now();
            let statuses = runner.runner_statuses();
            let applied: u64 = statuses.iter().map(|it| it.applied).sum();
            println!("  {applied} events so far, of all views together");
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "learnt from {events} events in {seconds:.1} s: {:.0} events/s through all {views} views",
        events as f64 / seconds
    );
    Ok(())
}

/// Whether its first edition came to the end of the log.
fn is_whole(view: &ViewState) -> bool {
    view.current.is_some() && view.next.is_none()
}

/// Compares the dashboard of every user with what is counted from the answers.
async fn check(learning: &Learning, connection: &mut PgConnection) -> Result<(), Error> {
    let mut counted: Vec<(UserId, [i64; 2])> = Vec::new();
    for row in sqlx::query(COUNTED).fetch_all(&mut *connection).await? {
        let user_id = UserId::from_uuid(row.try_get::<Uuid, _>(0)?);
        counted.push((user_id, [row.try_get(1)?, row.try_get(2)?]));
    }
    let sum: i64 = counted.iter().map(|(_, [answers, _])| answers).sum();
    let answers = number(connection, ANSWERS).await?;
    let users = counted.len();
    let mut checking = JoinSet::new();
    for some in counted.chunks(users.div_ceil(READERS).max(1)) {
        checking.spawn(count_different(learning.clone(), some.to_vec()));
    }
    let mut different = 0;
    for of_some in checking.join_all().await {
        different += of_some?;
    }
    if different != 0 || sum != answers {
        let words = format!(
            "of {users} users, {different} have another dashboard than user_stats_cache, which has \
             {sum} of {answers} answers"
        );
        return Err(words.into());
    }
    println!("the dashboard of each of {users} users says what user_stats_cache says");
    Ok(())
}

/// How many of these users have another number of answers, or of right ones, on their dashboard.
async fn count_different(learning: Learning, users: Vec<(UserId, [i64; 2])>) -> Result<u64> {
    let mut different = 0;
    for (user_id, counted) in users {
        let dashboard = learning.dashboard(user_id, &Consistency::Strong).await?;
        let learnt = [dashboard.total.answers, dashboard.total.right];
        different += u64::from(learnt.map(u64::cast_signed) != counted);
    }
    Ok(different)
}

async fn number(connection: &mut PgConnection, sql: &'static str) -> Result<i64, Error> {
    Ok(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?)
}
