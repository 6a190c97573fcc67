use super::rows::{
    BoardHead, BoardMember, BoardOwner, BoardRow, BoardSpan, CohortMember, CohortRow, LATEST,
    OfWeek, WeekNumber, cohort_key, index_of,
};
use crate::Timestamp;
use crate::event::{Event, EventBody};
use crate::id::UserId;
use crate::leaderboard::{COHORT_SIZE, Gain};
use crate::notice::NoticeBody;
use crate::view::{Changes, Facts, Projection, RowKey, Stop, ViewName};

/// The name of the view.
pub const BOARDS: &str = "boards";

/// For how many weeks after it the boards of a week take points: as long as a
/// [week is kept](crate::leaderboard::WEEK_KEPT_FOR).
const WEEKS_KEPT: i64 = 2;

/// Counts points on boards and in cohorts.
///
/// A student is told of a rank in the cohort of the latest week when a point makes it better, and better
/// than any that they were told of that week: so at most 29 times a week, and not of the first point.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct BoardsProjection;

impl BoardsProjection {
    /// Makes one.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

impl Projection for BoardsProjection {
    type Row = BoardRow;

    fn name(&self) -> ViewName {
        crate::learning::view_name(BOARDS)
    }

    fn version(&self) -> u64 {
        1
    }

    fn likely_rows(&self, event: &Event, facts: &Facts) -> Vec<RowKey> {
        let Ok(Some(gain)) = Gain::of(event, facts) else {
            return Vec::new();
        };
        let weeks = [WeekNumber::ALL_TIME, WeekNumber::of(gain.week)];
        let specialties = [None, gain.specialty.as_ref()];
        let boards = weeks.map(|week| specialties.map(|it| BoardOwner::new(week, it)));
        let rows = |board: BoardOwner| [board.head(), board.member(gain.user_id), board.span(1)];
        let rows = boards.into_iter().flatten().flat_map(rows);
        rows.chain([LATEST]).collect()
    }

    fn place(&self, _key: &RowKey, row: &BoardRow) -> Option<i64> {
        row.member().map(BoardMember::place)
    }

    fn apply(
        &self,
        event: &Event,
        facts: &Facts,
        changes: &mut Changes<BoardRow>,
    ) -> Result<(), Stop> {
        let Some(gain) = Gain::of(event, facts)? else {
            return Ok(());
        };
        let EventBody::AnswerRecorded { answer } = &event.body else {
            return Ok(());
        };
        let (user_id, week) = (gain.user_id, WeekNumber::of(gain.week));
        let specialty = gain.specialty.as_ref();
        let all_time = BoardOwner::new(WeekNumber::ALL_TIME, None);
        add_point(changes, all_time, user_id, |_| None)?;
        if specialty.is_some() {
            let all_time = BoardOwner::new(WeekNumber::ALL_TIME, specialty);
            add_point(changes, all_time, user_id, |_| None)?;
        }
        let latest = match changes.find(LATEST)? {
            Some(BoardRow::Latest(latest)) => Some(*latest),
            _ => None,
        };
        if latest.is_some_and(|latest| latest - week.0 > WEEKS_KEPT) {
            return Ok(());
        }
        let is_latest = latest.is_none_or(|latest| latest <= week.0);
        if latest.is_none_or(|latest| latest < week.0) {
            changes.put(LATEST, BoardRow::Latest(week.0))?;
        }
        if specialty.is_some() {
            add_point(changes, BoardOwner::new(week, specialty), user_id, |_| None)?;
        }
        let in_order = |members| Some(members / COHORT_SIZE);
        let member = add_point(changes, BoardOwner::new(week, None), user_id, in_order)?;
        let number = member.cohort.unwrap_or_default();
        let risen = rise(changes, week, number, user_id, is_latest)?;
        if let Some((rank, points)) = risen {
            let at: Timestamp = answer.created_at;
            let week = gain.week.to_string();
            changes.notify(user_id, at, NoticeBody::Rank { week, rank, points });
        }
        Ok(())
    }
}

/// Adds a point of a user to a board. Who is new there gets the cohort that `cohort_of` the number of
/// members before is.
fn add_point(
    changes: &mut Changes<BoardRow>,
    board: BoardOwner,
    user_id: UserId,
    cohort_of: impl FnOnce(u64) -> Option<u64>,
) -> Result<BoardMember, Stop> {
    let week = board.week;
    let (head_key, member_key) = (board.head(), board.member(user_id));
    let head = changes.find(head_key)?.and_then(BoardRow::head);
    let mut head = head
        .and_then(|head| head.of(week))
        .cloned()
        .unwrap_or_else(|| BoardHead {
            week: week.0,
            ..BoardHead::default()
        });
    let known = changes.find(member_key)?.and_then(BoardRow::member);
    let known = known.and_then(|member| member.of(week)).copied();
    let mut member = known.unwrap_or_else(|| BoardMember {
        week: week.0,
        points: 0,
        cohort: cohort_of(head.members),
    });
    if known.is_some() {
        count(changes, board, &mut head, member.points, |count| {
            count.saturating_sub(1)
        })?;
    } else {
        head.members += 1;
    }
    member.points += 1;
    count(changes, board, &mut head, member.points, |count| count + 1)?;
    changes.put(head_key, BoardRow::Head(head))?;
    changes.put(member_key, BoardRow::Member(member))?;
    Ok(member)
}

/// Changes how many members have so many points.
fn count(
    changes: &mut Changes<BoardRow>,
    board: BoardOwner,
    head: &mut BoardHead,
    points: u64,
    change: impl Fn(u64) -> u64,
) -> Result<(), Stop> {
    let key = board.span(points);
    let span = changes.find(key)?.and_then(BoardRow::span);
    let mut span = span
        .and_then(|span| span.of(board.week))
        .cloned()
        .unwrap_or_else(|| BoardSpan {
            week: board.week.0,
            counts: Vec::new(),
        });
    let (of_head, of_span) = index_of(points);
    for (counts, index) in [(&mut head.spans, of_head), (&mut span.counts, of_span)] {
        if counts.len() <= index {
            counts.resize(index + 1, 0);
        }
        counts[index] = change(counts[index]);
    }
    changes.put(key, BoardRow::Span(span))
}

/// Adds a point of a user to a cohort, and returns rank and points if the user is to be told of it.
fn rise(
    changes: &mut Changes<BoardRow>,
    week: WeekNumber,
    number: u64,
    user_id: UserId,
    is_latest: bool,
) -> Result<Option<(u64, u64)>, Stop> {
    let key = cohort_key(week, number);
    let cohort = changes.find(key)?.and_then(BoardRow::cohort);
    let mut cohort = cohort
        .and_then(|cohort| cohort.of(week))
        .cloned()
        .unwrap_or_else(|| CohortRow {
            week: week.0,
            members: Vec::new(),
        });
    let place = cohort.members.iter().position(|it| it.user_id == user_id);
    let mut risen = None;
    match place {
        None => cohort.members.push(CohortMember {
            user_id,
            points: 1,
            told: None,
        }),
        Some(place) => {
            let before = rank_in(&cohort, cohort.members[place].points);
            cohort.members[place].points += 1;
            let points = cohort.members[place].points;
            let rank = rank_in(&cohort, points);
            let told = &mut cohort.members[place].told;
            if is_latest && rank < before && told.is_none_or(|told| rank < told) {
                *told = Some(rank);
                risen = Some((rank, points));
            }
        }
    }
    changes.put(key, BoardRow::Cohort(cohort))?;
    Ok(risen)
}

/// The rank in a cohort of whoever has so many points.
fn rank_in(cohort: &CohortRow, points: u64) -> u64 {
    let better = cohort.members.iter().filter(|it| it.points > points);
    1 + better.count() as u64
}
