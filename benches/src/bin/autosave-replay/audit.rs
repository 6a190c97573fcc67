use std::collections::{BTreeSet, HashMap};
use std::fmt;

use medcards_core::UserId;
use medcards_core::event::{EVENTS_PER_READ_MAX, EventBody, LogPosition};
use medcards_core::store::{Consistency, PageLimit, Store};

use crate::Error;
use crate::send::Ledger;

/// What does not agree: of the store with the ledger, of the log with the store.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    answers: usize,
    events: usize,
    /// Acknowledged, and not in the store.
    lost: usize,
    /// In the store more than once.
    twice: usize,
    /// In the store, and never acknowledged.
    strange: usize,
    /// Not exactly one event.
    events_wrong: usize,
    /// Not acknowledged as new exactly once.
    outcomes_wrong: usize,
}

/// Reads all answers and all events, and compares them with what was acknowledged.
pub(crate) async fn audit(store: &dyn Store, ledger: &Ledger) -> Result<Audit, Error> {
    let mut audit = Audit {
        outcomes_wrong: ledger.values().filter(|told| told.created != 1).count(),
        ..Audit::default()
    };
    let mut stored = HashMap::with_capacity(ledger.len());
    let users: BTreeSet<UserId> = ledger.keys().map(|(user_id, _)| *user_id).collect();
    for user_id in users {
        let mut after = None;
        loop {
            let (limit, fresh) = (PageLimit::MAX, &Consistency::Strong);
            let page = store
                .list_answers(user_id, after.as_ref(), limit, fresh)
                .await?;
            for answer in page.items {
                *stored.entry((user_id, answer.id)).or_insert(0) += 1;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
    }
    let mut events = HashMap::with_capacity(ledger.len());
    let mut position = LogPosition::START;
    loop {
        let read = store.read_events(position, EVENTS_PER_READ_MAX).await?;
        let Some(last) = read.last() else { break };
        position = last.position;
        for event in read {
            if let EventBody::AnswerRecorded { answer } = event.body {
                *events.entry((answer.user_id, answer.id)).or_insert(0) += 1;
            }
        }
    }
    audit.answers = stored.values().sum();
    audit.events = events.values().sum();
    audit.lost = ledger
        .keys()
        .filter(|name| !stored.contains_key(name))
        .count();
    audit.twice = stored.values().filter(|count| **count > 1).count();
    audit.strange = stored
        .keys()
        .filter(|name| !ledger.contains_key(name))
        .count();
    let no_event = stored.keys().filter(|name| !events.contains_key(name));
    let wrong = events
        .iter()
        .filter(|(name, count)| **count != 1 || !stored.contains_key(name));
    audit.events_wrong = no_event.count() + wrong.count();
    Ok(audit)
}

impl Audit {
    pub(crate) fn is_clean(&self) -> bool {
        let Self {
            lost,
            twice,
            strange,
            events_wrong,
            outcomes_wrong,
            ..
        } = self;
        lost + twice + strange + events_wrong + outcomes_wrong == 0
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            answers,
            events,
            lost,
            twice,
            strange,
            events_wrong,
            outcomes_wrong,
        } = self;
        write!(
            f,
            "the store has {answers} answers and {events} events; lost: {lost}, there twice: {twice}, \
             never acknowledged: {strange}, without exactly one event: {events_wrong}, not \
             acknowledged as new exactly once: {outcomes_wrong}"
        )
    }
}
