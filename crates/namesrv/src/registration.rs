//! Reads the body of a broker's registration, in both of its forms.

use apogee_wire::bodies::{Body, BodyError, DataVersion, RegisterBrokerBody, TopicConfig};

use crate::routes::{Content, TopicEntry};

/// An encoded registration. Its version can be had without reading its topics.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Encoded<'b> {
    pub body: &'b [u8],
    pub compressed: bool,
}

impl Encoded<'_> {
    /// Version of the topics; that of none for an empty body.
    pub fn version(self) -> Result<DataVersion, BodyError> {
        if self.body.is_empty() {
            return Ok(DataVersion::default());
        }
        if self.compressed {
            return RegisterBrokerBody::version_of_compressed(self.body);
        }
        let version = member(self.body, "topicConfigSerializeWrapper").and_then(|topics| member(topics, "dataVersion"));
        Ok(version.map(DataVersion::decode).transpose()?.unwrap_or_default())
    }

    /// Topics, mappings and filter servers.
    pub fn content(self) -> Result<Content, BodyError> {
        let mut topics = Vec::new();
        let mut body = match self.body {
            [] => RegisterBrokerBody::default(),
            body if self.compressed => {
                RegisterBrokerBody::decode_compressed_to(body, |topic| topics.push(entry(topic)))?
            }
            body => RegisterBrokerBody::decode(body)?,
        };
        let wrapper = &mut body.topic_config_serialize_wrapper;
        let named = std::mem::take(&mut wrapper.topic_config_table).into_iter();
        topics.extend(named.map(|(topic_name, topic)| entry(TopicConfig { topic_name, ..topic })));
        let statics = std::mem::take(&mut wrapper.topic_queue_mapping_info_map);
        Ok(Content { topics, statics: statics.into_iter().collect(), filter_servers: body.filter_server_list })
    }
}

fn entry(topic: TopicConfig) -> TopicEntry {
    TopicEntry {
        name: topic.topic_name.into(),
        read: topic.read_queue_nums,
        write: topic.write_queue_nums,
        perm: topic.perm,
        sys_flag: topic.topic_sys_flag,
    }
}

/// The value of a member of a JSON object, found without parsing what stands around it: the version
/// stands near the beginning of a registration of many megabytes.
fn member<'j>(object: &'j [u8], name: &str) -> Option<&'j [u8]> {
    let mut rest = object.trim_ascii_start().strip_prefix(b"{")?;
    loop {
        let (key, after) = rest.split_at(value_len(rest));
        rest = after.strip_prefix(b":")?;
        let (value, after) = rest.split_at(value_len(rest));
        let (key, value) = (key.trim_ascii(), value.trim_ascii());
        let bare = key.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")).unwrap_or(key);
        if bare == name.as_bytes() {
            return Some(value);
        }
        rest = after.strip_prefix(b",")?;
    }
}

/// Length of the JSON value that `text` begins with; all of it when the value has no end.
fn value_len(text: &[u8]) -> usize {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, &byte) in text.iter().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => quoted = true,
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' | b':' if depth == 0 => return at,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_without_parsing_the_rest() {
        let json = br#" { "a" : "x,\"}{" , "b":[1,{"dataVersion":7}], c : {"dataVersion": {"counter":3} , "broken""#;
        let inner = member(json, "c").expect("there is one");
        assert_eq!(member(inner, "dataVersion"), Some(&br#"{"counter":3}"#[..]));
        assert_eq!(member(json, "dataVersion"), None, "not of this object");
        for odd in [&b""[..], b"{", b"{}", b"[]", b"{\"a\"}", b"{\"a\":", b"\"", b"{,,}", b"{\"a\":1}}"] {
            assert_eq!(member(odd, "b"), None);
        }
    }
}
