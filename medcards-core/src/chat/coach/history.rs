use super::{Inner, STORE_WAIT_MAX, within};
use crate::Result;
use crate::chat::{ChatHistory, ChatSummary, ChatTurn, Exchange, TurnOrigin};
use crate::id::TurnId;
use crate::store::PageLimit;

/// The most turns that are sent with a question: what students refer to is among the last few.
pub(super) const HISTORY_TURNS_MAX: usize = 10;

/// The most bytes of turns that are sent with a question: eight pages. It is also what each turn can
/// cost to read.
pub(super) const HISTORY_BYTES_MAX: usize = 16 * 1024;

/// How many turns are sent in full before the older ones are summarised. A summary costs a call, so
/// it is not made with each turn.
const SUMMARISE_ABOVE_TURNS: usize = 8;

/// How many of the last turns no summary tells of.
const TURNS_LEFT_WHOLE: usize = 4;

/// How many turns are looked at: those that are sent, those that wait for a summary, and those that
/// have no reply of a model between them.
const TURNS_READ_MAX: u32 = 32;

/// What is known of a chat before a question.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    summary: Option<ChatSummary>,
    /// What no summary tells of, the oldest first.
    turns: Vec<Exchange>,
}

impl Past {
    /// What is sent with a question: the summary, and the last turns that fit.
    pub(super) fn history(&self) -> ChatHistory {
        ChatHistory {
            summary: self.summary.as_ref().map(|summary| summary.text.clone()),
            turns: last_that_fit(&self.turns).to_vec(),
        }
    }

    pub(super) fn push(&mut self, exchange: Exchange) {
        self.turns.push(exchange);
    }

    /// What the next summary tells of, with the last turn of it; `None` if none is due.
    pub(super) fn to_summarise(&self) -> Option<(ChatHistory, TurnId)> {
        let too_many = self.turns.len() > SUMMARISE_ABOVE_TURNS;
        let too_long = last_that_fit(&self.turns).len() < self.turns.len();
        if !(too_many || too_long) || self.turns.len() <= TURNS_LEFT_WHOLE {
            return None;
        }
        let old = &self.turns[..self.turns.len() - TURNS_LEFT_WHOLE];
        let through = old.last()?.turn_id;
        let old = last_that_fit(old);
        if old.is_empty() {
            return None;
        }
        let history = ChatHistory {
            summary: self.summary.as_ref().map(|summary| summary.text.clone()),
            turns: old.to_vec(),
        };
        Some((history, through))
    }
}

/// The last turns, as many and as long as may be sent.
fn last_that_fit(turns: &[Exchange]) -> &[Exchange] {
    let mut bytes = 0;
    let fitting = turns
        .iter()
        .rev()
        .take(HISTORY_TURNS_MAX)
        .take_while(|turn| {
            bytes += turn.len_bytes();
            bytes <= HISTORY_BYTES_MAX
        });
    let count = fitting.count();
    &turns[turns.len() - count..]
}

impl Inner {
    /// What was said before a turn. Without it a reply is worse, but it is one.
    pub(super) async fn past_of(&self, turn: &ChatTurn) -> Past {
        match within(STORE_WAIT_MAX, self.read_past(turn)).await {
            Ok(past) => past,
            Err(error) => {
                tracing::warn!(%error, "a chat goes on without what was said before");
                Past::default()
            }
        }
    }

    async fn read_past(&self, turn: &ChatTurn) -> Result<Past> {
        let (user_id, answer_id) = (turn.user_id, turn.answer_id);
        let summary = self.chats.find_summary(user_id, answer_id).await?;
        let limit = PageLimit::new(TURNS_READ_MAX)?;
        let page = self
            .chats
            .list_turns(user_id, answer_id, None, limit)
            .await?;
        let told = summary.as_ref().map(|summary| summary.through);
        let mut turns: Vec<_> = page
            .items
            .into_iter()
            .filter(|other| other.id < turn.id && told.is_none_or(|told| told < other.id))
            .filter_map(exchange)
            .collect();
        turns.reverse();
        Ok(Past { summary, turns })
    }
}

/// A turn as a model may read it. What was declined is of someone's health, and stays here.
fn exchange(turn: ChatTurn) -> Option<Exchange> {
    let reply = turn.reply?;
    matches!(reply.origin, TurnOrigin::Live | TurnOrigin::Reused).then_some(Exchange {
        turn_id: turn.id,
        question: turn.question,
        reply: reply.text,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(turns: usize, bytes_each: usize) -> Past {
        let turns = (0..turns).map(|n| Exchange {
            turn_id: TurnId::from_bytes([u8::try_from(n).unwrap(); 16]),
            question: "x".repeat(bytes_each),
            reply: String::new(),
        });
        Past {
            summary: None,
            turns: turns.collect(),
        }
    }

    fn first(history: &ChatHistory) -> u8 {
        history.turns[0].turn_id.as_bytes()[0]
    }

    #[test]
    fn the_last_turns_are_sent_within_both_bounds() {
        for (turns, bytes_each, sent) in [
            (0, 10, 0),
            (3, 10, 3),
            (HISTORY_TURNS_MAX, 10, HISTORY_TURNS_MAX),
            (HISTORY_TURNS_MAX + 5, 10, HISTORY_TURNS_MAX),
            (4, HISTORY_BYTES_MAX / 4, 4),
            (5, HISTORY_BYTES_MAX / 4, 4),
            (4, HISTORY_BYTES_MAX / 4 + 1, 3),
            (2, HISTORY_BYTES_MAX + 1, 0),
        ] {
            let history = past(turns, bytes_each).history();
            assert_eq!(history.turns.len(), sent, "{turns} of {bytes_each}");
            if sent > 0 {
                assert_eq!(usize::from(first(&history)), turns - sent, "the last ones");
            }
        }
    }

    #[test]
    fn a_summary_is_due_once_turns_fall_out() {
        for (turns, bytes_each, through) in [
            (SUMMARISE_ABOVE_TURNS, 10, None),
            (SUMMARISE_ABOVE_TURNS + 1, 10, Some(4)),
            (TURNS_LEFT_WHOLE, HISTORY_BYTES_MAX, None),
            (TURNS_LEFT_WHOLE + 1, HISTORY_BYTES_MAX / 4, Some(0)),
        ] {
            let due = past(turns, bytes_each).to_summarise();
            let told = due.map(|(_, through)| through.as_bytes()[0]);
            assert_eq!(told, through, "{turns} of {bytes_each}");
        }
    }
}
