use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::case::{
    Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseStore, CaseVersion,
    KeyCorrection, Publication, PublicationOutcome, search_words,
};
use medcards_core::store::{ListId, Page};
use medcards_core::{CaseId, Error, ErrorKind, Result, Timestamp};
use sqlx::postgres::PgRow;
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64;

use crate::PgStore;
use crate::case_cache::Place;
use crate::column::{Columns, instant};
use crate::error::{self, Failure};
use crate::node::{Transaction, transact};
use crate::session::Statement;
use crate::store::Lock;
use crate::words::{CONFIGS, IndexedWords, config_of, prefix_query};

const PUBLISH: &str = "publish cases";
const FIND: &str = "find case";
const LIST: &str = "list cases";

/// How many contents share a transaction: some 20 ms of work, so that an import of thousands lets
/// other publishers in between.
const CONTENTS_PER_TRANSACTION: usize = 64;

const FIND_NAMED_SQL: &str = "
SELECT cases.source, cases.external_id, cases.id, current_version, content::text
FROM cases
JOIN unnest($1::text[], $2::text[]) AS wanted (source, external_id) USING (source, external_id)
JOIN case_versions ON case_id = cases.id AND version = current_version";

const INSERT_CASE_SQL: &str = "
INSERT INTO cases (id, source, external_id, current_version, specialty_folded, lang, pick,
                   published_at)
VALUES ($1, $2, $3, 1, $4, $5, $6, $7)";

const UPDATE_CASE_SQL: &str = "
UPDATE cases SET current_version = $2, specialty_folded = $3, lang = $4, published_at = $5
WHERE id = $1";

/// Both with the same number: the version before ends where this one begins.
const INSERT_VERSION_SQL: &str = "
WITH next AS (
    SELECT nextval('publications') AS number
), superseded AS (
    UPDATE case_versions SET superseded_by = number FROM next
    WHERE case_id = $1 AND superseded_by IS NULL
)
INSERT INTO case_versions (case_id, version, specialty_folded, lang, published_at, publication,
                           content, words, stems, config)
SELECT $1, $2, $3, $4, $5, number, $6::jsonb, $7::tsvector,
       setweight(to_tsvector($10::regconfig, $8), 'A') || to_tsvector($10::regconfig, $9), $10
FROM next";

const FIND_CURRENT_SQL: &str = "SELECT id, current_version FROM cases WHERE id = $1";

const FIND_VERSIONS_SQL: &str = "
SELECT case_id, version, published_at, content::text
FROM case_versions
JOIN unnest($1::uuid[], $2::integer[]) AS wanted (case_id, version) USING (case_id, version)";

const LIST_SQL: &str = "
SELECT id, current_version FROM cases
WHERE id > $1 AND ($2::text IS NULL OR specialty_folded = $2) AND ($3::text IS NULL OR lang = $3)
ORDER BY id LIMIT $4";

/// The same by the index on specialties, which an optional condition cannot use.
const LIST_SPECIALTY_SQL: &str = "
SELECT id, current_version FROM cases
WHERE specialty_folded = $2 AND id > $1 AND ($3::text IS NULL OR lang = $3)
ORDER BY id LIMIT $4";

/// Searches the versions that were current when the walk began, in the order they then had, and
/// shows those of them whose current version matches as well.
///
/// A match among the leading words counts ten times: it says what the case is about. An inflected
/// form counts like the word itself, by the rules of the case's language. Nearly all versions were
/// published before, so that condition is kept from using an index.
const SEARCH_SQL: &str = "
WITH stemmed AS MATERIALIZED (
    SELECT config, plainto_tsquery(config::regconfig, $2) AS stem_query
    FROM unnest($3::text[]) AS config
), found AS MATERIALIZED (
    SELECT case_id, (1000000 * (
        ts_rank('{0.1, 0.1, 0.1, 1}', words, $1::tsquery, 1)
        + ts_rank('{0.1, 0.1, 0.1, 1}', stems, stem_query, 1)
    ))::bigint AS rank
    FROM case_versions JOIN stemmed USING (config)
    WHERE words @@ $1::tsquery
      AND publication + 0 <= $4 AND (superseded_by IS NULL OR superseded_by > $4)
      AND ($7::text IS NULL OR specialty_folded = $7) AND ($8::text IS NULL OR lang = $8)
)
SELECT found.case_id, version, rank, (SELECT max(publication) FROM case_versions)
FROM found JOIN case_versions AS present ON present.case_id = found.case_id
WHERE (rank < $5 OR (rank = $5 AND found.case_id > $6))
  AND superseded_by IS NULL AND words @@ $1::tsquery
  AND ($7::text IS NULL OR specialty_folded = $7) AND ($8::text IS NULL OR lang = $8)
ORDER BY rank DESC, found.case_id
LIMIT $9";

#[async_trait]
impl CaseStore for PgStore {
    async fn publish(
        &self,
        contents: Vec<CaseContent>,
        now: Timestamp,
    ) -> Result<Vec<Publication>> {
        let mut published = Vec::with_capacity(contents.len());
        let editions: Result<Vec<_>> = contents.into_iter().map(Edition::of).collect();
        for editions in editions?.chunks(CONTENTS_PER_TRANSACTION) {
            let done: Result<_, Failure> = transact!(self.primary(), |transaction| {
                publish(&mut transaction, editions, now).await
            });
            published.extend(done.map_err(|failure| failure.during(PUBLISH))?);
        }
        Ok(published)
    }

    async fn correct_case(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        self.correct(correction).await
    }

    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        self.list_key_corrections(after, limit).await
    }

    async fn find_case(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>> {
        let version = match version {
            Some(version) => version,
            None => {
                let find = || sqlx::query(FIND_CURRENT_SQL).bind(*case_id.as_uuid());
                let places = self.fetch_places(FIND, find).await?;
                let Some((_, version)) = places.first() else {
                    return Ok(None);
                };
                *version
            }
        };
        Ok(self.find_versions(FIND, &[(case_id, version)]).await?.pop())
    }

    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        match &query.search {
            Some(search) => self.search_page(query, &search_words(search)).await,
            None => self.list_page(query).await,
        }
    }
}

impl PgStore {
    /// These versions, in this order, without those that there are not.
    async fn find_versions(
        &self,
        operation: &'static str,
        places: &[Place],
    ) -> Result<Vec<Arc<Case>>> {
        let mut found: HashMap<Place, Arc<Case>> = HashMap::with_capacity(places.len());
        let mut missing = Vec::new();
        for place in places {
            match self.cases().find(*place) {
                Some(case) => drop(found.insert(*place, case)),
                None => missing.push(*place),
            }
        }
        if !missing.is_empty() {
            let rows = self.on_primary(operation, || {
                let ids: Vec<Uuid> = missing.iter().map(|(id, _)| *id.as_uuid()).collect();
                let versions = missing.iter().map(|(_, version)| stored(*version));
                sqlx::query(FIND_VERSIONS_SQL)
                    .bind(ids)
                    .bind(versions.collect::<Vec<i32>>())
            });
            for row in rows.await? {
                let (case, bytes) =
                    read_case(&row).ok_or_else(|| error::corrupt(operation, "case"))?;
                let case = Arc::new(case);
                self.cases().keep(&case, bytes);
                found.insert((case.id, case.version), case);
            }
        }
        Ok(places
            .iter()
            .filter_map(|place| found.get(place).cloned())
            .collect())
    }

    async fn list_page(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        let filter = FilterColumns::of(&query.filter);
        let list = ListId::new("c1", &format!("{filter:?}"));
        let after = match &query.after {
            Some(cursor) => list.single::<CaseId>(cursor)?,
            None => CaseId::from_uuid(Uuid::nil()),
        };
        let listed = || {
            let sql = match filter.specialty {
                Some(_) => LIST_SPECIALTY_SQL,
                None => LIST_SQL,
            };
            filter
                .bind(sqlx::query(sql).bind(*after.as_uuid()))
                .bind(query.limit.get() as i64 + 1)
        };
        let mut places = self.fetch_places(LIST, listed).await?;
        let goes_on = places.len() > query.limit.get();
        places.truncate(query.limit.get());
        let last = places.last().filter(|_| goes_on);
        let next = last
            .map(|(last, _)| list.cursor(last.as_uuid().simple()))
            .transpose()?;
        let items = self.find_versions(LIST, &places).await?;
        Ok(Page { items, next })
    }

    async fn search_page(&self, query: &CaseQuery, words: &[String]) -> Result<Page<Arc<Case>>> {
        let filter = FilterColumns::of(&query.filter);
        let list = ListId::new("s1", &format!("{filter:?} {words:?}"));
        let start = match &query.after {
            Some(cursor) => {
                let (publication, rank, case_id) = list.triple(cursor)?;
                SearchPlace {
                    publication,
                    rank,
                    case_id,
                }
            }
            None => SearchPlace::START,
        };
        if words.is_empty() {
            return Ok(Page::empty());
        }
        let configs = match query.filter.locale {
            Some(locale) => vec![config_of(locale.language())],
            None => CONFIGS.to_vec(),
        };
        let limit = query.limit.get();
        let rows = self.on_primary(LIST, || {
            let search = sqlx::query(SEARCH_SQL)
                .bind(prefix_query(words))
                .bind(words.join(" "))
                .bind(configs.clone())
                .bind(start.publication)
                .bind(start.rank)
                .bind(*start.case_id.as_uuid());
            filter.bind(search).bind(limit as i64 + 1)
        });
        let rows = rows.await?;
        let found: Option<Vec<_>> = rows
            .iter()
            .take(limit)
            .map(|row| read_found(row, &start))
            .collect();
        let found = found.ok_or_else(|| error::corrupt(LIST, "case"))?;
        let last = found.last().filter(|_| rows.len() > limit);
        let next = last.map(|(_, place)| list.cursor(place)).transpose()?;
        let places: Vec<_> = found.iter().map(|(place, _)| *place).collect();
        let items = self.find_versions(LIST, &places).await?;
        Ok(Page { items, next })
    }

    async fn fetch_places(
        &self,
        operation: &'static str,
        statement: impl Fn() -> Statement + Send + Sync,
    ) -> Result<Vec<Place>> {
        let rows = self.on_primary(operation, statement).await?;
        let places: Option<Vec<_>> = rows
            .iter()
            .map(|row| read_place(&mut Columns::of(row)))
            .collect();
        places.ok_or_else(|| error::corrupt(operation, "case"))
    }
}

/// Where a walk through a search has come to.
///
/// It says how far publications had come when it began, so that any process can go on with it,
/// whatever has been published since.
#[derive(Clone, Copy, Debug)]
struct SearchPlace {
    publication: i64,
    rank: i64,
    case_id: CaseId,
}

impl SearchPlace {
    /// Before the best match, among all that is published.
    const START: Self = Self {
        publication: i64::MAX,
        rank: i64::MAX,
        case_id: CaseId::from_uuid(Uuid::nil()),
    };
}

impl std::fmt::Display for SearchPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            publication,
            rank,
            case_id,
        } = self;
        write!(f, "{publication}.{rank}.{}", case_id.as_uuid().simple())
    }
}

/// A filter, as columns hold what it compares.
#[derive(Debug)]
pub(crate) struct FilterColumns {
    pub(crate) specialty: Option<String>,
    pub(crate) lang: Option<String>,
}

impl FilterColumns {
    pub(crate) fn of(filter: &CaseFilter) -> Self {
        Self {
            specialty: filter.specialty.as_deref().map(str::to_lowercase),
            lang: filter.locale.map(|locale| locale.as_str().to_owned()),
        }
    }

    /// Binds specialty, then language.
    pub(crate) fn bind(&self, statement: Statement) -> Statement {
        statement
            .bind(self.specialty.clone())
            .bind(self.lang.clone())
    }
}

/// A content with everything that is written for it.
pub(crate) struct Edition {
    pub(crate) content: CaseContent,
    json: String,
    filter: FilterColumns,
    words: IndexedWords,
}

impl Edition {
    pub(crate) fn of(content: CaseContent) -> Result<Self> {
        let json = serde_json::to_string(&content).map_err(|source| {
            let context = "the case has no stored form";
            Error::new(ErrorKind::Unexpected, PUBLISH, context).with_source(source)
        })?;
        let filter = FilterColumns::of(&CaseFilter {
            specialty: content.specialty().map(str::to_owned),
            locale: Some(content.locale()),
        });
        Ok(Self {
            json,
            filter,
            words: IndexedWords::of(&content),
            content,
        })
    }

    pub(crate) fn name(&self) -> (String, String) {
        let (source, external_id) = (self.content.source(), self.content.external_id());
        (source.to_owned(), external_id.to_owned())
    }
}

/// The current version of a case that is known by its name.
struct Named {
    place: Place,
    content: CaseContent,
}

/// Publishes some contents in one transaction.
async fn publish(
    transaction: &mut Transaction<'_>,
    editions: &[Edition],
    now: Timestamp,
) -> Result<Vec<Publication>, Failure> {
    transaction.execute(Lock::Publications.take()).await?;
    let mut known = find_named(transaction, editions).await?;
    let mut published = Vec::with_capacity(editions.len());
    for edition in editions {
        let name = edition.name();
        let publication = match known.get(&name) {
            Some(named) if named.content == edition.content => {
                let (case_id, version) = named.place;
                let outcome = PublicationOutcome::Unchanged;
                published.push(Publication {
                    case_id,
                    version,
                    outcome,
                });
                continue;
            }
            Some(named) => {
                let (case_id, version) = (named.place.0, named.place.1.next());
                let outcome = PublicationOutcome::NewVersion;
                let publication = Publication {
                    case_id,
                    version,
                    outcome,
                };
                move_on(transaction, edition, &publication, now).await?;
                publication
            }
            None => {
                let (case_id, version) = (CaseId::new(now), CaseVersion::FIRST);
                let insert = sqlx::query(INSERT_CASE_SQL)
                    .bind(*case_id.as_uuid())
                    .bind(name.0.clone())
                    .bind(name.1.clone());
                let insert = edition.filter.bind(insert);
                let pick = xxh3_64(case_id.as_bytes()).cast_signed();
                transaction
                    .execute(insert.bind(pick).bind(instant(now)))
                    .await?;
                let outcome = PublicationOutcome::Created;
                Publication {
                    case_id,
                    version,
                    outcome,
                }
            }
        };
        insert_version(transaction, edition, &publication, now).await?;
        let named = Named {
            place: (publication.case_id, publication.version),
            content: edition.content.clone(),
        };
        known.insert(name, named);
        published.push(publication);
    }
    Ok(published)
}

/// Makes a version the current one.
pub(crate) async fn move_on(
    transaction: &mut Transaction<'_>,
    edition: &Edition,
    publication: &Publication,
    now: Timestamp,
) -> Result<(), Failure> {
    let update = sqlx::query(UPDATE_CASE_SQL)
        .bind(*publication.case_id.as_uuid())
        .bind(stored(publication.version));
    let update = edition.filter.bind(update).bind(instant(now));
    transaction.execute(update).await.map(drop)
}

async fn find_named(
    transaction: &mut Transaction<'_>,
    editions: &[Edition],
) -> Result<HashMap<(String, String), Named>, Failure> {
    let mut names: Vec<_> = editions.iter().map(Edition::name).collect();
    names.sort_unstable();
    names.dedup();
    let (sources, external_ids): (Vec<_>, Vec<_>) = names.into_iter().unzip();
    let find = sqlx::query(FIND_NAMED_SQL).bind(sources).bind(external_ids);
    let rows = transaction.fetch(find).await?;
    let read = |row: &PgRow| {
        let mut columns = Columns::of(row);
        let name = (columns.next()?, columns.next()?);
        let place = read_place(&mut columns)?;
        let content = serde_json::from_str(columns.next()?).ok()?;
        Some((name, Named { place, content }))
    };
    let named: Option<HashMap<_, _>> = rows.iter().map(read).collect();
    named.ok_or(Failure::Unreadable("case"))
}

pub(crate) async fn insert_version(
    transaction: &mut Transaction<'_>,
    edition: &Edition,
    publication: &Publication,
    now: Timestamp,
) -> Result<(), Failure> {
    let insert = sqlx::query(INSERT_VERSION_SQL)
        .bind(*publication.case_id.as_uuid())
        .bind(stored(publication.version));
    let insert = edition.filter.bind(insert);
    let insert = insert
        .bind(instant(now))
        .bind(edition.json.clone())
        .bind(edition.words.vector.clone())
        .bind(edition.words.leading.clone())
        .bind(edition.words.others.clone())
        .bind(config_of(edition.content.locale().language()));
    transaction.execute(insert).await.map(drop)
}

/// A version, as columns hold it.
pub(crate) fn stored(version: CaseVersion) -> i32 {
    i32::try_from(version.get()).unwrap_or(i32::MAX)
}

fn read_place(columns: &mut Columns<'_>) -> Option<Place> {
    Some((
        CaseId::from_uuid(columns.id()?),
        CaseVersion::new(columns.integer()?)?,
    ))
}

/// Reads what a search found: the version to show, and the place to go on from.
fn read_found(row: &PgRow, start: &SearchPlace) -> Option<(Place, SearchPlace)> {
    let mut columns = Columns::of(row);
    let place = read_place(&mut columns)?;
    let rank = columns.next()?;
    let newest = columns.next()?;
    let found = SearchPlace {
        publication: start.publication.min(newest),
        rank,
        case_id: place.0,
    };
    Some((place, found))
}

/// Reads a case, and how many bytes its content has.
fn read_case(row: &PgRow) -> Option<(Case, u64)> {
    let mut columns = Columns::of(row);
    let id = CaseId::from_uuid(columns.id()?);
    let version = CaseVersion::new(columns.integer()?)?;
    let published_at = columns.instant()?;
    let json: &str = columns.next()?;
    let content = serde_json::from_str(json).ok()?;
    Some((
        Case {
            id,
            version,
            published_at,
            content,
        },
        json.len() as u64,
    ))
}
