use medcards_core::event::EventLog;
use medcards_core::view::{SetAside, ViewName, ViewState, ViewStore};
use medcards_core::{Error, ErrorKind, Result, Timestamp};

use crate::Stores;

/// The most events that were set aside in one status.
const SET_ASIDE_SHOWN_MAX: usize = 20;

/// What a runner of this process does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RunnerStatus {
    /// The view.
    pub name: ViewName,
    /// Whether it has the lead; if not, another process has, or nobody yet.
    pub leads: bool,
    /// Whether it builds the next edition.
    pub is_rebuilding: bool,
    /// How many events it has applied since it was started, in each edition.
    pub applied: u64,
    /// How many of them were set aside.
    pub set_aside: u64,
    /// How often somebody else was there first.
    pub conflicts: u64,
    /// How often it failed and tried again.
    pub failures: u64,
    /// How many editions it has made the current one.
    pub switches: u64,
}

/// How a view stands, whichever process keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ViewStatus {
    /// What there is of it.
    pub state: ViewState,
    /// How many events the current edition lacks, counted up to
    /// [`EVENTS_COUNTED_MAX`](medcards_core::event::EVENTS_COUNTED_MAX); `None` if there is none yet.
    pub behind_events: Option<u64>,
    /// The same of the next edition.
    pub next_behind_events: Option<u64>,
    /// The latest events that do not count in the current edition, at most 20.
    pub set_aside: Vec<SetAside>,
}

/// How a view stands.
///
/// # Errors
/// Those of the stores.
pub async fn view_status(stores: &Stores, name: &ViewName) -> Result<ViewStatus> {
    let state = stores.learning.view(name).await?;
    status_of(stores, state).await
}

/// How all views stand that were ever begun, in the order of their names.
///
/// # Errors
/// Those of the stores.
pub async fn view_statuses(stores: &Stores) -> Result<Vec<ViewStatus>> {
    let mut statuses = Vec::new();
    for state in stores.learning.list_views().await? {
        statuses.push(status_of(stores, state).await?);
    }
    Ok(statuses)
}

async fn status_of(stores: &Stores, state: ViewState) -> Result<ViewStatus> {
    let (log, views) = (&stores.store, &stores.learning);
    let (mut behind_events, mut next_behind_events) = (None, None);
    let mut set_aside = Vec::new();
    if let Some(current) = state.current {
        behind_events = Some(log.count_events(current.position).await?);
        let listed = views.list_set_aside(current.number, SET_ASIDE_SHOWN_MAX);
        set_aside = listed.await?;
    }
    if let Some(next) = state.next {
        next_behind_events = Some(log.count_events(next.position).await?);
    }
    Ok(ViewStatus {
        state,
        behind_events,
        next_behind_events,
        set_aside,
    })
}

/// Has a view built anew from the start of the log, beside the edition that answers until it is done.
///
/// Returns when it is begun; whichever process leads the view does it. If one is being built already,
/// nothing changes.
///
/// # Errors
/// [`ErrorKind::NotFound`] if there is no such view, or no edition of it was ever whole; those of the
/// storage.
///
/// # Cancel safety
/// A dropped future leaves the next edition begun or not.
pub async fn rebuild(views: &dyn ViewStore, name: &ViewName, now: Timestamp) -> Result<ViewState> {
    let view = views.view(name).await?;
    if view.next.is_some() {
        return Ok(view);
    }
    let Some(current) = view.current else {
        let context = "there is no such view: list the views for their names";
        return Err(Error::new(ErrorKind::NotFound, "rebuild view", context));
    };
    views
        .begin_edition(name, current.version, current.corrections, now)
        .await
}
