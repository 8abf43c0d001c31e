//! Ids for messages whose producer gave them none: 32 hexadecimal digits, as clients make them
//! (upstream `MessageClientIDSetter`).

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

/// The next id: address, process, time of the process's first id, and a counter.
pub(crate) fn next(host: SocketAddr) -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    static START: std::sync::OnceLock<u32> = std::sync::OnceLock::new();
    use apogee_base::clock::{Clock, SystemClock};
    let start = START.get_or_init(|| SystemClock.now_ms() as u32);
    let address = match host.ip() {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(ip) => u128::from(ip) as u32,
    };
    let count = COUNTER.fetch_add(1, Ordering::Relaxed) & 0xffff_ffff_ffff;
    format!("{address:08X}{:04X}{start:08X}{count:012X}", std::process::id() & 0xffff)
}

#[cfg(test)]
mod tests {
    #[test]
    fn ids_differ() {
        let host = ([10, 0, 0, 1], 1).into();
        let (one, other) = (super::next(host), super::next(host));
        assert_eq!((one.len(), other.len()), (32, 32));
        assert_ne!(one, other);
        assert!(one.starts_with("0A000001"));
    }
}
