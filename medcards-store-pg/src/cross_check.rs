//! Figures of users that are computed from the answers themselves, to check views against.

use std::time::Duration;

use medcards_core::Result;

use crate::PgStore;
use crate::error::Failure;
use crate::node::{Node, transact};

const REFRESH: &str = "refresh stats cache";

const REFRESH_SQL: &str = "REFRESH MATERIALIZED VIEW CONCURRENTLY user_stats_cache";

/// A refresh reads all answers, so it may take far longer than a statement of a request.
const REFRESH_WAIT_MAX: Duration = Duration::from_hours(1);

const REFRESH_TIMEOUT_SQL: &str = "SET LOCAL statement_timeout = '1h'";

impl PgStore {
    /// Computes the cross-check `user_stats_cache` anew from the answers, while it can be read.
    ///
    /// # Errors
    /// Those of the storage.
    ///
    /// # Cancel safety
    /// A dropped future leaves the old figures or the new ones.
    pub async fn refresh_stats_cache(&self) -> Result<()> {
        let refreshed = refresh(self.primary()).await;
        refreshed.map_err(|failure| failure.during(REFRESH))
    }
}

pub(crate) async fn refresh(node: &Node) -> Result<(), Failure> {
    transact!(node, |transaction| {
        transaction.lease().wait_up_to(REFRESH_WAIT_MAX);
        transaction.lease().run(REFRESH_TIMEOUT_SQL).await?;
        transaction.lease().run(REFRESH_SQL).await
    })
}
