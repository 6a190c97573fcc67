use serde::{Deserialize, Serialize};

use super::record::CaseRecord;
use super::{OptionKey, OptionSet};
use crate::user::Locale;

/// What a case says: checked, and free of anything that depends on who reads it.
///
/// Made from a [`CaseRecord`], which is also its stored form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "CaseRecord", into = "CaseRecord")]
pub struct CaseContent {
    pub(super) source: String,
    pub(super) external_id: String,
    pub(super) locale: Locale,
    pub(super) stem: String,
    pub(super) vignette: Vec<VignetteField>,
    pub(super) options: Vec<CaseOption>,
    pub(super) right: OptionSet,
    pub(super) several_right: bool,
    pub(super) option_ordering: OptionOrdering,
    pub(super) explanation: Option<String>,
    pub(super) specialty: Option<String>,
    pub(super) topic: Option<String>,
    pub(super) tags: Vec<String>,
    pub(super) difficulty: Option<Difficulty>,
    pub(super) media: Vec<Media>,
    pub(super) references: Vec<String>,
    pub(super) licence: Option<String>,
}

impl CaseContent {
    /// The collection that the case comes from, such as `medcards-deck`.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The name of the case within its source. Both together name one case for ever.
    #[must_use]
    pub fn external_id(&self) -> &str {
        &self.external_id
    }

    /// The language it is written in.
    #[must_use]
    pub fn locale(&self) -> Locale {
        self.locale
    }

    /// The question.
    #[must_use]
    pub fn stem(&self) -> &str {
        &self.stem
    }

    /// The story before the question, in labelled parts.
    #[must_use]
    pub fn vignette(&self) -> &[VignetteField] {
        &self.vignette
    }

    /// The options, in the author's order.
    #[must_use]
    pub fn options(&self) -> &[CaseOption] {
        &self.options
    }

    /// The right options: at least one. Never shown before an answer.
    #[must_use]
    pub fn right_options(&self) -> OptionSet {
        self.right
    }

    /// Whether a student may choose more than one option.
    #[must_use]
    pub fn several_right(&self) -> bool {
        self.several_right
    }

    /// Whether the options may be shuffled.
    #[must_use]
    pub fn option_ordering(&self) -> OptionOrdering {
        self.option_ordering
    }

    /// The explanation of the whole case, if the author wrote one.
    #[must_use]
    pub fn explanation(&self) -> Option<&str> {
        self.explanation.as_deref()
    }

    /// The medical specialty.
    #[must_use]
    pub fn specialty(&self) -> Option<&str> {
        self.specialty.as_deref()
    }

    /// The topic within the specialty.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.topic.as_deref()
    }

    /// Free labels.
    #[must_use]
    pub fn tags(&self) -> &[String] {
        &self.tags
    }

    /// How hard the author thinks it is.
    #[must_use]
    pub fn difficulty(&self) -> Option<Difficulty> {
        self.difficulty
    }

    /// Pictures, sounds and films that belong to it.
    #[must_use]
    pub fn media(&self) -> &[Media] {
        &self.media
    }

    /// What the author relies on.
    #[must_use]
    pub fn references(&self) -> &[String] {
        &self.references
    }

    /// The terms under which it may be used.
    #[must_use]
    pub fn licence(&self) -> Option<&str> {
        self.licence.as_deref()
    }

    /// The authored position of the option with this key.
    #[must_use]
    pub fn position_of(&self, key: &str) -> Option<usize> {
        self.options
            .iter()
            .position(|option| option.key.as_str() == key)
    }

    /// The keys of a set of options, in the author's order.
    #[must_use]
    pub fn keys_of(&self, set: OptionSet) -> Vec<OptionKey> {
        set.positions()
            .filter_map(|at| self.options.get(at))
            .map(|o| o.key.clone())
            .collect()
    }
}

/// One option of a case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "an option is these three things")]
pub struct CaseOption {
    /// Names it within its case.
    pub key: OptionKey,
    /// What the student reads.
    pub text: String,
    /// Why it is right, or why it tempts and is wrong.
    pub explanation: Option<String>,
}

/// A labelled part of the story before the question.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[expect(clippy::exhaustive_structs, reason = "a field is a label and a text")]
pub struct VignetteField {
    /// Such as `Examination`.
    pub label: String,
    /// What is found there.
    pub text: String,
}

/// A picture, sound or film. The bytes live elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::exhaustive_structs, reason = "the shape of stored records")]
pub struct Media {
    /// Where it is.
    pub url: String,
    /// Its media type, such as `image/png`.
    pub media_type: String,
    /// What it shows, for who cannot see or hear it.
    pub alt: String,
}

/// How hard the author thinks a case is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "three bands are what authors can tell apart"
)]
pub enum Difficulty {
    /// Most students get it right.
    Easy,
    /// About half do.
    Medium,
    /// Few do.
    Hard,
}

/// Whether the options of a case may be shown in another order than the author's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    clippy::exhaustive_enums,
    reason = "they may be shuffled or they may not"
)]
pub enum OptionOrdering {
    /// The text depends on the author's order: it names letters, or says "all of the above".
    Fixed,
    /// Each student sees an order of their own.
    #[default]
    Shuffled,
}
