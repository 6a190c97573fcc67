//! Ports of this machine that nobody listens on.

use std::net::{Ipv4Addr, TcpListener};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// The lowest port that is given out.
const PORT_MIN: u32 = 10_240;

/// How many ports may be given out: up to those that the kernel gives to outgoing connections,
/// because one of these could otherwise take the port of a server that is about to be restarted.
const PORTS: u32 = 32_768 - PORT_MIN;

/// How far apart processes with neighbouring ids begin, so that they do not pick the same ports.
const PORTS_PER_PROCESS: u32 = 61;

/// How often another port is tried when somebody else was faster to take it.
pub(crate) const PORTS_TRIED_MAX: usize = 5;

/// How many ports this process has looked at.
static LOOKED_AT: AtomicU32 = AtomicU32::new(0);

/// A free port of 127.0.0.1 that this process has not been given before.
///
/// Another process may take it before it is used: whoever starts a server on it tries again.
pub(crate) fn free() -> u16 {
    let first = process::id().wrapping_mul(PORTS_PER_PROCESS);
    for _ in 0..PORTS {
        let next = LOOKED_AT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(PORT_MIN + first.wrapping_add(next) % PORTS).unwrap();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("all ports from {PORT_MIN} on are taken");
}
