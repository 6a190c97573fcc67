//! Brings the views of the log up to date, and checks them against the answers.

use std::time::{Duration, Instant};

use sqlx::{Connection, PgConnection, Row};

use crate::Error;
use crate::arguments::Database;

/// How often it is said how far it has come.
const SAY_INTERVAL: Duration = Duration::from_secs(15);

const PROJECTED: &str = "SELECT coalesce(sum(answered), 0)::bigint FROM user_stats";

/// Users, and those of whom the view of the log says something else than the answers.
const DIFFERENT: &str = "
SELECT count(*),
       count(*) FILTER (WHERE (log.answered, log.correct, log.last_answered_at)
                  IS DISTINCT FROM (counted.answered, counted.correct, counted.last_answered_at)),
       coalesce(sum(counted.answered), 0)::bigint
FROM user_stats AS log FULL JOIN user_stats_cache AS counted USING (user_id)";

const ANSWERS: &str = "SELECT count(*) FROM interactions";

pub(crate) async fn project(database: &Database) -> Result<(), Error> {
    let store = database.open().await?;
    let mut connection = database.connect().await?;
    let started = Instant::now();
    let projecting = store.project_stats();
    tokio::pin!(projecting);
    let mut ticks =
        tokio::time::interval_at(tokio::time::Instant::now() + SAY_INTERVAL, SAY_INTERVAL);
    let events = loop {
        tokio::select! {
            events = &mut projecting => break events?,
            _ = ticks.tick() => {
                let answers = number(&mut connection, PROJECTED).await?;
                println!("  {answers} events so far");
            }
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "projected {events} events in {seconds:.0} s: {:.0} events/s",
        events as f64 / seconds
    );
    let started = Instant::now();
    store.refresh_stats_cache().await?;
    println!(
        "refreshed user_stats_cache in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    store.close().await;

    let row = sqlx::query(DIFFERENT).fetch_one(&mut connection).await?;
    let (users, different, counted): (i64, i64, i64) =
        (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    let answers = number(&mut connection, ANSWERS).await?;
    if different != 0 || counted != answers {
        let words = format!(
            "of {users} users, user_stats says otherwise of {different} than user_stats_cache, \
             which has {counted} of {answers} answers"
        );
        return Err(words.into());
    }
    println!("user_stats equals user_stats_cache for each of {users} users");
    // As autovacuum does a minute later.
    sqlx::raw_sql(
        "VACUUM (ANALYZE) user_stats, user_specialty_stats, case_stats, user_stats_cache",
    )
    .execute(&mut connection)
    .await?;
    connection.close().await?;
    Ok(())
}

async fn number(connection: &mut PgConnection, sql: &'static str) -> Result<i64, Error> {
    Ok(sqlx::query(sql).fetch_one(connection).await?.try_get(0)?)
}
