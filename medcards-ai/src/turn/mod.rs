//! The turns of a conversation that the parts of a prompt make.

use medcards_core::ai::PromptPart;
use medcards_core::{Error, ErrorKind, Result};

use crate::http::ASK;
use crate::prompt::{in_tags, without_tags};

/// What one side says until the other speaks.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) role: &'static str,
    pub(crate) blocks: Vec<Block>,
}

/// One part of a prompt, as it is sent.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) text: String,
    /// How many parts of the prompt have been sent with this one.
    pub(crate) parts: usize,
}

/// The turns, of which the user has the first and the last, and no side has two in a row.
///
/// # Errors
/// [`ErrorKind::Invalid`] if the coach has the first or the last word: servers refuse the one, and
/// newer models the other.
pub(crate) fn turns(parts: &[PromptPart]) -> Result<Vec<Turn>> {
    let mut turns = vec![Turn {
        role: "user",
        blocks: Vec::new(),
    }];
    for (position, part) in parts.iter().enumerate() {
        let (role, text) = match part {
            // Servers refuse a turn without words.
            PromptPart::Coach(text) if text.trim().is_empty() => continue,
            PromptPart::Coach(text) => ("assistant", without_tags(text).into_owned()),
            _ => ("user", in_tags(part)),
        };
        let block = Block {
            text,
            parts: position + 1,
        };
        match turns.last_mut() {
            Some(turn) if turn.role == role => turn.blocks.push(block),
            _ => turns.push(Turn {
                role,
                blocks: vec![block],
            }),
        }
    }
    let speaks_first = turns.len() > 1 && turns.first().is_some_and(|turn| turn.blocks.is_empty());
    if speaks_first || turns.last().is_some_and(|turn| turn.role != "user") {
        let context = "the coach has the first or the last word of the prompt";
        return Err(Error::new(ErrorKind::Invalid, ASK, context));
    }
    Ok(turns)
}
