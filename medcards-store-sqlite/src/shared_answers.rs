use async_trait::async_trait;
use medcards_core::case::CaseVersion;
use medcards_core::chat::{SHARED_ANSWERS_PER_CASE_MAX, SharedAnswer, SharedAnswers};
use medcards_core::{CaseId, Error, ErrorKind, Result, SharedAnswerId, UserId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::column::{Columns, micros};
use crate::error::{self, Failure};
use crate::writer::Write;

const PUT: &str = "put shared answer";
const LIST: &str = "list shared answers";
const REMOVE: &str = "remove shared answer";

const FIND_CASE_SQL: &str = "SELECT case_id FROM shared_answers WHERE id = ?";

const COUNT_SQL: &str = "SELECT count(*) FROM shared_answers WHERE case_id = ?";

const PUT_SQL: &str = "
INSERT INTO shared_answers
    (id, case_id, case_version, locale, question, answer, reviewer, reviewed_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET
    case_version = excluded.case_version, locale = excluded.locale, question = excluded.question,
    answer = excluded.answer, reviewer = excluded.reviewer, reviewed_at = excluded.reviewed_at";

const LIST_SQL: &str = "
SELECT id, case_id, case_version, locale, question, answer, reviewer, reviewed_at
FROM shared_answers WHERE case_id = ? ORDER BY id";

const REMOVE_SQL: &str = "DELETE FROM shared_answers WHERE id = ?";

#[async_trait]
impl SharedAnswers for SqliteStore {
    async fn put_shared_answer(&self, answer: &SharedAnswer) -> Result<()> {
        answer.check_words()?;
        let answer = answer.clone();
        self.writes().write(Put { answer }).await
    }

    async fn list_shared_answers(&self, case_id: CaseId) -> Result<Vec<SharedAnswer>> {
        let rows = sqlx::query(LIST_SQL)
            .bind(case_id.as_bytes().as_slice())
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST, source))?;
        let answers: Option<Vec<_>> = rows.iter().map(read_shared_answer).collect();
        answers.ok_or_else(|| error::corrupt(LIST, "shared answer"))
    }

    async fn remove_shared_answer(&self, id: SharedAnswerId) -> Result<bool> {
        self.writes().write(Remove { id }).await
    }
}

struct Put {
    answer: SharedAnswer,
}

#[async_trait]
impl Write for Put {
    type Output = ();

    const OPERATION: &'static str = PUT;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<(), Failure> {
        let answer = &self.answer;
        let (id, case_id) = (answer.id.as_bytes(), answer.case_id.as_bytes());
        let known = sqlx::query(FIND_CASE_SQL)
            .bind(id.as_slice())
            .fetch_optional(&mut *connection)
            .await?;
        match known.map(|row| Columns::of(&row).id()) {
            Some(None) => return Err(error::unreadable("shared answer")),
            Some(Some(of)) if of != *case_id => {
                let context = "this id is taken by an answer about another case: take another id";
                let error = Error::new(ErrorKind::Conflict, PUT, context);
                return Err(Failure::Refused(error));
            }
            Some(Some(_)) => {}
            None => {
                let row = sqlx::query(COUNT_SQL)
                    .bind(case_id.as_slice())
                    .fetch_one(&mut *connection)
                    .await?;
                let count = Columns::of(&row).number::<usize>();
                let count = count.ok_or_else(|| error::unreadable("count"))?;
                if count >= SHARED_ANSWERS_PER_CASE_MAX {
                    let context = "the case has as many shared answers as it may: remove one first";
                    return Err(Failure::Refused(Error::new(ErrorKind::Full, PUT, context)));
                }
            }
        }
        sqlx::query(PUT_SQL)
            .bind(id.as_slice())
            .bind(case_id.as_slice())
            .bind(i64::from(answer.case_version.get()))
            .bind(answer.locale.as_str())
            .bind(answer.question.as_str())
            .bind(answer.answer.as_str())
            .bind(answer.reviewer.as_bytes().as_slice())
            .bind(micros(answer.reviewed_at))
            .execute(connection)
            .await?;
        Ok(())
    }
}

struct Remove {
    id: SharedAnswerId,
}

#[async_trait]
impl Write for Remove {
    type Output = bool;

    const OPERATION: &'static str = REMOVE;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<bool, Failure> {
        let done = sqlx::query(REMOVE_SQL)
            .bind(self.id.as_bytes().as_slice())
            .execute(connection)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

pub(crate) fn read_shared_answer(row: &SqliteRow) -> Option<SharedAnswer> {
    let mut columns = Columns::of(row);
    Some(SharedAnswer {
        id: SharedAnswerId::from_bytes(columns.id()?),
        case_id: CaseId::from_bytes(columns.id()?),
        case_version: CaseVersion::new(columns.number()?)?,
        locale: columns.next::<&str>()?.parse().ok()?,
        question: columns.next()?,
        answer: columns.next()?,
        reviewer: UserId::from_bytes(columns.id()?),
        reviewed_at: columns.instant()?,
    })
}
