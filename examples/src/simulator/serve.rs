use std::convert::Infallible;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tower::ServiceExt;

use super::play::HangUp;

/// How long to wait when no connection can be accepted, such as when all file handles are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a connection may be idle, or take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long replies that are under way may take to end once the simulator is to stop.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves until told to stop, or until whoever could tell is gone.
pub(super) async fn serve(listener: TcpListener, router: Router, stop: oneshot::Receiver<()>) {
    let graceful = GracefulShutdown::new();
    let mut connections = tokio::task::JoinSet::new();
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = &mut stop => break,
            // Ended connections must not pile up.
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = graceful.watcher().watch(connection(stream, router.clone()));
        // Those who hang up, and those who are hung up on, are no matter here.
        connections.spawn(async { drop(connection.await) });
    }
    drop(listener);
    // The set cuts what is not over by then.
    drop(timeout(PATIENCE, graceful.shutdown()).await);
}

fn connection(
    stream: TcpStream,
    router: Router,
) -> http1::Connection<
    TokioIo<TcpStream>,
    impl hyper::service::Service<
        hyper::Request<Incoming>,
        Response = Response,
        Error = io::Error,
        Future: Send,
    >,
> {
    // Without it small events of a stream wait for acknowledgements. It may fail: then they do.
    drop(stream.set_nodelay(true));
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let answer = router.clone().oneshot(request.map(Body::new));
        async { kept(answer.await) }
    });
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
}

/// The response, unless the connection is to be closed in its place.
fn kept(answer: Result<Response, Infallible>) -> io::Result<Response> {
    let Ok(response) = answer;
    match response.extensions().get::<HangUp>() {
        Some(HangUp) => Err(io::Error::other("the script hangs up here")),
        None => Ok(response),
    }
}
