use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use super::rows::{
    BoardHead, BoardMember, BoardOwner, BoardRow, BoardSpan, OfWeek, WeekNumber, cohort_key,
    index_of, place_of, places_of,
};
use super::{BOARDS, BoardsProjection};
use crate::Result;
use crate::case::{CORRECTIONS_PER_READ_MAX, CaseStore};
use crate::event::{Event, EventBody, EventLog};
use crate::id::UserId;
use crate::leaderboard::{
    AsOf, Board, Cohort, Leaderboards, Neighbourhood, Period, STANDINGS_MAX, Standing, Top, Week,
    rank_from,
};
use crate::store::{Consistency, Store};
use crate::time::Clock;
use crate::view::{Item, Placement, Projection, RowKey, ShelfQuery, View, ViewStore};

/// How old the first event may be that does not count yet, and boards still be called complete: what
/// students call a moment.
const COMPLETE_WITHIN: Duration = Duration::from_secs(5);

/// How many rows a look for those right above a user reads at once.
const ABOVE_PER_READ: usize = 500;

/// Leaderboards as the view `boards` has them. Whoever runs the projection keeps them up.
///
/// A read is of several rows, and not in one transaction: while points are counted a rank may be off by
/// as many as are counted at that moment.
///
/// Cloning gives a handle on the same boards.
#[derive(Clone)]
pub struct StoredLeaderboards {
    view: View<BoardRow>,
    views: Arc<dyn ViewStore>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
}

impl StoredLeaderboards {
    /// Reads the view in `views`, which is of the log in `store`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, views: Arc<dyn ViewStore>, clock: Arc<dyn Clock>) -> Self {
        let name = crate::learning::view_name(BOARDS);
        Self {
            view: View::new(name, Arc::clone(&views)),
            views,
            store,
            clock,
        }
    }

    async fn as_of(&self) -> Result<AsOf> {
        let state = self.views.view(self.view.name()).await?;
        let Some(current) = state.current else {
            return Ok(AsOf::default());
        };
        let next = self.store.read_events(current.position, 1).await?;
        Ok(AsOf {
            position: current.position,
            is_complete: next.first().is_none_or(|event| self.is_recent(event)),
        })
    }

    fn is_recent(&self, event: &Event) -> bool {
        let at = match &event.body {
            EventBody::AnswerRecorded { answer } => answer.created_at,
            EventBody::CasesCalibrated { calibrated_at, .. } => *calibrated_at,
            EventBody::KeyCorrected { correction } => correction.corrected_at,
            EventBody::OutageDeclared { declared_at, .. } => *declared_at,
            EventBody::SettingsChanged { changed_at, .. } => *changed_at,
            EventBody::Unreadable { .. } => return false,
        };
        at.checked_add(COMPLETE_WITHIN)
            .is_ok_and(|until| self.clock.now() < until)
    }

    /// Whose rows a board's are; `None` if it is not kept any more.
    fn owner_of(&self, board: &Board) -> Option<BoardOwner> {
        let week = match board.period {
            Period::AllTime => WeekNumber::ALL_TIME,
            Period::Week(week) => self.kept(week)?,
        };
        Some(BoardOwner::new(week, board.specialty.as_ref()))
    }

    fn kept(&self, week: Week) -> Option<WeekNumber> {
        (self.clock.now() < week.kept_until()).then(|| WeekNumber::of(week))
    }

    async fn rows<const N: usize>(&self, keys: [RowKey; N]) -> Result<[Option<BoardRow>; N]> {
        let rows = self.view.find_all(&keys, &Consistency::Strong).await?;
        let of = |key| rows.iter().find(|(it, _)| *it == key);
        Ok(keys.map(|key| of(key).map(|(_, row)| row.clone())))
    }

    /// Some members of a board, each with its place.
    async fn shelf(&self, query: &ShelfQuery) -> Result<Vec<Placed>> {
        let rows = self.view.shelf(query, &Consistency::Strong).await?;
        let placed = rows.into_iter().filter_map(|placed| {
            let points = placed.row.member()?.points;
            let user_id = UserId::from_uuid(placed.key.item.id()?);
            Some(Placed {
                place: placed.place,
                user_id,
                points,
            })
        });
        Ok(placed.collect())
    }

    /// Those right above a user, at most so many, best first.
    async fn above(&self, board: BoardOwner, of: Placed, limit: usize) -> Result<Vec<Placed>> {
        let mut nearest = self
            .last_with(board.owner, of.place, Some(of.user_id), limit)
            .await?;
        nearest.reverse();
        let (_, to) = places_of(board.week);
        let mut from = of.place + 1;
        while nearest.len() < limit {
            let query = ShelfQuery {
                from,
                to,
                ..ShelfQuery::new(board.owner, ABOVE_PER_READ)
            };
            let rows = self.shelf(&query).await?;
            let Some(last) = rows.last().map(|last| last.place) else {
                break;
            };
            let has_more = rows.len() == ABOVE_PER_READ;
            for group in rows.chunk_by(|a, b| a.place == b.place) {
                let (place, room) = (group[0].place, limit - nearest.len());
                if room == 0 {
                    break;
                }
                if has_more && place == last {
                    // The read may have ended among them.
                    let mut whole = self.last_with(board.owner, place, None, room).await?;
                    whole.reverse();
                    nearest.extend(whole);
                } else {
                    nearest.extend(group.iter().rev().take(room));
                }
            }
            from = last + 1;
        }
        nearest.truncate(limit);
        nearest.reverse();
        Ok(nearest)
    }

    /// The last of those who have one place, in the order of their ids, or the last before a user.
    ///
    /// A store gives them from the first on. So it is asked for those behind an id which is looked for by
    /// halving: where ids are spread evenly, about as often as their number doubles beyond one read.
    async fn last_with(
        &self,
        owner: Uuid,
        place: i64,
        before: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<Placed>> {
        let mut high = before.map_or(u128::MAX, |user_id| user_id.as_uuid().as_u128());
        let mut low: Option<u128> = None;
        let mut probe: Option<u128> = None;
        let mut tail: Vec<Placed> = Vec::new();
        loop {
            let query = ShelfQuery {
                from: place,
                to: place,
                after: probe.map(|id| (place, Item::of(&Uuid::from_u128(id)))),
                ..ShelfQuery::new(owner, ABOVE_PER_READ)
            };
            let rows = self.shelf(&query).await?;
            let is_before = |row: &&Placed| before.is_none_or(|user_id| row.user_id < user_id);
            let found: Vec<_> = rows.iter().take_while(is_before).copied().collect();
            let is_end = found.len() < rows.len() || rows.len() < ABOVE_PER_READ;
            if !is_end {
                // They are all before the end, which lies further on.
                low = found.last().map(|row| row.user_id.as_uuid().as_u128());
                tail = found;
            } else if found.len() >= limit || probe == low {
                if probe != low || tail.is_empty() {
                    tail.clear();
                }
                tail.extend(found);
                return Ok(tail.split_off(tail.len().saturating_sub(limit)));
            } else {
                high = probe.unwrap_or(high);
            }
            let first = low.unwrap_or(0);
            let middle = first + high.saturating_sub(first) / 2;
            probe = if middle == first { low } else { Some(middle) };
        }
    }

    /// Ranks members of a board by its histogram.
    async fn ranked(
        &self,
        board: BoardOwner,
        head: &BoardHead,
        members: &[Placed],
    ) -> Result<Vec<Standing>> {
        let mut keys: Vec<_> = members.iter().map(|it| board.span(it.points)).collect();
        keys.sort_unstable();
        keys.dedup();
        let spans = self.view.find_all(&keys, &Consistency::Strong).await?;
        let span_of = |points: u64| {
            let key = board.span(points);
            let (_, row) = spans.iter().find(|(it, _)| *it == key)?;
            row.span()?.of(board.week)
        };
        let standing = |member: &Placed| Standing {
            user_id: member.user_id,
            rank: 1 + better(head, span_of(member.points), member.points),
            points: member.points,
        };
        Ok(members.iter().map(standing).collect())
    }
}

/// A member of a board.
#[derive(Clone, Copy, Debug)]
struct Placed {
    place: i64,
    user_id: UserId,
    points: u64,
}

/// How many members have more points.
fn better(head: &BoardHead, span: Option<&BoardSpan>, points: u64) -> u64 {
    let (of_head, of_span) = index_of(points);
    let above: u64 = head.spans.iter().skip(of_head + 1).sum();
    let beside = span.map_or(&[][..], |span| &span.counts);
    let beside: u64 = beside.iter().skip(of_span + 1).sum();
    above + beside
}

#[async_trait]
impl Leaderboards for StoredLeaderboards {
    async fn top(&self, board: &Board, limit: usize) -> Result<Top> {
        let as_of = self.as_of().await?;
        let nobody = Top {
            as_of,
            ..Top::default()
        };
        let Some(board) = self.owner_of(board) else {
            return Ok(nobody);
        };
        let [head] = self.rows([board.head()]).await?;
        let head = head.as_ref().and_then(BoardRow::head);
        let Some(head) = head.and_then(|head| head.of(board.week)) else {
            return Ok(nobody);
        };
        let (from, to) = places_of(board.week);
        let query = ShelfQuery {
            from,
            to,
            order: Placement::Descending,
            ..ShelfQuery::new(board.owner, limit.min(STANDINGS_MAX))
        };
        let members = match query.limit {
            0 => Vec::new(),
            _ => self.shelf(&query).await?,
        };
        let unranked = |member: &Placed| Standing {
            user_id: member.user_id,
            rank: 0,
            points: member.points,
        };
        let mut standings: Vec<_> = members.iter().map(unranked).collect();
        rank_from(1, 1, &mut standings);
        Ok(Top {
            standings,
            members: head.members,
            as_of,
        })
    }

    async fn standing(
        &self,
        board: &Board,
        user_id: UserId,
        neighbours: usize,
    ) -> Result<Neighbourhood> {
        let as_of = self.as_of().await?;
        let mut found = Neighbourhood {
            as_of,
            ..Neighbourhood::default()
        };
        let Some(board) = self.owner_of(board) else {
            return Ok(found);
        };
        let [head, member] = self.rows([board.head(), board.member(user_id)]).await?;
        let head = head.as_ref().and_then(BoardRow::head);
        let Some(head) = head.and_then(|head| head.of(board.week)) else {
            return Ok(found);
        };
        found.members = head.members;
        let member = member.as_ref().and_then(BoardRow::member);
        let Some(member) = member.and_then(|member: &BoardMember| member.of(board.week)) else {
            return Ok(found);
        };
        let user = Placed {
            place: place_of(board.week, member.points),
            user_id,
            points: member.points,
        };
        let limit = neighbours.min(STANDINGS_MAX);
        let (mut around, mut below) = (Vec::new(), Vec::new());
        if limit > 0 {
            let (from, to) = places_of(board.week);
            let query = ShelfQuery {
                from,
                to,
                order: Placement::Descending,
                after: Some((user.place, Item::of(user_id.as_uuid()))),
                ..ShelfQuery::new(board.owner, limit)
            };
            around = self.above(board, user, limit).await?;
            below = self.shelf(&query).await?;
        }
        let above = around.len();
        around.push(user);
        around.append(&mut below);
        let mut ranked = self.ranked(board, head, &around).await?;
        found.below = ranked.split_off(above + 1);
        found.user = ranked.pop();
        found.above = ranked;
        Ok(found)
    }

    async fn cohort(&self, week: Week, user_id: UserId) -> Result<Option<Cohort>> {
        let as_of = self.as_of().await?;
        let Some(number) = self.kept(week) else {
            return Ok(None);
        };
        let board = BoardOwner::new(number, None);
        let [member] = self.rows([board.member(user_id)]).await?;
        let member = member.as_ref().and_then(BoardRow::member);
        let member = member.and_then(|member: &BoardMember| member.of(number));
        let Some(cohort) = member.and_then(|member| member.cohort) else {
            return Ok(None);
        };
        let [row] = self.rows([cohort_key(number, cohort)]).await?;
        let row = row.as_ref().and_then(BoardRow::cohort);
        let Some(row) = row.and_then(|row| row.of(number)) else {
            return Ok(None);
        };
        let unranked = row.members.iter().map(|member| Standing {
            user_id: member.user_id,
            rank: 0,
            points: member.points,
        });
        let mut standings: Vec<_> = unranked.collect();
        standings.sort_unstable_by_key(|it| (std::cmp::Reverse(it.points), it.user_id));
        rank_from(1, 1, &mut standings);
        Ok(Some(Cohort {
            number: cohort,
            standings,
            as_of,
        }))
    }

    async fn rebuild(&self) -> Result<()> {
        let mut corrections = 0;
        loop {
            let limit = CORRECTIONS_PER_READ_MAX;
            let more = self.store.list_corrections(corrections, limit).await?;
            match more.last() {
                Some(last) => corrections = last.number,
                None => break,
            }
        }
        let (name, version) = (self.view.name(), BoardsProjection::new().version());
        let now = self.clock.now();
        self.views
            .begin_edition(name, version, corrections, now)
            .await
            .map(drop)
    }
}

impl fmt::Debug for StoredLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredLeaderboards")
            .field("view", &self.view)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for StoredLeaderboards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredLeaderboards({})", self.views)
    }
}
