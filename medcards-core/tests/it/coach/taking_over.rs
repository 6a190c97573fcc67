//! Writers that die, or are slower than they may be.

use medcards_core::ErrorKind;
use medcards_core::testing::Operation;

use super::*;

/// A process of its own, which can be killed: nothing of it runs on, and nothing is tidied up.
struct Process(tokio::runtime::Runtime);

impl Process {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build();
        Self(runtime.expect("a runtime can be made"))
    }

    fn kill(self) {
        self.0.shutdown_background();
    }
}

#[tokio::test]
async fn a_turn_whose_process_died_is_begun_again_by_whoever_asks() {
    let bench = Bench::new().await;
    let (dying, dying_provider) = bench.elsewhere();
    let process = Process::start();
    let gate = Gate::new();
    dying_provider.push(Script::deltas(["It was ", "sodium."]).gated(&gate));
    gate.admit(1);
    let question = bench.question("Why?");
    let (user, asked) = (bench.user, question.clone());
    let first = process.0.spawn(async move {
        let mut stream = dying.ask(user, asked).await.unwrap();
        stream.next().await.unwrap().unwrap()
    });
    let ChatEvent::Delta { text, place } = first.await.unwrap() else {
        panic!("the first event is a delta");
    };
    process.kill();

    // Until the time of the attempt is over, the reader waits.
    bench.provider.push(Script::deltas(WORDS));
    let turn_id = question.turn_id.unwrap();
    let stream = bench
        .coach
        .follow(bench.user, turn_id, place)
        .await
        .unwrap();
    assert_eq!(bench.provider.calls(), 0);
    bench
        .clock
        .advance(CoachConfig::default().broken_after + Duration::from_secs(1));
    let seen = Seen {
        text: text.to_string(),
        ..Seen::default()
    };
    let seen = seen.read_to_end(stream).await;
    assert_eq!((seen.text, seen.restarts), (WORDS.concat(), 1));
    assert_eq!(seen.turn.unwrap().attempt, 2);
    assert_eq!((bench.provider.calls(), dying_provider.calls()), (1, 1));
}

/// It wakes after it was given up on: its reply is refused, and its readers get the other one.
#[tokio::test]
async fn a_writer_that_was_given_up_on_replies_no_more() {
    let bench = Bench::new().await;
    let gate = Gate::new();
    bench
        .provider
        .push(Script::deltas(["It was ", "sodium."]).gated(&gate));
    gate.admit(1);
    let question = bench.question("Why?");
    let mut slow = bench.coach.ask(bench.user, question.clone()).await.unwrap();
    let mut seen = Seen::default();
    seen.take(slow.next().await.unwrap().unwrap());

    bench
        .clock
        .advance(CoachConfig::default().broken_after + Duration::from_secs(1));
    let (other, other_provider) = bench.elsewhere();
    other_provider.push(Script::deltas(WORDS));
    let second = read(other.ask(bench.user, question).await.unwrap()).await;
    assert_eq!(second.turn.as_ref().unwrap().attempt, 2);

    gate.open();
    let seen = seen.read_to_end(slow).await;
    assert_eq!((seen.text, seen.restarts), (WORDS.concat(), 1));
    assert_eq!(seen.turn, second.turn);
    assert_eq!(bench.coach.tally().lost, 1);
}

/// Many ask in two processes while the writer is dead: one new attempt, one reply for all.
#[tokio::test]
async fn one_of_many_takes_over() {
    let bench = Bench::new().await;
    let question = bench.question("Why?");
    bench
        .faults
        .lose_next_reply(Operation::BeginTurn, 1, ErrorKind::Timeout);
    let asked = bench.coach.ask(bench.user, question.clone()).await;
    assert_eq!(asked.err().unwrap().kind(), ErrorKind::Timeout);
    bench
        .clock
        .advance(CoachConfig::default().broken_after + Duration::from_secs(1));
    let (other, other_provider) = bench.elsewhere();
    let mut reading = Vec::new();
    for coach in [&bench.coach, &other].into_iter().cycle().take(20) {
        let (coach, question, user) = (coach.clone(), question.clone(), bench.user);
        reading.push(tokio::spawn(async move {
            read(coach.ask(user, question).await.unwrap()).await.turn
        }));
    }
    let mut turns = Vec::new();
    for reading in reading {
        turns.push(reading.await.unwrap().unwrap());
    }
    assert!(
        turns
            .iter()
            .all(|turn| turn.attempt == 2 && *turn == turns[0])
    );
    assert_eq!(bench.provider.calls() + other_provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_cannot_be_kept_at_once_is_kept_later() {
    let bench = Bench::new().await;
    bench
        .faults
        .fail_next(Operation::EndTurn, 2, ErrorKind::Unavailable);
    let turn = bench.ask("Why?").await.unwrap();
    assert_eq!(bench.find(turn.id).await, *turn);
}

/// The store did it, and nobody was told: the reply counts once.
#[tokio::test(start_paused = true)]
async fn a_keeping_that_was_lost_on_the_way_counts() {
    let bench = Bench::new().await;
    bench
        .faults
        .lose_next_reply(Operation::EndTurn, 1, ErrorKind::Timeout);
    let turn = bench.ask("Why?").await.unwrap();
    assert_eq!(bench.find(turn.id).await, *turn);
    assert_eq!(bench.coach.tally().lost, 0);
    assert_eq!(bench.provider.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_student_reads_a_reply_that_cannot_be_kept() {
    let bench = Bench::new().await;
    bench
        .faults
        .fail_next(Operation::EndTurn, 3, ErrorKind::Unavailable);
    bench.provider.push(Script::deltas(WORDS));
    let turn = bench.ask("Why?").await.unwrap();
    assert_eq!(reply(&turn), WORDS.concat());
    assert!(bench.find(turn.id).await.reply.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_coach_that_closes_leaves_no_turn_without_a_reply() {
    let bench = Bench::new().await;
    bench
        .provider
        .push(Script::deltas(["It was "]).then_hangs());
    let question = bench.question("Why?");
    let turn_id = question.turn_id.unwrap();
    let mut stream = bench.coach.ask(bench.user, question).await.unwrap();
    let mut seen = Seen::default();
    seen.take(stream.next().await.unwrap().unwrap());
    bench.coach.close(Duration::from_secs(5)).await;
    let seen = seen.read_to_end(stream).await;
    assert_eq!(seen.restarts, 1);
    assert_eq!(origin(&bench.find(turn_id).await), TurnOrigin::Unavailable);
}
