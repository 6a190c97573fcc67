use std::io::ErrorKind;
use std::time::{Duration, Instant};

use medcards_tests::pg::{Cluster, Installed};
use medcards_tests::proxy::Proxy;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::harness::{PATIENCE, until};

/// A proxy before a server that sends back what it is sent.
async fn proxy() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    proxy
}

async fn connect(proxy: &Proxy) -> std::io::Result<TcpStream> {
    TcpStream::connect(("127.0.0.1", proxy.port())).await
}

async fn echoes(stream: &mut TcpStream) {
    stream.write_all(b"hello").await.unwrap();
    let mut bytes = [0; 5];
    stream.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"hello");
}

#[tokio::test]
async fn everything_is_passed_on_to_its_end() {
    let proxy = proxy().await;
    let sent: Vec<_> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let mut stream = connect(&proxy).await.unwrap();
    let mut received = Vec::new();
    let (mut from, mut to) = stream.split();
    let send = async {
        to.write_all(&sent).await.unwrap();
        to.shutdown().await.unwrap();
    };
    let both = async { tokio::join!(send, from.read_to_end(&mut received)) };
    let (_, count) = timeout(PATIENCE, both).await.expect("the end is passed on");
    assert_eq!(count.unwrap(), sent.len());
    assert!(received == sent);
    until("the connection is closed", async || {
        (proxy.connections() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_nothing_that_comes_later() {
    let proxy = proxy().await;
    let mut old = [
        connect(&proxy).await.unwrap(),
        connect(&proxy).await.unwrap(),
    ];
    for stream in &mut old {
        echoes(stream).await;
    }
    assert_eq!(proxy.connections(), 2);
    proxy.cut().await;
    assert_eq!(proxy.connections(), 0);
    for stream in &mut old {
        let error = stream.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
    echoes(&mut connect(&proxy).await.unwrap()).await;
}

#[tokio::test]
async fn a_refusal_is_for_new_connections_and_can_be_taken_back() {
    let proxy = proxy().await;
    let mut old = connect(&proxy).await.unwrap();
    echoes(&mut old).await;
    for _ in 0..3 {
        proxy.refuse().await;
        let error = connect(&proxy).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        echoes(&mut old).await;
        proxy.accept().await;
        echoes(&mut connect(&proxy).await.unwrap()).await;
    }
}

/// The silence is as long as it takes others to be served 20 times.
#[tokio::test]
async fn silence_holds_back_everything_until_it_ends() {
    let silent = proxy().await;
    let other = proxy().await;
    let mut open = connect(&silent).await.unwrap();
    echoes(&mut open).await;
    silent.silence();
    let mut new = connect(&silent).await.unwrap();
    for stream in [&mut open, &mut new] {
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
    }
    for _ in 0..20 {
        echoes(&mut connect(&other).await.unwrap()).await;
    }
    for stream in [&open, &new] {
        let nothing = stream.try_read(&mut [0; 5]).unwrap_err();
        assert_eq!(nothing.kind(), ErrorKind::WouldBlock);
    }

    silent.speak();
    for mut stream in [open, new] {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"hello");
    }
}

#[tokio::test]
async fn a_delay_is_added_in_each_direction() {
    let proxy = proxy().await;
    let mut stream = connect(&proxy).await.unwrap();
    echoes(&mut stream).await;
    let delay = Duration::from_millis(60);
    proxy.delay(delay);
    let started = Instant::now();
    echoes(&mut stream).await;
    assert!(started.elapsed() >= 2 * delay, "{:?}", started.elapsed());
    proxy.delay(Duration::ZERO);
    echoes(&mut stream).await;
}

#[tokio::test]
async fn a_dead_upstream_resets_the_client() {
    // Bound, so that nobody else listens there, and not listening itself.
    let upstream = TcpSocket::new_v4().unwrap();
    upstream.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let proxy = Proxy::start(upstream.local_addr().unwrap());
    // It may come so early that the connect hears of it.
    let read = async { connect(&proxy).await?.read_u8().await };
    assert_eq!(read.await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// The thread of the test waits for psql, so it is another that passes on.
#[tokio::test]
async fn a_blocked_test_does_not_block_the_proxy() {
    let cluster = Cluster::shared(Installed::oldest().major());
    let proxy = Proxy::start(([127, 0, 0, 1], cluster.port()));
    let url = format!("postgres://postgres@127.0.0.1:{}/postgres", proxy.port());
    let psql = cluster.installed().bin().join("psql");
    let output = std::process::Command::new(psql)
        .args(["-X", "-A", "-t", "-d", &url, "-c", "select 40 + 2"])
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"42\n", "{output:?}");
}
