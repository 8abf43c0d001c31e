//! What a broker tells name servers, plain or compressed.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};

use flate2::write::ZlibEncoder;

use super::mapping::TopicQueueMappingInfo;
use super::topic::{DataVersion, TopicConfig, TopicConfigAndMappingSerializeWrapper};
use super::{Body, BodyError, TopicFilterType, bodies};

/// Bytes that a compressed registration may expand to: some half a million topics.
pub const MAX_REGISTRATION: usize = 64 * 1024 * 1024;

/// Bytes of a version in JSON; it has three numbers.
const MAX_VERSION: usize = 1024;

/// Bytes of the expanded form that are handled together.
const BUFFER: usize = 32 << 10;

/// How hard it is compressed, as messages are.
const LEVEL: u32 = 5;

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
        let mut topics = BTreeMap::new();
        let mut registration = Self::decode_compressed_to(body, |topic| {
            topics.insert(topic.topic_name.clone(), topic);
        })?;
        registration.topic_config_serialize_wrapper.topic_config_table = topics;
        Ok(registration)
    }

    /// The same, but gives each topic to `take` instead of gathering them; those of a text that is refused later,
    /// too.
    pub fn decode_compressed_to(body: &[u8], mut take: impl FnMut(TopicConfig)) -> Result<Self, BodyError> {
        let plain = flate2::bufread::ZlibDecoder::new(body).take(MAX_REGISTRATION as u64);
        let mut rest = Pieces { plain: BufReader::with_capacity(BUFFER, plain), piece: Vec::new() };
        let mut registration = Self::default();
        let wrapper = &mut registration.topic_config_serialize_wrapper;
        wrapper.data_version = Some(Body::decode(rest.piece()?)?);
        for _ in 0..rest.number()? {
            take(topic_from_line(rest.piece()?)?);
        }
        registration.filter_server_list = Body::decode(rest.piece()?)?;
        // Brokers before 5.0 end here.
        let mappings = if rest.is_at_end()? { 0 } else { rest.number()? };
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
        let plain = flate2::bufread::ZlibDecoder::new(body).take((4 + MAX_VERSION) as u64);
        let mut rest = Pieces { plain: BufReader::with_capacity(MAX_VERSION, plain), piece: Vec::new() };
        DataVersion::decode(rest.piece()?)
    }

    /// Writes the compressed form. It has no room for system flags, nor for the mappings' details
    /// and version.
    pub fn encode_compressed(&self) -> Result<Vec<u8>, BodyError> {
        let wrapper = &self.topic_config_serialize_wrapper;
        let head = (wrapper.data_version.unwrap_or_default(), wrapper.topic_config_table.len());
        let mappings = &wrapper.topic_queue_mapping_info_map;
        Self::compress(head, wrapper.topic_config_table.values(), &self.filter_server_list, mappings)
    }

    /// The same of topics that are in no table, and mappings of them.
    pub fn compress_topics<T: Borrow<TopicConfig>>(
        version: DataVersion,
        topics: impl ExactSizeIterator<Item = T>,
        mappings: &BTreeMap<String, TopicQueueMappingInfo>,
    ) -> Result<Vec<u8>, BodyError> {
        Self::compress((version, topics.len()), topics, &Vec::new(), mappings)
    }

    fn compress<T: Borrow<TopicConfig>>(
        (version, count): (DataVersion, usize),
        topics: impl Iterator<Item = T>,
        filter_servers: &Vec<String>,
        mappings: &BTreeMap<String, TopicQueueMappingInfo>,
    ) -> Result<Vec<u8>, BodyError> {
        let written = || -> io::Result<Vec<u8>> {
            let zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::new(LEVEL));
            let mut plain = BufWriter::with_capacity(BUFFER, zlib);
            put_piece(&mut plain, &version.encode())?;
            plain.write_all(&(count as u32).to_be_bytes())?;
            for topic in topics {
                put_piece(&mut plain, topic_to_line(topic.borrow()).as_bytes())?;
            }
            put_piece(&mut plain, &filter_servers.encode())?;
            plain.write_all(&(mappings.len() as u32).to_be_bytes())?;
            for mapping in mappings.values() {
                put_piece(&mut plain, &mapping.encode())?;
            }
            plain.into_inner()?.finish()
        };
        written().map_err(|error| BodyError::new::<Self>(error.to_string()))
    }
}

/// What is left of the expanded form, which is never there as a whole.
struct Pieces<R> {
    plain: R,
    piece: Vec<u8>,
}

impl<R: BufRead> Pieces<R> {
    fn is_at_end(&mut self) -> Result<bool, BodyError> {
        Ok(self.plain.fill_buf().map_err(malformed)?.is_empty())
    }

    fn number(&mut self) -> Result<u32, BodyError> {
        let mut bytes = [0; 4];
        self.plain.read_exact(&mut bytes).map_err(malformed)?;
        Ok(u32::from_be_bytes(bytes))
    }

    fn piece(&mut self) -> Result<&[u8], BodyError> {
        let length = u64::from(self.number()?);
        self.piece.clear();
        // Memory follows what is there, not what a length promises.
        let read = self.plain.by_ref().take(length).read_to_end(&mut self.piece).map_err(malformed)?;
        if read as u64 == length { Ok(&self.piece) } else { Err(malformed(io::ErrorKind::UnexpectedEof.into())) }
    }
}

fn malformed(error: io::Error) -> BodyError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            BodyError::new::<RegisterBrokerBody>("the compressed form ends in the middle, or is too long")
        }
        _ => BodyError::new::<RegisterBrokerBody>(error.to_string()),
    }
}

fn put_piece(out: &mut impl Write, piece: &[u8]) -> io::Result<()> {
    out.write_all(&(piece.len() as u32).to_be_bytes())?;
    out.write_all(piece)
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
