use std::fmt;

use jiff::Timestamp;

use crate::answer::NextCaseReason;

/// Why a case comes next.
///
/// Its text is the reason in English, such as “because you were unsure about potassium 12 days ago”. The
/// names of topics are as the author of the case wrote them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum NextReason {
    /// The student has answered it, and is about to forget it.
    Due {
        /// The topic, or else the specialty; empty if the case names neither.
        topic: String,
        /// When the student last answered it.
        last_at: Timestamp,
        /// How many days ago that was.
        days: u32,
        /// How sure they may be to know it still, in percent.
        recall_percent: u8,
        /// How that answer was.
        memory: LastTime,
    },
    /// It is new, and answers tell how hard it is.
    Exploration {
        /// How many answers it has.
        answers: u64,
    },
    /// All are answered, and this one longest ago.
    LongestAgo,
    /// It is about as hard as suits the student.
    Match {
        /// The topic, or else the specialty; empty if the case names neither.
        topic: String,
        /// The chance of a right answer, in percent.
        chance_percent: u8,
    },
    /// The student has not answered it.
    Unseen,
    /// The student has not answered anything on its topic.
    Untried {
        /// The topic, or else the specialty.
        topic: String,
        /// The share of the topic in the exam, in percent.
        exam_percent: u8,
    },
    /// The student does not do well in its topic.
    WeakTopic {
        /// The topic, or else the specialty.
        topic: String,
        /// How many cases of usual difficulty the student would get right there, in percent.
        chance_percent: u8,
        /// The share of the topic in the exam, in percent.
        exam_percent: u8,
    },
}

/// How a student did with a case the last time, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "wrong, unsure, right or not known")]
pub enum LastTime {
    /// The answer was right.
    Right,
    /// It is not known.
    #[default]
    Unknown,
    /// The answer was right, and the student not sure.
    Unsure,
    /// The answer was wrong.
    Wrong,
}

impl NextReason {
    /// The stable name of the kind.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Due { .. } => "due",
            Self::Exploration { .. } => "exploration",
            Self::LongestAgo => "longest_ago",
            Self::Match { .. } => "match",
            Self::Unseen => "unseen",
            Self::Untried { .. } => "untried",
            Self::WeakTopic { .. } => "weak_topic",
        }
    }
}

impl From<NextCaseReason> for NextReason {
    fn from(reason: NextCaseReason) -> Self {
        match reason {
            NextCaseReason::LongestAgo => Self::LongestAgo,
            NextCaseReason::Unseen => Self::Unseen,
        }
    }
}

impl fmt::Display for NextReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Due {
                topic,
                days,
                memory,
                ..
            } => {
                let topic = Topic(topic);
                let ago = Ago(*days);
                match memory {
                    LastTime::Wrong => write!(f, "because you got {topic} wrong {ago}"),
                    LastTime::Unsure => write!(f, "because you were unsure about {topic} {ago}"),
                    LastTime::Right => write!(
                        f,
                        "because you answered {topic} rightly {ago} and may forget it soon"
                    ),
                    LastTime::Unknown => write!(
                        f,
                        "because you answered {topic} {ago} and may forget it soon"
                    ),
                }
            }
            Self::Exploration { .. } => {
                f.write_str("because it is new, and your answer tells how hard it is")
            }
            Self::LongestAgo => f.write_str("because you answered it longest ago"),
            Self::Match { chance_percent, .. } => write!(
                f,
                "because it should suit you: students like you get it right {chance_percent} % of the time"
            ),
            Self::Unseen => f.write_str("because you have not answered it yet"),
            Self::Untried { topic, .. } => write!(
                f,
                "because you have not answered anything on {} yet",
                Topic(topic)
            ),
            Self::WeakTopic {
                topic,
                exam_percent: 0..=1,
                ..
            } => write!(f, "because you can still gain on {}", Topic(topic)),
            Self::WeakTopic {
                topic,
                exam_percent,
                ..
            } => write!(
                f,
                "because you can still gain on {}, which is {exam_percent} % of the exam",
                Topic(topic)
            ),
        }
    }
}

/// What a case is about, in a sentence.
struct Topic<'a>(&'a str);

impl fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "this case"
        } else {
            self.0
        })
    }
}

/// So many days before now, in a sentence.
struct Ago(u32);

impl fmt::Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => f.write_str("earlier today"),
            1 => f.write_str("a day ago"),
            days => write!(f, "{days} days ago"),
        }
    }
}
