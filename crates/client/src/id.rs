//! Ids of clients and messages.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// The address that this machine shows to others; the loopback address when it has none.
pub(crate) fn local_ip() -> IpAddr {
    // Nothing is sent: the system just chooses the address that it would send from.
    let chosen = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr()));
    chosen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())
}

/// An id of a client that no other has: address, process and moment, and its unit if it has one (upstream
/// `ClientConfig.buildMQClientId`).
pub(crate) fn client_id(ip: IpAddr, unit: &str) -> String {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    let id = format!("{ip}@{}#{nanos}", std::process::id());
    if unit.is_empty() { id } else { format!("{id}@{unit}") }
}

/// Makes ids of messages (upstream `MessageClientIDSetter`): 32 upper-case hexadecimal digits.
///
/// ```text
/// address(4) process(2) random(4) milliseconds since the month began(4) counter(2)
/// ```
pub(crate) struct MessageIds {
    prefix: String,
    /// Milliseconds since 1970, and in the lowest two bytes the counter, of the last id: ids differ although the clock
    /// is set back, or more of them are wanted in a millisecond than the counter has.
    last: AtomicU64,
}

impl MessageIds {
    pub fn new(ip: IpAddr) -> Self {
        let address = match ip {
            IpAddr::V4(ip) => u32::from(ip),
            IpAddr::V6(ip) => u128::from(ip) as u32,
        };
        // Two clients of a process differ here.
        let random = RandomState::new().hash_one(address) as u32;
        let prefix = format!("{address:08X}{:04X}{random:08X}", std::process::id() as u16);
        Self { prefix, last: AtomicU64::default() }
    }

    /// The next one, at a time in milliseconds since 1970.
    pub fn next(&self, now_ms: i64) -> String {
        let now = (now_ms.max(0) as u64) << 16;
        let after = |last: u64| now.max(last + 1);
        // The closure always gives a number: the last one comes back.
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |last| Some(after(last)));
        let next = after(last.unwrap_or_else(|last| last));
        let ms = (next >> 16) as i64;
        let number = ((ms - month_began(ms)) as u32 as u64) << 16 | next & 0xFFFF;
        let mut id = String::with_capacity(32);
        id.push_str(&self.prefix);
        // The formatting of the standard library costs ten times as much.
        id.extend((0..12).rev().map(|digit| char::from(b"0123456789ABCDEF"[(number >> (4 * digit)) as usize & 0xF])));
        id
    }
}

/// When the month of a moment began, in UTC; both in milliseconds since 1970.
fn month_began(now_ms: i64) -> i64 {
    const DAY: i64 = 86_400_000;
    let days = now_ms.div_euclid(DAY);
    // Years counted from March on, so that a leap day is the last one of its year.
    let of_era = (days + 719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let of_month = of_year - (153 * month + 2) / 5;
    (days - of_month) * DAY
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn months_begin_on_their_first_day() {
        // 2024-02-29T12:00Z, 2024-03-01T00:00Z, 1970-01-01T00:00Z, 2000-12-31T23:59:59.999Z
        let cases = [
            (1_709_208_000_000, 1_706_745_600_000),
            (1_709_251_200_000, 1_709_251_200_000),
            (0, 0),
            (978_307_199_999, 975_628_800_000),
        ];
        for (now, began) in cases {
            assert_eq!(month_began(now), began, "{now}");
        }
    }

    #[test]
    fn ids_of_messages_differ_and_have_the_form_that_others_expect() {
        let ids = MessageIds::new(IpAddr::V4(Ipv4Addr::new(10, 0, 0, 7)));
        let (one, other) = (ids.next(1_709_208_000_000), ids.next(1_709_208_000_000));
        assert_ne!(one, other);
        // The clock is set back; and a millisecond needs more ids than its counter has.
        let mut all: HashSet<_> = [one.clone(), other].into();
        assert!((0..70_000).all(|_| all.insert(ids.next(1_709_208_000_000 - 3))));
        assert!(one.starts_with("0A000007") && one.len() == 32);
        assert!(one.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte)), "{one}");
    }
}
