use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::case::{
    CORRECTIONS_PER_READ_MAX, CaseContent, CaseCorrection, CaseVersion, KeyCorrection, OptionSet,
    Publication, PublicationOutcome,
};
use medcards_core::event::EventBody;
use medcards_core::job::NewJob;
use medcards_core::{CaseId, Error, ErrorKind, Result, Timestamp};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use crate::SqliteStore;
use crate::case_cache::CaseCache;
use crate::cases::{self, Edition};
use crate::column::{Columns, as_stored, micros, saturated};
use crate::error::{self, Failure};
use crate::events::{self, EventColumns};
use crate::hints::{StoreHints, Wrote};
use crate::jobs;
use crate::writer::Write;

const CORRECT: &str = "correct case";
const LIST: &str = "list key corrections";

const LIST_SQL: &str = "
SELECT number, case_id, version, right_options, corrected_in, corrected_at
FROM key_corrections WHERE number > ? ORDER BY number LIMIT ?";

const FIND_CURRENT_SQL: &str = "
SELECT number, id, current_version, content
FROM cases JOIN case_versions ON case_id = id AND version = current_version
WHERE id = ?";

const VERSION_EXISTS_SQL: &str = "SELECT 1 FROM case_versions WHERE case_id = ? AND version = ?";

const LAST_SQL: &str = "SELECT coalesce(max(number), 0) FROM key_corrections";

const INSERT_SQL: &str = "
INSERT INTO key_corrections (number, case_id, version, right_options, corrected_in, corrected_at)
VALUES (?, ?, ?, ?, ?, ?)";

impl SqliteStore {
    pub(crate) async fn correct(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        correction.jobs.iter().try_for_each(NewJob::check)?;
        let correct = Correct {
            case_id: correction.case_id,
            current: correction.current,
            edition: Edition::of(CORRECT, correction.content)?,
            versions: correction.versions,
            jobs: correction.jobs,
            corrected_at: as_stored(correction.corrected_at),
            cases: Arc::clone(self.cases()),
            hints: self.hints().clone(),
        };
        self.writes().write(correct).await
    }

    pub(crate) async fn corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        let rows = sqlx::query(LIST_SQL)
            .bind(saturated(after))
            .bind(limit.min(CORRECTIONS_PER_READ_MAX) as i64)
            .fetch_all(self.readers())
            .await
            .map_err(|source| error::storage(LIST, source))?;
        let corrections: Option<Vec<_>> = rows.iter().map(read_correction).collect();
        corrections.ok_or_else(|| error::corrupt(LIST, "key correction"))
    }
}

struct Correct {
    case_id: CaseId,
    current: CaseVersion,
    edition: Edition,
    versions: Vec<(CaseVersion, OptionSet)>,
    jobs: Vec<NewJob>,
    corrected_at: Timestamp,
    cases: Arc<CaseCache>,
    hints: StoreHints,
}

#[async_trait]
impl Write for Correct {
    type Output = Vec<KeyCorrection>;

    const OPERATION: &'static str = CORRECT;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<KeyCorrection>, Failure> {
        let number = self.check(connection).await?;
        let publication = Publication {
            case_id: self.case_id,
            version: self.current.next(),
            outcome: PublicationOutcome::NewVersion,
        };
        let now = self.corrected_at;
        cases::publish_version(connection, &self.edition, &publication, number, now).await?;
        let made = self.insert(connection, publication.version).await?;
        let bodies: Vec<_> = made
            .iter()
            .map(|correction| EventBody::KeyCorrected {
                correction: *correction,
            })
            .collect();
        let events = EventColumns::of_everyone(CORRECT, &bodies).map_err(error::unwritable)?;
        let events: Vec<_> = events.iter().collect();
        events::insert(connection, &events).await?;
        let jobs: Vec<_> = self.jobs.iter().map(|job| (job, now)).collect();
        jobs::insert(connection, &jobs).await?;
        Ok(made)
    }

    fn committed(&self, made: &Vec<KeyCorrection>) {
        self.cases.forget_current([self.case_id]);
        self.hints.give(Wrote {
            events: !made.is_empty(),
            jobs: !self.jobs.is_empty(),
            notices: false,
        });
    }
}

impl Correct {
    /// Refuses what cannot be corrected so; returns the number of the case.
    async fn check(&self, connection: &mut SqliteConnection) -> Result<i64, Failure> {
        let refuse = |kind, context| Err(Failure::Refused(Error::new(kind, CORRECT, context)));
        let case_id = self.case_id.as_bytes().as_slice();
        let row = sqlx::query(FIND_CURRENT_SQL)
            .bind(case_id)
            .fetch_optional(&mut *connection)
            .await?;
        let Some(row) = row else {
            return refuse(ErrorKind::NotFound, "there is no such case");
        };
        let current = cases::read_named(&row).ok_or_else(|| error::unreadable("case"))?;
        for (version, _) in &self.versions {
            let known = sqlx::query(VERSION_EXISTS_SQL)
                .bind(case_id)
                .bind(i64::from(version.get()))
                .fetch_optional(&mut *connection)
                .await?;
            if known.is_none() {
                return refuse(ErrorKind::NotFound, "the case has no such version");
            }
        }
        if current.version != self.current {
            let context = "another version was published meanwhile: look at it first";
            return refuse(ErrorKind::Conflict, context);
        }
        let content: CaseContent =
            serde_json::from_str(current.content).map_err(|_damaged| error::unreadable("case"))?;
        let name = |it: &CaseContent| (it.source().to_owned(), it.external_id().to_owned());
        if name(&content) != name(self.edition.content()) {
            return refuse(ErrorKind::Invalid, "the content is of another case");
        }
        if content == *self.edition.content() {
            let context = "the content is the current version as it is";
            return refuse(ErrorKind::Invalid, context);
        }
        Ok(current.number)
    }

    async fn insert(
        &self,
        connection: &mut SqliteConnection,
        corrected_in: CaseVersion,
    ) -> Result<Vec<KeyCorrection>, Failure> {
        let row = sqlx::query(LAST_SQL).fetch_one(&mut *connection).await?;
        let last: Option<u64> = Columns::of(&row).number();
        let mut number = last.ok_or_else(|| error::unreadable("number"))?;
        let mut made = Vec::with_capacity(self.versions.len());
        for (version, right) in &self.versions {
            number += 1;
            sqlx::query(INSERT_SQL)
                .bind(saturated(number))
                .bind(self.case_id.as_bytes().as_slice())
                .bind(i64::from(version.get()))
                .bind(i64::from(right.bits()))
                .bind(i64::from(corrected_in.get()))
                .bind(micros(self.corrected_at))
                .execute(&mut *connection)
                .await?;
            made.push(KeyCorrection {
                number,
                case_id: self.case_id,
                version: *version,
                right: *right,
                corrected_in,
                corrected_at: self.corrected_at,
            });
        }
        Ok(made)
    }
}

/// Reads the columns of `LIST_SQL`.
pub(crate) fn read_correction(row: &SqliteRow) -> Option<KeyCorrection> {
    let mut columns = Columns::of(row);
    Some(KeyCorrection {
        number: columns.number()?,
        case_id: CaseId::from_bytes(columns.id()?),
        version: CaseVersion::new(columns.number()?)?,
        right: OptionSet::from_bits(columns.number()?)?,
        corrected_in: CaseVersion::new(columns.number()?)?,
        corrected_at: columns.instant()?,
    })
}
