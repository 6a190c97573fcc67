//! What the crate writes to the log.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

/// What was written on the thread of this test since it began to listen. A runtime of one thread
/// writes everything there.
pub(super) struct Logs {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
}

impl Logs {
    pub(super) fn listen() -> Self {
        let lines = Arc::<Mutex<_>>::default();
        let listener = Listener(Arc::clone(&lines));
        Self {
            lines,
            _guard: tracing::subscriber::set_default(listener),
        }
    }

    /// The warnings that have these words.
    pub(super) fn warnings(&self, words: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("nobody panicked");
        let has_words = |line: &&String| line.starts_with("WARN") && line.contains(words);
        lines.iter().filter(has_words).cloned().collect()
    }
}

struct Listener(Arc<Mutex<Vec<String>>>);

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).expect("a text takes all");
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("medcards") && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line(event.metadata().level().to_string());
        event.record(&mut line);
        self.0.lock().expect("nobody panicked").push(line.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}
