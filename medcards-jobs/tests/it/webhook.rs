use std::sync::{Arc, Mutex};
use std::time::Duration;

use medcards_core::event::{LogPosition, ReaderName};
use medcards_core::job::{ClaimedJob, JobKind, JobQueue, NewJob};
use medcards_core::learning::NOTIFY_REGRADED;
use medcards_core::time::Clock;
use medcards_jobs::Stores;
use medcards_jobs::learning::{NotifyRegraded, TellRegraded};
use medcards_jobs::webhook::{NoticeForwarder, Webhook, WebhookSecret};
use medcards_jobs::worker::{JobContext, JobEnd, JobHandler, Workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::world::{World, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// A server that answers each request with the next of these, and keeps what it was sent.
async fn server(answers: Vec<&'static str>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("there is a free port");
    let address = listener.local_addr().expect("it listens");
    let requests = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&requests);
    drop(tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.expect("somebody connects");
            let mut request = String::new();
            let mut part = [0; 4096];
            while !is_whole(&request) {
                let read = stream.read(&mut part).await.expect("it is sent");
                request.push_str(&String::from_utf8_lossy(&part[..read]));
            }
            kept.lock().expect("no test panics with it").push(request);
            let answer =
                format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream
                .write_all(answer.as_bytes())
                .await
                .expect("it is read");
        }
    }));
    (format!("http://{address}/hook"), requests)
}

fn is_whole(request: &str) -> bool {
    let Some((head, body)) = request.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|it| it.parse().ok());
    length.is_none_or(|length: usize| body.len() >= length)
}

fn webhook(url: &str) -> Webhook {
    let secret = WebhookSecret::new(&SECRET.to_owned().into()).expect("it is a secret");
    Webhook::new(url, secret).expect("it is a URL")
}

#[tokio::test]
async fn what_a_server_answers_decides_what_becomes_of_a_message() {
    let world = World::new().await;
    let retry = |after: Option<u64>, status: u16| JobEnd::Retry {
        after: after.map(Duration::from_secs),
        reason: format!("the server answered {status}"),
    };
    let gone = "the server wants no messages any more (410): take the webhook away";
    let table = [
        ("200 OK", JobEnd::done()),
        ("204 No Content", JobEnd::done()),
        (
            "302 Found\r\nlocation: http://127.0.0.1:9/",
            retry(None, 302),
        ),
        ("404 Not Found", retry(None, 404)),
        (
            "410 Gone",
            JobEnd::Dead {
                reason: gone.to_owned(),
            },
        ),
        ("429 Too Many\r\nretry-after: 120", retry(Some(120), 429)),
        (
            "503 Busy\r\nretry-after: 99999999",
            retry(Some(86_400), 503),
        ),
        (
            "503 Busy\r\nretry-after: Fri, 31 Dec 2027 23:59:59 GMT",
            retry(None, 503),
        ),
    ];
    let (url, requests) = server(table.iter().map(|(answer, _)| *answer).collect()).await;
    let webhook = webhook(&url);
    let context = JobContext::new(Arc::clone(&world.clock) as _);
    let new = NewJob::new(webhook.kind(), r#"{"type":"x"}"#, world.clock.now());
    let job = ClaimedJob {
        id: new.id,
        kind: new.kind,
        payload: new.payload,
        user_id: None,
        enqueued_at: world.clock.now(),
        run_at: world.clock.now(),
        attempt: 1,
        tries: 1,
        leased_until: world.clock.now(),
    };
    for (answer, expected) in table {
        let end = webhook.run(&job, &context).await.unwrap();
        assert_eq!(end, expected, "{answer}");
    }
    // Nobody listens any more.
    let error = webhook.run(&job, &context).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(!error.to_string().contains("/hook"));
    let requests = requests.lock().unwrap();
    let first = &requests[0];
    assert!(first.contains(&format!("webhook-id: {}\r\n", job.id)));
    assert!(
        first.contains("webhook-timestamp: 1768464000\r\n"),
        "{first}"
    );
    assert!(first.contains("webhook-signature: v1,"));
    assert!(first.ends_with("\r\n\r\n{\"type\":\"x\"}"));
    // A message that is sent again is the same.
    assert!(requests.iter().all(|it| it == first));
}

/// What comes from now on is forwarded.
async fn has_begun(stores: &Stores) {
    let begun = ReaderName::new("webhook-begun").expect("it is a name");
    until("forwarding has begun", async || {
        let mark = stores.store.find_cursor(&begun).await;
        mark.expect("the store is there") != LogPosition::START
    })
    .await;
}

/// However the first one ended, and though it had nothing to forward.
#[tokio::test]
async fn what_comes_while_none_forwards_is_forwarded_by_the_next() {
    let world = World::new().await;
    let (url, requests) = server(vec!["200 OK"]).await;
    let process = world.process();
    let stores = &process.stores;
    let first = NoticeForwarder::start(stores.clone());
    has_begun(stores).await;
    first.stop().await;
    let queue = Arc::clone(&stores.learning) as Arc<dyn JobQueue>;
    let workers = Workers::builder(queue, Arc::clone(&stores.clock))
        .handler(Arc::new(NotifyRegraded::new(stores.clone())))
        .handler(Arc::new(TellRegraded::new(stores.clone())))
        .handler(Arc::new(webhook(&url)))
        .start()
        .unwrap();
    world.record(world.answer_of(1, 1)).await;
    let payload = format!(r#"{{"case_id":"{}","versions":[1]}}"#, world.cases[1].id);
    let walk = NewJob::new(JobKind::named(NOTIFY_REGRADED), payload, world.clock.now());
    world.correct(1, vec![walk]).await;
    until("the notice is written", async || {
        let last = stores.learning.last_notice().await;
        last.expect("the store is there") != LogPosition::START
    })
    .await;
    let next = NoticeForwarder::start(stores.clone());
    until("the message is sent", async || {
        requests.lock().expect("no test panics with it").len() == 1
    })
    .await;
    next.stop().await;
    workers.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_regraded_student_is_told_elsewhere_too() {
    let world = World::new().await;
    let (url, requests) = server(vec!["200 OK"; 2]).await;
    let (process, other) = (world.process(), world.process());
    let stores = &process.stores;
    let queue = Arc::clone(&stores.learning) as Arc<dyn JobQueue>;
    let workers = Workers::builder(queue, Arc::clone(&stores.clock))
        .handler(Arc::new(NotifyRegraded::new(stores.clone())))
        .handler(Arc::new(TellRegraded::new(stores.clone())))
        .handler(Arc::new(webhook(&url)))
        .start()
        .unwrap();
    let forwarders = [
        NoticeForwarder::start(stores.clone()),
        NoticeForwarder::start(other.stores),
    ];
    for user in [1, 2] {
        world.record(world.answer_of(user, 1)).await;
    }
    let payload = format!(r#"{{"case_id":"{}","versions":[1]}}"#, world.cases[1].id);
    let walk = NewJob::new(JobKind::named(NOTIFY_REGRADED), payload, world.clock.now());
    has_begun(stores).await;
    world.correct(1, vec![walk]).await;
    until("both messages are sent", async || {
        requests.lock().expect("no test panics with it").len() == 2
    })
    .await;
    let requests = requests.lock().unwrap().clone();
    for user in [1, 2] {
        let user = medcards_core::testing::sample_user_id(user);
        let of_user = requests.iter().filter(|it| it.contains(&user.to_string()));
        let of_user: Vec<_> = of_user.collect();
        assert_eq!(of_user.len(), 1);
        assert!(of_user[0].contains(r#"{"type":"medcards.regraded","timestamp":""#));
        assert!(of_user[0].contains(r#""is_correct":true"#));
    }
    for forwarder in &forwarders {
        forwarder.stop().await;
    }
    workers.stop(Duration::from_secs(5)).await;
}
