use crate::Result;
use crate::event::EventBody;
use crate::job::NewJob;
use crate::notice::NewNotice;

/// What is written in the transaction of something else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "written by every store")]
pub struct Effects {
    /// What students are told.
    pub notices: Vec<NewNotice>,
    /// What is to be done next.
    pub jobs: Vec<NewJob>,
    /// What happened, for everyone; see [`EventBody::is_of_everyone`].
    pub events: Vec<EventBody>,
}

impl Effects {
    /// Whether there is nothing to write.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.notices.is_empty() && self.jobs.is_empty() && self.events.is_empty()
    }

    /// Checks each. Every store does so before anything is written.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a job that [cannot be
    /// enqueued](NewJob::check), or an event that is of one user.
    pub fn check(&self) -> Result<()> {
        self.jobs.iter().try_for_each(NewJob::check)?;
        self.events.iter().try_for_each(EventBody::check_everyone)
    }
}
