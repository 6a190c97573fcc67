//! Anthropic's prompt cache: which prefix of a prompt it is asked to keep.

use medcards_core::ai::{Prompt, PromptPart};
use serde::Serialize;

use crate::turn::Turn;

/// The fewest bytes of a prefix that Anthropic can keep.
///
/// It keeps none of fewer than 512 to 4,096 tokens, by model, and says nothing of a mark that is of
/// no use. No tokeniser makes more than one token of a byte, so a shorter prefix is not marked. A
/// mark that does nothing costs nothing.
const PREFIX_BYTES_MIN: usize = 512;

/// How long Anthropic is asked to keep the prefix of a prompt that
/// [`cache_through`](Prompt::cache_through) tells.
///
/// Reading it costs a tenth of the input or less; writing it, which the first call of a while does,
/// costs more than the input. Where few calls follow within the time, [`PromptCache::Off`] is
/// cheaper: keeping it five minutes pays once more than about one call in five finds it kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PromptCache {
    /// Five minutes from the last use; a write costs 1.25 times the input.
    #[default]
    FiveMinutes,
    /// Not at all.
    Off,
    /// An hour from the last use; a write costs twice the input.
    OneHour,
}

/// The mark at the end of a prefix.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct CacheControl {
    r#type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ttl: Option<&'static str>,
}

impl PromptCache {
    pub(super) fn control(self) -> Option<CacheControl> {
        let r#type = "ephemeral";
        match self {
            Self::FiveMinutes => Some(CacheControl { r#type, ttl: None }),
            Self::Off => None,
            Self::OneHour => Some(CacheControl {
                r#type,
                ttl: Some("1h"),
            }),
        }
    }
}

/// The ends of the prefixes that are worth keeping, as numbers of parts; 0 is the end of the
/// instructions.
///
/// There are at most three, and Anthropic takes four: the instructions, which all prompts of a
/// template share; the case at the beginning, which all students share; and all that the prompt
/// says is repeated, such as the turns of a chat.
pub(super) fn prefix_ends(prompt: &Prompt, turns: &[Turn]) -> Vec<usize> {
    let Some(through) = prompt.cache_through else {
        return Vec::new();
    };
    let through = through.min(prompt.parts.len());
    let cases = prompt.parts[..through]
        .iter()
        .take_while(|part| matches!(part, PromptPart::Case(_)))
        .count();
    // A part that is not sent ends where the one before it does.
    let sent = |parts: usize| {
        let blocks = turns.iter().flat_map(|turn| &turn.blocks);
        blocks
            .map(|block| block.parts)
            .filter(|sent| *sent <= parts)
            .max()
            .unwrap_or(0)
    };
    let bytes = |parts: usize| {
        let blocks = turns.iter().flat_map(|turn| &turn.blocks);
        let texts = blocks.filter(|block| block.parts <= parts);
        prompt.instructions.len() + texts.map(|block| block.text.len()).sum::<usize>()
    };
    let mut ends = vec![0, sent(cases), sent(through)];
    ends.dedup();
    ends.retain(|end| bytes(*end) >= PREFIX_BYTES_MIN);
    ends
}
