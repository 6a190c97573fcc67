use medcards_core::Timestamp;
use medcards_core::notice::{Notice, NoticeBody};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::NoticeCursor;
use super::client::Leaving;

/// A connection to a client that is told of notices.
///
/// Sending may take for ever: whoever sends watches the time.
pub(crate) trait NoticeLine: Send {
    /// Waits until something comes from the client: nothing of it counts but that it came. `Err` if
    /// the client is gone, or sends what none should.
    ///
    /// # Cancel safety
    /// Nothing is lost that counts.
    fn heard(&mut self) -> impl Future<Output = Result<(), Leaving>> + Send;

    /// Sends a message. `Err` if the client is gone.
    fn tell(&mut self, message: &NoticeMessage)
    -> impl Future<Output = Result<(), Leaving>> + Send;

    /// Makes sure that the connection is used, and that a client that must answer does.
    fn ping(&mut self) -> impl Future<Output = Result<(), Leaving>> + Send;

    /// Says why no more comes, as far as the client still listens.
    fn close(self, leaving: Leaving) -> impl Future<Output = ()> + Send;
}

/// What a client is told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schema(as = NoticeMessage)]
pub(crate) enum NoticeMessage {
    /// The first message: everything that comes is behind this place.
    Began {
        /// Send it as `after` to come back to this place.
        cursor: String,
    },
    /// A notice.
    Notice(NoticeView),
}

/// Something that happened to a student.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Notice)]
pub(crate) struct NoticeView {
    /// Send it as `after` for what comes behind this notice.
    pub(crate) cursor: String,
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[serde(flatten)]
    what: NoticeWhat,
}

/// What happened. New kinds may be added: pass over those that you do not know.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schema(as = NoticeKind)]
enum NoticeWhat {
    /// I have a badge.
    Badge {
        /// Its stable name, as in the list of badges.
        badge: String,
    },
    /// I rose in the cohort of the week.
    Rank {
        /// The week, such as `2026-W48`.
        week: String,
        /// My rank now, from 1.
        rank: u64,
        /// My points now.
        points: u64,
    },
    /// The key of a case that I answered was corrected.
    Regraded {
        /// The case.
        case_id: Uuid,
        /// The version that I answered.
        case_version: u32,
        /// Whether my last answer to that version is right now.
        is_correct: bool,
    },
    /// My streak is one day longer.
    Streak {
        /// How many days it has.
        days: u32,
    },
    /// Something that this server has no word for.
    Other,
}

impl NoticeView {
    pub(crate) fn new(notice: &Notice) -> Self {
        Self {
            cursor: NoticeCursor(notice.position).to_string(),
            at: notice.at,
            what: match &notice.body {
                NoticeBody::Badge { badge } => NoticeWhat::Badge {
                    badge: badge.clone(),
                },
                NoticeBody::Rank { week, rank, points } => NoticeWhat::Rank {
                    week: week.clone(),
                    rank: *rank,
                    points: *points,
                },
                NoticeBody::Regraded {
                    case_id,
                    version,
                    is_correct,
                } => NoticeWhat::Regraded {
                    case_id: *case_id.as_uuid(),
                    case_version: version.get(),
                    is_correct: *is_correct,
                },
                NoticeBody::Streak { days } => NoticeWhat::Streak { days: *days },
                _ => NoticeWhat::Other,
            },
        }
    }
}

impl NoticeMessage {
    /// The place behind which the client goes on.
    pub(super) fn cursor(&self) -> &str {
        match self {
            Self::Began { cursor } => cursor,
            Self::Notice(notice) => &notice.cursor,
        }
    }

    /// The stable name of the kind of message.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Began { .. } => "began",
            Self::Notice(_) => "notice",
        }
    }

    /// The message as JSON. Texts and numbers always serialise.
    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}
