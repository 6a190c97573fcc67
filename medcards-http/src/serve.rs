use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::api::Api;
use crate::impatient::Impatient;

/// How long a connection may be idle, or take to send the head of a request. Load balancers keep
/// idle connections for 60 seconds, and must be the ones who close them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// How long a client may take nothing of what is written to it: a phone in a tunnel comes back sooner.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long to wait when no connection can be accepted, such as when all file handles are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long after the patience the last bytes of streams that were ended may take to be sent.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the API until `stop` completes, then drains it.
///
/// Draining: nothing more is accepted, `/readyz` says so, streams get their end, and requests under
/// way finish, all within the patience of
/// [`HttpConfig::with_drain_patience`](crate::HttpConfig::with_drain_patience). An answer that was
/// acknowledged is stored. Whoever is cut off after that may send an answer again: its id makes sure
/// that it counts once.
///
/// The platform is not closed: call [`Medcards::close`](medcards_core::app::Medcards::close) next.
///
/// # Errors
/// If the listener has no address: it is broken.
///
/// # Cancel safety
/// Dropping the future stops accepting; connections go on until the runtime ends.
pub async fn serve(
    listener: TcpListener,
    api: Api,
    stop: impl Future<Output = ()> + Send,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    let connections = TaskTracker::new();
    let (draining, cut) = (CancellationToken::new(), CancellationToken::new());
    let free = Arc::new(Semaphore::new(
        api.app().config.connections_max.min(Semaphore::MAX_PERMITS),
    ));
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = accept(&listener, &free) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        let connection = Connection {
            stream,
            peer,
            api: api.clone(),
            draining: draining.clone(),
            cut: cut.clone(),
            hold: Hold(Arc::new(permit)),
        };
        drop(connections.spawn(connection.run()));
    }
    drop(listener);
    connections.close();
    let open = connections.len();
    tracing::info!(%address, connections = open, "draining");
    api.drain();
    draining.cancel();
    let patience = api.app().config.drain_patience + LAST_BYTES_TIMEOUT;
    let ended = async { tokio::join!(connections.wait(), api.drained()) };
    if timeout(patience, ended).await.is_err() {
        tracing::warn!(%address, open, "connections were cut off: the patience is over");
        cut.cancel();
    }
    Ok(())
}

/// Waits for a free place and a connection that takes it; `None` if accepting failed.
async fn accept(
    listener: &TcpListener,
    free: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(free).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            if !is_of_one_connection(&error) {
                tracing::warn!(%error, "connections cannot be accepted for now");
                sleep(ACCEPT_PAUSE).await;
            }
            None
        }
    }
}

/// Whether only the connection being accepted is gone, and the next one may be fine.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

/// Keeps the place of a connection taken. Whoever goes on with the connection after its requests, as a
/// WebSocket does, holds it until the end.
#[derive(Clone)]
pub(crate) struct Hold(
    #[expect(dead_code, reason = "it is held, not used")] Arc<OwnedSemaphorePermit>,
);

impl Hold {
    /// That of the connection on which a request came, if it is one of ours.
    pub(crate) fn of(request: &Request) -> Option<Self> {
        request.extensions().get().cloned()
    }
}

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    api: Api,
    draining: CancellationToken,
    cut: CancellationToken,
    hold: Hold,
}

impl Connection {
    async fn run(self) {
        // Without it small events of a stream wait for acknowledgements. It may fail: then they do.
        let _ = self.stream.set_nodelay(true);
        let (router, peer, hold) = (self.api.router(), self.peer, self.hold);
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request.extensions_mut().insert(hold.clone());
            router.clone().oneshot(request)
        });
        let stream = Impatient::new(self.stream, WRITE_TIMEOUT);
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let mut is_draining = false;
        loop {
            tokio::select! {
                ended = &mut connection => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, %peer, "a connection ended badly");
                    }
                    return;
                }
                () = self.draining.cancelled(), if !is_draining => {
                    is_draining = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.cut.cancelled() => return,
            }
        }
    }
}
