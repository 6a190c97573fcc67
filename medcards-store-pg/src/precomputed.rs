use async_trait::async_trait;
use medcards_core::ai::PromptVersion;
use medcards_core::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, Origin, PrecomputedStore, Review, ReviewState,
    Shared,
};
use medcards_core::spend::MicroDollars;
use medcards_core::store::{ListId, Page, PageCursor, PageLimit};
use medcards_core::{Error, ErrorKind, Result, Timestamp};
use sqlx::postgres::PgRow;

use crate::PgStore;
use crate::column::{Columns, instant, saturated};
use crate::error::{self, Failure};
use crate::node::transact;

const FIND: &str = "find feedback";
const PUT: &str = "put feedback";
const REVIEW: &str = "review feedback";
const LIST: &str = "list feedback";
const LIST_KEYS: &str = "list feedback keys";
const LIST_REVIEWED: &str = "list reviewed feedback";

const FIND_SQL: &str = "
SELECT position, key, text, origin, model, prompt_version, review, cost, written_at
FROM precomputed_feedback WHERE key = $1";

/// Locked, so that two reviewers speak one after the other.
const FIND_TO_REVIEW_SQL: &str = "
SELECT position, key, text, origin, model, prompt_version, review, cost, written_at
FROM precomputed_feedback WHERE key = $1 FOR UPDATE";

const PUT_SQL: &str = "
INSERT INTO precomputed_feedback
    (key, text, origin, model, prompt_version, review, cost, written_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (key) DO UPDATE SET
    text = excluded.text, origin = excluded.origin, model = excluded.model,
    prompt_version = excluded.prompt_version, review = excluded.review, cost = excluded.cost,
    written_at = excluded.written_at
WHERE precomputed_feedback.review = 'unreviewed'
RETURNING 1";

const REVIEW_SQL: &str = "
UPDATE precomputed_feedback
SET review = $2, text = $3, origin = $4, written_at = $5, reviewer = $6, reviewed_at = $7
WHERE key = $1";

/// The state is written out, one statement each: the server must know how rare it is to choose
/// between walking the rows of one state and walking all rows until enough have it.
macro_rules! list_sql {
    ($state:literal) => {
        concat!(
            "SELECT position, key, text, origin, model, prompt_version, review, cost, written_at
             FROM precomputed_feedback WHERE review = '",
            $state,
            "' AND position > $1 ORDER BY position LIMIT $2"
        )
    };
}

const fn list_sql(state: ReviewState) -> &'static str {
    match state {
        ReviewState::Approved => list_sql!("approved"),
        ReviewState::Unreviewed => list_sql!("unreviewed"),
        ReviewState::Withdrawn => list_sql!("withdrawn"),
    }
}

const LIST_KEYS_SQL: &str = "
SELECT position, key FROM precomputed_feedback WHERE position > $1 ORDER BY position LIMIT $2";

/// Reviewers say less than models write: what they spoke of is found by its state.
const LIST_REVIEWED_SQL: &str = "
SELECT reviewed_at, key FROM precomputed_feedback
WHERE review IN ('approved', 'withdrawn') AND reviewed_at >= $1
ORDER BY reviewed_at, key LIMIT $2";

#[async_trait]
impl PrecomputedStore for PgStore {
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback<Shared>>> {
        let find = || sqlx::query(FIND_SQL).bind(key.to_string());
        let rows = self.on_primary(FIND, find).await?;
        let kept = rows
            .first()
            .map(|row| read_kept(row).ok_or_else(|| error::corrupt(FIND, "feedback")));
        Ok(kept.transpose()?.map(|kept| kept.feedback))
    }

    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback<Shared>) -> Result<bool> {
        let prompt_version = feedback.prompt_version;
        let put = self.on_primary(PUT, || {
            sqlx::query(PUT_SQL)
                .bind(key.to_string())
                .bind(feedback.text.clone())
                .bind(feedback.origin.as_str())
                .bind(
                    feedback
                        .model
                        .as_ref()
                        .map(|model| model.as_str().to_owned()),
                )
                .bind(prompt_version.map(|version| i64::from(version.get())))
                .bind(feedback.review.as_str())
                .bind(saturated(feedback.cost.get()))
                .bind(instant(feedback.written_at))
        });
        Ok(!put.await?.is_empty())
    }

    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback<Shared>> {
        let reviewed: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let find = sqlx::query(FIND_TO_REVIEW_SQL).bind(key.to_string());
            let row = transaction.fetch_optional(find).await?;
            let row = row.ok_or_else(|| {
                Error::new(ErrorKind::NotFound, REVIEW, "no feedback has this key")
            })?;
            let kept = read_kept(&row).ok_or(Failure::Unreadable("feedback"))?;
            let feedback = review.of(kept.feedback);
            let update = sqlx::query(REVIEW_SQL)
                .bind(key.to_string())
                .bind(feedback.review.as_str())
                .bind(feedback.text.clone())
                .bind(feedback.origin.as_str())
                .bind(instant(feedback.written_at))
                .bind(*review.reviewer.as_uuid())
                .bind(instant(review.reviewed_at));
            transaction.execute(update).await?;
            Ok(feedback)
        });
        reviewed.map_err(|failure| failure.during(REVIEW))
    }

    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback<Shared>)>> {
        let list = ListId::new("f1", state.as_str());
        let after = after.map_or(Ok(0), |cursor| list.single::<i64>(cursor))?;
        let rows = self.on_primary(LIST, || {
            sqlx::query(list_sql(state))
                .bind(after)
                .bind(limit.get() as i64 + 1)
        });
        let rows = rows.await?;
        let kept: Option<Vec<_>> = rows.iter().take(limit.get()).map(read_kept).collect();
        let kept = kept.ok_or_else(|| error::corrupt(LIST, "feedback"))?;
        let last = kept.last().filter(|_| rows.len() > limit.get());
        let next = last.map(|last| list.cursor(last.position)).transpose()?;
        let items = kept
            .into_iter()
            .map(|kept| (kept.key, kept.feedback))
            .collect();
        Ok(Page { items, next })
    }

    async fn list_keys(&self, after: KeyPosition, limit: usize) -> Result<KeyPage> {
        let rows = self.on_primary(LIST_KEYS, || {
            sqlx::query(LIST_KEYS_SQL)
                .bind(saturated(after.0))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        });
        let read = |row: &PgRow| {
            let mut columns = Columns::of(row);
            let position = KeyPosition(columns.number()?);
            Some((position, columns.next::<&str>()?.parse().ok()?))
        };
        let read: Option<Vec<(KeyPosition, FeedbackKey)>> = rows.await?.iter().map(read).collect();
        let read = read.ok_or_else(|| error::corrupt(LIST_KEYS, "feedback key"))?;
        let position = read.last().map_or(after, |(position, _)| *position);
        Ok(KeyPage {
            keys: read.into_iter().map(|(_, key)| key).collect(),
            position,
        })
    }

    async fn list_reviewed(
        &self,
        since: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, FeedbackKey)>> {
        let rows = self.on_primary(LIST_REVIEWED, || {
            sqlx::query(LIST_REVIEWED_SQL)
                .bind(instant(since))
                .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        });
        let read = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Some((columns.instant()?, columns.next::<&str>()?.parse().ok()?))
        };
        let read: Option<Vec<_>> = rows.await?.iter().map(read).collect();
        read.ok_or_else(|| error::corrupt(LIST_REVIEWED, "feedback key"))
    }
}

pub(crate) struct Kept {
    pub(crate) position: i64,
    pub(crate) key: FeedbackKey,
    pub(crate) feedback: Feedback<Shared>,
}

fn read_kept(row: &PgRow) -> Option<Kept> {
    read_kept_columns(&mut Columns::of(row))
}

pub(crate) fn read_kept_columns(columns: &mut Columns<'_>) -> Option<Kept> {
    Some(Kept {
        position: columns.next()?,
        key: columns.next::<&str>()?.parse().ok()?,
        feedback: Feedback {
            text: columns.next()?,
            origin: Origin::from_name(columns.next()?)?,
            model: match columns.next::<Option<&str>>()? {
                Some(model) => Some(model.parse().ok()?),
                None => None,
            },
            prompt_version: columns.optional_number()?.map(PromptVersion::new),
            review: ReviewState::from_name(columns.next()?)?,
            cost: MicroDollars::new(columns.number()?),
            written_at: columns.instant()?,
            audience: std::marker::PhantomData,
        },
    })
}
