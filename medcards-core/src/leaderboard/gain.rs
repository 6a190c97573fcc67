use super::{Board, Period, SpecialtyName, Week};
use crate::event::{Event, EventBody, LogPosition};
use crate::id::UserId;
use crate::view::{Facts, Stop};
use crate::{Error, ErrorKind, Result};

/// The most gains that are applied at once: some thousand changes of boards, so that a backend with
/// one thread for everybody is busy for about a millisecond.
pub const GAINS_PER_BATCH_MAX: usize = 200;

/// A point that a user gained with a right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made from each right answer")]
pub struct Gain {
    /// Where the answer stands in the log.
    pub position: LogPosition,
    /// Who gained it.
    pub user_id: UserId,
    /// The week of the answer.
    pub week: Week,
    /// The specialty of the case as it was when it was answered, if it has one.
    pub specialty: Option<SpecialtyName>,
}

impl Gain {
    /// The point that an event brings: one for a right answer, by what is known of the case now.
    ///
    /// # Errors
    /// [`Stop::SetAside`] if the case of a right answer is not known.
    pub fn of(event: &Event, facts: &Facts) -> Result<Option<Self>, Stop> {
        let EventBody::AnswerRecorded { answer } = &event.body else {
            return Ok(None);
        };
        if !facts.is_correct(answer) {
            return Ok(None);
        }
        let specialty = &facts.case_of(answer)?.specialty;
        Ok(Some(Self {
            position: event.position,
            user_id: answer.user_id,
            week: Week::of(answer.created_at),
            specialty: (!specialty.is_empty()).then(|| SpecialtyName::new(specialty)),
        }))
    }

    /// The boards that it counts on.
    pub fn boards(&self) -> impl Iterator<Item = Board> {
        let overall = [Period::AllTime, Period::Week(self.week)];
        let of_specialty = |period| {
            let specialty = self.specialty.clone()?;
            Some(Board::of_specialty(period, specialty))
        };
        overall
            .into_iter()
            .map(Board::overall)
            .chain(overall.into_iter().filter_map(of_specialty))
    }
}

/// The points that events bring, in their order: one for each right answer. An answer to a case that
/// is not known brings none.
#[must_use]
pub fn gains_of(events: &[Event], facts: &Facts) -> Vec<Gain> {
    let gain = |event| Gain::of(event, facts).ok().flatten();
    events.iter().filter_map(gain).collect()
}

/// Gains to apply at once, and the part of the log that they are all of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "made for each part of the log")]
pub struct Batch<'a> {
    /// After this place.
    pub from: LogPosition,
    /// Up to this place, which is not before `from`.
    pub to: LogPosition,
    /// All gains of that part, at most [`GAINS_PER_BATCH_MAX`].
    pub gains: &'a [Gain],
}

impl Batch<'_> {
    /// Refuses a batch that no backend may apply.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for more than [`GAINS_PER_BATCH_MAX`] gains, or a `to` before `from`.
    pub fn check(&self) -> Result<()> {
        let refuse = |context| Err(Error::new(ErrorKind::Invalid, "apply gains", context));
        if self.gains.len() > GAINS_PER_BATCH_MAX {
            return refuse("they are more than a batch may have: apply them in parts");
        }
        if self.to < self.from {
            return refuse("boards do not go back: begin a rebuild instead");
        }
        Ok(())
    }
}

/// Parts the gains of events from `from` to `to` into batches.
pub(super) fn batches(
    from: LogPosition,
    to: LogPosition,
    gains: &[Gain],
) -> impl Iterator<Item = Batch<'_>> {
    let batches_len = gains.len().div_ceil(GAINS_PER_BATCH_MAX).max(1);
    let mut next_from = from;
    (0..batches_len).map(move |index| {
        let first = index * GAINS_PER_BATCH_MAX;
        let end = gains.len().min(first + GAINS_PER_BATCH_MAX);
        let part = &gains[first..end];
        // An event brings one gain at most, so that a batch may end behind any of them.
        let end_position = match part.last() {
            Some(last) if end < gains.len() => last.position,
            _ => to,
        };
        let batch = Batch {
            from: next_from,
            to: end_position,
            gains: part,
        };
        next_from = end_position;
        batch
    })
}
