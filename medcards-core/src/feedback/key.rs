use std::fmt;
use std::str::FromStr;

use crate::ai::{ModelId, PromptVersion};
use crate::case::{CaseVersion, OptionSet};
use crate::id::CaseId;
use crate::user::Locale;
use crate::{Error, ErrorKind, Result};

/// What makes two answers share one feedback.
///
/// Exact, not a digest: two different keys are never taken for one. Its text form is
/// `fk1/{case}/{version}/{options}/{locale}/{prompt}/{model}`, with the options as hexadecimal
/// bits; it is what remote caches and stores keep, so it never changes meaning. Cloning it does not
/// allocate.
///
/// ```
/// use medcards_core::feedback::FeedbackKey;
///
/// let text = "fk1/0190b7a8-1c5e-7000-8000-000000000001/3/2/en/1/claude-haiku-4-5";
/// let key: FeedbackKey = text.parse()?;
/// assert_eq!(key.to_string(), text);
/// # Ok::<(), medcards_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(
    clippy::exhaustive_structs,
    reason = "the format of stored keys: a new field is a new format"
)]
pub struct FeedbackKey {
    /// The case.
    pub case_id: CaseId,
    /// The version that was answered.
    pub case_version: CaseVersion,
    /// The options that were chosen.
    pub chosen: OptionSet,
    /// The language of the feedback.
    pub locale: Locale,
    /// The edition of the prompt.
    pub prompt_version: PromptVersion,
    /// The model.
    pub model: ModelId,
}

impl fmt::Display for FeedbackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            case_id,
            case_version,
            chosen,
            locale,
            prompt_version,
            model,
        } = self;
        let bits = chosen.bits();
        write!(
            f,
            "fk1/{case_id}/{case_version}/{bits:x}/{locale}/{prompt_version}/{model}"
        )
    }
}

impl FromStr for FeedbackKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parse = || {
            let mut parts = text.splitn(7, '/');
            if parts.next()? != "fk1" {
                return None;
            }
            let key = Self {
                case_id: parts.next()?.parse().ok()?,
                case_version: CaseVersion::new(parts.next()?.parse().ok()?)?,
                chosen: OptionSet::from_bits(u32::from_str_radix(parts.next()?, 16).ok()?)?,
                locale: parts.next()?.parse().ok()?,
                prompt_version: PromptVersion::new(parts.next()?.parse().ok()?),
                model: parts.next()?.parse().ok()?,
            };
            // One key has one text: "+1", "01" and the like are refused.
            (key.to_string() == text).then_some(key)
        };
        parse().ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                "read feedback key",
                "it is not of the form fk1/...",
            )
        })
    }
}
