//! Recall handles: what a producer is told of a message that waits, and gives back to have it
//! deleted (upstream `RecallMessageHandle`). Blank separated, in URL-safe Base64:
//! `v1 topic brokerName deliverMs uniqKey`.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const VERSION: &str = "v1";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A handle's fields.
#[derive(Debug, PartialEq, Eq)]
pub struct Handle<'h> {
    /// The topic.
    pub topic: &'h str,
    /// The broker that has the message.
    pub broker: &'h str,
    /// When the message is due, in milliseconds since 1970: a number, if a broker made it.
    pub time: &'h str,
    /// The id that its sender gave the message.
    pub unique_key: &'h str,
}

/// Makes a handle.
pub fn encode(topic: &str, broker: &str, time: i64, unique_key: &str) -> String {
    BASE64.encode(format!("{VERSION} {topic} {broker} {time} {unique_key}"))
}

/// The text of a handle; `None` when it is none.
pub fn decode(handle: &str) -> Option<String> {
    String::from_utf8(BASE64.decode(handle).ok()?).ok()
}

impl<'h> Handle<'h> {
    /// Reads a handle's text.
    pub fn read(text: &'h str) -> Option<Self> {
        let mut fields = text.split(' ');
        if fields.next()? != VERSION {
            return None;
        }
        let (topic, broker, time, unique_key) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        Some(Self { topic, broker, time, unique_key })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_those_of_apaches_broker() {
        // Made by Apache's broker.
        let given = "djEgVFQgYnJva2VyLWEgMTc5NTI1MDMxMDAwMSB1MQ==";
        let text = decode(given).unwrap();
        let handle = Handle { topic: "TT", broker: "broker-a", time: "1795250310001", unique_key: "u1" };
        assert_eq!(Handle::read(&text), Some(handle));
        assert_eq!(encode("TT", "broker-a", 1_795_250_310_001, "u1"), given);
        assert_eq!(decode(given.trim_end_matches('=')), Some(text));
    }

    #[test]
    fn anything_else_is_none() {
        for text in ["", "v2 T b 1 k", "v1 T b 1", "v1"] {
            assert_eq!(Handle::read(text), None, "{text}");
        }
        assert_eq!(decode("!!!"), None);
    }
}
