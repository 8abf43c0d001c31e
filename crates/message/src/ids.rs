//! Message ids: where a message is stored, written as upper-case hexadecimal digits
//! (upstream `MessageDecoder.createMessageId`), and the id that clients give it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

/// An offset message id: the broker and the place in its commit log. 32 digits with an IPv4
/// address, 56 with an IPv6 one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetId {
    /// Address that the broker stores messages under.
    pub host: SocketAddr,
    /// Physical offset in its commit log.
    pub offset: i64,
}

impl OffsetId {
    /// Writes it to the end of a text. By hand, as each answer to a sender has one.
    pub fn write_to(&self, text: &mut String) {
        fn digits<const N: usize>(text: &mut String, bytes: [u8; N]) {
            let digits = bytes.map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            text.push_str(std::str::from_utf8(digits.as_flattened()).unwrap_or_default());
        }
        match self.host.ip() {
            IpAddr::V4(ip) => digits(text, ip.octets()),
            IpAddr::V6(ip) => digits(text, ip.octets()),
        }
        digits(text, u32::from(self.host.port()).to_be_bytes());
        digits(text, self.offset.to_be_bytes());
    }
}

impl fmt::Display for OffsetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write_to(&mut text);
        f.write_str(&text)
    }
}

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// The text is no offset message id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no message id: 32 or 56 hexadecimal digits are")]
pub struct IdError(String);

impl FromStr for OffsetId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let error = || IdError(text.chars().take(64).collect());
        if !matches!(text.len(), 32 | 56) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(error());
        }
        let (ip, rest) = text.split_at(text.len() - 24);
        let (port, offset) = rest.split_at(8);
        let number = |digits: &str| u128::from_str_radix(digits, 16).map_err(|_| error());
        let bits = number(ip)?;
        let ip = match ip.len() {
            8 => IpAddr::V4(Ipv4Addr::from(bits as u32)),
            _ => IpAddr::V6(Ipv6Addr::from(bits)),
        };
        let port = u16::try_from(number(port)?).map_err(|_| error())?;
        Ok(Self { host: SocketAddr::new(ip, port), offset: number(offset)? as u64 as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_of_upstream() {
        // Computed by the classes of Apache RocketMQ 5.5.0.
        let cases = [
            ("127.0.0.1:10911", 0, "7F00000100002A9F0000000000000000"),
            ("192.168.1.20:10911", 123_456_789_012, "C0A8011400002A9F0000001CBE991A14"),
            ("[::1]:30911", 42, "00000000000000000000000000000001000078BF000000000000002A"),
            ("[fd00::1234]:1", i64::MAX, "FD000000000000000000000000001234000000017FFFFFFFFFFFFFFF"),
        ];
        for (host, offset, text) in cases {
            let id = OffsetId { host: host.parse().unwrap(), offset };
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        for bad in ["", "7F", &"G".repeat(32), &"F".repeat(32), &"é".repeat(16)] {
            assert!(bad.parse::<OffsetId>().is_err(), "{bad}");
        }
    }
}
