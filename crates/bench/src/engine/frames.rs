//! Answers recognised without decoding them.
//!
//! Nearly all answers are alike: success, and a number that says which request it was. Those two are found
//! by looking where they stand; whatever looks different is decoded in full.

use apogee_wire::{Command, frame};
use bytes::{BufMut, BytesMut};

use crate::error::BenchError;

/// Bytes before a frame's header.
pub(crate) const PREFIX: usize = 8;
/// How the header of each successful answer begins, as all known brokers write it.
const SUCCESS: &[u8] = b"{\"code\":0,";
/// What stands before a request's number.
pub(crate) const OPAQUE: &[u8] = b"\"opaque\":";

/// What a peer sent.
pub(crate) enum Answer<'a> {
    /// The request succeeded.
    Success {
        /// The header, still encoded.
        header: &'a [u8],
        /// What follows it.
        body: &'a [u8],
    },
    /// Anything else; its body is left out of it.
    Other(&'a Command),
}

/// Cuts the frame that `bytes` begin with: its header's and its whole length, if all of it is there.
pub(crate) fn cut(bytes: &[u8]) -> Result<Option<(usize, usize)>, BenchError> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else { return Ok(None) };
    let [a, b, c, d, encoding, e, f, g] = *prefix;
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    let header = u32::from_be_bytes([0, e, f, g]) as usize;
    if length > frame::MAX_FRAME || header + 4 > length || encoding > 1 {
        return Err(BenchError::new("what the peer sent is no frame of RocketMQ's remoting protocol"));
    }
    Ok((bytes.len() >= 4 + length).then_some((header, 4 + length)))
}

/// Recognises answers of one peer.
#[derive(Default)]
pub(crate) struct Recogniser {
    opaque: Spot,
    decoded: Command,
    buffer: BytesMut,
}

impl Recogniser {
    /// The number of a whole frame, and what it is. `header` is its header's length.
    pub(crate) fn recognise<'a>(&'a mut self, frame: &'a [u8], header: usize) -> Result<(i32, Answer<'a>), BenchError> {
        let (head, body) = frame[PREFIX..].split_at(header);
        if frame[4] == 0
            && head.starts_with(SUCCESS)
            && let Some(opaque) = self.opaque.number(head, OPAQUE)
        {
            return Ok((opaque, Answer::Success { header: head, body }));
        }
        let command = decode_head(frame, header, &mut self.buffer, &mut self.decoded)?;
        Ok((command.opaque, Answer::Other(command)))
    }
}

/// Where a number stands in headers that are alike.
#[derive(Debug, Default)]
pub(crate) struct Spot {
    /// How far from the end it stood in the last header: in the next one it stands there too.
    tail: usize,
}

impl Spot {
    /// The number after the last `name` of a JSON header; the name comes with its quotes and its colon.
    pub(crate) fn number(&mut self, head: &[u8], name: &[u8]) -> Option<i32> {
        let at = match head.len().checked_sub(self.tail) {
            Some(at) if head[at..].starts_with(name) => at,
            _ => head.windows(name.len()).rposition(|window| window == name)?,
        };
        self.tail = head.len() - at;
        let mut value: i32 = 0;
        let mut digits = 0;
        for digit in head[at + name.len()..].iter().take_while(|byte| byte.is_ascii_digit()) {
            value = value.checked_mul(10)?.checked_add(i32::from(digit - b'0'))?;
            digits += 1;
        }
        (digits > 0).then_some(value)
    }
}

/// Decodes the header of a whole frame; the body stays where it is.
pub(crate) fn decode_head<'c>(
    bytes: &[u8],
    header: usize,
    buffer: &mut BytesMut,
    command: &'c mut Command,
) -> Result<&'c Command, BenchError> {
    buffer.clear();
    buffer.put_u32(4 + header as u32);
    buffer.put_slice(&bytes[4..PREFIX + header]);
    let decoded = frame::decode(buffer, command, frame::MAX_FRAME);
    decoded.map_err(|error| BenchError::new(format!("what the peer sent cannot be read: {error}")))?;
    Ok(command)
}

/// A decimal number of a header's field, such as `nextBeginOffset`; `None` when it isn't there.
pub(crate) fn number(header: &[u8], field: &str) -> Option<i64> {
    text(header, field)?.parse().ok()
}

/// The value of a header's field, when nothing in it is escaped.
pub(crate) fn text<'a>(header: &'a [u8], field: &str) -> Option<&'a str> {
    let mut from = 0;
    loop {
        // The name in quotes, a colon, and a value that may be in quotes.
        let at = from + header[from..].windows(field.len()).position(|window| window == field.as_bytes())?;
        from = at + field.len();
        let quoted = at > 0 && header[at - 1] == b'"';
        let Some(rest) = header[from..].strip_prefix(b"\":").filter(|_| quoted) else { continue };
        let rest = rest.strip_prefix(b"\"").unwrap_or(rest);
        let end = rest.iter().position(|byte| b"\",}\\".contains(byte))?;
        return std::str::from_utf8(&rest[..end]).ok();
    }
}

#[cfg(test)]
mod tests {
    use apogee_wire::codes::response;

    use super::*;

    fn answer(code: i32, opaque: i32) -> Command {
        let mut answer = Command::response_to(&Command { opaque, ..Command::request(310) }, code);
        answer.fields.set("queueOffset", 17);
        answer.fields.set("nextBeginOffset", -5);
        answer.fields.set_str("msgId", "7F00");
        answer
    }

    fn read(recogniser: &mut Recogniser, bytes: &[u8]) -> (i32, bool) {
        let (header, all) = cut(bytes).unwrap().unwrap();
        assert_eq!(all, bytes.len());
        let (opaque, answer) = recogniser.recognise(bytes, header).unwrap();
        (opaque, matches!(answer, Answer::Success { .. }))
    }

    #[test]
    fn numbers_of_answers_are_found_wherever_they_stand() {
        let mut recogniser = Recogniser::default();
        for opaque in [1_000_000_000, 1_000_000_063, 5, i32::MAX] {
            assert_eq!(read(&mut recogniser, &frame::to_bytes(&answer(0, opaque))), (opaque, true));
        }
        let busy = answer(response::SYSTEM_BUSY, 9).with_remark("\"opaque\":7");
        assert_eq!(read(&mut recogniser, &frame::to_bytes(&busy)), (9, false));
        // A success that is written in another way is read in full.
        let header = br#"{"opaque":12,"code":0,"flag":1}"#;
        let mut bytes = BytesMut::new();
        bytes.put_u32(4 + header.len() as u32);
        bytes.put_u32(header.len() as u32);
        bytes.put_slice(header);
        assert_eq!(read(&mut recogniser, &bytes), (12, false));
    }

    #[test]
    fn frames_are_cut_as_a_whole() {
        let bytes = frame::to_bytes(&answer(0, 1).with_body("body"));
        for end in 0..bytes.len() {
            assert_eq!(cut(&bytes[..end]).unwrap(), None);
        }
        assert!(cut(b"HTTP/1.1 200").is_err());
    }

    #[test]
    fn fields_are_read_from_the_text() {
        let bytes = frame::to_bytes(&answer(0, 1));
        assert_eq!(number(&bytes, "queueOffset"), Some(17));
        assert_eq!(number(&bytes, "nextBeginOffset"), Some(-5));
        assert_eq!(number(&bytes, "Offset"), None);
        assert_eq!(text(&bytes, "msgId"), Some("7F00"));
        assert_eq!(text(&bytes, "flag"), Some("1"));
    }
}
