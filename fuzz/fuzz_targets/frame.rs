//! A stream of anything is cut into frames, refused, or waited for; never a panic. What was read
//! as a command is the same command after it was written and read again.
#![no_main]

use apogee_wire::{Command, frame};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut stream = BytesMut::from(bytes);
    let mut command = Command::default();
    while let Ok(true) = frame::decode(&mut stream, &mut command, 1 << 20) {
        let mut again = BytesMut::new();
        frame::encode(&command, &mut again);
        let mut read = Command::default();
        assert_eq!(frame::decode(&mut again, &mut read, frame::MAX_FRAME), Ok(true));
        assert_eq!(read, command);
    }
});
