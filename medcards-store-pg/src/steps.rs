//! Where the statements of a transaction run: one of ours, or one that an embedder has begun.

use sqlx::PgConnection;
use sqlx::postgres::PgRow;

use crate::error::Failure;
use crate::node::Transaction;
use crate::session::Statement;

/// Runs one statement after the other inside a transaction that somebody else ends.
pub(crate) trait Steps: Send {
    /// Runs a statement and returns its rows.
    fn fetch(
        &mut self,
        statement: Statement,
    ) -> impl Future<Output = Result<Vec<PgRow>, Failure>> + Send;
}

impl Steps for Transaction<'_> {
    async fn fetch(&mut self, statement: Statement) -> Result<Vec<PgRow>, Failure> {
        self.lease().fetch(statement).await
    }
}

/// The transaction of an embedder.
pub(crate) struct Theirs<'c>(pub(crate) &'c mut PgConnection);

impl Steps for Theirs<'_> {
    async fn fetch(&mut self, statement: Statement) -> Result<Vec<PgRow>, Failure> {
        // Their connection may lead to a pooler, where names of statements mean nothing.
        let statement = statement.persistent(false);
        Ok(statement.fetch_all(&mut *self.0).await?)
    }
}
