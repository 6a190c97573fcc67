use std::collections::HashSet;
use std::fmt;

use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::letters::{names_option_letter, speaks_of_other_options};
use super::{
    CaseContent, CaseOption, Difficulty, Media, OPTIONS_MAX, OptionKey, OptionOrdering, OptionSet,
    VignetteField,
};
use crate::user::Locale;
use crate::{Error, ErrorKind, Result};

/// The longest text of one field, in bytes. The longest real vignette known to us has 5 kB.
const TEXT_LEN_MAX: usize = 32 * 1024;

/// The longest name (source, id, specialty, topic, tag), in bytes.
const NAME_LEN_MAX: usize = 200;

/// The most entries of a list within a record (vignette fields, tags, media, references).
const LIST_LEN_MAX: usize = 100;

/// A case as it comes in a file or a request, and as it is stored.
///
/// Unknown fields are ignored here; whoever reads records should report them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by whoever converts another format"
)]
pub struct CaseRecord {
    /// The name of the case within its source.
    pub id: String,
    /// The collection it comes from. Default: `import`.
    #[serde(default, deserialize_with = "null_as_default")]
    pub source: String,
    /// The language it is written in. Default: English.
    #[serde(default)]
    pub lang: Locale,
    /// The question.
    #[serde(default, deserialize_with = "null_as_default")]
    pub stem: String,
    /// The story before the question.
    #[serde(
        default,
        alias = "context",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub vignette: Vec<VignetteRecord>,
    /// The options, in the author's order.
    #[serde(default, deserialize_with = "null_as_default")]
    pub options: Vec<OptionRecord>,
    /// The keys of the right options.
    #[serde(default, deserialize_with = "null_as_default")]
    pub answer_keys: Vec<String>,
    /// Whether a student may choose several. Default: whether several are right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi: Option<bool>,
    /// Whether the options may be shuffled. Default: yes. A record that comes in whose text depends
    /// on their order keeps it, whatever this says; one that was stored says what was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option_ordering: Option<OptionOrdering>,
    /// The explanation of the whole case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
    /// The medical specialty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub specialty: Option<String>,
    /// The topic within the specialty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Free labels.
    #[serde(
        default,
        alias = "mesh",
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tags: Vec<String>,
    /// How hard the author thinks it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub difficulty: Option<Difficulty>,
    /// Pictures, sounds and films.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub media: Vec<Media>,
    /// What the author relies on.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub references: Vec<String>,
    /// The terms under which it may be used.
    #[serde(default, alias = "license", skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// Present in stations of an objective structured clinical examination, which are not cases.
    #[serde(default, rename = "OSCE_Examination", skip_serializing)]
    pub osce_examination: Option<IgnoredAny>,
}

/// An option of a [`CaseRecord`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by whoever converts another format"
)]
pub struct OptionRecord {
    /// Names it within its case.
    pub key: String,
    /// What the student reads.
    pub text: String,
    /// Why it is right or wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<String>,
}

/// A part of the story of a [`CaseRecord`].
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by whoever converts another format"
)]
pub struct VignetteRecord {
    /// Such as `Examination`; may be empty.
    #[serde(default, deserialize_with = "null_as_default")]
    pub label: String,
    /// What is found there.
    pub text: String,
}

/// Something about a record that its author should know, although it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordNotice {
    /// These options have the same text.
    DuplicateOptions(Vec<OptionKey>),
    /// An explanation names an option by its letter, so the options keep their order.
    NamesLetter,
    /// An option speaks of the others ("all of the above"), so the options keep their order.
    SpeaksOfOtherOptions(OptionKey),
}

impl RecordNotice {
    /// The stable name of this kind of notice.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::DuplicateOptions(_) => "duplicate_options",
            Self::NamesLetter => "names_letter",
            Self::SpeaksOfOtherOptions(_) => "speaks_of_other_options",
        }
    }
}

impl fmt::Display for RecordNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DuplicateOptions(keys) => {
                let keys: Vec<_> = keys.iter().map(OptionKey::as_str).collect();
                write!(f, "options {} have the same text", keys.join(" and "))
            }
            Self::NamesLetter => f.write_str(
                "an explanation names an option by its letter, so the options keep their order",
            ),
            Self::SpeaksOfOtherOptions(key) => {
                write!(
                    f,
                    "option {key} speaks of the others, so the options keep their order"
                )
            }
        }
    }
}

impl CaseRecord {
    /// Checks the record and turns it into content, with notices for its author.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`], saying which field is wrong and what it should be.
    pub fn into_content(self) -> Result<(CaseContent, Vec<RecordNotice>)> {
        let (mut content, notices) = self.check()?;
        let depends_on_order = notices.iter().any(|notice| match notice {
            RecordNotice::DuplicateOptions(_) => false,
            RecordNotice::NamesLetter | RecordNotice::SpeaksOfOtherOptions(_) => true,
        });
        if depends_on_order {
            content.option_ordering = OptionOrdering::Fixed;
        }
        Ok((content, notices))
    }

    fn check(self) -> Result<(CaseContent, Vec<RecordNotice>)> {
        if self.osce_examination.is_some() {
            return Err(invalid(
                "this is an OSCE station (patient actor, examination, tests, diagnosis), not a \
                 multiple-choice case: it has no options to choose from",
            ));
        }
        let external_id = name("id", self.id)?;
        let source = if self.source.is_empty() {
            "import".to_owned()
        } else {
            name("source", self.source)?
        };
        let stem = text("stem", self.stem)?;
        let options = options(self.options)?;
        let right = right_options(&options, &self.answer_keys)?;
        let several_right = self.multi.unwrap_or(right.len() > 1);
        if !several_right && right.len() > 1 {
            return Err(invalid(
                "multi is false, but answer_keys names several options",
            ));
        }
        let explanation = optional_text("explanation", self.explanation)?;

        let notices = notices(&options, explanation.as_deref());
        let content = CaseContent {
            source,
            external_id,
            locale: self.lang,
            stem,
            vignette: vignette(self.vignette)?,
            options,
            right,
            several_right,
            option_ordering: self.option_ordering.unwrap_or_default(),
            explanation,
            specialty: optional_name("specialty", self.specialty)?,
            topic: optional_name("topic", self.topic)?,
            tags: names("tags", self.tags)?,
            difficulty: self.difficulty,
            media: media(self.media)?,
            references: list("references", self.references, text)?,
            licence: optional_name("licence", self.licence)?,
        };
        Ok((content, notices))
    }
}

impl TryFrom<CaseRecord> for CaseContent {
    type Error = Error;

    fn try_from(record: CaseRecord) -> Result<Self> {
        // Stored content is what it was when it was published, also where newer programs would
        // decide otherwise.
        record.check().map(|(content, _)| content)
    }
}

impl From<CaseContent> for CaseRecord {
    fn from(content: CaseContent) -> Self {
        let answer_keys = content
            .keys_of(content.right)
            .iter()
            .map(|key| key.as_str().to_owned())
            .collect();
        let option = |option: CaseOption| OptionRecord {
            key: option.key.as_str().to_owned(),
            text: option.text,
            explanation: option.explanation,
        };
        let field = |field: VignetteField| VignetteRecord {
            label: field.label,
            text: field.text,
        };
        Self {
            id: content.external_id,
            source: content.source,
            lang: content.locale,
            stem: content.stem,
            vignette: content.vignette.into_iter().map(field).collect(),
            options: content.options.into_iter().map(option).collect(),
            answer_keys,
            multi: Some(content.several_right),
            option_ordering: Some(content.option_ordering),
            explanation: content.explanation,
            specialty: content.specialty,
            topic: content.topic,
            tags: content.tags,
            difficulty: content.difficulty,
            media: content.media,
            references: content.references,
            licence: content.licence,
            osce_examination: None,
        }
    }
}

fn invalid(context: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::Invalid, "read case", context)
}

fn text(field: &str, given: String) -> Result<String> {
    let trimmed = given.trim();
    if trimmed.is_empty() {
        return Err(invalid(format!("{field} is empty or missing")));
    }
    if trimmed.len() > TEXT_LEN_MAX {
        return Err(invalid(format!(
            "{field} has {} bytes, at most {TEXT_LEN_MAX} are taken",
            trimmed.len()
        )));
    }
    if trimmed.contains('\0') {
        return Err(invalid(format!("{field} contains a NUL character")));
    }
    Ok(if trimmed.len() == given.len() {
        given
    } else {
        trimmed.to_owned()
    })
}

fn optional_text(field: &str, given: Option<String>) -> Result<Option<String>> {
    given
        .filter(|given| !given.trim().is_empty())
        .map(|given| text(field, given))
        .transpose()
}

fn name(field: &str, given: String) -> Result<String> {
    let name = text(field, given)?;
    if name.len() > NAME_LEN_MAX {
        return Err(invalid(format!(
            "{field} has {} bytes, at most {NAME_LEN_MAX} are taken",
            name.len()
        )));
    }
    Ok(name)
}

fn optional_name(field: &str, given: Option<String>) -> Result<Option<String>> {
    given
        .filter(|given| !given.trim().is_empty())
        .map(|given| name(field, given))
        .transpose()
}

fn list<T>(
    field: &str,
    given: Vec<String>,
    entry: impl Fn(&str, String) -> Result<T>,
) -> Result<Vec<T>> {
    limited(field, &given)?;
    given.into_iter().map(|given| entry(field, given)).collect()
}

fn names(field: &str, given: Vec<String>) -> Result<Vec<String>> {
    list(field, given, name)
}

fn limited<T>(field: &str, given: &[T]) -> Result<()> {
    if given.len() > LIST_LEN_MAX {
        return Err(invalid(format!(
            "{field} has {} entries, at most {LIST_LEN_MAX} are taken",
            given.len()
        )));
    }
    Ok(())
}

fn vignette(given: Vec<VignetteRecord>) -> Result<Vec<VignetteField>> {
    limited("vignette", &given)?;
    let field = |field: VignetteRecord| {
        let label = optional_name("vignette label", Some(field.label))?.unwrap_or_default();
        Ok(VignetteField {
            label,
            text: text("vignette text", field.text)?,
        })
    };
    given.into_iter().map(field).collect()
}

fn media(given: Vec<Media>) -> Result<Vec<Media>> {
    limited("media", &given)?;
    let one = |media: Media| {
        Ok(Media {
            url: text("media url", media.url)?,
            media_type: name("media type", media.media_type)?,
            alt: text("media alt", media.alt)?,
        })
    };
    given.into_iter().map(one).collect()
}

fn options(given: Vec<OptionRecord>) -> Result<Vec<CaseOption>> {
    if !(2..=OPTIONS_MAX).contains(&given.len()) {
        return Err(invalid(format!(
            "a case needs 2 to {OPTIONS_MAX} options, this one has {}",
            given.len()
        )));
    }
    let mut options: Vec<CaseOption> = Vec::with_capacity(given.len());
    for option in given {
        let key: OptionKey = option.key.parse().map_err(|source: Error| {
            invalid("an option has an unusable key").with_source(source)
        })?;
        if options.iter().any(|earlier| earlier.key == key) {
            return Err(invalid(format!("two options have the key {key}")));
        }
        let text = text(&format!("the text of option {key}"), option.text)?;
        let explanation = optional_text(
            &format!("the explanation of option {key}"),
            option.explanation,
        )?;
        options.push(CaseOption {
            key,
            text,
            explanation,
        });
    }
    Ok(options)
}

fn right_options(options: &[CaseOption], keys: &[String]) -> Result<OptionSet> {
    if keys.is_empty() {
        return Err(invalid(
            "answer_keys is empty or missing: at least one option must be right",
        ));
    }
    let mut right = OptionSet::EMPTY;
    for key in keys {
        let position = options
            .iter()
            .position(|option| option.key.as_str() == key)
            .ok_or_else(|| invalid("answer_keys names an option that the case does not have"))?;
        right.insert(position);
    }
    Ok(right)
}

fn notices(options: &[CaseOption], explanation: Option<&str>) -> Vec<RecordNotice> {
    let mut notices = Vec::new();
    let mut seen = HashSet::new();
    let duplicated: HashSet<String> = options
        .iter()
        .map(|option| comparable(&option.text))
        .filter(|text| !seen.insert(text.clone()))
        .collect();
    if !duplicated.is_empty() {
        let same = options
            .iter()
            .filter(|option| duplicated.contains(&comparable(&option.text)));
        notices.push(RecordNotice::DuplicateOptions(
            same.map(|o| o.key.clone()).collect(),
        ));
    }
    let mut explanations = explanation
        .into_iter()
        .chain(options.iter().filter_map(|o| o.explanation.as_deref()));
    if explanations.any(names_option_letter) {
        notices.push(RecordNotice::NamesLetter);
    }
    if let Some(option) = options
        .iter()
        .find(|option| speaks_of_other_options(&option.text))
    {
        notices.push(RecordNotice::SpeaksOfOtherOptions(option.key.clone()));
    }
    notices
}

fn comparable(text: &str) -> String {
    text.split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .to_lowercase()
}

fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
