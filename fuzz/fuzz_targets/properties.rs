//! Any text is read as properties; what an edit writes reads the same.
#![no_main]

use apogee_message::properties;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let mut copy = Vec::new();
    properties::copy_without(&mut copy, text, &["KEYS"]);
    let kept: Vec<_> = properties::iter(text).filter(|(name, _)| *name != b"KEYS").collect();
    assert_eq!(properties::iter(&copy).collect::<Vec<_>>(), kept);
    let _ = properties::get(text, "TAGS");
});
