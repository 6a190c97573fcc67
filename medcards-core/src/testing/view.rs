use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::case::{CORRECTIONS_PER_READ_MAX, CaseStore};
use crate::event::{Event, EventBody, EventLog, LogPosition};
use crate::store::Store;
use crate::time::Clock;
use crate::view::{
    Applied, CaseFact, Committed, Facts, Folder, Projection, ProjectionRow, RowWrite, Runner,
    SetAside, StoredRow, ViewCommit, ViewStore,
};
use crate::{Error, ErrorKind, Result};

/// How many events are committed at once: their rows fit into a commit, whatever the view.
const EVENTS_PER_COMMIT: usize = 200;

/// Builds a view of the whole log from its start, and makes it the current one: a runner that does it
/// once, alone.
///
/// # Errors
/// Those of the stores; [`ErrorKind::Conflict`] if somebody else builds the view too.
pub async fn build_view<P: Projection>(
    projection: P,
    store: &Arc<dyn Store>,
    views: &Arc<dyn ViewStore>,
    clock: &dyn Clock,
) -> Result<()> {
    let conflict = || {
        let context = "somebody else builds it too";
        Error::new(ErrorKind::Conflict, "build view", context)
    };
    let (name, version) = (projection.name(), projection.version());
    let mut facts = facts_of(store).await?;
    let corrections = facts.1;
    let begun = views.begin_edition(&name, version, corrections, clock.now());
    let next = begun.await?.next.ok_or_else(conflict)?;
    let runner = Runner::new(Uuid::new_v5(&Uuid::nil(), name.as_str().as_bytes()));
    let lease = Duration::from_secs(60);
    if !views.take_lead(&name, runner, clock.now(), lease).await? {
        return Err(conflict());
    }
    let mut folder = Folder::new(projection);
    let mut from = LogPosition::START;
    loop {
        let events = store.read_events(from, EVENTS_PER_COMMIT).await?;
        let Some(last) = events.last() else { break };
        let mut commit = ViewCommit {
            view: name.clone(),
            edition: next.number,
            runner,
            from,
            to: last.position,
            rows: Vec::new(),
            announced: Vec::new(),
            awards: Vec::new(),
            set_aside: Vec::new(),
        };
        for event in &events {
            learn_case(store, event, &mut facts.0).await?;
            apply(&mut folder, event, &facts.0, &mut commit);
        }
        commit.rows = rows_of(&mut folder)?;
        from = last.position;
        if views.commit(commit).await? != Committed::Done {
            return Err(conflict());
        }
    }
    views.switch(&name, next.number).await?;
    views.give_up_lead(&name, runner).await
}

/// The corrections, and how many there are.
async fn facts_of(store: &Arc<dyn Store>) -> Result<(Facts, u64)> {
    let (mut all, mut last) = (Vec::new(), 0);
    loop {
        let more = store.list_corrections(last, CORRECTIONS_PER_READ_MAX);
        let more = more.await?;
        let Some(end) = more.last() else { break };
        last = end.number;
        all.extend(more);
    }
    Ok((Facts::new(&all), last))
}

async fn learn_case(store: &Arc<dyn Store>, event: &Event, facts: &mut Facts) -> Result<()> {
    let EventBody::AnswerRecorded { answer } = &event.body else {
        return Ok(());
    };
    let (case_id, version) = (answer.case_id, answer.case_version);
    if !facts.knows(case_id, version)
        && let Some(case) = store.find_case(case_id, Some(version)).await?
    {
        facts.insert(case_id, version, CaseFact::of(&case));
    }
    Ok(())
}

fn apply<P: Projection>(
    folder: &mut Folder<P>,
    event: &Event,
    facts: &Facts,
    commit: &mut ViewCommit,
) {
    loop {
        match folder.apply(event, facts) {
            // All rows of the edition are known.
            Applied::Missing(key) => folder.learn(key, None),
            Applied::Done { announced, awards } => {
                let placed = announced.into_iter().map(|it| (event.position, it));
                commit.announced.extend(placed);
                commit.awards.extend(awards);
                return;
            }
            Applied::SetAside(reason) => {
                commit.set_aside.push(SetAside::new(event, reason));
                return;
            }
        }
    }
}

fn rows_of<P: Projection>(folder: &mut Folder<P>) -> Result<Vec<RowWrite>> {
    let changed = folder.take_changed();
    let projection = folder.projection();
    let write = |(key, row): (_, Option<P::Row>)| {
        let Some(row) = row else {
            return Ok(RowWrite::Remove(key));
        };
        Ok(RowWrite::Put(StoredRow {
            key,
            place: projection.place(&key, &row),
            bytes: row.to_bytes()?,
        }))
    };
    changed.into_iter().map(write).collect()
}
