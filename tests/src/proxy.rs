//! A TCP proxy that breaks what goes through it.
//!
//! It runs in a thread of its own, so that neither a test that blocks nor a paused clock stops it.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::port::{self, PORTS_TRIED_MAX};

/// The most that is read before it is passed on, and that a delay is added to as a whole.
const CHUNK_BYTES: usize = 16 * 1024;

/// What is broken.
#[derive(Clone, Debug, Default)]
struct Faults {
    is_refusing: bool,
    is_silent: bool,
    delay: Duration,
    /// How often all connections were cut.
    cuts: u64,
    is_over: bool,
}

/// What the proxy does.
#[derive(Debug, Default)]
struct Live {
    is_listening: bool,
    /// Open connections, by how many cuts there had been when they were opened.
    connections: BTreeMap<u64, usize>,
}

/// A proxy on a free port of 127.0.0.1, which passes everything on until it is told not to. Dropping
/// it closes its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    faults: watch::Sender<Faults>,
    live: watch::Sender<Live>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy to this address.
    pub fn start(upstream: impl Into<SocketAddr>) -> Self {
        let bind = |_| {
            let port = port::free();
            let listener = StdListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            Some((port, listener))
        };
        let (port, listener) = (0..PORTS_TRIED_MAX).find_map(bind).expect("a port is free");
        listener.set_nonblocking(true).unwrap();
        let faults = watch::Sender::new(Faults::default());
        let live = watch::Sender::new(Live {
            is_listening: true,
            ..Live::default()
        });
        let service = Service {
            upstream: upstream.into(),
            faults: faults.subscribe(),
            live: live.clone(),
        };
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap();
        let thread = thread::spawn(move || runtime.block_on(service.serve(port, listener)));
        Self {
            port,
            faults,
            live,
            thread: Some(thread),
        }
    }

    /// The port of 127.0.0.1 that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.live.borrow().connections.values().sum()
    }

    /// Resets all connections that are open; returns when they are gone. New ones may be made.
    pub async fn cut(&self) {
        self.faults.send_modify(|faults| faults.cuts += 1);
        let cuts = self.faults.borrow().cuts;
        self.until(|live| live.connections.range(..cuts).next().is_none())
            .await;
    }

    /// Refuses new connections from now on; open ones go on.
    pub async fn refuse(&self) {
        self.faults.send_modify(|faults| faults.is_refusing = true);
        self.until(|live| !live.is_listening).await;
    }

    /// Takes new connections again.
    pub async fn accept(&self) {
        self.faults.send_modify(|faults| faults.is_refusing = false);
        self.until(|live| live.is_listening).await;
    }

    /// Passes nothing on from now on, not even an end, in either direction: connections stay open and
    /// new ones are taken, as by a network that loses every packet.
    pub fn silence(&self) {
        self.faults.send_modify(|faults| faults.is_silent = true);
    }

    /// Passes on again, also what came in during the silence.
    pub fn speak(&self) {
        self.faults.send_modify(|faults| faults.is_silent = false);
    }

    /// Holds back each chunk for this long in each direction. Default: not at all.
    pub fn delay(&self, delay: Duration) {
        self.faults.send_modify(|faults| faults.delay = delay);
    }

    async fn until(&self, condition: impl FnMut(&Live) -> bool) {
        let mut live = self.live.subscribe();
        drop(live.wait_for(condition).await.expect("we hold its sender"));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.faults.send_modify(|faults| faults.is_over = true);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            thread::panicking() || matches!(ended, Some(Ok(()))),
            "the proxy panicked"
        );
    }
}

/// What runs in the thread.
#[derive(Clone, Debug)]
struct Service {
    upstream: SocketAddr,
    faults: watch::Receiver<Faults>,
    live: watch::Sender<Live>,
}

impl Service {
    async fn serve(mut self, port: u16, listener: StdListener) {
        let mut listener = TcpListener::from_std(listener).unwrap();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (client, _) = accepted.unwrap();
                    let open = Open::new(&self);
                    tokio::spawn(self.clone().carry(client, open));
                }
                () = reached(&mut self.faults, |now| now.is_refusing || now.is_over) => {
                    drop(listener);
                    self.live.send_modify(|live| live.is_listening = false);
                    reached(&mut self.faults, |now| !now.is_refusing || now.is_over).await;
                    if self.faults.borrow().is_over {
                        return;
                    }
                    listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.unwrap();
                    self.live.send_modify(|live| live.is_listening = true);
                }
            }
        }
    }

    /// Passes on what comes over one connection, in both directions, until both have ended or it
    /// breaks, and then breaks the other side too.
    async fn carry(mut self, mut client: TcpStream, open: Open) {
        let Ok(mut server) = TcpStream::connect(self.upstream).await else {
            drop(client.set_zero_linger());
            return;
        };
        drop(client.set_nodelay(true));
        drop(server.set_nodelay(true));
        let [up, down] = [self.faults.clone(), self.faults.clone()];
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let both = async {
            tokio::try_join!(
                pass_on(from_client, to_server, up),
                pass_on(from_server, to_client, down)
            )
        };
        let has_ended_well = tokio::select! {
            ended = both => ended.is_ok(),
            () = reached(&mut self.faults, |now| now.cuts > open.cuts) => false,
        };
        if !has_ended_well {
            drop(client.set_zero_linger());
            drop(server.set_zero_linger());
        }
        // Before it counts as closed.
        drop((client, server));
    }
}

/// Counts a connection for as long as it is open.
#[derive(Debug)]
struct Open {
    cuts: u64,
    live: watch::Sender<Live>,
}

impl Open {
    fn new(service: &Service) -> Self {
        let cuts = service.faults.borrow().cuts;
        let live = service.live.clone();
        live.send_modify(|live| *live.connections.entry(cuts).or_default() += 1);
        Self { cuts, live }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.live.send_modify(|live| {
            let count = live.connections.entry(self.cuts).or_default();
            *count -= 1;
            if *count == 0 {
                live.connections.remove(&self.cuts);
            }
        });
    }
}

/// Passes on what comes in one direction, its end too.
async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut faults: watch::Receiver<Faults>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        reached(&mut faults, |now| !now.is_silent).await;
        let read = from.read(&mut chunk).await;
        let delay = faults.borrow().delay;
        if !delay.is_zero() {
            sleep(delay).await;
        }
        // It may have begun meanwhile. An error waits too, as nobody hears of it over a dead network.
        reached(&mut faults, |now| !now.is_silent).await;
        match read? {
            0 => return to.shutdown().await,
            bytes => to.write_all(&chunk[..bytes]).await?,
        }
    }
}

/// Waits until the faults are such; for ever when there is nobody left to change them.
async fn reached(faults: &mut watch::Receiver<Faults>, is_so: impl FnMut(&Faults) -> bool) {
    if faults.wait_for(is_so).await.is_err() {
        std::future::pending().await
    }
}
