use std::collections::HashSet;

use jiff_sqlx::Timestamp as Instant;
use medcards_core::event::LogPosition;
use medcards_core::job::NewJob;
use medcards_core::notice::{NewNotice, NoticeBody};
use medcards_core::view::{
    Announced, Committed, NewAward, ROWS_PER_CALL_MAX, RowWrite, Runner, SET_ASIDE_KEPT_MAX,
    SetAside, ViewCommit,
};
use medcards_core::{Error, ErrorKind, Result, UserId};
use sqlx::postgres::PgRow;
use uuid::Uuid;

use crate::PgStore;
use crate::answers::bucket;
use crate::column::{Columns, instant, saturated};
use crate::effects::Written;
use crate::error::Failure;
use crate::events::read_position;
use crate::node::transact;
use crate::steps::Steps;

const COMMIT: &str = "commit view";

/// Both rows as they are once they are locked.
const LOCK_SQL: &str = "
SELECT view_editions.transaction_id::text::bigint, view_editions.sequence, set_aside, leader,
       announced_transaction_id::text::bigint, announced_sequence
FROM views JOIN view_editions ON view = name
WHERE name = $1 AND number = $2 AND NOT is_gone
FOR UPDATE";

/// A row that keeps its place is changed without touching an index.
const PUT_SQL: &str = "
INSERT INTO view_rows (edition, owner, item, place, bytes)
SELECT $1, * FROM unnest($2::uuid[], $3::bytea[], $4::bigint[], $5::bytea[])
ON CONFLICT (edition, owner, item) DO UPDATE SET place = excluded.place, bytes = excluded.bytes";

const REMOVE_SQL: &str = "
DELETE FROM view_rows USING unnest($2::uuid[], $3::bytea[]) AS given (owner, item)
WHERE edition = $1 AND view_rows.owner = given.owner AND view_rows.item = given.item";

const SET_ASIDE_SQL: &str = "
INSERT INTO view_set_aside (edition, transaction_id, sequence, kind, reason)
SELECT $1, transaction_id::text::xid8, sequence, kind, reason
FROM unnest($2::bigint[], $3::bigint[], $4::text[], $5::text[])
     AS given (transaction_id, sequence, kind, reason)
ON CONFLICT DO NOTHING";

const AWARD_SQL: &str = "
INSERT INTO awards (user_id, bucket, badge, awarded_at)
SELECT user_id, bucket, badge, awarded_at
FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::timestamptz[])
     AS given (user_id, bucket, badge, awarded_at)
ORDER BY user_id, badge COLLATE \"C\"
ON CONFLICT (user_id, badge) DO NOTHING
RETURNING user_id, badge";

const MOVE_SQL: &str = "
UPDATE view_editions
SET transaction_id = $2::bigint::text::xid8, sequence = $3, set_aside = set_aside + $4
WHERE number = $1";

const ANNOUNCED_SQL: &str = "
UPDATE views
SET announced_transaction_id = $2::bigint::text::xid8, announced_sequence = $3
WHERE name = $1";

impl PgStore {
    pub(super) async fn commit_view(&self, commit: ViewCommit) -> Result<Committed> {
        check(&commit)?;
        let rows = RowColumns::of(&commit.rows);
        let committed: Result<_, Failure> = transact!(self.primary(), |transaction| {
            write(&mut transaction, &commit, &rows).await
        });
        match committed.map_err(|failure| failure.during(COMMIT))? {
            Ok(written) => {
                self.have_enqueued(written.jobs());
                written.tell(self.signals());
                Ok(Committed::Done)
            }
            Err(refusal) => Ok(refusal),
        }
    }
}

fn check(commit: &ViewCommit) -> Result<()> {
    let invalid = |context| Err(Error::new(ErrorKind::Invalid, COMMIT, context));
    if commit.rows.len() > ROWS_PER_CALL_MAX {
        return invalid("it has over 10,000 rows: commit fewer events at once");
    }
    if commit.to < commit.from {
        return invalid("a view does not go back: rebuild it");
    }
    let announced = commit.announced.iter().filter_map(|(_, it)| match it {
        Announced::Job(job) => Some(job),
        Announced::Notice { .. } => None,
    });
    let awarded = commit.awards.iter().filter_map(|it| it.job.as_ref());
    announced.chain(awarded).try_for_each(NewJob::check)
}

/// Writes a commit; or says inside why it does not count, and writes nothing.
async fn write(
    steps: &mut impl Steps,
    commit: &ViewCommit,
    rows: &RowColumns,
) -> Result<std::result::Result<Written, Committed>, Failure> {
    let lock = sqlx::query(LOCK_SQL)
        .bind(commit.view.as_str().to_owned())
        .bind(commit.edition.get());
    let locked = steps.fetch(lock).await?;
    let Some(row) = locked.first() else {
        return Ok(Err(Committed::Gone));
    };
    let stand = Stand::read(row).ok_or(Failure::Unreadable("view"))?;
    if stand.leader != Some(commit.runner) {
        return Ok(Err(Committed::NotLeading));
    }
    if stand.position != commit.from {
        return Ok(Err(Committed::Elsewhere(stand.position)));
    }
    rows.write(steps, commit.edition.get()).await?;
    let new = award(steps, &commit.awards).await?;
    let written = follow(commit, stand.announced, &new)?;
    written.write(steps).await?;
    let room = (SET_ASIDE_KEPT_MAX as u64).saturating_sub(stand.set_aside);
    let kept = commit
        .set_aside
        .len()
        .min(usize::try_from(room).unwrap_or(usize::MAX));
    set_aside(steps, commit.edition.get(), &commit.set_aside[..kept]).await?;
    let moved = sqlx::query(MOVE_SQL)
        .bind(commit.edition.get())
        .bind(saturated(commit.to.transaction))
        .bind(saturated(commit.to.sequence))
        .bind(saturated(commit.set_aside.len() as u64));
    steps.fetch(moved).await?;
    if stand.announced < commit.to {
        let announced = sqlx::query(ANNOUNCED_SQL)
            .bind(commit.view.as_str().to_owned())
            .bind(saturated(commit.to.transaction))
            .bind(saturated(commit.to.sequence));
        steps.fetch(announced).await?;
    }
    Ok(Ok(written))
}

/// How an edition stands.
struct Stand {
    position: LogPosition,
    set_aside: u64,
    leader: Option<Runner>,
    announced: LogPosition,
}

impl Stand {
    fn read(row: &PgRow) -> Option<Self> {
        let mut columns = Columns::of(row);
        Some(Self {
            position: read_position(&mut columns)?,
            set_aside: columns.number()?,
            leader: columns.next::<Option<Uuid>>()?.map(Runner::new),
            announced: read_position(&mut columns)?,
        })
    }
}

/// Rows, column by column.
#[derive(Default)]
struct RowColumns {
    owners: Vec<Uuid>,
    items: Vec<Vec<u8>>,
    places: Vec<Option<i64>>,
    bytes: Vec<Vec<u8>>,
    removed_owners: Vec<Uuid>,
    removed_items: Vec<Vec<u8>>,
}

impl RowColumns {
    fn of(writes: &[RowWrite]) -> Self {
        let mut columns = Self::default();
        for write in writes {
            match write {
                RowWrite::Put(row) => {
                    columns.owners.push(row.key.owner);
                    columns.items.push(row.key.item.as_bytes().to_vec());
                    columns.places.push(row.place);
                    columns.bytes.push(row.bytes.clone());
                }
                RowWrite::Remove(key) => {
                    columns.removed_owners.push(key.owner);
                    columns.removed_items.push(key.item.as_bytes().to_vec());
                }
            }
        }
        columns
    }

    async fn write(&self, steps: &mut impl Steps, edition: i64) -> Result<(), Failure> {
        if !self.owners.is_empty() {
            let put = sqlx::query(PUT_SQL)
                .bind(edition)
                .bind(self.owners.clone())
                .bind(self.items.clone())
                .bind(self.places.clone())
                .bind(self.bytes.clone());
            steps.fetch(put).await?;
        }
        if !self.removed_owners.is_empty() {
            let remove = sqlx::query(REMOVE_SQL)
                .bind(edition)
                .bind(self.removed_owners.clone())
                .bind(self.removed_items.clone());
            steps.fetch(remove).await?;
        }
        Ok(())
    }
}

/// Awards what is new; returns the first award of each user and badge that was.
async fn award<'a>(
    steps: &mut impl Steps,
    awards: &'a [NewAward],
) -> Result<Vec<&'a NewAward>, Failure> {
    let mut seen = HashSet::new();
    let is_first = |it: &&'a NewAward| seen.insert((it.user_id, it.badge.as_str()));
    let mut awards: Vec<&NewAward> = awards.iter().filter(is_first).collect();
    if awards.is_empty() {
        return Ok(awards);
    }
    let users: Vec<Uuid> = awards.iter().map(|it| *it.user_id.as_uuid()).collect();
    let buckets: Vec<i16> = awards.iter().map(|it| bucket(it.user_id)).collect();
    let badges: Vec<String> = awards.iter().map(|it| it.badge.clone()).collect();
    let instants: Vec<Instant> = awards.iter().map(|it| instant(it.at)).collect();
    let award = sqlx::query(AWARD_SQL).bind(users).bind(buckets);
    let rows = steps.fetch(award.bind(badges).bind(instants)).await?;
    let read = |row: &PgRow| {
        let mut columns = Columns::of(row);
        Some((UserId::from_uuid(columns.id()?), columns.next::<String>()?))
    };
    let new: Option<HashSet<_>> = rows.iter().map(read).collect();
    let new = new.ok_or(Failure::Unreadable("award"))?;
    awards.retain(|it| new.contains(&(it.user_id, it.badge.clone())));
    Ok(awards)
}

/// What events behind the last announced one would do, and what follows from new awards.
fn follow(
    commit: &ViewCommit,
    announced: LogPosition,
    awards: &[&NewAward],
) -> Result<Written, Failure> {
    let mut written = Written::default();
    for (position, what) in &commit.announced {
        if *position <= announced {
            continue;
        }
        match what.clone() {
            Announced::Job(job) => {
                let now = job.run_at;
                written.add_job(job, now);
            }
            Announced::Notice { user_id, at, body } => {
                written.add_notice(COMMIT, &NewNotice { user_id, at, body })?;
            }
        }
    }
    for award in awards {
        let badge = award.badge.clone();
        let notice = NewNotice {
            user_id: award.user_id,
            at: award.at,
            body: NoticeBody::Badge { badge },
        };
        written.add_notice(COMMIT, &notice)?;
        if let Some(job) = award.job.clone() {
            let now = job.run_at;
            written.add_job(job, now);
        }
    }
    Ok(written)
}

async fn set_aside(
    steps: &mut impl Steps,
    edition: i64,
    events: &[SetAside],
) -> Result<(), Failure> {
    if events.is_empty() {
        return Ok(());
    }
    let places = events.iter().map(|it| it.position);
    let transactions: Vec<i64> = places.clone().map(|it| saturated(it.transaction)).collect();
    let sequences: Vec<i64> = places.map(|it| saturated(it.sequence)).collect();
    let kinds: Vec<String> = events.iter().map(|it| without_nul(&it.kind)).collect();
    let reasons: Vec<String> = events.iter().map(|it| without_nul(&it.reason)).collect();
    let insert = sqlx::query(SET_ASIDE_SQL).bind(edition).bind(transactions);
    let insert = insert.bind(sequences).bind(kinds).bind(reasons);
    steps.fetch(insert).await.map(drop)
}

/// What no text may have here is no reason to hold a view up.
fn without_nul(text: &str) -> String {
    text.replace('\0', "")
}
