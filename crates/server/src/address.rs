//! The address that clients are told.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::TcpStream;

/// The address of this machine in its network: the one it would send from to the outside. Works for
/// clients on the machine itself, too. 127.0.0.1 when the machine has no network.
pub fn default_host() -> IpAddr {
    outward().filter(|address| !address.is_unspecified()).unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// Addresses of this machine as far as they can be seen: the one in its network. Several names of the loopback are no
/// answer to which machine this is.
pub fn own_addresses() -> Vec<IpAddr> {
    outward().into_iter().filter(|address| !address.is_unspecified()).collect()
}

/// Asks the routing table: connecting a datagram socket sends nothing.
fn outward() -> Option<IpAddr> {
    // TEST-NET-1 of RFC 5737: an address that is outside of every network.
    const OUTSIDE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 9);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(OUTSIDE).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

/// Dials the advertised address and explains what to do when nobody answers there: clients on this
/// machine would fail the same way.
pub async fn check_reachable(advertised: String) {
    const PATIENCE: Duration = Duration::from_secs(3);
    let outcome = match tokio::time::timeout(PATIENCE, TcpStream::connect(&advertised)).await {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {PATIENCE:?}"),
    };
    tracing::warn!(
        "clients are told to reach this broker at {advertised}, but it cannot be reached there even from this \
         machine ({outcome}): give the right address with --host ADDRESS or brokerIP1=ADDRESS"
    );
}
