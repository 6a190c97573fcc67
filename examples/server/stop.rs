//! The signals that stop the server: the first gently, the second at once.

use std::io;

use medcards::{Error, ErrorKind, Result};

/// What a shell calls a program that a signal ended: 128 and the number of SIGINT.
const STOPPED_AT_ONCE: i32 = 130;

/// Completes at the first SIGINT or SIGTERM. A second one ends the process at once.
///
/// # Errors
/// If the system lets nobody listen for signals.
pub(crate) fn signal() -> Result<impl Future<Output = ()> + Send> {
    let mut signals = Signals::new().map_err(|source| {
        Error::new(
            ErrorKind::Unavailable,
            "start",
            "the system gives no signals",
        )
        .with_source(source)
    })?;
    Ok(async move {
        signals.next().await;
        tokio::spawn(async move {
            signals.next().await;
            #[expect(clippy::exit, reason = "whoever asks twice wants no more waiting")]
            std::process::exit(STOPPED_AT_ONCE);
        });
    })
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};

        let (interrupt, terminate) = (SignalKind::interrupt(), SignalKind::terminate());
        Ok(Self {
            interrupt: signal(interrupt)?,
            terminate: signal(terminate)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    #[expect(clippy::unnecessary_wraps, reason = "as on Unix, where it may fail")]
    fn new() -> io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) {
        // Where there is no such signal the server runs until it is killed.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
