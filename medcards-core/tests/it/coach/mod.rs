//! What the coach promises, over a store in memory, doubles and faults.

mod asking;
mod following;
mod remembering;
mod replying;
mod taking_over;

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use medcards_core::app::{AnswerForm, Medcards};
use medcards_core::case::Case;
use medcards_core::chat::{
    ChatEvent, ChatPlace, ChatQuestion, ChatStream, ChatTurn, Coach, CoachBuilder, CoachConfig,
    TurnOrigin, collect_turn,
};
use medcards_core::memory::MemoryStore;
use medcards_core::testing::{
    FaultPlan, Faulty, Gate, ManualClock, PlainChat, Script, ScriptedProvider, sample_content,
    sample_user_id,
};
use medcards_core::{AnswerId, Result, TurnId, UserId};

/// Words that are no default reply.
const WORDS: [&str; 3] = ["It is ", "the größte ", "potassium."];

/// A coach over doubles that a test can reach, and a student who answered a case.
struct Bench {
    coach: Coach,
    medcards: Medcards,
    provider: ScriptedProvider,
    store: MemoryStore,
    clock: Arc<ManualClock>,
    faults: FaultPlan,
    user: UserId,
    answer: AnswerId,
    case: Arc<Case>,
}

impl Bench {
    async fn new() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(configure: impl FnOnce(CoachBuilder) -> CoachBuilder) -> Self {
        let store = MemoryStore::new();
        let clock = Arc::new(ManualClock::default());
        let medcards = Medcards::builder(Arc::new(store.clone()))
            .clock(Arc::clone(&clock) as _)
            .build()
            .await
            .expect("the configuration is sound");
        let content = vec![sample_content(1), sample_content(2)];
        let now = medcards.now();
        let published = medcards.store().publish(content, now).await;
        let case_id = published.expect("the store works")[0].case_id;
        let user = sample_user_id(1);
        let choice = AnswerForm {
            options: vec!["B".to_owned()],
            ..AnswerForm::default()
        };
        let submitted = medcards.submit_answer(user, case_id, choice).await;
        let submitted = submitted.expect("the case has four options");
        let (provider, faults) = (ScriptedProvider::new(), FaultPlan::new());
        let builder = builder(&medcards, &store, &faults).ai(Arc::new(provider.clone()));
        let coach = configure(builder).build();
        Self {
            coach: coach.expect("the configuration is sound"),
            medcards,
            provider,
            store,
            clock,
            faults,
            user,
            answer: submitted.answer.id,
            case: submitted.case,
        }
    }

    /// Another process on the same store, with a model of its own.
    fn elsewhere(&self) -> (Coach, ScriptedProvider) {
        let provider = ScriptedProvider::new();
        let coach = builder(&self.medcards, &self.store, &FaultPlan::new())
            .ai(Arc::new(provider.clone()))
            .build();
        (coach.expect("the configuration is sound"), provider)
    }

    fn question(&self, text: &str) -> ChatQuestion {
        ChatQuestion {
            turn_id: Some(TurnId::new(self.medcards.now())),
            answer_id: self.answer,
            text: text.to_owned(),
        }
    }

    /// Asks with an id of its own, a moment after whatever was asked before.
    async fn ask(&self, text: &str) -> Result<Arc<ChatTurn>> {
        self.clock.advance(Duration::from_millis(2));
        let question = self.question(text);
        collect_turn(self.coach.ask(self.user, question).await?).await
    }

    async fn find(&self, turn_id: TurnId) -> ChatTurn {
        let turn = self.coach.turn(self.user, turn_id).await;
        turn.expect("the turn was begun")
    }
}

fn builder(medcards: &Medcards, store: &MemoryStore, faults: &FaultPlan) -> CoachBuilder {
    let store = Arc::new(Faulty::new(store.clone(), faults.clone()));
    let prompt = Arc::new(PlainChat::new());
    Coach::builder_with(medcards.clone(), Arc::clone(&store) as _, store, prompt)
}

/// What a reader has seen: the words since the last new beginning, and where it stands.
#[derive(Debug, Default)]
struct Seen {
    text: String,
    restarts: usize,
    places: Vec<ChatPlace>,
    turn: Option<Arc<ChatTurn>>,
}

impl Seen {
    fn take(&mut self, event: ChatEvent) {
        assert!(self.turn.is_none(), "nothing comes after the end");
        match event {
            ChatEvent::Delta { text, place } => {
                assert!(!text.is_empty());
                self.text.push_str(&text);
                self.places.push(place);
            }
            ChatEvent::Restart => {
                self.text.clear();
                self.restarts += 1;
            }
            ChatEvent::End(turn) => self.turn = Some(turn),
        }
    }

    /// Reads on to the end, and compares what was shown with it.
    async fn read_to_end(mut self, mut stream: ChatStream) -> Self {
        while let Some(event) = stream.next().await {
            self.take(event.expect("the stream ends well"));
        }
        assert_eq!(self.text, reply(self.turn.as_ref().expect("an end")));
        self
    }
}

async fn read(stream: ChatStream) -> Seen {
    Seen::default().read_to_end(stream).await
}

fn reply(turn: &ChatTurn) -> &str {
    &turn.reply.as_ref().expect("the turn has a reply").text
}

fn origin(turn: &ChatTurn) -> TurnOrigin {
    turn.reply.as_ref().expect("the turn has a reply").origin
}
