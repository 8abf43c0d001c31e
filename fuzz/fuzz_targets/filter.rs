//! Anything compiles as a filter expression or is refused; what compiles can be asked about any properties.
#![no_main]

use apogee_filter::{Expression, MessageVariables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &[u8])| {
    let (text, properties) = input;
    match Expression::compile(text) {
        Ok(compiled) => {
            let variables = MessageVariables { properties, born_timestamp: 1, body_length: properties.len() };
            assert_eq!(compiled.matches(&variables), compiled.matches(&variables));
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.position)),
    }
});
