//! Anything is split as a batch or refused; a batch that is read writes itself again.
#![no_main]

use apogee_message::batch;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(messages) = batch::split(Bytes::copy_from_slice(bytes)).collect::<Result<Vec<_>, _>>() {
        let mut again = Vec::new();
        messages.iter().for_each(|message| batch::push(&mut again, message));
        assert_eq!(batch::split(again.into()).collect::<Result<Vec<_>, _>>(), Ok(messages));
    }
});
