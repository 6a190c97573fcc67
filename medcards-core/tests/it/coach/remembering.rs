//! What a chat remembers of itself.

use medcards_core::ErrorKind;
use medcards_core::ai::Billed;
use medcards_core::chat::ChatStore;
use medcards_core::store::PageLimit;
use medcards_core::testing::Operation;

use super::*;

impl Bench {
    /// Has a chat of so many turns, with replies that tell their number.
    async fn chat(&self, turns: std::ops::Range<usize>) {
        for n in turns {
            self.provider.push(Script::deltas([format!("Reply {n}.")]));
            self.ask(&format!("Question {n}?")).await.expect("a reply");
        }
    }

    async fn summary(&self) -> Option<String> {
        let summary = self.store.find_summary(self.user, self.answer).await;
        summary
            .expect("the store works")
            .map(|summary| summary.text)
    }

    /// Waits until nothing is done in the background any more.
    async fn settled(&self) {
        self.coach.close(Duration::from_secs(5)).await;
    }

    fn sent(&self) -> Vec<String> {
        let prompt = self.provider.prompts().pop().expect("a call");
        let texts = prompt.parts.iter().map(|part| part.text().to_owned());
        texts.collect()
    }
}

#[tokio::test]
async fn turns_that_fall_out_are_summarised_in_the_background() {
    let bench = Bench::new().await;
    bench.chat(0..8).await;
    bench.provider.push(Script::deltas(["Reply 8."]));
    bench
        .provider
        .push(Script::deltas(["They spoke of five things."]));
    bench.ask("Question 8?").await.unwrap();
    bench.settled().await;
    assert_eq!(bench.coach.tally().summaries, 1);
    assert_eq!(bench.summary().await.unwrap(), "They spoke of five things.");
    let summarised = bench.sent();
    assert_eq!(
        summarised.len(),
        10,
        "five questions and replies: {summarised:?}"
    );
    assert_eq!(summarised[0], "Question 0?");
    assert_eq!(summarised[9], "Reply 4.");

    let (coach, provider) = bench.elsewhere();
    bench.clock.advance(Duration::from_millis(2));
    let stream = coach.ask(bench.user, bench.question("Question 9?")).await;
    read(stream.unwrap()).await;
    let parts = provider.prompts().pop().unwrap().parts;
    let texts: Vec<_> = parts.iter().map(|part| part.text()).collect();
    assert_eq!(texts[1], "They spoke of five things.");
    assert_eq!(texts[2], "Question 5?");
    assert_eq!(texts.len(), 2 + 4 * 2 + 1, "{texts:?}");
}

#[tokio::test]
async fn without_a_summary_older_turns_are_left_out() {
    let bench = Bench::new().await;
    bench.chat(0..8).await;
    for n in 8..12 {
        bench.provider.push(Script::deltas([format!("Reply {n}.")]));
        bench
            .provider
            .push(Script::fails(ErrorKind::Unavailable, Billed::Nothing));
        let calls = bench.provider.calls();
        bench.ask(&format!("Question {n}?")).await.unwrap();
        bench.provider.called(calls + 2).await;
    }
    bench.provider.push(Script::deltas(["Reply 12."]));
    bench.ask("Question 12?").await.unwrap();
    let prompts = bench.provider.prompts();
    let last = prompts
        .iter()
        .rev()
        .find(|prompt| prompt.instructions == "Reply.");
    let texts: Vec<_> = last.unwrap().parts.iter().map(|part| part.text()).collect();
    assert_eq!(texts[1], "Question 2?", "the last ten turns: {texts:?}");
    assert_eq!(texts.last(), Some(&"Question 12?"));
}

#[tokio::test]
async fn a_chat_whose_past_cannot_be_read_goes_on() {
    let bench = Bench::new().await;
    bench.chat(0..2).await;
    bench
        .faults
        .fail_next(Operation::ListTurns, 1, ErrorKind::Unavailable);
    let turn = bench.ask("Question 2?").await.unwrap();
    assert_eq!(origin(&turn), TurnOrigin::Live);
    assert_eq!(bench.sent().len(), 2, "the case and the question");
}

#[tokio::test]
async fn chats_about_other_answers_know_nothing_of_this_one() {
    let bench = Bench::new().await;
    bench.chat(0..2).await;
    let choice = AnswerForm {
        options: vec!["A".to_owned()],
        ..AnswerForm::default()
    };
    let other = bench
        .medcards
        .submit_answer(bench.user, bench.case.id, choice)
        .await;
    let question = ChatQuestion {
        answer_id: other.unwrap().answer.id,
        ..bench.question("Question 2?")
    };
    let stream = bench.coach.ask(bench.user, question).await.unwrap();
    read(stream).await;
    assert_eq!(bench.sent().len(), 2, "the case and the question");
}

/// Its words must not come back with a summary that was being written.
#[tokio::test]
async fn a_summary_of_a_forgotten_chat_is_not_kept() {
    let bench = Bench::new().await;
    bench.chat(0..8).await;
    let gate = Gate::new();
    bench.provider.push(Script::deltas(["Reply 8."]));
    bench
        .provider
        .push(Script::deltas(["They spoke."]).gated(&gate));
    bench.ask("Question 8?").await.unwrap();
    bench.provider.called(10).await;
    assert_eq!(
        bench.coach.forget(bench.user, bench.answer).await.unwrap(),
        9
    );
    gate.open();
    bench.settled().await;
    assert_eq!(bench.summary().await, None);
}

#[tokio::test]
async fn a_chat_is_listed_newest_first() {
    let bench = Bench::new().await;
    bench.chat(0..3).await;
    let limit = PageLimit::new(2).unwrap();
    let page = bench
        .coach
        .turns(bench.user, bench.answer, None, limit)
        .await
        .unwrap();
    let questions: Vec<_> = page.items.iter().map(|turn| &turn.question).collect();
    assert_eq!(questions, ["Question 2?", "Question 1?"]);
    let rest = bench
        .coach
        .turns(bench.user, bench.answer, page.next.as_ref(), limit)
        .await
        .unwrap();
    assert_eq!(rest.items[0].question, "Question 0?");
    assert_eq!(rest.next, None);
}
