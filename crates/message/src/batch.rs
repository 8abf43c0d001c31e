//! The body of a client's batch (upstream `MessageDecoder.encodeMessages`).
//!
//! ```text
//! { totalSize(4) magic(4) bodyCrc(4) flag(4) body(4+n) properties(2+n) }*
//! ```

use bytes::{Buf, BufMut, Bytes};

/// One message of a batch; body and properties are slices of the batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchMessage {
    /// The user's flag.
    pub flag: i32,
    /// The body.
    pub body: Bytes,
    /// The properties' text.
    pub properties: Bytes,
}

/// A body that is no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the batch is malformed at byte {0}")]
pub struct BatchError(pub usize);

/// Least bytes of a message in a batch: what stands before, between and after its parts.
const LEAST: usize = 4 * 4 + 4 + 2;

/// The messages of a batch, one after the other; ends with the first error.
pub fn split(batch: Bytes) -> Messages {
    Messages { length: batch.len(), rest: batch }
}

/// Iterator over the messages of a batch.
pub struct Messages {
    length: usize,
    rest: Bytes,
}

impl Iterator for Messages {
    type Item = Result<BatchMessage, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let at = self.length - self.rest.len();
        let message = self.message();
        if message.is_none() {
            self.rest.clear();
        }
        Some(message.ok_or(BatchError(at)))
    }
}

impl Messages {
    fn message(&mut self) -> Option<BatchMessage> {
        if self.rest.len() < LEAST {
            return None;
        }
        let total = (&self.rest[..]).get_u32() as usize;
        if !(LEAST..=self.rest.len()).contains(&total) {
            return None;
        }
        let mut message = self.rest.split_to(total);
        message.advance(12);
        let flag = message.get_i32();
        let body = message.get_u32() as usize;
        // The length of the properties must still fit behind the body.
        if body.checked_add(2)? > message.len() {
            return None;
        }
        let body = message.split_to(body);
        let properties = usize::from(message.get_u16());
        (properties == message.len()).then_some(BatchMessage { flag, body, properties: message })
    }
}

/// Bytes that a message takes in a batch.
pub fn length(message: &BatchMessage) -> usize {
    LEAST + message.body.len() + message.properties.len()
}

/// Appends one message to a batch.
pub fn push(out: &mut impl BufMut, message: &BatchMessage) {
    out.put_u32(length(message) as u32);
    // Magic and CRC: a batch has neither.
    out.put_u64(0);
    out.put_i32(message.flag);
    out.put_u32(message.body.len() as u32);
    out.put_slice(&message.body);
    out.put_u16(message.properties.len() as u16);
    out.put_slice(&message.properties);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_batch_of_upstream_is_read_and_written() {
        // Encoded by Apache RocketMQ 5.5.0.
        let hex = "0000003a00000000000000000000000500000008626f6479206f6e65001c4b455953016b31025741495401747275650254414753015461674102000000230000000000000000000000000000000374776f000a57414954017472756502";
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        let messages: Vec<_> = split(bytes.clone().into()).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 2);
        assert_eq!((messages[0].flag, &messages[0].body[..]), (5, &b"body one"[..]));
        assert_eq!(&messages[1].properties[..], b"WAIT\x01true\x02");
        let mut out = Vec::new();
        messages.iter().for_each(|message| push(&mut out, message));
        assert_eq!(out, bytes);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let read: Vec<_> = split(bytes.into()).collect();
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok));
        }
    }
}
