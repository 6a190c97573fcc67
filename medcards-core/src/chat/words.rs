use super::{
    CHAT_SUMMARY_LEN_MAX, ChatSummary, ChatTurn, QUESTION_LEN_MAX, REPLY_LEN_MAX, SharedAnswer,
    TurnReply,
};
use crate::{Error, ErrorKind, Result};

impl ChatTurn {
    /// Checks that every store can keep the question. A store asks before it writes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if it has more than [`QUESTION_LEN_MAX`] bytes, or U+0000 in it.
    pub fn check_words(&self) -> Result<()> {
        check("begin turn", "question", &self.question, QUESTION_LEN_MAX)
    }
}

impl TurnReply {
    /// Checks that every store can keep the words. A store asks before it writes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if they have more than [`REPLY_LEN_MAX`] bytes, or U+0000 in them.
    pub fn check_words(&self) -> Result<()> {
        check("end turn", "reply", &self.text, REPLY_LEN_MAX)
    }
}

impl ChatSummary {
    /// Checks that every store can keep the words. A store asks before it writes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if they have more than [`CHAT_SUMMARY_LEN_MAX`] bytes, or U+0000 in
    /// them.
    pub fn check_words(&self) -> Result<()> {
        check("put summary", "summary", &self.text, CHAT_SUMMARY_LEN_MAX)
    }
}

impl SharedAnswer {
    /// Checks that every store can keep the words. A store asks before it writes.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the question has more than [`QUESTION_LEN_MAX`] bytes, the answer
    /// more than [`REPLY_LEN_MAX`], or either U+0000 in it.
    pub fn check_words(&self) -> Result<()> {
        let operation = "put shared answer";
        check(operation, "question", &self.question, QUESTION_LEN_MAX)?;
        check(operation, "answer", &self.answer, REPLY_LEN_MAX)
    }
}

/// Says what is wrong with a text, and nothing of what it says.
fn check(operation: &'static str, what: &str, text: &str, len_max: usize) -> Result<()> {
    let context = if text.len() > len_max {
        format!("the {what} has more than {len_max} bytes: shorten it")
    } else if text.contains('\0') {
        format!("the {what} has U+0000 in it, which not every store keeps: leave it out")
    } else {
        return Ok(());
    };
    Err(Error::new(ErrorKind::Invalid, operation, context))
}
