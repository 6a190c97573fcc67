use std::collections::HashSet;

use medcards_core::case::{
    CORRECTIONS_PER_READ_MAX, CaseContent, CaseCorrection, CaseVersion, KeyCorrection, OptionSet,
    Publication, PublicationOutcome,
};
use medcards_core::event::EventBody;
use medcards_core::job::NewJob;
use medcards_core::{CaseId, Error, ErrorKind, Result};
use sqlx::postgres::PgRow;

use crate::PgStore;
use crate::cases::{Edition, insert_version, move_on, stored};
use crate::column::{Columns, as_stored, instant, saturated};
use crate::effects::Written;
use crate::error::{self, Failure};
use crate::node::{Transaction, transact};
use crate::store::Lock;

const CORRECT: &str = "correct case";
const LIST: &str = "list corrections";

const FIND_CURRENT_SQL: &str = "
SELECT current_version, content::text FROM cases
JOIN case_versions ON case_id = cases.id AND version = current_version
WHERE cases.id = $1";

const FIND_VERSIONS_SQL: &str =
    "SELECT version FROM case_versions WHERE case_id = $1 AND version = ANY($2::integer[])";

const LAST_SQL: &str = "SELECT coalesce(max(number), 0) FROM key_corrections";

const INSERT_SQL: &str = "
INSERT INTO key_corrections (number, case_id, corrected_at, version, right_options, corrected_in)
SELECT number, $1, $2, version, right_options, $3
FROM unnest($4::bigint[], $5::integer[], $6::integer[]) AS given (number, version, right_options)";

const LIST_SQL: &str = "
SELECT number, case_id, version, right_options, corrected_in, corrected_at
FROM key_corrections WHERE number > $1 ORDER BY number LIMIT $2";

impl PgStore {
    pub(crate) async fn correct(
        &self,
        mut correction: CaseCorrection,
    ) -> Result<Vec<KeyCorrection>> {
        correction.corrected_at = as_stored(correction.corrected_at);
        correction.jobs.iter().try_for_each(NewJob::check)?;
        let edition = Edition::of(correction.content.clone())?;
        let corrected: Result<_, Failure> = transact!(self.primary(), |transaction| {
            // Whoever publishes or corrects does so alone: so numbers have no gap, and are those of
            // the order of commits.
            transaction.execute(Lock::Publications.take()).await?;
            let corrected_in = publish(&mut transaction, &correction, &edition).await?;
            let made = insert(&mut transaction, &correction, corrected_in).await?;
            let mut written = Written::default();
            for correction in &made {
                let correction = *correction;
                written.add_event(CORRECT, &EventBody::KeyCorrected { correction })?;
            }
            for job in &correction.jobs {
                written.add_job(job.clone(), correction.corrected_at);
            }
            written.write(&mut transaction).await?;
            Ok((made, written))
        });
        let (made, written) = corrected.map_err(|failure| failure.during(CORRECT))?;
        self.have_enqueued(written.jobs());
        written.tell(self.signals());
        Ok(made)
    }

    pub(crate) async fn list_key_corrections(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<KeyCorrection>> {
        let limit = saturated(limit.min(CORRECTIONS_PER_READ_MAX) as u64);
        let rows = self.on_primary(LIST, || {
            sqlx::query(LIST_SQL).bind(saturated(after)).bind(limit)
        });
        let all: Option<Vec<_>> = rows.await?.iter().map(read_correction).collect();
        all.ok_or_else(|| error::corrupt(LIST, "correction"))
    }
}

/// Publishes the next version of the case, if the correction may be made.
async fn publish(
    transaction: &mut Transaction<'_>,
    correction: &CaseCorrection,
    edition: &Edition,
) -> Result<CaseVersion, Failure> {
    let refuse = |kind, context| Err(Error::new(kind, CORRECT, context).into());
    let case_id = correction.case_id;
    let find = sqlx::query(FIND_CURRENT_SQL).bind(*case_id.as_uuid());
    let Some(row) = transaction.fetch_optional(find).await? else {
        return refuse(ErrorKind::NotFound, "there is no such case");
    };
    let read = || {
        let mut columns = Columns::of(&row);
        let version = CaseVersion::new(columns.integer()?)?;
        let content: CaseContent = serde_json::from_str(columns.next()?).ok()?;
        Some((version, content))
    };
    let (current, content) = read().ok_or(Failure::Unreadable("case"))?;
    let versions: Vec<i32> = correction.versions.iter().map(|it| stored(it.0)).collect();
    let find = sqlx::query(FIND_VERSIONS_SQL).bind(*case_id.as_uuid());
    let rows = transaction.fetch(find.bind(versions.clone())).await?;
    let known: HashSet<i32> = rows
        .iter()
        .filter_map(|it| Columns::of(it).next())
        .collect();
    if !versions.iter().all(|version| known.contains(version)) {
        return refuse(ErrorKind::NotFound, "the case has no such version");
    }
    if current != correction.current {
        let context = "another version was published meanwhile: look at it first";
        return refuse(ErrorKind::Conflict, context);
    }
    if (content.source(), content.external_id())
        != (edition.content.source(), edition.content.external_id())
    {
        return refuse(ErrorKind::Invalid, "the content is of another case");
    }
    if content == edition.content {
        let context = "the content is the current version as it is";
        return refuse(ErrorKind::Invalid, context);
    }
    let publication = Publication {
        case_id,
        version: current.next(),
        outcome: PublicationOutcome::NewVersion,
    };
    let now = correction.corrected_at;
    move_on(transaction, edition, &publication, now).await?;
    insert_version(transaction, edition, &publication, now).await?;
    Ok(publication.version)
}

async fn insert(
    transaction: &mut Transaction<'_>,
    correction: &CaseCorrection,
    corrected_in: CaseVersion,
) -> Result<Vec<KeyCorrection>, Failure> {
    let last = transaction.fetch_optional(sqlx::query(LAST_SQL)).await?;
    let last: Option<u64> = last.and_then(|row| Columns::of(&row).number());
    let last = last.ok_or(Failure::Unreadable("correction"))?;
    let make = |(number, (version, right)): (u64, &(CaseVersion, OptionSet))| KeyCorrection {
        number,
        case_id: correction.case_id,
        version: *version,
        right: *right,
        corrected_in,
        corrected_at: correction.corrected_at,
    };
    let made: Vec<_> = (last + 1..).zip(&correction.versions).map(make).collect();
    let insert = sqlx::query(INSERT_SQL)
        .bind(*correction.case_id.as_uuid())
        .bind(instant(correction.corrected_at))
        .bind(stored(corrected_in))
        .bind(
            made.iter()
                .map(|it| saturated(it.number))
                .collect::<Vec<_>>(),
        )
        .bind(made.iter().map(|it| stored(it.version)).collect::<Vec<_>>())
        .bind(
            made.iter()
                .map(|it| it.right.bits().cast_signed())
                .collect::<Vec<_>>(),
        );
    transaction.execute(insert).await?;
    Ok(made)
}

/// Reads the columns of the statement above.
pub(crate) fn read_correction(row: &PgRow) -> Option<KeyCorrection> {
    let mut columns = Columns::of(row);
    Some(KeyCorrection {
        number: columns.number()?,
        case_id: CaseId::from_uuid(columns.id()?),
        version: CaseVersion::new(columns.integer()?)?,
        right: OptionSet::from_bits(columns.next::<i32>()?.cast_unsigned())?,
        corrected_in: CaseVersion::new(columns.integer()?)?,
        corrected_at: columns.instant()?,
    })
}
