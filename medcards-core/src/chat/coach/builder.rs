use std::fmt;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::tally::Tallies;
use super::{Coach, CoachConfig, Inner};
use crate::Result;
use crate::ai::{AiProvider, Budgeted};
use crate::app::Medcards;
use crate::chat::{ChatPrompt, ChatStore, SemanticReuse, SharedAnswers};
use crate::flight::Flights;
use crate::spend::SpendLedger;

/// Builds a [`Coach`].
pub struct CoachBuilder {
    medcards: Medcards,
    chats: Arc<dyn ChatStore>,
    shared: Arc<dyn SharedAnswers>,
    prompt: Arc<dyn ChatPrompt>,
    provider: Option<Arc<dyn AiProvider>>,
    ledger: Option<Arc<dyn SpendLedger>>,
    reuse: Option<Arc<dyn SemanticReuse>>,
    config: CoachConfig,
}

impl CoachBuilder {
    pub(super) fn new(
        medcards: Medcards,
        chats: Arc<dyn ChatStore>,
        shared: Arc<dyn SharedAnswers>,
        prompt: Arc<dyn ChatPrompt>,
    ) -> Self {
        Self {
            medcards,
            chats,
            shared,
            prompt,
            provider: None,
            ledger: None,
            reuse: None,
            config: CoachConfig::default(),
        }
    }

    /// The model that replies. One that only repeats what the author wrote counts as none, and one
    /// that keeps no spend budget is wrapped in [`Budgeted`]. Default: none; the coach says so.
    #[must_use]
    pub fn ai(mut self, provider: Arc<dyn AiProvider>) -> Self {
        self.provider = Some(provider);
        self
    }

    /// What keeps the spend budget, if the provider does not. Default: the store of the platform.
    #[must_use]
    pub fn ledger(mut self, ledger: Arc<dyn SpendLedger>) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// How a reviewed answer to the same question is found. Default: it is not looked for.
    #[must_use]
    pub fn reuse(mut self, reuse: Arc<dyn SemanticReuse>) -> Self {
        self.reuse = Some(reuse);
        self
    }

    /// How the coach behaves. Default: [`CoachConfig::default`].
    #[must_use]
    pub fn config(mut self, config: CoachConfig) -> Self {
        self.config = config;
        self
    }

    /// Builds the coach.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) for a configuration that cannot work.
    pub fn build(self) -> Result<Coach> {
        self.config.check()?;
        let provider = self
            .provider
            .filter(|provider| !provider.capability().authored_only);
        let provider = provider.map(|provider| {
            if provider.capability().keeps_budget {
                return provider;
            }
            let ledger = self
                .ledger
                .unwrap_or_else(|| Arc::clone(self.medcards.store()) as _);
            let clock = Arc::clone(self.medcards.clock());
            let budget = self.config.spend_budget;
            Arc::new(Budgeted::new(provider, ledger, budget, clock)) as Arc<dyn AiProvider>
        });
        let permits = |count: usize| Arc::new(Semaphore::new(count.min(Semaphore::MAX_PERMITS)));
        let inner = Inner {
            flights: Flights::new(self.config.turns_max),
            turns: permits(self.config.turns_max),
            polls: permits(self.config.polls_max),
            summaries: permits(self.config.summaries_max),
            medcards: self.medcards,
            chats: self.chats,
            shared: self.shared,
            prompt: self.prompt,
            provider,
            reuse: self.reuse,
            config: self.config,
            tallies: Tallies::default(),
            tasks: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        Ok(Coach {
            inner: Arc::new(inner),
        })
    }
}

impl fmt::Debug for CoachBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoachBuilder")
            .field("chats", &self.chats)
            .field("provider", &self.provider)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
