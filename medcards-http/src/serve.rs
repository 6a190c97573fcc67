use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use crate::api::Api;

/// How long a connection may be idle, or take to send the head of a request. Load balancers keep
/// idle connections for 60 seconds, and must be the ones who close them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

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
    let graceful = GracefulShutdown::new();
    let cut = CancellationToken::new();
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
            cut: cut.clone(),
            _permit: permit,
        };
        drop(tokio::spawn(connection.run(graceful.watcher())));
    }
    drop(listener);
    api.drain();
    tracing::info!(%address, connections = graceful.count(), "draining");
    let open = graceful.count();
    let patience = api.app().config.drain_patience + LAST_BYTES_TIMEOUT;
    if timeout(patience, graceful.shutdown()).await.is_err() {
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

struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    api: Api,
    cut: CancellationToken,
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, watcher: Watcher) {
        // Without it small events of a stream wait for acknowledgements. It may fail: then they do.
        let _ = self.stream.set_nodelay(true);
        let (router, peer) = (self.api.router(), self.peer);
        let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(self.stream), service);
        tokio::select! {
            ended = watcher.watch(connection) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, %peer, "a connection ended badly");
                }
            }
            () = self.cut.cancelled() => {}
        }
    }
}
