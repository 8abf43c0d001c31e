//! Anything is read as records or refused; a record that is read is as long as it says.
#![no_main]

use apogee_message::record;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut length = 0;
    for record in record::iter(bytes).flatten() {
        length += record.size as usize;
        assert!(record.body.len() + record.topic.len() + record.properties.len() < record.size as usize);
        let _ = (record.body_is_intact(), record.property("KEYS"), record.offset_id().to_string());
    }
    assert!(length <= bytes.len());
});
