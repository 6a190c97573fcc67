use std::collections::HashSet;
use std::sync::LazyLock;

use async_trait::async_trait;
use medcards_core::event::LogPosition;
use medcards_core::job::{Enqueued, NewJob};
use medcards_core::notice::{NewNotice, NoticeBody};
use medcards_core::shard::Bucket;
use medcards_core::view::{
    Announced, Committed, EditionState, NewAward, ROWS_PER_CALL_MAX, RowKey, RowWrite,
    SET_ASIDE_KEPT_MAX, SetAside, StoredRow, ViewCommit,
};
use medcards_core::{Error, ErrorKind, Result, UserId};
use sqlx::SqliteConnection;

use super::{COMMIT, editions, json_of_keys};
use crate::bulk::Bulk;
use crate::column::{Columns, micros, saturated};
use crate::error::{self, Failure};
use crate::hints::{StoreHints, Wrote};
use crate::jobs;
use crate::notices::{self, NoticeColumns};
use crate::writer::Write;

const MOVE_SQL: &str = "
UPDATE view_editions SET transaction_no = ?2, sequence = ?3, set_aside = set_aside + ?4
WHERE number = ?1";

const ANNOUNCE_SQL: &str = "
UPDATE views SET announced_transaction_no = ?2, announced_sequence = ?3 WHERE name = ?1";

static PUT_ROWS: LazyLock<Bulk> = LazyLock::new(|| {
    let head = "INSERT INTO view_rows (edition, owner, item, place, bytes)";
    let tail = "ON CONFLICT (edition, owner, item) DO UPDATE
        SET place = excluded.place, bytes = excluded.bytes";
    Bulk::new(head, 5, tail)
});

/// The keys come as a JSON list of owners and items.
const REMOVE_ROWS_SQL: &str = "
DELETE FROM view_rows
WHERE (edition, owner, item) IN (
    SELECT ?1, unhex(value ->> 0), unhex(value ->> 1) FROM json_each(?2)
)";

static SET_ASIDE: LazyLock<Bulk> = LazyLock::new(|| {
    let head = "INSERT INTO view_set_aside
        (edition, place, transaction_no, sequence, kind, reason)";
    Bulk::new(head, 6, "")
});

/// Returns those that are new.
static AWARD: LazyLock<Bulk> = LazyLock::new(|| {
    let head = "INSERT INTO awards (user_id, badge, bucket, awarded_at)";
    Bulk::new(head, 4, "ON CONFLICT DO NOTHING RETURNING user_id, badge")
});

pub(super) struct Commit {
    commit: ViewCommit,
    hints: StoreHints,
    wrote: Wrote,
}

impl Commit {
    pub(super) fn new(commit: ViewCommit, hints: StoreHints) -> Result<Self> {
        check(&commit)?;
        Ok(Self {
            commit,
            hints,
            wrote: Wrote::default(),
        })
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

#[async_trait]
impl Write for Commit {
    type Output = Committed;

    const OPERATION: &'static str = COMMIT;

    async fn apply(&mut self, connection: &mut SqliteConnection) -> Result<Committed, Failure> {
        let commit = &self.commit;
        self.wrote = Wrote::default();
        let Some(view) = editions::find(connection, &commit.view).await? else {
            return Ok(Committed::Gone);
        };
        let mut editions = [view.current, view.next].into_iter().flatten();
        let Some(edition) = editions.find(|it| it.number == commit.edition) else {
            return Ok(Committed::Gone);
        };
        if view.lead.is_none_or(|(leader, _)| leader != commit.runner) {
            return Ok(Committed::NotLeading);
        }
        if edition.position != commit.from {
            return Ok(Committed::Elsewhere(edition.position));
        }
        advance(connection, commit, view.announced).await?;
        write_rows(connection, commit).await?;
        set_aside(connection, &edition, &commit.set_aside).await?;
        self.wrote = follow(connection, commit, view.announced).await?;
        Ok(Committed::Done)
    }

    fn committed(&self, _committed: &Committed) {
        self.hints.give(self.wrote);
    }
}

/// Writes how far the edition is, and what the view has announced.
async fn advance(
    connection: &mut SqliteConnection,
    commit: &ViewCommit,
    announced: LogPosition,
) -> Result<(), sqlx::Error> {
    sqlx::query(MOVE_SQL)
        .bind(commit.edition.get())
        .bind(commit.to.transaction.cast_signed())
        .bind(commit.to.sequence.cast_signed())
        .bind(saturated(commit.set_aside.len() as u64))
        .execute(&mut *connection)
        .await?;
    if commit.to <= announced {
        return Ok(());
    }
    let query = sqlx::query(ANNOUNCE_SQL)
        .bind(commit.view.as_str())
        .bind(commit.to.transaction.cast_signed())
        .bind(commit.to.sequence.cast_signed());
    query.execute(connection).await.map(drop)
}

async fn write_rows(
    connection: &mut SqliteConnection,
    commit: &ViewCommit,
) -> Result<(), sqlx::Error> {
    let (mut put, mut removed): (Vec<&StoredRow>, Vec<RowKey>) = (Vec::new(), Vec::new());
    for write in &commit.rows {
        match write {
            RowWrite::Put(row) => put.push(row),
            RowWrite::Remove(key) => removed.push(*key),
        }
    }
    let edition = commit.edition.get();
    for (sql, part) in PUT_ROWS.parts(&put) {
        let mut query = sqlx::query(sql);
        for row in part {
            query = query
                .bind(edition)
                .bind(row.key.owner.as_bytes().as_slice())
                .bind(row.key.item.as_bytes())
                .bind(row.place)
                .bind(row.bytes.as_slice());
        }
        query.execute(&mut *connection).await?;
    }
    if !removed.is_empty() {
        sqlx::query(REMOVE_ROWS_SQL)
            .bind(edition)
            .bind(json_of_keys(&removed))
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Keeps the first events that are set aside; the others are counted.
async fn set_aside(
    connection: &mut SqliteConnection,
    edition: &EditionState,
    events: &[SetAside],
) -> Result<(), sqlx::Error> {
    let before = usize::try_from(edition.set_aside).unwrap_or(usize::MAX);
    let room = SET_ASIDE_KEPT_MAX.saturating_sub(before);
    let kept: Vec<_> = (before..).zip(events).take(room).collect();
    for (sql, part) in SET_ASIDE.parts(&kept) {
        let mut query = sqlx::query(sql);
        for (place, event) in part {
            query = query
                .bind(edition.number.get())
                .bind(saturated(*place as u64))
                .bind(event.position.transaction.cast_signed())
                .bind(event.position.sequence.cast_signed())
                .bind(event.kind.as_str())
                .bind(event.reason.as_str());
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Does what events behind the last announced one would do, and writes new awards.
async fn follow(
    connection: &mut SqliteConnection,
    commit: &ViewCommit,
    announced: LogPosition,
) -> Result<Wrote, Failure> {
    let (mut told, mut jobs) = (Vec::new(), Vec::new());
    let new = commit
        .announced
        .iter()
        .filter(|(position, _)| *position > announced);
    for (_, what) in new {
        match what {
            Announced::Job(job) => jobs.push((job, job.run_at)),
            Announced::Notice { user_id, at, body } => told.push(NewNotice {
                user_id: *user_id,
                at: *at,
                body: body.clone(),
            }),
        }
    }
    for award in write_awards(connection, &commit.awards).await? {
        told.push(NewNotice {
            user_id: award.user_id,
            at: award.at,
            body: NoticeBody::Badge {
                badge: award.badge.clone(),
            },
        });
        jobs.extend(award.job.as_ref().map(|job| (job, job.run_at)));
    }
    let told: Result<Vec<_>> = told.iter().map(NoticeColumns::of).collect();
    let told = told.map_err(error::unwritable)?;
    let told: Vec<_> = told.iter().collect();
    notices::insert(connection, &told).await?;
    let enqueued = jobs::insert(connection, &jobs).await?;
    Ok(Wrote {
        events: false,
        jobs: enqueued.contains(&Enqueued::New),
        notices: !told.is_empty(),
    })
}

/// Writes awards that are new, and returns them, the first of each user and badge.
async fn write_awards<'c>(
    connection: &mut SqliteConnection,
    awards: &'c [NewAward],
) -> Result<Vec<&'c NewAward>, Failure> {
    let mut written: HashSet<(UserId, String)> = HashSet::new();
    for (sql, part) in AWARD.parts(awards) {
        let mut query = sqlx::query(sql);
        for award in part {
            query = query
                .bind(award.user_id.as_bytes().as_slice())
                .bind(award.badge.as_str())
                .bind(i64::from(Bucket::of(&award.user_id).get()))
                .bind(micros(award.at));
        }
        for row in query.fetch_all(&mut *connection).await? {
            let mut columns = Columns::of(&row);
            let user_id = columns.id().map(UserId::from_bytes);
            let award = user_id.zip(columns.next());
            written.insert(award.ok_or_else(|| error::unreadable("award"))?);
        }
    }
    let is_new = |award: &&NewAward| written.remove(&(award.user_id, award.badge.clone()));
    Ok(awards.iter().filter(is_new).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plans::check;

    #[tokio::test]
    async fn statements_read_by_their_indexes() {
        check(
            REMOVE_ROWS_SQL,
            &["PRIMARY KEY (edition=? AND owner=? AND item=?)"],
        )
        .await;
        check(MOVE_SQL, &["PRIMARY KEY (rowid=?)"]).await;
    }
}
