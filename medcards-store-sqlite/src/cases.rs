use std::sync::Arc;

use async_trait::async_trait;
use medcards_core::case::{
    Case, CaseContent, CaseCorrection, CaseFilter, CaseQuery, CaseStore, CaseVersion,
    KeyCorrection, Publication, PublicationOutcome, folded_words, search_words,
};
use medcards_core::store::{ListId, Page};
use medcards_core::{CaseId, Error, ErrorKind, Result, Timestamp};
use sqlx::query::Query;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, SqliteConnection};
use xxhash_rust::xxh3::xxh3_64;

use crate::SqliteStore;
use crate::case_cache::{CaseCache, Place};
use crate::column::{Columns, micros};
use crate::error::{self, Failure};
use crate::writer::Write;

const PUBLISH: &str = "publish cases";
const FIND: &str = "find case";
const LIST: &str = "list cases";

/// How many contents share a transaction: about 10 ms of work, so that an import of thousands
/// holds up no answer for longer.
const CONTENTS_PER_WRITE: usize = 64;

/// The most results of a search: nobody turns more pages, and each search that is being paged
/// through is remembered.
const SEARCH_RESULTS_MAX: usize = 1_000;

const FIND_NAMED_SQL: &str = "
SELECT number, id, current_version, content
FROM cases JOIN case_versions ON case_id = id AND version = current_version
WHERE source = ? AND external_id = ?";

const INSERT_CASE_SQL: &str = "
INSERT INTO cases
    (specialty_folded, lang, current_version, published_at, id, source, external_id, pick)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)";

const UPDATE_CASE_SQL: &str = "
UPDATE cases SET specialty_folded = ?, lang = ?, current_version = ?, published_at = ?
WHERE number = ?";

const INSERT_VERSION_SQL: &str =
    "INSERT INTO case_versions (case_id, version, content, published_at) VALUES (?, ?, ?, ?)";

const PUT_WORDS_SQL: &str =
    "INSERT OR REPLACE INTO case_words (rowid, leading, others) VALUES (?, ?, ?)";

const FIND_CURRENT_SQL: &str = "
SELECT id, current_version, case_versions.published_at, content
FROM cases JOIN case_versions ON case_id = id AND version = current_version
WHERE id = ?";

const FIND_VERSION_SQL: &str = "
SELECT case_id, version, published_at, content FROM case_versions
WHERE case_id = ? AND version = ?";

const LIST_SQL: &str = "
SELECT id, current_version FROM cases
WHERE id > ?1 AND (?2 IS NULL OR specialty_folded = ?2) AND (?3 IS NULL OR lang = ?3)
ORDER BY id LIMIT ?4";

/// The same by the index on specialties, which an optional condition cannot use.
const LIST_SPECIALTY_SQL: &str = "
SELECT id, current_version FROM cases
WHERE specialty_folded = ?2 AND id > ?1 AND (?3 IS NULL OR lang = ?3)
ORDER BY id LIMIT ?4";

/// A match among the leading words counts ten times: it says what the case is about.
const SEARCH_SQL: &str = "
SELECT id, current_version
FROM case_words JOIN cases ON number = case_words.rowid
WHERE case_words MATCH ?1
  AND (?2 IS NULL OR specialty_folded = ?2) AND (?3 IS NULL OR lang = ?3)
ORDER BY bm25(case_words, 10.0, 1.0), id
LIMIT ?4";

const MATCHES_SQL: &str = "
SELECT 1
FROM case_words JOIN cases ON number = case_words.rowid
WHERE case_words MATCH ?1
  AND (?2 IS NULL OR specialty_folded = ?2) AND (?3 IS NULL OR lang = ?3)
  AND id = ?4";

#[async_trait]
impl CaseStore for SqliteStore {
    async fn publish(
        &self,
        contents: Vec<CaseContent>,
        now: Timestamp,
    ) -> Result<Vec<Publication>> {
        let mut published = Vec::with_capacity(contents.len());
        let mut contents = contents.into_iter();
        loop {
            let editions: Result<Vec<_>> = contents
                .by_ref()
                .take(CONTENTS_PER_WRITE)
                .map(|content| Edition::of(PUBLISH, content))
                .collect();
            let editions = editions?;
            if editions.is_empty() {
                return Ok(published);
            }
            let cases = Arc::clone(self.cases());
            published.extend(
                self.writes()
                    .write(Publish {
                        editions,
                        now,
                        cases,
                    })
                    .await?,
            );
        }
    }

    async fn correct_case(&self, correction: CaseCorrection) -> Result<Vec<KeyCorrection>> {
        self.correct(correction).await
    }

    async fn list_corrections(&self, after: u64, limit: usize) -> Result<Vec<KeyCorrection>> {
        self.corrections(after, limit).await
    }

    async fn find_case(
        &self,
        case_id: CaseId,
        version: Option<CaseVersion>,
    ) -> Result<Option<Arc<Case>>> {
        match version {
            Some(version) => self.find_version(case_id, version).await,
            None => self.find_current(case_id).await,
        }
    }

    async fn list_cases(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        match &query.search {
            Some(search) => self.search_page(query, &search_words(search)).await,
            None => self.list_page(query).await,
        }
    }
}

impl SqliteStore {
    async fn find_version(
        &self,
        case_id: CaseId,
        version: CaseVersion,
    ) -> Result<Option<Arc<Case>>> {
        if let Some(case) = self.cases().version(case_id, version) {
            return Ok(Some(case));
        }
        let query = sqlx::query(FIND_VERSION_SQL)
            .bind(case_id.as_bytes().as_slice())
            .bind(i64::from(version.get()));
        self.fetch_case(query).await
    }

    async fn find_current(&self, case_id: CaseId) -> Result<Option<Arc<Case>>> {
        if let Some(case) = self.cases().current(case_id) {
            return Ok(Some(case));
        }
        let publications = self.cases().publications();
        let query = sqlx::query(FIND_CURRENT_SQL).bind(case_id.as_bytes().as_slice());
        let case = self.fetch_case(query).await?;
        if let Some(case) = &case {
            self.cases().keep_current(case, publications);
        }
        Ok(case)
    }

    async fn fetch_case(
        &self,
        query: Query<'_, Sqlite, SqliteArguments>,
    ) -> Result<Option<Arc<Case>>> {
        let row = query.fetch_optional(self.readers()).await;
        let Some(row) = row.map_err(|source| error::storage(FIND, source))? else {
            return Ok(None);
        };
        let (case, bytes) = read_case(&row).ok_or_else(|| error::corrupt(FIND, "case"))?;
        let case = Arc::new(case);
        self.cases().keep_version(&case, bytes);
        Ok(Some(case))
    }

    async fn list_page(&self, query: &CaseQuery) -> Result<Page<Arc<Case>>> {
        let filter = FilterColumns::of(&query.filter);
        let list = ListId::new("c1", &format!("{filter:?}"));
        let after = match &query.after {
            Some(cursor) => list.single::<CaseId>(cursor)?.as_bytes().to_vec(),
            None => Vec::new(),
        };
        let sql = if filter.specialty.is_some() {
            LIST_SPECIALTY_SQL
        } else {
            LIST_SQL
        };
        let listed = filter
            .bind(sqlx::query(sql).bind(after))
            .bind(query.limit.get() as i64 + 1);
        let listed = self.fetch_places(listed).await?;
        let mut items = Vec::with_capacity(query.limit.get());
        for (case_id, version) in listed.iter().take(query.limit.get()) {
            items.extend(self.find_version(*case_id, *version).await?);
        }
        let last = items.last().filter(|_| listed.len() > query.limit.get());
        let next = last
            .map(|last| list.cursor(last.id.as_uuid().simple()))
            .transpose()?;
        Ok(Page { items, next })
    }

    /// Pages of a search are cut from what it found when it began, because publishing changes the
    /// order of what it would find now.
    async fn search_page(&self, query: &CaseQuery, words: &[String]) -> Result<Page<Arc<Case>>> {
        let search = Search::new(&query.filter, words);
        let (walk, start) = match &query.after {
            Some(cursor) => search.list.pair::<u64, usize>(cursor)?,
            None => (self.cases().next_walk(), 0),
        };
        let Some(pattern) = search.pattern.as_deref() else {
            return Ok(Page::empty());
        };
        let found = match self.cases().search(search.list, walk) {
            Some(found) => found,
            None => self.search(&search, pattern).await?,
        };
        let mut items = Vec::with_capacity(query.limit.get());
        for (index, place) in found.iter().enumerate().skip(start) {
            let Some(case) = self.still_found(&search, pattern, place).await? else {
                continue;
            };
            if items.len() == query.limit.get() {
                let next = search.list.cursor(format_args!("{walk}.{index}"))?;
                self.cases()
                    .keep_search(search.list, walk, Arc::clone(&found));
                return Ok(Page {
                    items,
                    next: Some(next),
                });
            }
            items.push(case);
        }
        Ok(Page { items, next: None })
    }

    /// The current version of a case that was found, if it is what was found or matches as well.
    async fn still_found(
        &self,
        search: &Search,
        pattern: &str,
        (case_id, version): &Place,
    ) -> Result<Option<Arc<Case>>> {
        let case = self.find_current(*case_id).await?;
        let unchanged = case.as_ref().is_some_and(|case| case.version == *version);
        let matches = unchanged || self.matches(search, pattern, *case_id).await?;
        Ok(case.filter(|_| matches))
    }

    async fn search(&self, search: &Search, pattern: &str) -> Result<Arc<[Place]>> {
        let query = search.filter.bind(sqlx::query(SEARCH_SQL).bind(pattern));
        Ok(self
            .fetch_places(query.bind(SEARCH_RESULTS_MAX as i64))
            .await?
            .into())
    }

    async fn matches(&self, search: &Search, pattern: &str, case_id: CaseId) -> Result<bool> {
        let query = search.filter.bind(sqlx::query(MATCHES_SQL).bind(pattern));
        let query = query.bind(case_id.as_bytes().as_slice());
        let row = query.fetch_optional(self.readers()).await;
        Ok(row
            .map_err(|source| error::storage(LIST, source))?
            .is_some())
    }

    async fn fetch_places(&self, query: Query<'_, Sqlite, SqliteArguments>) -> Result<Vec<Place>> {
        let rows = query.fetch_all(self.readers()).await;
        let rows = rows.map_err(|source| error::storage(LIST, source))?;
        let read = |row: &SqliteRow| {
            let mut columns = Columns::of(row);
            Some((
                CaseId::from_bytes(columns.id()?),
                CaseVersion::new(columns.number()?)?,
            ))
        };
        let places: Option<Vec<_>> = rows.iter().map(read).collect();
        places.ok_or_else(|| error::corrupt(LIST, "case"))
    }
}

/// A filter, as the columns of `cases` hold what it compares.
#[derive(Debug)]
pub(crate) struct FilterColumns {
    specialty: Option<String>,
    lang: Option<String>,
}

impl FilterColumns {
    pub(crate) fn of(filter: &CaseFilter) -> Self {
        let specialty = filter.specialty.as_deref().map(str::to_lowercase);
        Self {
            specialty,
            lang: filter.locale.map(|locale| locale.as_str().to_owned()),
        }
    }

    /// Binds specialty, then language.
    pub(crate) fn bind<'q>(
        &self,
        query: Query<'q, Sqlite, SqliteArguments>,
    ) -> Query<'q, Sqlite, SqliteArguments> {
        query.bind(self.specialty.clone()).bind(self.lang.clone())
    }
}

struct Search {
    filter: FilterColumns,
    /// What `MATCH` takes; `None` if there is no word to search for.
    pattern: Option<String>,
    list: ListId,
}

impl Search {
    fn new(filter: &CaseFilter, words: &[String]) -> Self {
        let filter = FilterColumns::of(filter);
        let list = ListId::new("s1", &format!("{filter:?} {words:?}"));
        // Words have letters and digits only; the quotes keep `AND`, `OR` and `NOT` from meaning
        // anything but themselves.
        let quoted: Vec<_> = words.iter().map(|word| format!("\"{word}\"*")).collect();
        let pattern = (!words.is_empty()).then(|| quoted.join(" AND "));
        Self {
            filter,
            pattern,
            list,
        }
    }
}

/// A content with everything that is written for it.
pub(crate) struct Edition {
    content: CaseContent,
    json: String,
    filter: FilterColumns,
    leading: String,
    others: String,
}

impl Edition {
    pub(crate) fn of(operation: &'static str, content: CaseContent) -> Result<Self> {
        let json = serde_json::to_string(&content).map_err(|source| {
            Error::new(
                ErrorKind::Unexpected,
                operation,
                "the case has no stored form",
            )
            .with_source(source)
        })?;
        let filter = FilterColumns::of(&CaseFilter {
            specialty: content.specialty().map(str::to_owned),
            locale: Some(content.locale()),
        });
        let leading = [Some(content.stem()), content.specialty()];
        let vignette = content.vignette().iter();
        let others = vignette
            .flat_map(|field| [field.label.as_str(), field.text.as_str()])
            .chain(content.options().iter().map(|option| option.text.as_str()))
            .chain(content.topic());
        let others = folded(others);
        let leading = folded(leading.into_iter().flatten());
        Ok(Self {
            json,
            filter,
            leading,
            others,
            content,
        })
    }

    pub(crate) fn content(&self) -> &CaseContent {
        &self.content
    }

    fn is(&self, stored: &str) -> bool {
        // The text of an older program may be another for the same content.
        self.json == stored
            || serde_json::from_str::<CaseContent>(stored)
                .is_ok_and(|stored| stored == self.content)
    }
}

/// All words of some texts, folded as the words of a search are.
fn folded<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    texts.flat_map(folded_words).collect::<Vec<_>>().join(" ")
}

struct Publish {
    editions: Vec<Edition>,
    now: Timestamp,
    cases: Arc<CaseCache>,
}

#[async_trait]
impl Write for Publish {
    type Output = Vec<Publication>;

    const OPERATION: &'static str = PUBLISH;

    async fn apply(
        &mut self,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Publication>, Failure> {
        let mut published = Vec::with_capacity(self.editions.len());
        for edition in &self.editions {
            published.push(publish(connection, edition, self.now).await?);
        }
        Ok(published)
    }

    fn committed(&self, published: &Vec<Publication>) {
        let published = published.iter().map(|publication| publication.case_id);
        self.cases.forget_current(published);
    }
}

async fn publish(
    connection: &mut SqliteConnection,
    edition: &Edition,
    now: Timestamp,
) -> Result<Publication, Failure> {
    let row = sqlx::query(FIND_NAMED_SQL)
        .bind(edition.content.source())
        .bind(edition.content.external_id())
        .fetch_optional(&mut *connection)
        .await?;
    let named = match &row {
        Some(row) => Some(read_named(row).ok_or_else(|| error::unreadable("case"))?),
        None => None,
    };
    let (number, publication) = match named {
        Some(named) if edition.is(named.content) => {
            let Named {
                case_id, version, ..
            } = named;
            return Ok(Publication {
                case_id,
                version,
                outcome: PublicationOutcome::Unchanged,
            });
        }
        Some(named) => {
            let publication = Publication {
                case_id: named.case_id,
                version: named.version.next(),
                outcome: PublicationOutcome::NewVersion,
            };
            publish_version(connection, edition, &publication, named.number, now).await?;
            return Ok(publication);
        }
        None => {
            let (case_id, version) = (CaseId::new(now), CaseVersion::FIRST);
            let number = insert_case(connection, edition, case_id, now).await?;
            (
                number,
                Publication {
                    case_id,
                    version,
                    outcome: PublicationOutcome::Created,
                },
            )
        }
    };
    insert_version(connection, edition, &publication, number, now).await?;
    Ok(publication)
}

/// Makes an edition the current version of a case that there is.
pub(crate) async fn publish_version(
    connection: &mut SqliteConnection,
    edition: &Edition,
    publication: &Publication,
    number: i64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    update_case(connection, edition, publication.version, number, now).await?;
    insert_version(connection, edition, publication, number, now).await
}

async fn insert_case(
    connection: &mut SqliteConnection,
    edition: &Edition,
    case_id: CaseId,
    now: Timestamp,
) -> Result<i64, sqlx::Error> {
    let inserted = edition
        .filter
        .bind(sqlx::query(INSERT_CASE_SQL))
        .bind(i64::from(CaseVersion::FIRST.get()))
        .bind(micros(now))
        .bind(case_id.as_bytes().as_slice())
        .bind(edition.content.source())
        .bind(edition.content.external_id())
        .bind(xxh3_64(case_id.as_bytes()).cast_signed())
        .execute(connection)
        .await?;
    Ok(inserted.last_insert_rowid())
}

async fn update_case(
    connection: &mut SqliteConnection,
    edition: &Edition,
    version: CaseVersion,
    number: i64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    let query = edition.filter.bind(sqlx::query(UPDATE_CASE_SQL));
    let query = query
        .bind(i64::from(version.get()))
        .bind(micros(now))
        .bind(number);
    query.execute(connection).await.map(drop)
}

async fn insert_version(
    connection: &mut SqliteConnection,
    edition: &Edition,
    publication: &Publication,
    number: i64,
    now: Timestamp,
) -> Result<(), sqlx::Error> {
    sqlx::query(INSERT_VERSION_SQL)
        .bind(publication.case_id.as_bytes().as_slice())
        .bind(i64::from(publication.version.get()))
        .bind(edition.json.as_str())
        .bind(micros(now))
        .execute(&mut *connection)
        .await?;
    sqlx::query(PUT_WORDS_SQL)
        .bind(number)
        .bind(edition.leading.as_str())
        .bind(edition.others.as_str())
        .execute(connection)
        .await
        .map(drop)
}

/// The current version of a case that is known by its name.
pub(crate) struct Named<'r> {
    pub(crate) number: i64,
    case_id: CaseId,
    pub(crate) version: CaseVersion,
    pub(crate) content: &'r str,
}

pub(crate) fn read_named(row: &SqliteRow) -> Option<Named<'_>> {
    let mut columns = Columns::of(row);
    Some(Named {
        number: columns.next()?,
        case_id: CaseId::from_bytes(columns.id()?),
        version: CaseVersion::new(columns.number()?)?,
        content: columns.next()?,
    })
}

/// Reads a case, and how many bytes its content has.
fn read_case(row: &SqliteRow) -> Option<(Case, u64)> {
    let mut columns = Columns::of(row);
    let id = CaseId::from_bytes(columns.id()?);
    let version = CaseVersion::new(columns.number()?)?;
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
