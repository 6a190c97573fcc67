use async_trait::async_trait;
use medcards_core::case::CaseVersion;
use medcards_core::chat::{SHARED_ANSWERS_PER_CASE_MAX, SharedAnswer, SharedAnswers};
use medcards_core::{CaseId, Error, ErrorKind, Result, SharedAnswerId, UserId};
use sqlx::postgres::PgRow;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::PgStore;
use crate::cases::stored;
use crate::column::{Columns, instant, saturated};
use crate::error::{self, Failure};
use crate::node::transact;
use crate::session::Statement;

const PUT: &str = "put shared answer";
const LIST: &str = "list shared answers";
const REMOVE: &str = "remove shared answer";

/// Keeps the locks of shared answers apart from others that hash an id.
const LOCK_SEED: u64 = u64::from_be_bytes(*b"mdcdshar");

/// Puts an answer if its case has room for it, in place of one about the same case.
const PUT_SQL: &str = "
INSERT INTO shared_answers AS kept
    (id, case_id, case_version, locale, question, answer, reviewer, reviewed_at)
SELECT $1, $2, $3, $4, $5, $6, $7, $8
WHERE EXISTS (SELECT FROM shared_answers WHERE id = $1)
   OR (SELECT count(*) FROM shared_answers WHERE case_id = $2) < $9
ON CONFLICT (id) DO UPDATE SET
    case_version = excluded.case_version, locale = excluded.locale, question = excluded.question,
    answer = excluded.answer, reviewer = excluded.reviewer, reviewed_at = excluded.reviewed_at
WHERE kept.case_id = excluded.case_id
RETURNING 1";

const IS_KNOWN_SQL: &str = "SELECT 1 FROM shared_answers WHERE id = $1";

const LIST_SQL: &str = "
SELECT id, case_id, case_version, locale, question, answer, reviewer, reviewed_at
FROM shared_answers WHERE case_id = $1 ORDER BY id";

const REMOVE_SQL: &str = "DELETE FROM shared_answers WHERE id = $1 RETURNING 1";

#[async_trait]
impl SharedAnswers for PgStore {
    async fn put_shared_answer(&self, answer: &SharedAnswer) -> Result<()> {
        answer.check_words()?;
        let put: Result<(), Failure> = transact!(self.primary(), |transaction| {
            // Two that put at once would each count without the other.
            transaction.execute(lock_case(answer.case_id)).await?;
            let put = sqlx::query(PUT_SQL)
                .bind(*answer.id.as_uuid())
                .bind(*answer.case_id.as_uuid())
                .bind(stored(answer.case_version))
                .bind(answer.locale.as_str().to_owned())
                .bind(answer.question.clone())
                .bind(answer.answer.clone())
                .bind(*answer.reviewer.as_uuid())
                .bind(instant(answer.reviewed_at))
                .bind(saturated(SHARED_ANSWERS_PER_CASE_MAX as u64));
            if transaction.fetch_optional(put).await?.is_some() {
                return Ok(());
            }
            let is_known = sqlx::query(IS_KNOWN_SQL).bind(*answer.id.as_uuid());
            Err(match transaction.fetch_optional(is_known).await? {
                Some(_) => {
                    let context =
                        "this id is taken by an answer about another case: take another id";
                    Error::new(ErrorKind::Conflict, PUT, context).into()
                }
                None => {
                    let context = "the case has as many shared answers as it may: remove one first";
                    Error::new(ErrorKind::Full, PUT, context).into()
                }
            })
        });
        put.map_err(|failure| failure.during(PUT))
    }

    async fn list_shared_answers(&self, case_id: CaseId) -> Result<Vec<SharedAnswer>> {
        let list = || sqlx::query(LIST_SQL).bind(*case_id.as_uuid());
        let rows = self.on_primary(LIST, list).await?;
        let answers: Option<Vec<_>> = rows.iter().map(read_shared_answer).collect();
        answers.ok_or_else(|| error::corrupt(LIST, "shared answer"))
    }

    // In a transaction, whose statement is not sent twice: the second would find nothing to remove,
    // and say so although the first had removed it.
    async fn remove_shared_answer(&self, id: SharedAnswerId) -> Result<bool> {
        let removed: Result<_, Failure> = transact!(self.primary(), |transaction| {
            let remove = sqlx::query(REMOVE_SQL).bind(*id.as_uuid());
            Ok(transaction.fetch_optional(remove).await?.is_some())
        });
        removed.map_err(|failure| failure.during(REMOVE))
    }
}

/// Waits until nobody else puts an answer about this case. Another case with the same hash waits
/// too.
fn lock_case(case_id: CaseId) -> Statement {
    let hash = xxh3_64_with_seed(case_id.as_bytes(), LOCK_SEED).cast_signed();
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(hash)
}

pub(crate) fn read_shared_answer(row: &PgRow) -> Option<SharedAnswer> {
    let mut columns = Columns::of(row);
    Some(SharedAnswer {
        id: SharedAnswerId::from_uuid(columns.id()?),
        case_id: CaseId::from_uuid(columns.id()?),
        case_version: CaseVersion::new(columns.integer()?)?,
        locale: columns.next::<&str>()?.parse().ok()?,
        question: columns.next()?,
        answer: columns.next()?,
        reviewer: UserId::from_uuid(columns.id()?),
        reviewed_at: columns.instant()?,
    })
}
