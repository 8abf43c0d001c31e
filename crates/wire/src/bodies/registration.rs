//! What a broker tells name servers, plain or compressed.

use std::io::Read;

use apogee_message::compression::Compression;

use super::mapping::TopicQueueMappingInfo;
use super::topic::{DataVersion, TopicConfig, TopicConfigAndMappingSerializeWrapper};
use super::{Body, BodyError, TopicFilterType, bodies};

/// Bytes that a compressed registration may expand to: some half a million topics.
pub const MAX_REGISTRATION: usize = 64 * 1024 * 1024;

/// Bytes of a version in JSON; it has three numbers.
const MAX_VERSION: usize = 1024;

bodies! {
    /// Request of `REGISTER_BROKER` (upstream `RegisterBrokerBody`).
    RegisterBrokerBody {
        filter_server_list: Vec<String>,
        topic_config_serialize_wrapper: TopicConfigAndMappingSerializeWrapper,
    }
}

impl RegisterBrokerBody {
    /// Reads the compressed form, which the request header announces by `compressed`:
    ///
    /// ```text
    /// zlib( length(4) DataVersion
    ///     | count(4), each: length(4) "name readQueues writeQueues perm filterType attributes"
    ///     | length(4) filterServerList
    ///     | count(4), each: length(4) TopicQueueMappingInfo )
    /// ```
    ///
    /// Refuses what expands to more than [`MAX_REGISTRATION`] bytes.
    pub fn decode_compressed(body: &[u8]) -> Result<Self, BodyError> {
        let plain = Compression::Zlib
            .decompress(body, MAX_REGISTRATION)
            .map_err(|error| BodyError::new::<Self>(error.to_string()))?;
        let mut rest = Pieces(&plain);
        let mut registration = Self::default();
        let wrapper = &mut registration.topic_config_serialize_wrapper;
        wrapper.data_version = Some(Body::decode(rest.piece()?)?);
        for _ in 0..rest.number()? {
            let topic = topic_from_line(rest.piece()?)?;
            wrapper.topic_config_table.insert(topic.topic_name.clone(), topic);
        }
        registration.filter_server_list = Body::decode(rest.piece()?)?;
        // Brokers before 5.0 end here.
        let mappings = if rest.0.is_empty() { 0 } else { rest.number()? };
        for _ in 0..mappings {
            let mapping = TopicQueueMappingInfo::decode(rest.piece()?)?;
            if let Some(topic) = mapping.topic.clone() {
                wrapper.topic_queue_mapping_info_map.insert(topic, mapping);
            }
        }
        Ok(registration)
    }

    /// The version that the compressed form begins with, without expanding the rest: a registration
    /// that brings nothing new need not be read.
    pub fn version_of_compressed(body: &[u8]) -> Result<DataVersion, BodyError> {
        let mut plain = flate2::read::ZlibDecoder::new(body);
        let mut read = |length: usize| {
            let mut bytes = vec![0; length];
            plain.read_exact(&mut bytes).map_err(|error| BodyError::new::<Self>(error.to_string()))?;
            Ok::<_, BodyError>(bytes)
        };
        let length = Pieces(&read(4)?).number()? as usize;
        if length > MAX_VERSION {
            return Err(BodyError::new::<Self>("the compressed form does not begin with a version"));
        }
        DataVersion::decode(&read(length)?)
    }

    /// Writes the compressed form. It has no room for system flags, nor for the mappings' details
    /// and version.
    pub fn encode_compressed(&self) -> Result<Vec<u8>, BodyError> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let mut plain = Vec::new();
        put_piece(&mut plain, &wrapper.data_version.unwrap_or_default().encode());
        plain.extend_from_slice(&(wrapper.topic_config_table.len() as u32).to_be_bytes());
        for topic in wrapper.topic_config_table.values() {
            put_piece(&mut plain, topic_to_line(topic).as_bytes());
        }
        put_piece(&mut plain, &self.filter_server_list.encode());
        plain.extend_from_slice(&(wrapper.topic_queue_mapping_info_map.len() as u32).to_be_bytes());
        for mapping in wrapper.topic_queue_mapping_info_map.values() {
            put_piece(&mut plain, &mapping.encode());
        }
        Compression::Zlib.compress(&plain).map_err(|error| BodyError::new::<Self>(error.to_string()))
    }
}

/// What is left of the expanded form.
struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], BodyError> {
        let (piece, rest) = self
            .0
            .split_at_checked(length)
            .ok_or_else(|| BodyError::new::<RegisterBrokerBody>("the compressed form ends in the middle"))?;
        self.0 = rest;
        Ok(piece)
    }

    fn number(&mut self) -> Result<u32, BodyError> {
        let bytes = self.take(4)?;
        Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn piece(&mut self) -> Result<&'a [u8], BodyError> {
        let length = self.number()?;
        self.take(length as usize)
    }
}

fn put_piece(out: &mut Vec<u8>, piece: &[u8]) {
    out.extend_from_slice(&(piece.len() as u32).to_be_bytes());
    out.extend_from_slice(piece);
}

fn topic_from_line(line: &[u8]) -> Result<TopicConfig, BodyError> {
    let read = || {
        let mut words = std::str::from_utf8(line).ok()?.splitn(6, ' ');
        Some(TopicConfig {
            topic_name: words.next().filter(|name| !name.is_empty())?.to_owned(),
            read_queue_nums: words.next()?.parse().ok()?,
            write_queue_nums: words.next()?.parse().ok()?,
            perm: words.next()?.parse().ok()?,
            topic_filter_type: words.next().and_then(TopicFilterType::from_name).unwrap_or_default(),
            attributes: match words.next() {
                Some(attributes) => Body::decode(attributes.as_bytes()).ok()?,
                None => Default::default(),
            },
            ..TopicConfig::default()
        })
    };
    read().ok_or_else(|| {
        let line: String = String::from_utf8_lossy(line).chars().take(200).collect();
        BodyError::new::<RegisterBrokerBody>(format!("`{line}` is not a topic's line"))
    })
}

fn topic_to_line(topic: &TopicConfig) -> String {
    let filter = topic.topic_filter_type.name();
    let attributes = topic.attributes.encode();
    format!(
        "{} {} {} {} {filter} {}",
        topic.topic_name,
        topic.read_queue_nums,
        topic.write_queue_nums,
        topic.perm,
        String::from_utf8_lossy(&attributes)
    )
}
