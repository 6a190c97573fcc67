use fastrand::Rng;

use super::cache::{Cached, Prefix};
use super::feedback;
use super::prompt::{Matter, tokens_of};
use super::script::{Behaviour, Script};

/// What a call asks for, in either dialect.
#[derive(Clone, Debug)]
pub(super) struct Ask {
    pub(super) model: String,
    pub(super) output_tokens_max: u64,
    pub(super) stream: bool,
    /// Whether a stream tells the usage, which only one of the dialects asks about.
    pub(super) tell_usage: bool,
    /// Whether what the cache takes in is told and paid apart from the rest of the prompt.
    pub(super) tell_cache_writes: bool,
    pub(super) input_tokens: u64,
    /// Beginnings of the prompt that the provider may cache.
    pub(super) prefixes: Vec<Prefix>,
    pub(super) matter: Matter,
    pub(super) fingerprint: u64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stop {
    End,
    MaxTokens,
    Refusal,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Usage {
    /// Tokens of the prompt that have nothing to do with the cache.
    pub(super) input: u64,
    pub(super) cached: Cached,
    pub(super) output: u64,
}

impl Usage {
    pub(super) const fn all_input(self) -> u64 {
        self.input + self.cached.read + self.cached.written
    }
}

/// What the model says.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    /// Told from all others; dialects put their own word before it.
    pub(super) id: String,
    pub(super) model: String,
    pub(super) text: String,
    pub(super) stop: Stop,
    pub(super) usage: Usage,
}

impl Reply {
    pub(super) fn new(
        id: String,
        ask: &Ask,
        behaviour: Behaviour,
        cached: Cached,
        script: &Script,
        chance: &mut Rng,
    ) -> Self {
        let behaviour = match behaviour {
            Behaviour::Unfit => feedback::unfit(chance),
            behaviour => behaviour,
        };
        let mut text = feedback::write(&ask.matter, behaviour, script.reply_words, chance);
        let mut stop = match behaviour {
            Behaviour::Refusal => Stop::Refusal,
            _ => Stop::End,
        };
        if behaviour == Behaviour::MaxTokens {
            let half = text.len() / 2;
            text.truncate(text.floor_char_boundary(half));
            stop = Stop::MaxTokens;
        }
        while tokens_of(&text) > ask.output_tokens_max {
            text.pop();
            stop = Stop::MaxTokens;
        }
        let usage = Usage {
            input: ask
                .input_tokens
                .saturating_sub(cached.read + cached.written),
            cached,
            output: tokens_of(&text),
        };
        Self {
            id,
            model: ask.model.clone(),
            text,
            stop,
            usage,
        }
    }

    /// The text in the pieces that a stream sends, each a few words.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &str> {
        /// As many as providers send at once when nothing holds them up.
        const PIECE_WORDS: usize = 3;
        let mut rest = self.text.as_str();
        std::iter::from_fn(move || {
            let mut words = rest.split_inclusive(' ');
            let len: usize = words.by_ref().take(PIECE_WORDS).map(str::len).sum();
            let (piece, left) = rest.split_at(len);
            rest = left;
            (!piece.is_empty()).then_some(piece)
        })
    }
}
