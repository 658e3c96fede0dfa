//! Free TCP ports on 127.0.0.1 that stay ours for as long as this process lives.
//!
//! It doesn't ask the kernel for port 0: such a port comes from the range of outgoing connections, and any client may
//! take it between a server's death and its restart. Read `rabbitmq.rs` for why a server must come back on its port.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::ops::Range;
use std::sync::Mutex;

use anyhow::{Context, Result};

/// Below the kernel's range for outgoing connections (32768 and up), above the well-known servers.
const RANGE: Range<u16> = 18_000..32_000;

/// The UDP sockets whose numbers we hold, see [`free`].
static RESERVED: Mutex<Vec<UdpSocket>> = Mutex::new(Vec::new());

/// A TCP port nobody listens on, distinct in this process and from those of every other test process.
///
/// The reservation is the UDP port of the same number, kept bound until the process ends. Nobody here speaks UDP, so the
/// TCP port stays free for the server and its restarts, and the kernel drops the reservation with us, however we die.
pub fn free() -> Result<u16> {
    let mut reserved = RESERVED.lock().expect("no code panics while it holds the list of ports");
    let (port, socket) = candidates(reserved.len()).find_map(reserve).context("every port of our range is taken")?;
    reserved.push(socket);
    Ok(port)
}

/// Starts at a place of the range that depends on the process, so that neighbours seldom try the same port.
fn candidates(taken: usize) -> impl Iterator<Item = u16> {
    let start = std::process::id() as usize * 97 + taken;
    (0..RANGE.len()).map(move |step| RANGE.start + ((start + step) % RANGE.len()) as u16)
}

fn reserve(port: u16) -> Option<(u16, UdpSocket)> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    // Bound and let go again: a server of somebody else may sit there without any reservation.
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
    Some((port, socket))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_port_is_given_out_twice() {
        let ports: HashSet<u16> = (0..50).map(|_| free().unwrap()).collect();
        assert_eq!(ports.len(), 50);
    }

    #[test]
    fn a_free_port_can_be_listened_on() {
        TcpListener::bind((Ipv4Addr::LOCALHOST, free().unwrap())).unwrap();
    }

    #[test]
    fn a_port_somebody_listens_on_is_passed_over() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, free().unwrap())).unwrap();
        assert!(reserve(taken.local_addr().unwrap().port()).is_none());
    }
}
