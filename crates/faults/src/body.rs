//! Bodies that tell whether they are what was sent: id(8) length(4), then bytes that follow from the id.

use bytes::{BufMut, Bytes, BytesMut};

use apogee_base::rng::Rng;

/// Least bytes of a body.
pub const LEAST: usize = 12;

/// The user's flag of every single message.
pub const FLAG: i32 = 0;
/// When every message was made, in milliseconds since 1970.
pub const BORN: i64 = 1_700_000_000_000;

/// The body of the message with this id, in so many bytes, [`LEAST`] at least.
pub fn make(id: u64, length: usize) -> Bytes {
    let length = length.max(LEAST);
    let mut body = BytesMut::with_capacity(length + 8);
    body.put_u64(id);
    body.put_u32(length as u32);
    let mut rng = Rng::new(id);
    while body.len() < length {
        body.put_u64(rng.number());
    }
    body.truncate(length);
    body.freeze()
}

/// The id of the message whose body this is, if every byte is as it was sent.
pub fn check(body: &[u8]) -> Option<u64> {
    let id = u64::from_be_bytes(body.get(..8)?.try_into().ok()?);
    (make(id, body.len()) == body).then_some(id)
}

/// The unique key of the message with this id, in the length that clients give theirs.
pub fn key(id: u64) -> String {
    format!("7F000001{id:024X}")
}

/// The tag of the message with this id.
pub fn tag(id: u64) -> &'static str {
    if id.is_multiple_of(2) { "even" } else { "odd" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_known_by_every_byte() {
        let body = make(77, 100).to_vec();
        assert_eq!(check(&body), Some(77));
        for at in 0..body.len() {
            let mut wrong = body.clone();
            wrong[at] ^= 4;
            assert_eq!(check(&wrong), None, "byte {at}");
        }
        assert_eq!(check(&body[..99]), None);
        assert_eq!(check(b""), None);
    }
}
