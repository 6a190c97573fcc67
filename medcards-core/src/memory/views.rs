use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use uuid::Uuid;

use super::MemoryStore;
use super::jobs::later;
use super::store::State;
use crate::event::LogPosition;
use crate::id::UserId;
use crate::job::NewJob;
use crate::notice::{NewNotice, NoticeBody};
use crate::store::Consistency;
use crate::view::{
    Announced, Award, Committed, EditionNumber, EditionOf, EditionState, Item, Placement,
    ROWS_PER_CALL_MAX, RowKey, RowWrite, Runner, SET_ASIDE_KEPT_MAX, SetAside, ShelfQuery,
    StoredRow, ViewCommit, ViewName, ViewState, ViewStore,
};
use crate::{Error, ErrorKind, Result};

/// All views, and the awards.
#[derive(Clone, Default)]
pub(super) struct Views {
    by_name: BTreeMap<ViewName, ViewState>,
    editions: HashMap<EditionNumber, Edition>,
    awards: HashMap<UserId, Vec<Award>>,
    /// How many editions there ever were.
    last: i64,
}

#[derive(Clone, Default)]
struct Edition {
    rows: BTreeMap<RowKey, StoredRow>,
    set_aside: Vec<SetAside>,
}

impl Views {
    fn edition(&self, of: &EditionOf) -> Option<&Edition> {
        let number = match of {
            EditionOf::Current(name) => self.by_name.get(name)?.current?.number,
            EditionOf::Number(number) => *number,
        };
        self.editions.get(&number)
    }
}

fn unknown(name: &ViewName) -> ViewState {
    ViewState {
        name: name.clone(),
        current: None,
        next: None,
        announced: LogPosition::START,
        lead: None,
    }
}

/// The edition of this number, if the view has it.
fn edition_of(view: &mut ViewState, number: EditionNumber) -> Option<&mut EditionState> {
    [&mut view.current, &mut view.next]
        .into_iter()
        .flatten()
        .find(|edition| edition.number == number)
}

/// Does what events behind the last announced one would do, and writes new awards.
fn follow(state: &mut State, announced: LogPosition, commit: &ViewCommit) {
    let mut jobs = Vec::new();
    for (position, what) in &commit.announced {
        if *position <= announced {
            continue;
        }
        match what.clone() {
            Announced::Job(job) => jobs.push(job),
            Announced::Notice { user_id, at, body } => {
                state.notices.write(NewNotice { user_id, at, body });
            }
        }
    }
    for award in &commit.awards {
        let awards = state.views.awards.entry(award.user_id).or_default();
        if awards.iter().any(|it| it.badge == award.badge) {
            continue;
        }
        let (badge, at) = (award.badge.clone(), award.at);
        awards.push(Award { badge, at });
        let badge = award.badge.clone();
        state.notices.write(NewNotice {
            user_id: award.user_id,
            at,
            body: NoticeBody::Badge { badge },
        });
        jobs.extend(award.job.clone());
    }
    for job in jobs {
        let now = job.run_at;
        state.jobs.enqueue(vec![job], now);
    }
}

fn check(commit: &ViewCommit) -> Result<()> {
    let invalid = |context| Err(Error::new(ErrorKind::Invalid, "commit view", context));
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
impl ViewStore for MemoryStore {
    async fn view(&self, name: &ViewName) -> Result<ViewState> {
        let known = self.state().views.by_name.get(name).cloned();
        Ok(known.unwrap_or_else(|| unknown(name)))
    }

    async fn list_views(&self) -> Result<Vec<ViewState>> {
        Ok(self.state().views.by_name.values().cloned().collect())
    }

    async fn begin_edition(
        &self,
        name: &ViewName,
        version: u64,
        corrections: u64,
        now: Timestamp,
    ) -> Result<ViewState> {
        let mut state = self.state();
        let last = state.log.last();
        let views = &mut state.views;
        let view = views.by_name.entry(name.clone()).or_insert_with(|| {
            let announced = last;
            ViewState {
                announced,
                ..unknown(name)
            }
        });
        let is_it = |it: &EditionState| it.version == version && it.corrections == corrections;
        if view.next.as_ref().is_some_and(is_it) {
            return Ok(view.clone());
        }
        if let Some(given_up) = view.next.take() {
            views.editions.remove(&given_up.number);
        }
        views.last += 1;
        let number = EditionNumber::new(views.last);
        view.next = Some(EditionState {
            number,
            version,
            corrections,
            position: LogPosition::START,
            set_aside: 0,
            begun_at: now,
        });
        views.editions.insert(number, Edition::default());
        Ok(view.clone())
    }

    async fn take_lead(
        &self,
        name: &ViewName,
        runner: Runner,
        now: Timestamp,
        lease: Duration,
    ) -> Result<bool> {
        let views = &mut self.state().views;
        let Some(view) = views.by_name.get_mut(name) else {
            let context = "no edition of the view was ever begun";
            return Err(Error::new(ErrorKind::NotFound, "take lead", context));
        };
        let is_free = view
            .lead
            .is_none_or(|(leader, until)| leader == runner || until < now);
        if is_free {
            view.lead = Some((runner, later(now, lease)));
        }
        Ok(is_free)
    }

    async fn give_up_lead(&self, name: &ViewName, runner: Runner) -> Result<()> {
        if let Some(view) = self.state().views.by_name.get_mut(name) {
            view.lead.take_if(|(leader, _)| *leader == runner);
        }
        Ok(())
    }

    async fn find_rows(
        &self,
        edition: &EditionOf,
        keys: &[RowKey],
        _consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        if keys.len() > ROWS_PER_CALL_MAX {
            let context = "it is over 10,000 rows at once: make several calls of it";
            return Err(Error::new(ErrorKind::Invalid, "read view", context));
        }
        let state = self.state();
        let Some(edition) = state.views.edition(edition) else {
            return Ok(Vec::new());
        };
        let mut keys = keys.to_vec();
        keys.sort_unstable();
        keys.dedup();
        Ok(keys
            .iter()
            .filter_map(|key| edition.rows.get(key).cloned())
            .collect())
    }

    async fn list_rows(
        &self,
        edition: &EditionOf,
        owner: Uuid,
        after: Option<Item>,
        limit: usize,
        _consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let state = self.state();
        let Some(edition) = state.views.edition(edition) else {
            return Ok(Vec::new());
        };
        let start = match after {
            Some(item) => Bound::Excluded(RowKey::new(owner, item)),
            None => Bound::Included(RowKey::new(owner, Item::NONE)),
        };
        let rows = edition.rows.range((start, Bound::Unbounded));
        let owned = rows.take_while(|(key, _)| key.owner == owner);
        let limit = limit.min(ROWS_PER_CALL_MAX);
        Ok(owned.take(limit).map(|(_, row)| row.clone()).collect())
    }

    async fn list_shelf(
        &self,
        edition: &EditionOf,
        query: &ShelfQuery,
        _consistency: &Consistency,
    ) -> Result<Vec<StoredRow>> {
        let state = self.state();
        let Some(edition) = state.views.edition(edition) else {
            return Ok(Vec::new());
        };
        let first = RowKey::new(query.owner, Item::NONE);
        let mut rows: Vec<(i64, &StoredRow)> = edition
            .rows
            .range(first..)
            .take_while(|(key, _)| key.owner == query.owner)
            .filter_map(|(_, row)| Some((row.place?, row)))
            .filter(|(place, _)| (query.from..=query.to).contains(place))
            .filter(|(place, row)| match (query.after, query.order) {
                (None, _) => true,
                (Some(after), Placement::Ascending) => (*place, row.key.item) > after,
                (Some((last, item)), Placement::Descending) => {
                    (Reverse(*place), row.key.item) > (Reverse(last), item)
                }
            })
            .collect();
        match query.order {
            Placement::Ascending => rows.sort_by_key(|(place, row)| (*place, row.key.item)),
            Placement::Descending => {
                rows.sort_by_key(|(place, row)| (Reverse(*place), row.key.item));
            }
        }
        let limit = query.limit.min(ROWS_PER_CALL_MAX);
        Ok(rows
            .into_iter()
            .take(limit)
            .map(|(_, row)| row.clone())
            .collect())
    }

    async fn commit(&self, commit: ViewCommit) -> Result<Committed> {
        check(&commit)?;
        let mut state = self.state();
        let Some(view) = state.views.by_name.get_mut(&commit.view) else {
            return Ok(Committed::Gone);
        };
        let leads = view.lead.is_some_and(|(leader, _)| leader == commit.runner);
        let Some(edition) = edition_of(view, commit.edition) else {
            return Ok(Committed::Gone);
        };
        if !leads {
            return Ok(Committed::NotLeading);
        }
        if edition.position != commit.from {
            return Ok(Committed::Elsewhere(edition.position));
        }
        edition.position = commit.to;
        edition.set_aside += commit.set_aside.len() as u64;
        let announced = view.announced;
        view.announced = announced.max(commit.to);
        follow(&mut state, announced, &commit);
        let Some(kept) = state.views.editions.get_mut(&commit.edition) else {
            return Ok(Committed::Gone);
        };
        for write in commit.rows {
            match write {
                RowWrite::Put(row) => {
                    kept.rows.insert(row.key, row);
                }
                RowWrite::Remove(key) => {
                    kept.rows.remove(&key);
                }
            }
        }
        let room = SET_ASIDE_KEPT_MAX.saturating_sub(kept.set_aside.len());
        kept.set_aside
            .extend(commit.set_aside.into_iter().take(room));
        Ok(Committed::Done)
    }

    async fn switch(&self, name: &ViewName, edition: EditionNumber) -> Result<bool> {
        let views = &mut self.state().views;
        let Some(view) = views.by_name.get_mut(name) else {
            return Ok(false);
        };
        if view.current.is_some_and(|it| it.number == edition) {
            return Ok(true);
        }
        let Some(next) = view.next.filter(|it| it.number == edition) else {
            return Ok(false);
        };
        if view.current.is_some_and(|it| it.position > next.position) {
            return Ok(false);
        }
        view.next = None;
        if let Some(old) = view.current.replace(next) {
            views.editions.remove(&old.number);
        }
        Ok(true)
    }

    async fn list_set_aside(&self, edition: EditionNumber, limit: usize) -> Result<Vec<SetAside>> {
        let state = self.state();
        let kept = state.views.editions.get(&edition);
        let latest = kept.into_iter().flat_map(|it| it.set_aside.iter().rev());
        Ok(latest.take(limit).cloned().collect())
    }

    async fn sweep_rows(&self, _limit: usize) -> Result<u64> {
        // Those of editions that are gone went with them.
        Ok(0)
    }

    async fn list_awards(&self, user_id: UserId, _consistency: &Consistency) -> Result<Vec<Award>> {
        let state = self.state();
        let mut awards = state
            .views
            .awards
            .get(&user_id)
            .cloned()
            .unwrap_or_default();
        awards.sort_by(|a, b| (a.at, &a.badge).cmp(&(b.at, &b.badge)));
        Ok(awards)
    }
}
