use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use medcards_core::event::{EVENTS_PER_READ_MAX, Event, EventBody, LogPosition};
use medcards_core::store::Consistency;
use medcards_core::view::{
    Announced, Applied, Committed, EditionNumber, EditionOf, EditionState, Facts, Folder, NewAward,
    Projection, ProjectionRow, ROWS_PER_CALL_MAX, RowKey, RowWrite, Runner, SetAside, StoredRow,
    ViewCommit, ViewName,
};
use medcards_core::{Result, Timestamp};

use super::CaseFacts;
use crate::Stores;

/// The most pages of events of one commit: while a view is far behind, rows that many events change
/// are written once for all of them.
const PAGES_PER_COMMIT_MAX: usize = 10;

/// How many changed rows end a commit: half of what one may have, so that the last event may change as
/// many again.
const ROWS_PER_COMMIT: usize = ROWS_PER_CALL_MAX / 2;

/// The most announcements and awards that end a commit: each is a row of its own.
const ANNOUNCED_PER_COMMIT: usize = 2_000;

/// An edition of a view, with its rows as far as they are in memory.
#[derive(Debug)]
pub(super) struct Build<P: Projection> {
    view: ViewName,
    number: EditionNumber,
    position: LogPosition,
    folder: Folder<Arc<P>>,
    facts: Facts,
    /// Whether all rows of the edition are in memory: then a row that is not known is not there.
    is_whole: bool,
    /// An event that changed more rows than fit beside those before it: it gets a commit of its own.
    alone: Option<LogPosition>,
    /// An event that changes more rows than any commit has.
    too_wide: Option<LogPosition>,
}

/// What became of a commit's worth of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Advance {
    /// So many events count now, or are set aside.
    Done(Advanced),
    /// Somebody else was there, or the edition is gone: nothing in memory holds.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Advanced {
    pub(super) events: u64,
    pub(super) set_aside: u64,
    /// Whether the log had nothing more.
    pub(super) is_caught_up: bool,
    /// When the last answer among them was given.
    pub(super) answered_at: Option<Timestamp>,
    /// Whether a key was corrected among them.
    pub(super) has_correction: bool,
}

/// What is to be committed.
#[derive(Debug)]
struct Gathered {
    to: LogPosition,
    announced: Vec<(LogPosition, Announced)>,
    awards: Vec<NewAward>,
    set_aside: Vec<SetAside>,
    advanced: Advanced,
}

impl Gathered {
    fn is_full(&self) -> bool {
        self.announced.len() + self.awards.len() >= ANNOUNCED_PER_COMMIT
    }
}

impl<P: Projection> Build<P> {
    pub(super) fn new(
        view: ViewName,
        edition: &EditionState,
        projection: Arc<P>,
        facts: Facts,
    ) -> Self {
        Self {
            view,
            number: edition.number,
            position: edition.position,
            folder: Folder::new(projection),
            facts,
            is_whole: edition.position == LogPosition::START,
            alone: None,
            too_wide: None,
        }
    }

    /// Whether it is this edition as it stands in the store.
    pub(super) fn is_of(&self, edition: &EditionState) -> bool {
        (self.number, self.position) == (edition.number, edition.position)
    }

    pub(super) fn position(&self) -> LogPosition {
        self.position
    }

    pub(super) fn number(&self) -> EditionNumber {
        self.number
    }

    /// Applies the next events and commits what they change.
    ///
    /// After an error it is not known whether that was written: begin anew from the store.
    pub(super) async fn advance(
        &mut self,
        stores: &Stores,
        cases: &CaseFacts,
        runner: Runner,
        rows_kept_max: usize,
    ) -> Result<Advance> {
        let Some(gathered) = self.gather(stores, cases).await? else {
            return Ok(Advance::Done(Advanced {
                events: 0,
                set_aside: 0,
                is_caught_up: false,
                answered_at: None,
                has_correction: false,
            }));
        };
        let advanced = gathered.advanced;
        if gathered.to == self.position {
            return Ok(Advance::Done(advanced));
        }
        let commit = ViewCommit {
            view: self.view.clone(),
            edition: self.number,
            runner,
            from: self.position,
            to: gathered.to,
            rows: self.take_changed()?,
            announced: gathered.announced,
            awards: gathered.awards,
            set_aside: gathered.set_aside,
        };
        match stores.learning.commit(commit).await? {
            Committed::Done => {
                self.position = gathered.to;
                if self.folder.len() > rows_kept_max {
                    self.forget();
                }
                Ok(Advance::Done(advanced))
            }
            Committed::Elsewhere(_) | Committed::Gone | Committed::NotLeading => Ok(Advance::Lost),
        }
    }

    /// Applies events up to a commit's worth; `None` if an event has turned out to change too much, and
    /// all is to be done again with that in mind.
    async fn gather(&mut self, stores: &Stores, cases: &CaseFacts) -> Result<Option<Gathered>> {
        let mut gathered = Gathered {
            to: self.position,
            announced: Vec::new(),
            awards: Vec::new(),
            set_aside: Vec::new(),
            advanced: Advanced {
                events: 0,
                set_aside: 0,
                is_caught_up: false,
                answered_at: None,
                has_correction: false,
            },
        };
        for _ in 0..PAGES_PER_COMMIT_MAX {
            let page = stores.store.read_events(gathered.to, EVENTS_PER_READ_MAX);
            let events = page.await?;
            cases.load(&mut self.facts, &events).await?;
            self.learn_likely(stores, &events).await?;
            for event in &events {
                if self.alone == Some(event.position) && gathered.to != self.position {
                    return Ok(Some(gathered));
                }
                self.apply(stores, event, &mut gathered).await?;
                if self.folder.changed() > ROWS_PER_CALL_MAX {
                    let is_first = gathered.advanced.events == 1;
                    let place = if is_first {
                        &mut self.too_wide
                    } else {
                        &mut self.alone
                    };
                    *place = Some(event.position);
                    self.forget();
                    return Ok(None);
                }
                if self.folder.changed() >= ROWS_PER_COMMIT || gathered.is_full() {
                    return Ok(Some(gathered));
                }
            }
            if events.len() < EVENTS_PER_READ_MAX {
                gathered.advanced.is_caught_up = true;
                break;
            }
            // Many pages are applied without waiting for anything: others want the thread too.
            tokio::task::yield_now().await;
        }
        Ok(Some(gathered))
    }

    async fn apply(
        &mut self,
        stores: &Stores,
        event: &Event,
        gathered: &mut Gathered,
    ) -> Result<()> {
        let advanced = &mut gathered.advanced;
        advanced.events += 1;
        gathered.to = event.position;
        match &event.body {
            EventBody::AnswerRecorded { answer } => advanced.answered_at = Some(answer.created_at),
            EventBody::KeyCorrected { .. } => advanced.has_correction = true,
            _ => {}
        }
        loop {
            let applied = if self.too_wide == Some(event.position) {
                Applied::SetAside(format!("it changes more than {ROWS_PER_CALL_MAX} rows"))
            } else {
                self.folder.apply(event, &self.facts)
            };
            match applied {
                Applied::Done { announced, awards } => {
                    let placed = announced.into_iter().map(|it| (event.position, it));
                    gathered.announced.extend(placed);
                    gathered.awards.extend(awards);
                    return Ok(());
                }
                Applied::Missing(key) => self.learn(stores, vec![key]).await?,
                Applied::SetAside(reason) => {
                    tracing::warn!(view = %self.view, position = %event.position, kind = event.body.kind(), reason, "an event is set aside");
                    gathered.set_aside.push(SetAside::new(event, reason));
                    gathered.advanced.set_aside += 1;
                    return Ok(());
                }
            }
        }
    }

    /// Reads the rows that these events will probably ask for.
    async fn learn_likely(&mut self, stores: &Stores, events: &[Event]) -> Result<()> {
        let (projection, facts) = (self.folder.projection(), &self.facts);
        let likely = |event: &Event| {
            // Of an event that it panics on, none: `apply` will set it aside.
            catch_unwind(AssertUnwindSafe(|| projection.likely_rows(event, facts)))
                .unwrap_or_default()
        };
        let mut keys: Vec<RowKey> = events.iter().flat_map(likely).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.retain(|key| !self.folder.knows(key));
        self.learn(stores, keys).await
    }

    async fn learn(&mut self, stores: &Stores, keys: Vec<RowKey>) -> Result<()> {
        if self.is_whole {
            for key in keys {
                self.folder.learn(key, None);
            }
            return Ok(());
        }
        let edition = EditionOf::Number(self.number);
        for keys in keys.chunks(ROWS_PER_CALL_MAX) {
            let rows = stores
                .learning
                .find_rows(&edition, keys, &Consistency::Strong);
            for stored in rows.await? {
                let row = P::Row::from_bytes(&stored.bytes)?;
                self.folder.learn(stored.key, Some(row));
            }
            for key in keys {
                // What was found stays.
                self.folder.learn(*key, None);
            }
        }
        Ok(())
    }

    fn take_changed(&mut self) -> Result<Vec<RowWrite>> {
        let changed = self.folder.take_changed();
        let projection = self.folder.projection();
        let write = |(key, row): (RowKey, Option<P::Row>)| {
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

    fn forget(&mut self) {
        self.folder.forget();
        self.is_whole = false;
    }
}
