//! A stream of anything is cut into frames, refused, or waited for; never a panic. What was read
//! as a command is the same command after it was written and read again, and by the exact parser alone.
#![no_main]

use apogee_wire::{Command, Encoding, frame};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut stream = BytesMut::from(bytes);
    let mut command = Command::default();
    let mut start = 0;
    while let Ok(true) = frame::decode(&mut stream, &mut command, 1 << 20) {
        let mut again = BytesMut::new();
        frame::encode(&command, &mut again);
        let mut read = Command::default();
        assert_eq!(frame::decode(&mut again, &mut read, frame::MAX_FRAME), Ok(true));
        assert_eq!(read, command);
        let end = bytes.len() - stream.len();
        if command.encoding == Encoding::Json {
            assert_eq!(read_exactly(&bytes[start..end]), Some(command.clone()));
        }
        start = end;
    }
});

/// Reads a frame with one member more in its header, which the short way does not take.
fn read_exactly(whole: &[u8]) -> Option<Command> {
    let header = u32::from_be_bytes([0, whole[5], whole[6], whole[7]]) as usize;
    let brace = whole[8..8 + header].iter().position(|byte| *byte == b'{')?;
    let rest = &whole[8 + brace + 1..];
    let is_empty = rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
    let member: &[u8] = if is_empty { b"\"x\":[]" } else { b"\"x\":[]," };
    let mut frame = BytesMut::new();
    frame.extend_from_slice(&((whole.len() - 4 + member.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&((header + member.len()) as u32).to_be_bytes());
    frame.extend_from_slice(&whole[8..8 + brace + 1]);
    frame.extend_from_slice(member);
    frame.extend_from_slice(rest);
    let mut command = Command::default();
    matches!(frame::decode(&mut frame, &mut command, frame::MAX_FRAME), Ok(true)).then_some(command)
}
