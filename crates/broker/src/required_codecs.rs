//! Topics that take only messages whose bodies went through certain codecs, such as encryption.

use apogee_message::{codecs, properties};
use apogee_wire::codes::response;

use crate::error::BrokerError;
use crate::topics::Topic;

/// Attribute of a topic that names the steps that a body must have gone through, with `+` between them:
/// `aes-256-gcm+crc32c`. A checksum that was taken last is verified.
pub(crate) const ATTRIBUTE: &str = "required.codecs";
/// What the attribute may be.
pub(crate) const VALUES: &str = "names of codecs, separated by +, such as aes-256-gcm+crc32c";

/// Whether the attribute may have a value.
pub(crate) fn is_value(text: &str) -> bool {
    text.split('+').all(codecs::is_name)
}

/// Refuses a message whose body is not what its topic requires. A topic that doesn't say takes all.
pub(crate) fn check(topic: &Topic, properties: &[u8], sys_flag: i32, body: &[u8]) -> Result<(), BrokerError> {
    let Some(required) = topic.config.attributes.get(ATTRIBUTE) else { return Ok(()) };
    let told = properties::get(properties, codecs::PROPERTY);
    codecs::check(required, told, sys_flag, body).map_err(|violation| {
        let remark =
            format!("the message is refused: {violation}. topic[{}] requires {required} ({ATTRIBUTE})", topic.name);
        BrokerError::new(response::MESSAGE_ILLEGAL, remark)
    })
}

#[cfg(test)]
mod tests {
    use apogee_message::codecs::Checksum;
    use apogee_wire::bodies::TopicConfig;

    use super::*;

    #[test]
    fn a_topic_refuses_what_did_not_go_through_its_codecs() {
        let topic = |attribute: Option<&str>| {
            let mut config = TopicConfig::new("T", 1);
            config.attributes.extend(attribute.map(|value| (ATTRIBUTE.to_owned(), value.to_owned())));
            Topic { name: "T".into(), config, window: None }
        };
        assert!(check(&topic(None), b"", 0, b"plain").is_ok());
        let strict = topic(Some("crc32c"));
        let error = check(&strict, b"TAGS\x01a\x02", 0, b"plain").unwrap_err();
        assert_eq!(error.code, response::MESSAGE_ILLEGAL);
        let expected = "the message is refused: its body did not go through crc32c; it went through [] (CODECS). \
                        topic[T] requires crc32c (required.codecs)";
        assert_eq!(error.remark, expected);
        let told = format!("CODECS\x01crc32c:{}\x02", Checksum::Crc32c.of(b"plain"));
        assert!(check(&strict, told.as_bytes(), 0, b"plain").is_ok());
        assert!(check(&strict, told.as_bytes(), 0, b"Plain").unwrap_err().remark.contains("is damaged"));
    }

    #[test]
    fn the_attribute_names_codecs() {
        assert!(is_value("aes-256-gcm+crc32c") && is_value("my-own"));
        for bad in ["", "crc32c+", "CRC", "a b", "a:b"] {
            assert!(!is_value(bad), "{bad}");
        }
    }
}
