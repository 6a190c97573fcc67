//! Checks of [`ChatStore`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::steps::{WORKS, all_at_once, assert_refused, at, foreign_cursors, limit, walk};
use crate::chat::{
    CHAT_SUMMARY_LEN_MAX, ChatStore, ChatSummary, ChatTurn, QUESTION_LEN_MAX, REPLY_LEN_MAX,
    TURNS_PER_CHAT_MAX, TurnOrigin, TurnReply, TurnStart,
};
use crate::id::{AnswerId, TurnId, UserId};
use crate::spend::MicroDollars;
use crate::store::PageCursor;
use crate::testing::sample_user_id;
use crate::{ErrorKind, Result, Timestamp};

/// Words that a store may spoil: scripts, marks that combine, faces beyond the first plane, and what
/// means something to a database or to a file.
pub(super) const WORDS: [&str; 9] = [
    "",
    "Pourquoi l’œdème, et pas la fièvre ?",
    "为什么不是高钾血症？ 🩺🧑🏽‍⚕️",
    "لماذا؟ \u{200f}עברית",
    "e\u{301} is not é, and ﬁ is not fi",
    "'; DROP TABLE chat_turns; -- \"$1\" ? % _ \\ \\N \\.",
    "  spaces \t tabs \r\n lines \u{2028} and ends \n",
    "\u{1} \u{1b} \u{7f} \u{feff} \u{fffd} \u{10ffff}",
    "0",
];

/// Before which no attempt began, so that none is given up on.
const NEVER: Timestamp = Timestamp::constant(1_700_000_000, 0);

/// After all attempts of a check, so that each is given up on.
const ALWAYS: Timestamp = Timestamp::constant(1_900_000_000, 0);

/// The id of the `n`th sample answer, which need not be there.
fn answer(n: u128) -> AnswerId {
    AnswerId::from_bytes((0xa_0000 + n).to_be_bytes())
}

/// The id of the `n`th sample turn: the later the number, the newer.
fn id(n: u128) -> TurnId {
    TurnId::from_bytes(((0x019b_c000_0000_7000_8000 << 48) + n).to_be_bytes())
}

/// The `n`th turn of a chat, as who asks gives it.
fn turn(n: u128, user_id: UserId, answer_id: AnswerId) -> ChatTurn {
    ChatTurn {
        id: id(n),
        user_id,
        answer_id,
        question: format!("Question {n}?"),
        started_at: at(60),
        attempt: 0,
        reply: None,
    }
}

/// The `n`th turn of the first chat of the first user.
fn first_turn(n: u128) -> ChatTurn {
    turn(n, sample_user_id(1), answer(1))
}

fn reply(text: &str) -> TurnReply {
    TurnReply {
        text: text.to_owned(),
        origin: TurnOrigin::Live,
        model: "sample-model-1".parse().ok(),
        cost: MicroDollars::new(1_250),
        replied_at: at(90),
    }
}

fn summary(n: u128, text: &str) -> ChatSummary {
    ChatSummary {
        user_id: sample_user_id(1),
        answer_id: answer(1),
        through: id(n),
        text: text.to_owned(),
    }
}

/// Begins a turn that must be begun, and returns it as it is kept.
async fn begin(store: &dyn ChatStore, turn: &ChatTurn) -> ChatTurn {
    match store.begin_turn(turn, NEVER).await.expect(WORKS) {
        TurnStart::Begun(begun) => begun,
        other => panic!("the turn is new, and yet {other:?}"),
    }
}

async fn end(store: &dyn ChatStore, turn: &ChatTurn, attempt: u32, text: &str) -> Result<bool> {
    let reply = reply(text);
    store.end_turn(turn.user_id, turn.id, attempt, &reply).await
}

async fn found(store: &dyn ChatStore, turn: &ChatTurn) -> Option<ChatTurn> {
    let found = store.find_turn(turn.user_id, turn.id).await;
    found.expect(WORKS)
}

/// The words of the reply of a turn that must be there.
async fn words(store: &dyn ChatStore, turn: &ChatTurn) -> Option<String> {
    let turn = found(store, turn).await.expect("it was begun");
    turn.reply.map(|reply| reply.text)
}

/// All turns of a chat, by walking pages of this limit.
async fn listed(
    store: &dyn ChatStore,
    user_id: UserId,
    answer_id: AnswerId,
    items: u32,
) -> Vec<ChatTurn> {
    walk(limit(items), |after| async move {
        let list = store.list_turns(user_id, answer_id, after.as_ref(), limit(items));
        list.await
    })
    .await
}

fn ids(turns: &[ChatTurn]) -> Vec<TurnId> {
    turns.iter().map(|turn| turn.id).collect()
}

async fn summed_up(store: &dyn ChatStore, n: u32) -> Option<ChatSummary> {
    let found = store.find_summary(sample_user_id(n), answer(1)).await;
    found.expect(WORKS)
}

fn assert_fails<T>(done: Result<T>, kind: ErrorKind, what: &str) {
    match done {
        Ok(_) => panic!("{what} went through"),
        Err(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
    }
}

/// A new turn is begun as its first attempt, and is found and listed as it was given.
pub async fn a_new_turn_is_begun_and_found_as_it_was_given(store: Arc<dyn ChatStore>) {
    let given = ChatTurn {
        started_at: at(60) + Duration::from_micros(123_456),
        attempt: 7,
        reply: Some(reply("It means nothing here.")),
        ..first_turn(1)
    };
    assert_eq!(found(&*store, &given).await, None);
    let expected = ChatTurn {
        attempt: 1,
        reply: None,
        ..given.clone()
    };
    assert_eq!(begin(&*store, &given).await, expected);
    assert_eq!(found(&*store, &given).await, Some(expected.clone()));
    let list = listed(&*store, given.user_id, given.answer_id, 10).await;
    assert_eq!(list, [expected]);
    assert_eq!(found(&*store, &first_turn(2)).await, None);
}

/// A turn that is begun again is under way, and has its reply once there is one.
pub async fn a_turn_is_begun_once(store: Arc<dyn ChatStore>) {
    let begun = begin(&*store, &first_turn(1)).await;
    let again = ChatTurn {
        started_at: at(70),
        ..first_turn(1)
    };
    // An attempt that began at that instant did not begin before it.
    for broken_before in [NEVER, begun.started_at] {
        let start = store.begin_turn(&again, broken_before).await.expect(WORKS);
        assert_eq!(start, TurnStart::UnderWay(begun.clone()));
    }
    assert!(end(&*store, &begun, 1, "Because.").await.expect(WORKS));
    for broken_before in [NEVER, ALWAYS] {
        let start = store.begin_turn(&again, broken_before).await.expect(WORKS);
        let replied = ChatTurn {
            reply: Some(reply("Because.")),
            ..begun.clone()
        };
        assert_eq!(start, TurnStart::Replied(replied));
    }
}

/// An id that a user has for one question is refused for another.
pub async fn an_id_names_one_question(store: Arc<dyn ChatStore>) {
    let begun = begin(&*store, &first_turn(1)).await;
    let other_question = ChatTurn {
        question: "Question 1".to_owned(),
        ..first_turn(1)
    };
    let other_answer = turn(1, sample_user_id(1), answer(2));
    for is_replied in [false, true] {
        for other in [&other_question, &other_answer] {
            for broken_before in [NEVER, ALWAYS] {
                let start = store.begin_turn(other, broken_before).await;
                assert_fails(start, ErrorKind::Conflict, "another question");
            }
        }
        if !is_replied {
            assert!(end(&*store, &begun, 1, "Because.").await.expect(WORKS));
        }
    }
    let kept = found(&*store, &begun).await.expect("it was begun");
    assert_eq!((kept.question, kept.answer_id), (begun.question, answer(1)));
    let list = listed(&*store, sample_user_id(1), answer(2), 10).await;
    assert_eq!(list, []);
}

/// Two users may use the same id, for the same answer or not, without knowing of each other.
pub async fn two_users_may_use_the_same_turn_id(store: Arc<dyn ChatStore>) {
    let mine = begin(&*store, &first_turn(1)).await;
    let yours = ChatTurn {
        question: "Mine?".to_owned(),
        ..turn(1, sample_user_id(2), answer(1))
    };
    let yours = begin(&*store, &yours).await;
    assert!(end(&*store, &yours, 1, "Yours.").await.expect(WORKS));
    assert_eq!(found(&*store, &mine).await, Some(mine.clone()));
    assert!(end(&*store, &mine, 1, "Mine.").await.expect(WORKS));
    assert_eq!(words(&*store, &mine).await.as_deref(), Some("Mine."));
    assert_eq!(words(&*store, &yours).await.as_deref(), Some("Yours."));
}

/// Nobody finds, ends, lists, sums up or forgets turns of another user.
pub async fn a_turn_of_another_user_is_not_found(store: Arc<dyn ChatStore>) {
    let mine = begin(&*store, &first_turn(1)).await;
    store
        .put_summary(&summary(1, "So far."))
        .await
        .expect(WORKS);
    let other = sample_user_id(2);
    let theirs = turn(1, other, answer(1));
    assert_eq!(found(&*store, &theirs).await, None);
    assert_eq!(listed(&*store, other, answer(1), 10).await, []);
    let ended = end(&*store, &theirs, 1, "Not mine.").await;
    assert_fails(ended, ErrorKind::NotFound, "the reply to another's turn");
    let their_summary = ChatSummary {
        user_id: other,
        ..summary(1, "Not mine.")
    };
    let put = store.put_summary(&their_summary).await;
    assert_fails(put, ErrorKind::NotFound, "the summary of another's chat");
    assert_eq!(summed_up(&*store, 2).await, None);
    let forgotten = store.forget_chat(other, answer(1)).await;
    assert_eq!(forgotten.expect(WORKS), 0);
    assert_eq!(found(&*store, &mine).await, Some(mine));
    assert_eq!(summed_up(&*store, 1).await, Some(summary(1, "So far.")));
}

/// An attempt that began too long ago is given up on: the turn is begun with the next number.
pub async fn a_broken_attempt_is_begun_again(store: Arc<dyn ChatStore>) {
    let mut last = begin(&*store, &first_turn(1)).await;
    for attempt in 2..5 {
        let again = ChatTurn {
            started_at: last.started_at + Duration::from_secs(60),
            ..first_turn(1)
        };
        let broken_before = last.started_at + Duration::from_micros(1);
        let start = store.begin_turn(&again, broken_before).await.expect(WORKS);
        let begun = ChatTurn { attempt, ..again };
        assert_eq!(start, TurnStart::Begun(begun.clone()));
        // This attempt is not broken, by the same measure.
        let start = store.begin_turn(&begun, broken_before).await.expect(WORKS);
        assert_eq!(start, TurnStart::UnderWay(begun.clone()));
        assert_eq!(found(&*store, &begun).await, Some(begun.clone()));
        last = begun;
    }
    assert!(end(&*store, &last, 4, "At last.").await.expect(WORKS));
    assert_eq!(words(&*store, &last).await.as_deref(), Some("At last."));
}

/// The reply of an attempt that was given up on does not count, before the other one nor after.
pub async fn the_reply_of_an_attempt_given_up_on_is_refused(store: Arc<dyn ChatStore>) {
    let turn = begin(&*store, &first_turn(1)).await;
    let start = store.begin_turn(&first_turn(1), ALWAYS).await;
    assert!(matches!(start.expect(WORKS), TurnStart::Begun(_)));
    for not_begun in [0, 1, 3, u32::MAX] {
        let counts = end(&*store, &turn, not_begun, "Late.").await;
        assert!(!counts.expect(WORKS), "attempt {not_begun} is not the last");
        assert_eq!(words(&*store, &turn).await, None);
    }
    assert!(end(&*store, &turn, 2, "In time.").await.expect(WORKS));
    assert!(!end(&*store, &turn, 1, "Late.").await.expect(WORKS));
    assert_eq!(words(&*store, &turn).await.as_deref(), Some("In time."));
}

/// A reply that is written twice counts once, and the first stands.
pub async fn a_reply_counts_once(store: Arc<dyn ChatStore>) {
    let turn = begin(&*store, &first_turn(1)).await;
    assert!(end(&*store, &turn, 1, "First.").await.expect(WORKS));
    for text in ["First.", "Second."] {
        assert!(!end(&*store, &turn, 1, text).await.expect(WORKS));
        assert_eq!(words(&*store, &turn).await.as_deref(), Some("First."));
    }
}

/// A reply is found and listed with its turn as it was given, wherever its words come from.
pub async fn a_reply_is_found_as_it_was_given(store: Arc<dyn ChatStore>) {
    let origins = [
        TurnOrigin::Live,
        TurnOrigin::Reused,
        TurnOrigin::Declined,
        TurnOrigin::Unavailable,
    ];
    let mut expected = Vec::new();
    for (n, origin) in (1..).zip(origins) {
        let turn = begin(&*store, &first_turn(n)).await;
        let is_live = origin == TurnOrigin::Live;
        let given = TurnReply {
            text: format!("Reply {n}."),
            origin,
            model: is_live.then(|| "a/b:c-1".parse().expect("the name is well formed")),
            cost: MicroDollars::new(if is_live { 3_000_000_000 } else { 0 }),
            replied_at: at(70) + Duration::from_micros(654_321),
        };
        let counts = store.end_turn(turn.user_id, turn.id, 1, &given).await;
        assert!(counts.expect(WORKS));
        let kept = ChatTurn {
            reply: Some(given),
            ..turn
        };
        assert_eq!(found(&*store, &kept).await, Some(kept.clone()));
        expected.insert(0, kept);
    }
    let list = listed(&*store, sample_user_id(1), answer(1), 10).await;
    assert_eq!(list, expected);
}

/// A reply to a turn that nobody began is refused.
pub async fn a_reply_to_no_turn_is_refused(store: Arc<dyn ChatStore>) {
    begin(&*store, &first_turn(1)).await;
    let ended = end(&*store, &first_turn(2), 1, "To what?").await;
    assert_fails(ended, ErrorKind::NotFound, "a reply to no turn");
    assert_eq!(found(&*store, &first_turn(2)).await, None);
}

fn most() -> u128 {
    TURNS_PER_CHAT_MAX as u128
}

/// A chat takes no more turns than allowed; those that it has go on, and so do other chats.
pub async fn a_chat_has_no_more_turns_than_allowed(store: Arc<dyn ChatStore>) {
    for n in 0..most() {
        begin(&*store, &first_turn(n)).await;
    }
    let start = store.begin_turn(&first_turn(most()), NEVER).await;
    assert_fails(start, ErrorKind::Full, "one turn too many");
    assert_eq!(found(&*store, &first_turn(most())).await, None);
    let known = store.begin_turn(&first_turn(0), NEVER).await;
    assert!(matches!(known.expect(WORKS), TurnStart::UnderWay(_)));
    let broken = store.begin_turn(&first_turn(0), ALWAYS).await;
    assert!(matches!(broken.expect(WORKS), TurnStart::Begun(_)));
    begin(&*store, &turn(most(), sample_user_id(1), answer(2))).await;
    begin(&*store, &turn(0, sample_user_id(2), answer(1))).await;
    let list = listed(&*store, sample_user_id(1), answer(1), 100).await;
    assert_eq!(list.len(), TURNS_PER_CHAT_MAX);
}

/// However many turns are begun at once, a chat has no more than allowed.
pub async fn turns_begun_at_once_are_no_more_than_allowed(store: Arc<dyn ChatStore>) {
    let before = most() - 4;
    for n in 0..before {
        begin(&*store, &first_turn(n)).await;
    }
    let begins = (before..before + 16).map(|n| {
        let store = Arc::clone(&store);
        async move { store.begin_turn(&first_turn(n), NEVER).await }
    });
    let (begun, refused): (Vec<_>, Vec<_>) = all_at_once(begins)
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!(begun.len(), 4, "there was room for four");
    for start in refused {
        assert_fails(start, ErrorKind::Full, "one turn too many");
    }
    let list = listed(&*store, sample_user_id(1), answer(1), 100).await;
    assert_eq!(list.len(), TURNS_PER_CHAT_MAX);
}

/// How many of 16 who begin a turn at once are to write its reply as this attempt.
async fn begun_at_once(store: &Arc<dyn ChatStore>, n: u128, attempt: u32) -> usize {
    let begins = (0..16).map(|second| {
        let store = Arc::clone(store);
        let turn = ChatTurn {
            started_at: at(3_600 + second),
            ..first_turn(n)
        };
        // Those that began before this hour are broken.
        async move { store.begin_turn(&turn, at(3_600)).await.expect(WORKS) }
    });
    let mut begun = Vec::new();
    let mut under_way = Vec::new();
    for start in all_at_once(begins).await {
        match start {
            TurnStart::Begun(turn) => begun.push(turn),
            TurnStart::UnderWay(turn) => under_way.push(turn),
            TurnStart::Replied(turn) => panic!("nobody replied to {turn:?}"),
        }
    }
    for turn in &under_way {
        assert_eq!(Some(turn), begun.first(), "all see the attempt that began");
    }
    assert!(begun.iter().all(|turn| turn.attempt == attempt));
    begun.len()
}

/// Of many who begin a turn at once, one is to write its reply.
pub async fn a_turn_begun_by_many_at_once_is_begun_once(store: Arc<dyn ChatStore>) {
    for n in 0..10 {
        assert_eq!(begun_at_once(&store, n, 1).await, 1);
    }
}

/// Of many who find a broken attempt at once, one is to write the reply instead.
pub async fn a_broken_turn_begun_by_many_at_once_is_begun_once(store: Arc<dyn ChatStore>) {
    for n in 0..10 {
        begin(&*store, &first_turn(n)).await;
        assert_eq!(begun_at_once(&store, n, 2).await, 1);
    }
}

/// Of many replies to one turn at once, one counts, and that one is found.
pub async fn one_of_many_replies_at_once_counts(store: Arc<dyn ChatStore>) {
    for n in 0..10 {
        let turn = begin(&*store, &first_turn(n)).await;
        let replies = (0..16).map(|writer| {
            let (store, turn) = (Arc::clone(&store), turn.clone());
            async move {
                let text = format!("Reply of {writer}.");
                let counts = end(&*store, &turn, 1, &text).await.expect(WORKS);
                counts.then_some(text)
            }
        });
        let counted: Vec<_> = all_at_once(replies).await.into_iter().flatten().collect();
        assert_eq!(counted.len(), 1, "{counted:?}");
        assert_eq!(words(&*store, &turn).await.as_ref(), counted.first());
    }
}

/// A chat is listed with the newest turn first, and without those of other chats.
pub async fn turns_are_listed_newest_first(store: Arc<dyn ChatStore>) {
    let mine = sample_user_id(1);
    for n in [3, 1, 9, 4, 7] {
        begin(&*store, &first_turn(n)).await;
    }
    begin(&*store, &turn(5, mine, answer(2))).await;
    begin(&*store, &turn(6, sample_user_id(2), answer(1))).await;
    let list = listed(&*store, mine, answer(1), 100).await;
    assert_eq!(ids(&list), [9, 7, 4, 3, 1].map(id));
    assert_eq!(ids(&listed(&*store, mine, answer(2), 100).await), [id(5)]);
    assert_eq!(listed(&*store, mine, answer(3), 100).await, []);
}

/// Pages of any limit hold every turn of a chat once.
pub async fn pages_of_any_limit_hold_every_turn_once(store: Arc<dyn ChatStore>) {
    let mine = sample_user_id(1);
    for n in 0..30 {
        let of = if n % 3 == 0 { answer(2) } else { answer(1) };
        begin(&*store, &turn(n, mine, of)).await;
    }
    let expected: Vec<_> = (0..30).rev().filter(|n| n % 3 != 0).map(id).collect();
    for items in [1, 2, 3, 19, 20, 21, 100] {
        let list = listed(&*store, mine, answer(1), items).await;
        assert_eq!(ids(&list), expected, "pages of {items}");
    }
}

/// A walk holds all turns that were there when it began, whatever is asked meanwhile.
pub async fn a_walk_through_turns_is_not_disturbed_by_new_ones(store: Arc<dyn ChatStore>) {
    let mine = sample_user_id(1);
    for n in 10..20 {
        begin(&*store, &first_turn(n)).await;
    }
    let mut walked = Vec::new();
    let mut after: Option<PageCursor> = None;
    for n in 20.. {
        let page = store.list_turns(mine, answer(1), after.as_ref(), limit(3));
        let page = page.await.expect(WORKS);
        walked.extend(ids(&page.items));
        begin(&*store, &first_turn(n)).await;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let expected: Vec<_> = (10..20).rev().map(id).collect();
    assert_eq!(walked, expected);
}

/// The list of a chat refuses cursors of other chats, and of nobody.
pub async fn a_list_of_turns_refuses_foreign_cursors(store: Arc<dyn ChatStore>) {
    let chats = [
        (sample_user_id(1), answer(1)),
        (sample_user_id(1), answer(2)),
        (sample_user_id(2), answer(1)),
    ];
    let mut cursors = Vec::new();
    for (nth, (user_id, answer_id)) in (0..).zip(chats) {
        for n in 0..2 {
            begin(&*store, &turn(10 * nth + n, user_id, answer_id)).await;
        }
        let page = store.list_turns(user_id, answer_id, None, limit(1)).await;
        cursors.push(page.expect(WORKS).next);
    }
    let own = cursors.remove(0);
    let list = |cursor: PageCursor| {
        let store = Arc::clone(&store);
        async move {
            let list = store.list_turns(sample_user_id(1), answer(1), Some(&cursor), limit(1));
            list.await
        }
    };
    let page = list(own.expect("there is more")).await.expect(WORKS);
    assert_eq!(ids(&page.items), [id(0)]);
    assert_refused(foreign_cursors(cursors), list).await;
    // Also where there is nothing to list.
    let nobody = |cursor: PageCursor| {
        let store = Arc::clone(&store);
        async move {
            let list = store.list_turns(sample_user_id(9), answer(9), Some(&cursor), limit(1));
            list.await
        }
    };
    assert_refused(foreign_cursors(Vec::new()), nobody).await;
}

/// A summary is found as it was given, of its chat alone.
pub async fn a_summary_is_found_as_it_was_given(store: Arc<dyn ChatStore>) {
    begin(&*store, &first_turn(1)).await;
    begin(&*store, &turn(2, sample_user_id(1), answer(2))).await;
    assert_eq!(summed_up(&*store, 1).await, None);
    let given = summary(1, "So far.");
    store.put_summary(&given).await.expect(WORKS);
    assert_eq!(summed_up(&*store, 1).await, Some(given.clone()));
    let other = ChatSummary {
        answer_id: answer(2),
        ..summary(2, "Of another chat.")
    };
    store.put_summary(&other).await.expect(WORKS);
    assert_eq!(summed_up(&*store, 1).await, Some(given));
    let found = store.find_summary(sample_user_id(1), answer(2)).await;
    assert_eq!(found.expect(WORKS), Some(other));
}

/// A summary gives way to one that tells of more, and to no other.
pub async fn a_summary_only_moves_forward(store: Arc<dyn ChatStore>) {
    for n in 1..=9 {
        begin(&*store, &first_turn(n)).await;
    }
    for (n, text, expected) in [
        (5, "Through five.", (5, "Through five.")),
        (5, "Through five, otherwise.", (5, "Through five.")),
        (4, "Through four.", (5, "Through five.")),
        (6, "Through six.", (6, "Through six.")),
        (1, "Through one.", (6, "Through six.")),
        (9, "Through nine.", (9, "Through nine.")),
    ] {
        store.put_summary(&summary(n, text)).await.expect(WORKS);
        let (n, text) = expected;
        assert_eq!(summed_up(&*store, 1).await, Some(summary(n, text)));
    }
}

/// Of many summaries at once, the one that tells of the most is left.
pub async fn of_summaries_put_at_once_the_longest_reaching_is_left(store: Arc<dyn ChatStore>) {
    for n in 1..=64 {
        begin(&*store, &first_turn(n)).await;
    }
    for round in 0..4_u128 {
        let most = 16 * (round + 1);
        let puts = (most - 15..=most).map(|n| {
            let store = Arc::clone(&store);
            async move {
                let summary = summary(n, &format!("Through {n}."));
                store.put_summary(&summary).await.expect(WORKS);
            }
        });
        all_at_once(puts).await;
        let expected = summary(most, &format!("Through {most}."));
        assert_eq!(summed_up(&*store, 1).await, Some(expected));
    }
}

/// A summary that goes through a turn which its chat does not have is refused.
pub async fn a_summary_through_no_turn_is_refused(store: Arc<dyn ChatStore>) {
    begin(&*store, &first_turn(1)).await;
    begin(&*store, &turn(2, sample_user_id(1), answer(2))).await;
    begin(&*store, &turn(3, sample_user_id(2), answer(1))).await;
    for n in [2, 3, 4] {
        let put = store.put_summary(&summary(n, "Of what?")).await;
        assert_fails(put, ErrorKind::NotFound, "a summary through no turn");
        assert_eq!(summed_up(&*store, 1).await, None);
    }
}

/// A chat that was forgotten is gone, turns and summary, and nothing else is.
pub async fn a_forgotten_chat_is_gone(store: Arc<dyn ChatStore>) {
    let mine = sample_user_id(1);
    for n in 1..=3 {
        let turn = begin(&*store, &first_turn(n)).await;
        assert!(end(&*store, &turn, 1, "Because.").await.expect(WORKS));
    }
    store
        .put_summary(&summary(2, "So far."))
        .await
        .expect(WORKS);
    let of_other_chat = begin(&*store, &turn(4, mine, answer(2))).await;
    let of_other_user = begin(&*store, &turn(1, sample_user_id(2), answer(1))).await;
    let other_summary = ChatSummary {
        user_id: sample_user_id(2),
        ..summary(1, "Of another user.")
    };
    store.put_summary(&other_summary).await.expect(WORKS);

    let forget = async || store.forget_chat(mine, answer(1)).await.expect(WORKS);
    assert_eq!(forget().await, 3);
    for n in 1..=3 {
        assert_eq!(found(&*store, &first_turn(n)).await, None);
    }
    assert_eq!(listed(&*store, mine, answer(1), 10).await, []);
    assert_eq!(summed_up(&*store, 1).await, None);
    assert_eq!(forget().await, 0);

    assert_eq!(found(&*store, &of_other_chat).await, Some(of_other_chat));
    assert_eq!(found(&*store, &of_other_user).await, Some(of_other_user));
    assert_eq!(summed_up(&*store, 2).await, Some(other_summary));
    // The chat may begin anew, also with an id of its past.
    let begun = begin(&*store, &first_turn(1)).await;
    assert_eq!((begun.attempt, begun.reply), (1, None));
}

/// A reply or a summary that comes after its chat was forgotten is refused, and brings nothing back.
pub async fn what_comes_late_to_a_forgotten_chat_is_refused(store: Arc<dyn ChatStore>) {
    let turn = begin(&*store, &first_turn(1)).await;
    let forgotten = store.forget_chat(turn.user_id, turn.answer_id).await;
    assert_eq!(forgotten.expect(WORKS), 1);
    let ended = end(&*store, &turn, 1, "Late.").await;
    assert_fails(ended, ErrorKind::NotFound, "a late reply");
    let put = store.put_summary(&summary(1, "Late.")).await;
    assert_fails(put, ErrorKind::NotFound, "a late summary");
    assert_eq!(found(&*store, &turn).await, None);
    assert_eq!(summed_up(&*store, 1).await, None);
}

/// A chat that is forgotten while replies and summaries come stays forgotten.
pub async fn a_chat_forgotten_meanwhile_stays_forgotten(store: Arc<dyn ChatStore>) {
    for round in 0..10 {
        let numbers = 10 * round..10 * (round + 1);
        for n in numbers.clone() {
            begin(&*store, &first_turn(n)).await;
        }
        let writes = numbers.flat_map(|n| {
            let (ending, summing) = (Arc::clone(&store), Arc::clone(&store));
            let end: BoxFuture<'static, Option<u64>> = Box::pin(async move {
                let ended = end(&*ending, &first_turn(n), 1, "Because.").await;
                is_refused_at_most(ended.map(drop));
                None
            });
            let sum: BoxFuture<'static, Option<u64>> = Box::pin(async move {
                is_refused_at_most(summing.put_summary(&summary(n, "So far.")).await);
                None
            });
            [end, sum]
        });
        let forgetting = Arc::clone(&store);
        let forget: BoxFuture<'static, Option<u64>> = Box::pin(async move {
            let forgotten = forgetting.forget_chat(sample_user_id(1), answer(1)).await;
            Some(forgotten.expect(WORKS))
        });
        let done = all_at_once(writes.chain([forget])).await;
        assert_eq!(done.into_iter().flatten().sum::<u64>(), 10);
        let left = listed(&*store, sample_user_id(1), answer(1), 100).await;
        assert_eq!(left, [], "round {round}");
        assert_eq!(summed_up(&*store, 1).await, None, "round {round}");
    }
}

fn is_refused_at_most(done: Result<()>) {
    if let Err(error) = done {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
    }
}

/// Words of any script, and what means something to a database, are kept to the byte.
pub async fn words_of_any_script_are_kept_whole(store: Arc<dyn ChatStore>) {
    for (n, text) in (1..).zip(WORDS) {
        let given = ChatTurn {
            question: text.to_owned(),
            ..first_turn(n)
        };
        let turn = begin(&*store, &given).await;
        assert_eq!(turn.question, text);
        assert!(end(&*store, &turn, 1, text).await.expect(WORKS));
        store.put_summary(&summary(n, text)).await.expect(WORKS);
        let kept = found(&*store, &turn).await.expect("it was begun");
        assert_eq!(kept.question, text);
        assert_eq!(kept.reply, Some(reply(text)));
        assert_eq!(summed_up(&*store, 1).await, Some(summary(n, text)));
        // And are compared to the byte.
        let start = store.begin_turn(&given, NEVER).await.expect(WORKS);
        assert!(matches!(start, TurnStart::Replied(_)));
    }
}

/// Texts of a script in which a character takes two bytes: the longest, and one that is too long.
pub(super) fn longest_and_longer(len_max: usize) -> (String, String) {
    let longest = "é".repeat(len_max / 2);
    let longer = format!("{longest}e");
    (longest, longer)
}

/// Words that are as long as may be are kept; what is longer, or has U+0000 in it, is refused and
/// changes nothing.
pub async fn words_that_do_not_fit_are_refused(store: Arc<dyn ChatStore>) {
    let refused = "NUL \0 here".to_owned();
    let (longest, longer) = longest_and_longer(QUESTION_LEN_MAX);
    for question in [refused.clone(), longer] {
        let given = ChatTurn {
            question,
            ..first_turn(1)
        };
        let start = store.begin_turn(&given, NEVER).await;
        assert_fails(start, ErrorKind::Invalid, "a question that does not fit");
        assert_eq!(found(&*store, &given).await, None);
    }
    let given = ChatTurn {
        question: longest,
        ..first_turn(1)
    };
    let turn = begin(&*store, &given).await;
    assert_eq!(found(&*store, &turn).await, Some(turn.clone()));

    let (longest, longer) = longest_and_longer(CHAT_SUMMARY_LEN_MAX);
    for text in [&refused, &longer] {
        let put = store.put_summary(&summary(1, text)).await;
        assert_fails(put, ErrorKind::Invalid, "a summary that does not fit");
        assert_eq!(summed_up(&*store, 1).await, None);
    }
    let given = summary(1, &longest);
    store.put_summary(&given).await.expect(WORKS);
    assert_eq!(summed_up(&*store, 1).await, Some(given));

    let (longest, longer) = longest_and_longer(REPLY_LEN_MAX);
    for text in [&refused, &longer] {
        let ended = end(&*store, &turn, 1, text).await;
        assert_fails(ended, ErrorKind::Invalid, "a reply that does not fit");
        assert_eq!(words(&*store, &turn).await, None);
    }
    assert!(end(&*store, &turn, 1, &longest).await.expect(WORKS));
    assert_eq!(words(&*store, &turn).await, Some(longest));
}
