use async_trait::async_trait;
use medcards_core::ai::PromptVersion;
use medcards_core::feedback::{
    Feedback, FeedbackKey, KeyPage, KeyPosition, Origin, PrecomputedStore, Review, ReviewState,
    Shared,
};
use medcards_core::spend::MicroDollars;
use medcards_core::store::{ListId, Page, PageCursor, PageLimit};
use medcards_core::{Error, ErrorKind, Result, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, micros, saturated};
use crate::error::{self, Failure};
use crate::writer::Write;

const FIND: &str = "find feedback";
const PUT: &str = "put feedback";
const REVIEW: &str = "review feedback";
const LIST: &str = "list feedback";
const LIST_KEYS: &str = "list feedback keys";
const LIST_REVIEWED: &str = "list reviewed feedback";

const FIND_SQL: &str = "
SELECT position, key, text, origin, model, prompt_version, review, cost, written_at
FROM precomputed_feedback WHERE key = ?";

const PUT_SQL: &str = "
INSERT INTO precomputed_feedback
    (key, text, origin, model, prompt_version, review, cost, written_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (key) DO UPDATE SET
    text = excluded.text, origin = excluded.origin, model = excluded.model,
    prompt_version = excluded.prompt_version, review = excluded.review, cost = excluded.cost,
    written_at = excluded.written_at
WHERE precomputed_feedback.review = 'unreviewed'";

const REVIEW_SQL: &str = "
UPDATE precomputed_feedback
SET review = ?2, text = ?3, origin = ?4, written_at = ?5, reviewer = ?6, reviewed_at = ?7
WHERE key = ?1";

const LIST_SQL: &str = "
SELECT position, key, text, origin, model, prompt_version, review, cost, written_at
FROM precomputed_feedback WHERE review = ? AND position > ? ORDER BY position LIMIT ?";

const LIST_KEYS_SQL: &str = "
SELECT position, key FROM precomputed_feedback WHERE position > ? ORDER BY position LIMIT ?";

/// Reviewers say less than models write: what they spoke of is found by its state.
const LIST_REVIEWED_SQL: &str = "
SELECT reviewed_at, key FROM precomputed_feedback
WHERE review IN ('approved', 'withdrawn') AND reviewed_at >= ?
ORDER BY reviewed_at, key LIMIT ?";

#[async_trait]
impl PrecomputedStore for SqliteStore {
    async fn find_feedback(&self, key: &FeedbackKey) -> Result<Option<Feedback<Shared>>> {
        let row = sqlx::query(FIND_SQL)
            .bind(key.to_string())
            .fetch_optional(self.readers())
            .await
            .map_err(|source| error::storage(FIND, source))?;
        let kept = row.map(|row| read_kept(&row).ok_or_else(|| error::corrupt(FIND, "feedback")));
        Ok(kept.transpose()?.map(|kept| kept.feedback))
    }

    async fn put_feedback(&self, key: &FeedbackKey, feedback: &Feedback<Shared>) -> Result<bool> {
        self.writes()
            .write(Put {
                key: key.clone(),
                feedback: feedback.clone(),
            })
            .await
    }

    async fn review_feedback(&self, key: &FeedbackKey, review: Review) -> Result<Feedback<Shared>> {
        self.writes()
            .write(WriteReview {
                key: key.clone(),
                review,
            })
            .await
    }

    async fn list_feedback(
        &self,
        state: ReviewState,
        after: Option<&PageCursor>,
        limit: PageLimit,
    ) -> Result<Page<(FeedbackKey, Feedback<Shared>)>> {
        let list = ListId::new("f1", state.as_str());
        let after = after.map_or(Ok(0), |cursor| list.single::<i64>(cursor))?;
        let rows = sqlx::query(LIST_SQL)
            .bind(state.as_str())
            .bind(after)
            .bind(limit.get() as i64 + 1)
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST, source))?;
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
        let rows = sqlx::query(LIST_KEYS_SQL)
            .bind(saturated(after.0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST_KEYS, source))?;
        let read = |row: &SqliteRow| {
            let mut columns = Columns::of(row);
            let position = KeyPosition(columns.number()?);
            Some((position, columns.next::<&str>()?.parse().ok()?))
        };
        let read: Option<Vec<(KeyPosition, FeedbackKey)>> = rows.iter().map(read).collect();
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
        let rows = sqlx::query(LIST_REVIEWED_SQL)
            .bind(micros(since))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST_REVIEWED, source))?;
        let read = |row: &SqliteRow| {
            let mut columns = Columns::of(row);
            Some((columns.instant()?, columns.next::<&str>()?.parse().ok()?))
        };
        let read: Option<Vec<_>> = rows.iter().map(read).collect();
        read.ok_or_else(|| error::corrupt(LIST_REVIEWED, "feedback key"))
    }
}

struct Put {
    key: FeedbackKey,
    feedback: Feedback<Shared>,
}

#[async_trait]
impl Write for Put {
    type Output = bool;

    const OPERATION: &'static str = PUT;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, Failure> {
        let feedback = &self.feedback;
        let put = sqlx::query(PUT_SQL)
            .bind(self.key.to_string())
            .bind(feedback.text.as_str())
            .bind(feedback.origin.as_str())
            .bind(feedback.model.as_ref().map(|model| model.as_str()))
            .bind(
                feedback
                    .prompt_version
                    .map(|version| i64::from(version.get())),
            )
            .bind(feedback.review.as_str())
            .bind(saturated(feedback.cost.get()))
            .bind(micros(feedback.written_at))
            .execute(connection)
            .await?;
        Ok(put.rows_affected() > 0)
    }
}

struct WriteReview {
    key: FeedbackKey,
    review: Review,
}

#[async_trait]
impl Write for WriteReview {
    type Output = Feedback<Shared>;

    const OPERATION: &'static str = REVIEW;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Feedback<Shared>, Failure> {
        let key = self.key.to_string();
        let row = sqlx::query(FIND_SQL)
            .bind(&key)
            .fetch_optional(&mut *connection)
            .await?;
        let row = row.ok_or_else(|| refused(ErrorKind::NotFound, "no feedback has this key"))?;
        let feedback = read_kept(&row)
            .ok_or_else(|| error::unreadable("feedback"))?
            .feedback;
        let feedback = self.review.of(feedback);
        sqlx::query(REVIEW_SQL)
            .bind(key)
            .bind(feedback.review.as_str())
            .bind(feedback.text.as_str())
            .bind(feedback.origin.as_str())
            .bind(micros(feedback.written_at))
            .bind(self.review.reviewer.as_bytes().as_slice())
            .bind(micros(self.review.reviewed_at))
            .execute(connection)
            .await?;
        Ok(feedback)
    }
}

fn refused(kind: ErrorKind, context: &'static str) -> Failure {
    Failure::Refused(Error::new(kind, REVIEW, context))
}

pub(crate) struct Kept {
    pub(crate) position: i64,
    pub(crate) key: FeedbackKey,
    pub(crate) feedback: Feedback<Shared>,
}

fn read_kept(row: &SqliteRow) -> Option<Kept> {
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
