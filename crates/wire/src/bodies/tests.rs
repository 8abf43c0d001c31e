//! Every body against a sample that upstream wrote.

use serde_json::Value;

use super::*;
use crate::json;

mod clients;
mod figures;
mod groups;
mod heartbeat;
mod registration;
mod topics;

/// Decodes a sample, encodes it, compares the two as JSON values, and hands back the body.
fn survives<B: Body>(sample: &str) -> B {
    let body = B::decode(sample.as_bytes()).expect(sample);
    let value = |text: &[u8]| json::from_slice::<Value>(text).expect("JSON");
    assert_eq!(value(&body.encode()), value(sample.as_bytes()));
    assert_eq!(
        serde_json::from_slice::<Value>(&body.encode_standard()).expect("strict JSON"),
        value(sample.as_bytes())
    );
    body
}
