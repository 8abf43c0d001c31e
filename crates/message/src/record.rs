//! Records: messages as the commit log keeps them and consumers get them
//! (upstream `MessageExtEncoder`, `MessageDecoder`).
//!
//! ```text
//!  0 totalSize(4) magic(4) bodyCrc(4) queueId(4) flag(4)
//! 20 queueOffset(8) physicalOffset(8) sysFlag(4) bornTime(8) bornHost(8|20)
//!    storeTime(8) storeHost(8|20) reconsumeTimes(4) preparedOffset(8)
//!    body(4+n) topic(1+n|2+n) properties(2+n)
//! ```

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc32fast::Hasher;

use crate::ids::OffsetId;
use crate::names::property;
use crate::{crc31, properties, sysflag};

mod inner;
mod light;
mod sum;

use inner::Inner;
pub use sum::LENGTH as SUM_LENGTH;

/// A record whose topic's length takes one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// A record whose topic's length takes two bytes: for topics over 127 bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// The rest of a log file that the next record didn't fit into.
pub const MAGIC_BLANK: u32 = 0xCBD4_3194;
/// Bytes of the end-of-file mark: its length, and [`MAGIC_BLANK`].
pub const BLANK_LENGTH: usize = 8;

/// Where the queue's id stands in a record.
pub const QUEUE_ID_AT: usize = 12;
/// Where the offset in the queue stands.
pub const QUEUE_OFFSET_AT: usize = 20;
/// Where the offset in the log stands.
pub const PHYSICAL_OFFSET_AT: usize = 28;
/// Bytes at the beginning of a record that tell its size and its places.
pub const HEAD_LENGTH: usize = 36;
/// Least bytes of a record: IPv4 hosts, nothing of variable length.
const LEAST: usize = 91;
/// Most bytes before the body: those of IPv6 hosts.
const MOST_HEAD: usize = 112;
/// Longest topic that [`MAGIC_V1`] is written for.
const MAX_V1_TOPIC: usize = 127;
/// Longest topic of all.
const MAX_TOPIC: usize = 255;

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than the record says it has, or than any has.
    #[error("the record is cut short")]
    Short,
    /// Something else stands here.
    #[error("no record begins here (magic {0:#010x})")]
    Magic(u32),
    /// The parts don't add up to the whole.
    #[error("the record's lengths contradict each other")]
    Lengths,
    /// The topic is no text.
    #[error("the record's topic is not UTF-8")]
    Topic,
}

/// A stored record, read in place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<'r> {
    /// Bytes of the whole record.
    pub size: u32,
    /// CRC of the body as stored.
    pub body_crc: u32,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// Offset in the queue.
    pub queue_offset: i64,
    /// Offset in the commit log.
    pub physical_offset: i64,
    /// See [`sysflag`].
    pub sys_flag: i32,
    /// When the producer made it, in milliseconds since 1970.
    pub born_timestamp: i64,
    /// Where the producer was.
    pub born_host: SocketAddr,
    /// When the broker stored it, in milliseconds since 1970.
    pub store_timestamp: i64,
    /// The broker.
    pub store_host: SocketAddr,
    /// Times it was consumed without success.
    pub reconsume_times: i32,
    /// Physical offset of the half message that it commits.
    pub prepared_transaction_offset: i64,
    /// As the producer sent it, maybe compressed.
    pub body: &'r [u8],
    /// The topic.
    pub topic: &'r str,
    /// The properties' text.
    pub properties: &'r [u8],
}

impl<'r> Record<'r> {
    /// Reads the record that `bytes` begin with; more may follow it.
    pub fn read(bytes: &'r [u8]) -> Result<Self, RecordError> {
        if bytes.len() < 8 {
            return Err(RecordError::Short);
        }
        let size = (&bytes[0..]).get_u32();
        let magic = (&bytes[4..]).get_u32();
        if magic != MAGIC_V1 && magic != MAGIC_V2 {
            return Err(RecordError::Magic(magic));
        }
        if (size as usize) < LEAST {
            return Err(RecordError::Lengths);
        }
        let rest = bytes.get(8..size as usize).ok_or(RecordError::Short)?;
        // Of a known length, so that it's checked once for all of its fields.
        let (head, mut rest) = rest.split_first_chunk::<40>().ok_or(RecordError::Lengths)?;
        let (mut head, rest) = (&head[..], &mut rest);
        let body_crc = head.get_u32();
        let queue_id = head.get_i32();
        let flag = head.get_i32();
        let queue_offset = head.get_i64();
        let physical_offset = head.get_i64();
        let sys_flag = head.get_i32();
        let born_timestamp = head.get_i64();
        let born_host = get_host(rest, sys_flag & sysflag::BORN_HOST_V6 != 0)?;
        let store_timestamp = rest.try_get_i64().map_err(short)?;
        let store_host = get_host(rest, sys_flag & sysflag::STORE_HOST_V6 != 0)?;
        let reconsume_times = rest.try_get_i32().map_err(short)?;
        let prepared_transaction_offset = rest.try_get_i64().map_err(short)?;
        let body = rest.try_get_u32().map_err(short)? as usize;
        let body = take(rest, body)?;
        let topic = match magic {
            MAGIC_V1 => usize::from(rest.try_get_u8().map_err(short)?),
            _ => usize::from(rest.try_get_u16().map_err(short)?),
        };
        let topic = std::str::from_utf8(take(rest, topic)?).map_err(|_| RecordError::Topic)?;
        let properties = usize::from(rest.try_get_u16().map_err(short)?);
        let properties = take(rest, properties)?;
        if !rest.is_empty() {
            return Err(RecordError::Lengths);
        }
        Ok(Self {
            size,
            body_crc,
            queue_id,
            flag,
            queue_offset,
            physical_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }

    /// Whether the body is the one that was stored.
    pub fn body_is_intact(&self) -> bool {
        crc31(self.body) == self.body_crc
    }

    /// Whether all of it is what was stored, as far as its sums tell: that of the body, and that of
    /// the whole where it has one. `bytes` are those it was read from.
    pub fn is_intact(&self, bytes: &[u8]) -> bool {
        match sum::of(self.properties) {
            // The sum of the body is part of what the other one covers.
            Some(sum) => {
                let covered = bytes.get(..self.size as usize - SUM_LENGTH);
                covered.is_some_and(|covered| sum == Some(crc31(covered))) && self.body_is_intact()
            }
            None => self.body_is_intact(),
        }
    }

    /// Whether it has a sum of the whole record (upstream's property `__CRC32#`).
    pub fn has_sum(&self) -> bool {
        sum::of(self.properties).is_some()
    }

    /// The properties without the sum of the whole record.
    pub fn sent_properties(&self) -> &'r [u8] {
        let sum = if self.has_sum() { SUM_LENGTH } else { 0 };
        &self.properties[..self.properties.len() - sum]
    }

    /// A property's value.
    pub fn property(&self, name: &str) -> Option<&'r str> {
        properties::get(self.properties, name)
    }

    /// Messages that it is: more than one if it is a batch that is kept as one record.
    pub fn messages(&self) -> u16 {
        if self.sys_flag & sysflag::INNER_BATCH == 0 { 1 } else { inner::count(self.properties).unwrap_or(1) }
    }

    /// Whether its queue keeps batches as one record.
    pub fn is_in_batch_queue(&self) -> bool {
        self.sys_flag & sysflag::INNER_BATCH != 0 || inner::count(self.properties).is_some()
    }

    /// The offsets of its messages in its queue.
    pub fn offsets(&self) -> Range<i64> {
        self.queue_offset..self.queue_offset.saturating_add(i64::from(self.messages()))
    }

    /// Whether the message of an offset in its queue is in it.
    pub fn has_offset(&self, offset: i64) -> bool {
        self.queue_offset == offset || self.offsets().contains(&offset)
    }

    /// The id that says where the record is.
    pub fn offset_id(&self) -> OffsetId {
        OffsetId { host: self.store_host, offset: self.physical_offset }
    }
}

/// The records of a pull's body, one after the other; ends with the first error.
pub fn iter(mut bytes: &[u8]) -> impl Iterator<Item = Result<Record<'_>, RecordError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let record = Record::read(bytes);
        bytes = record.as_ref().map_or(&[][..], |record| &bytes[record.size as usize..]);
        Some(record)
    })
}

fn short(_: bytes::TryGetError) -> RecordError {
    RecordError::Lengths
}

fn take<'r>(rest: &mut &'r [u8], length: usize) -> Result<&'r [u8], RecordError> {
    rest.split_off(..length).ok_or(RecordError::Lengths)
}

#[inline]
fn get_host(rest: &mut &[u8], v6: bool) -> Result<SocketAddr, RecordError> {
    let ip = if v6 {
        IpAddr::from(rest.try_get_u128().map_err(short)?.to_be_bytes())
    } else {
        IpAddr::from(rest.try_get_u32().map_err(short)?.to_be_bytes())
    };
    // Four bytes hold what is a port of two.
    Ok(SocketAddr::new(ip, rest.try_get_u32().map_err(short)? as u16))
}

fn put_host(out: &mut impl BufMut, host: SocketAddr) {
    match host.ip() {
        IpAddr::V4(ip) => out.put_slice(&ip.octets()),
        IpAddr::V6(ip) => out.put_slice(&ip.octets()),
    }
    out.put_u32(u32::from(host.port()));
}

/// A message to be stored.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// The topic.
    pub topic: Arc<str>,
    /// Queue of the topic.
    pub queue_id: i32,
    /// The user's flag.
    pub flag: i32,
    /// See [`sysflag`]; the bits of the hosts' kinds are set by [`Draft::new`].
    pub sys_flag: i32,
    /// When the producer made it, in milliseconds since 1970.
    pub born_timestamp: i64,
    /// Where the producer is.
    pub born_host: SocketAddr,
    /// The broker.
    pub store_host: SocketAddr,
    /// Times it was consumed without success.
    pub reconsume_times: i32,
    /// Physical offset of the half message that it commits.
    pub prepared_transaction_offset: i64,
    /// As the producer sent it.
    pub body: Bytes,
    /// The properties' text.
    pub properties: Bytes,
}

impl NewMessage {
    /// A message that `host` makes and stores: in the first queue of a topic, without properties, consumed by nobody.
    pub fn own(topic: impl Into<Arc<str>>, body: impl Into<Bytes>, host: impl Into<SocketAddr>, now_ms: i64) -> Self {
        let host = host.into();
        Self {
            topic: topic.into(),
            queue_id: 0,
            flag: 0,
            sys_flag: 0,
            born_timestamp: now_ms,
            born_host: host,
            store_host: host,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: body.into(),
            properties: Bytes::new(),
        }
    }
}

/// Why a message cannot be made a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DraftError {
    /// The topic's length doesn't fit.
    #[error("the topic is {0} bytes long, over the limit of 255")]
    TopicTooLong(usize),
    /// The properties' length doesn't fit.
    #[error("the properties are {0} bytes long, over the limit of 32767")]
    PropertiesTooLong(usize),
}

/// A record that lacks only what the log assigns: offsets, the time of storing, and the sum over all
/// of it. Head, body and tail are written one after the other, so that the body is not copied to
/// stand between them.
#[derive(Debug)]
pub struct Draft {
    head: BytesMut,
    body: Bytes,
    tail: BytesMut,
    topic: Arc<str>,
    queue_id: i32,
    store_time_at: usize,
    properties_at: usize,
    /// The sum so far of what stands between the head and the place of the sum. `None` when the
    /// record has no sum.
    sum: Option<Hasher>,
    /// Of a queue that keeps batches as one record.
    inner: Option<Inner>,
}

impl Draft {
    /// Encodes a message; head and tail are cut from `arena`, which costs no allocation while it
    /// has room. The record has room for a sum, unless the properties leave none.
    pub fn new(message: &NewMessage, arena: &mut BytesMut) -> Result<Self, DraftError> {
        let is_inner = message.sys_flag & sysflag::INNER_BATCH != 0;
        Self::make(message, is_inner.then(|| inner::count(&message.properties).unwrap_or(1)), arena)
    }

    /// The same for a queue that keeps batches as one record: of a batch, or of one message. How many it is, the
    /// property [`property::INNER_NUM`] says.
    pub fn in_batch_queue(message: &NewMessage, arena: &mut BytesMut) -> Result<Self, DraftError> {
        Self::make(message, Some(inner::count(&message.properties).unwrap_or(1)), arena)
    }

    fn make(message: &NewMessage, messages: Option<u16>, arena: &mut BytesMut) -> Result<Self, DraftError> {
        let topic = message.topic.as_bytes();
        if topic.len() > MAX_TOPIC {
            return Err(DraftError::TopicTooLong(topic.len()));
        }
        // A record that is written again must not carry the sum that it had.
        let cleaned = match messages {
            Some(_) => Some(inner::without_base(&message.properties)),
            None => sum::without(&message.properties),
        };
        let text = cleaned.as_deref().unwrap_or(&message.properties);
        let reserved = if messages.is_some() { inner::MOST_BASE } else { 0 };
        if text.len() + reserved > properties::MAX_LENGTH {
            return Err(DraftError::PropertiesTooLong(text.len()));
        }
        let v2 = topic.len() > MAX_V1_TOPIC;
        let (born_host, store_host) = (canonical(message.born_host), canonical(message.store_host));
        let mut sys_flag = message.sys_flag & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6);
        sys_flag |= if born_host.is_ipv6() { sysflag::BORN_HOST_V6 } else { 0 };
        sys_flag |= if store_host.is_ipv6() { sysflag::STORE_HOST_V6 } else { 0 };
        let mut body_sum = Hasher::new();
        body_sum.update(&message.body);

        // Put together here: field by field that costs less than in the arena.
        let mut head = [0; MOST_HEAD];
        let mut rest = &mut head[..];
        rest.put_u32(0);
        rest.put_u32(if v2 { MAGIC_V2 } else { MAGIC_V1 });
        rest.put_u32(body_sum.clone().finalize() & 0x7fff_ffff);
        rest.put_i32(message.queue_id);
        rest.put_i32(message.flag);
        rest.put_i64(0);
        rest.put_i64(0);
        rest.put_i32(sys_flag);
        rest.put_i64(message.born_timestamp);
        put_host(&mut rest, born_host);
        let store_time_at = MOST_HEAD - rest.len();
        rest.put_i64(0);
        put_host(&mut rest, store_host);
        rest.put_i32(message.reconsume_times);
        rest.put_i64(message.prepared_transaction_offset);
        rest.put_u32(message.body.len() as u32);
        let length = MOST_HEAD - rest.len();
        arena.put_slice(&head[..length]);
        let head = arena.split();

        match v2 {
            false => arena.put_u8(topic.len() as u8),
            true => arena.put_u16(topic.len() as u16),
        }
        arena.put_slice(topic);
        let properties_at = arena.len() + 2;
        let separator = usize::from(sum::needs_separator(text));
        let has_sum = text.len() + reserved + separator + SUM_LENGTH <= properties::MAX_LENGTH;
        let length = if has_sum { text.len() + separator + SUM_LENGTH } else { text.len() };
        arena.put_u16(length as u16);
        arena.put_slice(text);
        let base_at = arena.len();
        let sum = has_sum.then(|| {
            arena.put_bytes(properties::VALUE_END, separator);
            if messages.is_none() {
                body_sum.update(arena);
            }
            arena.put_bytes(0, SUM_LENGTH);
            body_sum
        });
        let tail = arena.split();
        let topic = Arc::clone(&message.topic);
        let (body, queue_id) = (message.body.clone(), message.queue_id);
        let inner = messages.map(|count| Inner { count, base_at });
        let mut draft = Self { head, body, tail, topic, queue_id, store_time_at, properties_at, sum, inner };
        draft.note_size();
        Ok(draft)
    }

    /// Leaves the sum out, as upstream's broker does by default. Before offsets are assigned.
    pub fn leave_out_sum(&mut self) {
        if self.sum.take().is_some() {
            self.tail.truncate(self.tail.len() - SUM_LENGTH);
            self.note_length();
        }
    }

    /// The properties have another length now.
    fn note_length(&mut self) {
        let length = (self.tail.len() - self.properties_at) as u16;
        self.tail[self.properties_at - 2..self.properties_at].copy_from_slice(&length.to_be_bytes());
        self.note_size();
    }

    fn note_size(&mut self) {
        let size = self.size() as u32;
        self.head[..4].copy_from_slice(&size.to_be_bytes());
    }

    /// Bytes of the record.
    pub fn size(&self) -> usize {
        self.head.len() + self.body.len() + self.tail.len()
    }

    /// Bytes that the record has at most once offsets are assigned.
    pub fn most_size(&self) -> usize {
        self.size() + if self.inner.is_some() { inner::MOST_BASE } else { 0 }
    }

    /// Messages that the record is.
    pub fn messages(&self) -> u16 {
        self.inner.as_ref().map_or(1, |inner| inner.count)
    }

    /// Whether it is for a queue that keeps batches as one record.
    pub fn is_in_batch_queue(&self) -> bool {
        self.inner.is_some()
    }

    /// Bytes of the body.
    pub fn body_len(&self) -> usize {
        self.body.len()
    }

    /// The topic.
    pub fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// Queue of the topic.
    pub fn queue_id(&self) -> i32 {
        self.queue_id
    }

    /// The properties' text.
    pub fn properties(&self) -> &[u8] {
        &self.tail[self.properties_at..]
    }

    /// See [`sysflag`].
    pub fn sys_flag(&self) -> i32 {
        (&self.head[36..40]).get_i32()
    }

    /// Fills in what the log assigns, and the sum, which covers that.
    pub fn assign(&mut self, queue_offset: i64, physical_offset: i64, store_timestamp: i64) {
        let mut put = |at: usize, value: i64| self.head[at..at + 8].copy_from_slice(&value.to_be_bytes());
        put(QUEUE_OFFSET_AT, queue_offset);
        put(PHYSICAL_OFFSET_AT, physical_offset);
        put(self.store_time_at, store_timestamp);
        self.put_base(queue_offset);
        if let Some(rest) = &self.sum {
            let at = self.tail.len() - SUM_LENGTH;
            let mut all = Hasher::new();
            all.update(&self.head);
            // What follows was summed up beside the socket; adding that costs the same for any length.
            if self.body.len() <= SUMMED_ANEW {
                all.update(&self.body);
                all.update(&self.tail[..at]);
            } else {
                all.combine(rest);
                if self.inner.is_some() {
                    all.update(&self.tail[..at]);
                }
            }
            sum::write(&mut self.tail[at..], all.finalize() & 0x7fff_ffff);
        }
    }

    /// Adds the property that tells the offset of the first of a batch's messages.
    fn put_base(&mut self, queue_offset: i64) {
        let Some(Inner { base_at, .. }) = self.inner else { return };
        self.tail.truncate(base_at);
        properties::push(&mut self.tail, property::INNER_BASE, &queue_offset.to_string());
        self.tail.put_bytes(0, if self.sum.is_some() { SUM_LENGTH } else { 0 });
        self.note_length();
    }

    /// The three pieces that make the record, in order.
    pub fn pieces(&self) -> [&[u8]; 3] {
        [&self.head, &self.body, &self.tail]
    }

    /// The record as one piece of memory.
    pub fn to_vec(&self) -> Vec<u8> {
        self.pieces().concat()
    }
}

/// Bytes of a body that are summed up faster than two sums are combined.
const SUMMED_ANEW: usize = 4096;

/// A peer of a dual-stack socket is an IPv4 address in IPv6 clothes.
fn canonical(host: SocketAddr) -> SocketAddr {
    SocketAddr::new(host.ip().to_canonical(), host.port())
}

#[cfg(test)]
mod tests;
