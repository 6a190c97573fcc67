//! How SQLite goes about a statement, for tests.

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Row};

use crate::migrate::migrate;

/// Asserts by which indexes a statement reads tables, and what it sorts: one fragment of each step,
/// in order. Lists that come with the statement are left out.
pub(crate) async fn check(sql: &str, expected: &[&str]) {
    let options = SqliteConnectOptions::new().in_memory(true);
    let mut connection = options.connect().await.expect("memory is there");
    let migrated = migrate(&mut connection).await;
    migrated.expect("an empty file can be brought up to date");
    let explain = sqlx::query(AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}")));
    let plan = explain.fetch_all(&mut connection).await;
    let plan = plan.expect("a statement of the store has a plan");
    let matters = |step: &String| {
        let begins = |with| step.starts_with(with);
        ["SCAN ", "SEARCH ", "USE TEMP"].into_iter().any(begins)
            && !step.contains("VIRTUAL TABLE")
            && !step.contains("CONSTANT ROW")
    };
    let steps = plan.iter().map(|step| step.get::<String, _>("detail"));
    let steps: Vec<_> = steps.filter(matters).collect();
    let mut pairs = steps.iter().zip(expected);
    assert!(
        steps.len() == expected.len() && pairs.all(|(step, fragment)| step.contains(fragment)),
        "{steps:#?}\nand not {expected:#?}\n{sql}"
    );
}
