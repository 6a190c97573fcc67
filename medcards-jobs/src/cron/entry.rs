use std::fmt;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::CronParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Zoned};
use medcards_core::job::{JobKind, NewJob};
use medcards_core::{Error, ErrorKind, Result, Timestamp};

/// What becomes of times that passed while no process was running.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "the latest is made up for or none")]
pub enum Missed {
    /// The latest of them is made up for, as soon as there is a process. So the job is also done once
    /// when an entry is new.
    #[default]
    RunLatest,
    /// They are left out.
    Skip,
}

/// When jobs of a kind are enqueued.
///
/// Where the clock is put forward, a job whose hour and minute are given is done right after the gap
/// that its time falls into; where it is put back, it is done once. A job of every hour or minute, or
/// every so many, is done as often as they come.
#[derive(Clone)]
pub struct CronEntry {
    kind: JobKind,
    payload: String,
    expression: Box<croner::Cron>,
    zone: TimeZone,
    missed: Missed,
}

/// Some zones have left out a day. A search that ends in so long a gap is begun again this much further.
const SEARCH_STEP: SignedDuration = SignedDuration::from_hours(3);

/// How often a search is begun again: for two days.
const SEARCH_STEPS_MAX: usize = 16;

/// How long beyond the time of the next one the key of a job is kept: longer than clocks differ.
const KEY_KEPT_LONGER: Duration = Duration::from_secs(60 * 60);

/// For how long a key is kept if there is no next time.
const LAST_KEY_KEPT_FOR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

impl CronEntry {
    /// Has jobs of a kind enqueued by a cron expression, such as `0 3 * * *`, in the time of a zone,
    /// such as `Europe/Berlin`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it is no expression, or there is no such zone.
    pub fn new(kind: JobKind, expression: &str, zone: &str) -> Result<Self> {
        let invalid = |context: String| Error::new(ErrorKind::Invalid, "read cron entry", context);
        let parsed = CronParser::new().parse(expression).map_err(|source| {
            let context = format!("`{expression}` is no cron expression, such as `0 3 * * *`");
            invalid(context).with_source(source)
        })?;
        let zone = TimeZone::get(zone).map_err(|source| {
            let context =
                format!("there is no time zone `{zone}`: it is one such as Europe/Berlin");
            invalid(context).with_source(source)
        })?;
        Ok(Self {
            kind,
            payload: String::new(),
            expression: Box::new(parsed),
            zone,
            missed: Missed::default(),
        })
    }

    /// The same with this payload. Default: none.
    #[must_use]
    pub fn payload(mut self, payload: impl Into<String>) -> Self {
        self.payload = payload.into();
        self
    }

    /// The same with times that were missed treated so. Default: [`Missed::RunLatest`].
    #[must_use]
    pub fn missed(mut self, missed: Missed) -> Self {
        self.missed = missed;
        self
    }

    /// The kind of its jobs.
    #[must_use]
    pub const fn kind(&self) -> &JobKind {
        &self.kind
    }

    /// The latest time that has come; `None` if there was none.
    #[must_use]
    pub fn latest(&self, now: Timestamp) -> Option<Timestamp> {
        self.search(now, -SEARCH_STEP, |from| {
            self.expression.find_previous_occurrence(from, true)
        })
    }

    /// The first time after an instant; `None` if there is none.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        self.search(after, SEARCH_STEP, |from| {
            self.expression.find_next_occurrence(from, false)
        })
    }

    /// Searches from an instant on, and from others behind it if that ends in a gap.
    fn search(
        &self,
        from: Timestamp,
        step: SignedDuration,
        find: impl Fn(&Zoned) -> Result<Zoned, CronError>,
    ) -> Option<Timestamp> {
        let mut from = from;
        for _ in 0..=SEARCH_STEPS_MAX {
            match find(&from.to_zoned(self.zone.clone())) {
                Ok(found) => return Some(found.timestamp()),
                Err(CronError::TimeSearchLimitExceeded) => from = from.checked_add(step).ok()?,
                Err(_) => return None,
            }
        }
        None
    }

    /// The time that is due for a process that runs since `started_at` and has enqueued everything up
    /// to `enqueued`.
    #[must_use]
    pub fn due(
        &self,
        started_at: Timestamp,
        enqueued: Option<Timestamp>,
        now: Timestamp,
    ) -> Option<Timestamp> {
        let latest = self.latest(now)?;
        let is_made_up_for = match self.missed {
            Missed::RunLatest => true,
            Missed::Skip => latest >= started_at,
        };
        let is_new = enqueued.is_none_or(|enqueued| latest > enqueued);
        (is_made_up_for && is_new).then_some(latest)
    }

    /// The job of a time.
    #[must_use]
    pub fn job(&self, at: Timestamp, now: Timestamp) -> NewJob {
        let until_next = self
            .next(at)
            .and_then(|next| Duration::try_from(next.duration_since(at.min(now))).ok());
        let keep_for = until_next.map_or(LAST_KEY_KEPT_FOR, |it| it + KEY_KEPT_LONGER);
        NewJob::new(self.kind.clone(), self.payload.clone(), now)
            .once(format!("cron/{at}"), keep_for)
    }
}

impl fmt::Debug for CronEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CronEntry")
            .field("kind", &self.kind)
            .field("expression", &self.expression.as_str())
            .field("zone", &self.zone.iana_name())
            .finish_non_exhaustive()
    }
}
