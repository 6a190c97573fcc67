use medcards_core::chat::{ChatStore, ChatSummary, ChatTurn, TurnOrigin, TurnReply, TurnStart};
use medcards_core::spend::MicroDollars;
use medcards_core::{AnswerId, ErrorKind, TurnId};
use medcards_store_pg::PgStore;

use crate::place::{at, config, fresh, user};

/// A first turn of a chat of this user.
pub(crate) fn turn(of: u32) -> ChatTurn {
    ChatTurn {
        id: TurnId::new(at(1)),
        user_id: user(of),
        answer_id: AnswerId::new(at(0)),
        question: "Why?".to_owned(),
        started_at: at(1),
        attempt: 1,
        reply: None,
    }
}

pub(crate) fn reply() -> TurnReply {
    TurnReply {
        text: "Because.".to_owned(),
        origin: TurnOrigin::Live,
        model: "sample-model-1".parse().ok(),
        cost: MicroDollars::new(1_250),
        replied_at: at(2),
    }
}

pub(crate) fn summary(turn: &ChatTurn) -> ChatSummary {
    ChatSummary {
        user_id: turn.user_id,
        answer_id: turn.answer_id,
        through: turn.id,
        text: "So far.".to_owned(),
    }
}

/// Each sees at once what the other did: a turn is begun in one, and taken over in the other.
#[tokio::test]
async fn two_processes_write_one_reply() {
    let (store, database) = fresh().await;
    let other = PgStore::open(config(&database.url())).await.unwrap();
    let turn = turn(1);
    let start = store.begin_turn(&turn, at(0)).await.unwrap();
    assert_eq!(start, TurnStart::Begun(turn.clone()));
    let start = other.begin_turn(&turn, at(0)).await.unwrap();
    assert_eq!(start, TurnStart::UnderWay(turn.clone()));

    let again = ChatTurn {
        started_at: at(60),
        ..turn.clone()
    };
    let taken_over = ChatTurn {
        attempt: 2,
        ..again.clone()
    };
    let start = other.begin_turn(&again, at(2)).await.unwrap();
    assert_eq!(start, TurnStart::Begun(taken_over.clone()));
    let end = async |store: &PgStore, attempt| {
        store
            .end_turn(turn.user_id, turn.id, attempt, &reply())
            .await
    };
    assert!(!end(&store, 1).await.unwrap());
    assert!(end(&other, 2).await.unwrap());
    let replied = ChatTurn {
        reply: Some(reply()),
        ..taken_over
    };
    let start = store.begin_turn(&turn, at(90)).await.unwrap();
    assert_eq!(start, TurnStart::Replied(replied));

    let forgotten = other.forget_chat(turn.user_id, turn.answer_id).await;
    assert_eq!(forgotten.unwrap(), 1);
    let late = end(&store, 2).await.unwrap_err();
    assert_eq!(late.kind(), ErrorKind::NotFound);
    store.close().await;
    other.close().await;
}
