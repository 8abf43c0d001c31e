//! Requests to send: encoded once, then copied, with the few bytes that differ written over.

use apogee_message::batch::{self, BatchMessage};
use apogee_message::names::property;
use apogee_message::properties;
use apogee_wire::codes::request;
use apogee_wire::headers::{RpcFields, SendMessageRequestHeader};
use apogee_wire::{Command, frame};
use bytes::{Bytes, BytesMut};

use crate::body::Bodies;
use crate::engine::{FIRST_OPAQUE, Place};
use crate::error::BenchError;
use crate::options::Topics;

/// Steps through all queues so that those next to each other in time are far apart. A prime.
const STRIDE: u64 = 7_368_787;
/// The producer group.
pub(crate) const PRODUCER: &str = "ApogeeBenchProducer";
/// The property that says when a message is to be delivered, in milliseconds since 1970; a broker leaves it alone.
pub(crate) const DUE: &str = "BenchDue";
/// Milliseconds since 1970, in the count of digits that all times of these centuries have.
const BORN: i64 = 1_700_000_000_000;
/// The number that stands in templates.
const NUMBER: u64 = u64::MAX;

/// What messages are like.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub topics: Topics,
    pub queues: u32,
    pub bodies: Bodies,
    /// Messages in a request: more than one are a batch.
    pub batch: u32,
    /// A tag, and that every so many messages have it; the others have another one.
    pub tag: Option<(String, u64)>,
    /// Each message has a key of its own.
    pub keys: bool,
    /// Names and values.
    pub properties: Vec<(String, String)>,
    /// When messages are to be delivered.
    pub due: Option<Due>,
    /// The message's system flag.
    pub sys_flag: i32,
    pub one_way: bool,
}

impl Shape {
    /// Single messages with nothing about them.
    pub(crate) fn plain(topics: Topics, queues: u32, bodies: Bodies) -> Self {
        Self {
            topics,
            queues,
            bodies,
            batch: 1,
            tag: None,
            keys: false,
            properties: Vec::new(),
            due: None,
            sys_flag: 0,
            one_way: false,
        }
    }
}

/// When messages are to be delivered, from when they are sent on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Due {
    /// After any time up to so many milliseconds; all are equally likely.
    Spread(u64),
    /// After a delay level, which is known to take so many milliseconds.
    Level(u32, u64),
}

impl Due {
    /// Milliseconds at most.
    pub(crate) fn most(self) -> u64 {
        let (Self::Spread(most) | Self::Level(_, most)) = self;
        most
    }

    /// Milliseconds of a message with this number.
    fn delay(self, number: u64) -> u64 {
        match self {
            Self::Spread(most) => 1 + number.wrapping_mul(STRIDE) % most,
            Self::Level(_, millis) => millis,
        }
    }
}

/// Where bytes of a message differ from those of others.
#[derive(Debug, Clone, Default)]
struct Spots {
    /// The unique key's number.
    unique: Option<usize>,
    key: Option<usize>,
    tag: Option<usize>,
    due: [Option<usize>; 2],
}

/// The header of requests to one queue.
struct Head {
    bytes: Vec<u8>,
    opaque: usize,
    born: usize,
    /// The digits of the topic's number.
    topic: Option<usize>,
    spots: Spots,
}

/// Writes requests.
pub(crate) struct Requests {
    heads: Vec<Head>,
    body: Vec<u8>,
    /// Of each message in a batch; without a batch, they are in the head.
    spots: Vec<Spots>,
    /// Where each body begins within the request's.
    bodies_at: Vec<usize>,
    shape: Shape,
    other_tag: Vec<u8>,
}

impl Requests {
    /// Of messages like this.
    pub(crate) fn new(shape: Shape) -> Result<Self, BenchError> {
        let own = properties_of(&shape)?;
        let (mut body, mut spots, mut bodies_at) = (Vec::new(), Vec::new(), Vec::new());
        if shape.batch > 1 {
            for _ in 0..shape.batch {
                let start = body.len();
                let message = BatchMessage {
                    flag: 0,
                    body: Bytes::copy_from_slice(shape.bodies.template()),
                    properties: Bytes::copy_from_slice(own.as_bytes()),
                };
                batch::push(&mut body, &message);
                spots.push(find_spots(&body, start, &shape, "\u{1}"));
                // Size, magic, sum, flag, and the body's length.
                bodies_at.push(start + 20);
            }
        } else {
            body.extend_from_slice(shape.bodies.template());
            bodies_at.push(0);
        }
        if body.len() > 4 << 20 {
            return Err(BenchError::new(format!(
                "a request of {} bytes is over the limit of 4 MiB: give a smaller --size or --batch",
                body.len()
            )));
        }
        let heads = (0..shape.queues).map(|queue| Head::new(&shape, queue, &own, body.len())).collect();
        let other_tag = shape.tag.iter().flat_map(|(tag, _)| other_tag(tag).into_bytes()).collect();
        Ok(Self { heads, body, spots, bodies_at, shape, other_tag })
    }

    /// Appends request `number`, whose first message has the number `number` times the batch's size.
    /// `wall` is the time in milliseconds since 1970.
    pub(crate) fn write(&self, number: u64, place: Place, wall: u64, out: &mut BytesMut) {
        let shape = &self.shape;
        let turn = number.wrapping_mul(STRIDE) % (shape.topics.count * u64::from(shape.queues));
        let head = &self.heads[(turn % u64::from(shape.queues)) as usize];
        let first = number * u64::from(shape.batch);
        let start = out.len();
        out.extend_from_slice(&head.bytes);
        out.extend_from_slice(&self.body);
        let (bytes, body) = out[start..].split_at_mut(head.bytes.len());
        decimal(place.opaque() as u64, &mut bytes[head.opaque..head.opaque + 10]);
        decimal(wall, &mut bytes[head.born..head.born + 13]);
        if let Some(at) = head.topic {
            decimal(turn / u64::from(shape.queues), &mut bytes[at..at + 6]);
        }
        self.patch(&head.spots, first, wall, bytes);
        for (spots, number) in self.spots.iter().zip(first..) {
            self.patch(spots, number, wall, body);
        }
        for (at, number) in self.bodies_at.iter().zip(first..) {
            shape.bodies.stamp(number, &mut body[*at..*at + shape.bodies.template().len()]);
        }
    }

    /// The unique key of a message.
    pub(crate) fn unique_key(&self, number: u64) -> String {
        format!("{:016X}{number:016X}", self.shape.bodies.run())
    }

    fn patch(&self, spots: &Spots, number: u64, wall: u64, bytes: &mut [u8]) {
        if let Some(at) = spots.unique {
            hexadecimal(number, &mut bytes[at..at + 16]);
        }
        if let Some(at) = spots.key {
            hexadecimal(number, &mut bytes[at..at + 16]);
        }
        if let (Some(at), Some((_, every))) = (spots.tag, &self.shape.tag)
            && !number.is_multiple_of(*every)
        {
            bytes[at..at + self.other_tag.len()].copy_from_slice(&self.other_tag);
        }
        if let Some(due) = self.shape.due {
            for at in spots.due.into_iter().flatten() {
                decimal(wall + due.delay(number), &mut bytes[at..at + 13]);
            }
        }
    }
}

impl Head {
    fn new(shape: &Shape, queue: u32, own: &str, body: usize) -> Self {
        let code = if shape.batch > 1 { request::SEND_BATCH_MESSAGE } else { request::SEND_MESSAGE_V2 };
        let mut command = Command::request(code);
        if shape.one_way {
            command = command.oneway();
        }
        command.opaque = FIRST_OPAQUE;
        let topic = shape.topics.name(0);
        let header = SendMessageRequestHeader {
            producer_group: PRODUCER,
            topic: &topic,
            default_topic: "TBW102",
            default_topic_queue_nums: shape.queues as i32,
            queue_id: queue as i32,
            sys_flag: shape.sys_flag,
            born_timestamp: BORN,
            flag: 0,
            properties: Some(own),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(shape.batch > 1),
            max_reconsume_times: None,
            broker_name: None,
            rpc: RpcFields::default(),
        };
        header.encode_v2(&mut command.fields);
        let mut bytes = BytesMut::new();
        frame::encode_head(&command, body, &mut bytes);
        // Quotes within values are escaped: these names stand nowhere else.
        let after = |marker: &str| find(&bytes, marker.as_bytes(), 0).map_or(0, |at| at + marker.len());
        let topic = shape.topics.digits().map(|digits| after("\"b\":\"") + digits);
        let (opaque, born) = (after("\"opaque\":"), after("\"g\":\""));
        let properties_at = after("\"i\":\"");
        let spots = find_spots(&bytes, properties_at, shape, "\\u0001");
        Self { opaque, born, topic, spots, bytes: bytes.to_vec() }
    }
}

/// The text of all properties, those that differ first.
fn properties_of(shape: &Shape) -> Result<String, BenchError> {
    let mut text = Vec::new();
    properties::push(&mut text, property::UNIQ_KEY, &format!("{:016X}{NUMBER:016X}", shape.bodies.run()));
    if shape.keys {
        properties::push(&mut text, property::KEYS, &format!("key-{NUMBER:016X}"));
    }
    if let Some((tag, _)) = &shape.tag {
        properties::push(&mut text, property::TAGS, tag);
    }
    match shape.due {
        Some(Due::Spread(_)) => properties::push(&mut text, property::TIMER_DELIVER_MS, &BORN.to_string()),
        Some(Due::Level(level, _)) => properties::push(&mut text, property::DELAY, &level.to_string()),
        None => {}
    }
    if shape.due.is_some() {
        properties::push(&mut text, DUE, &BORN.to_string());
    }
    properties::push(&mut text, property::WAIT, "true");
    for (name, value) in &shape.properties {
        properties::push(&mut text, name, value);
    }
    if text.len() > properties::MAX_LENGTH {
        let limit = properties::MAX_LENGTH;
        return Err(BenchError::new(format!("properties of {} bytes are over the limit of {limit}", text.len())));
    }
    String::from_utf8(text).map_err(|error| BenchError::system("properties", error))
}

/// Where, from a place on, values differ; `separator` is what stands between names and values there.
fn find_spots(bytes: &[u8], from: usize, shape: &Shape, separator: &str) -> Spots {
    let after = |text: String| find(bytes, text.as_bytes(), from).map(|at| at + text.len());
    Spots {
        unique: after(format!("{}{separator}{:016X}", property::UNIQ_KEY, shape.bodies.run())),
        key: shape.keys.then(|| after(format!("{}{separator}key-", property::KEYS))).flatten(),
        tag: shape.tag.as_ref().and_then(|_| after(format!("{}{separator}", property::TAGS))),
        due: [property::TIMER_DELIVER_MS, DUE].map(|name| shape.due.and_then(|_| after(format!("{name}{separator}")))),
    }
}

fn find(bytes: &[u8], text: &[u8], from: usize) -> Option<usize> {
    bytes[from..].windows(text.len()).position(|window| window == text).map(|at| from + at)
}

/// A tag of the same length that is not this one.
fn other_tag(tag: &str) -> String {
    let other = "o".repeat(tag.len());
    if other == tag { "p".repeat(tag.len()) } else { other }
}

/// Writes a number in as many digits as there is room for.
fn decimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn hexadecimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789ABCDEF"[(number & 15) as usize];
        number >>= 4;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::Found;

    fn shape() -> Shape {
        Shape {
            topics: Topics::new("T", 3).unwrap(),
            queues: 2,
            bodies: Bodies::new(9, 40),
            batch: 1,
            tag: Some(("hot".into(), 2)),
            keys: true,
            due: None,
            properties: vec![("a\"b".into(), "UNIQ_KEY \"i\":\"".into())],
            sys_flag: 0,
            one_way: false,
        }
    }

    fn read(requests: &Requests, number: u64, slot: u32) -> (Command, String) {
        let mut out = BytesMut::new();
        requests.write(number, Place { link: 0, slot }, 1_800_000_000_123, &mut out);
        let mut command = Command::default();
        assert_eq!(frame::decode(&mut out, &mut command, frame::MAX_FRAME), Ok(true));
        assert!(out.is_empty());
        let properties = command.fields.get("i").unwrap().to_owned();
        (command, properties)
    }

    #[test]
    fn a_request_is_what_a_client_would_send() {
        let requests = Requests::new(shape()).unwrap();
        let mut seen = std::collections::HashSet::new();
        for number in 0..12 {
            let (command, properties) = read(&requests, number, 7);
            assert_eq!((command.code, command.opaque), (request::SEND_MESSAGE_V2, FIRST_OPAQUE + 7));
            let header = SendMessageRequestHeader::decode_v2(&command.fields).unwrap();
            assert_eq!(header.born_timestamp, 1_800_000_000_123);
            let get = |name| properties::get(properties.as_bytes(), name).unwrap();
            assert_eq!(get(property::TAGS), if number % 2 == 0 { "hot" } else { "ooo" });
            assert_eq!(get(property::UNIQ_KEY), format!("{:016X}{number:016X}", 9));
            assert_eq!(get(property::KEYS), format!("key-{number:016X}"));
            assert_eq!(get("a\"b"), "UNIQ_KEY \"i\":\"");
            assert_eq!(Bodies::new(9, 40).find(&command.body), Found::Ours(number));
            seen.insert((header.topic.to_owned(), header.queue_id));
        }
        assert_eq!(seen.len(), 6, "each queue of each topic");
    }

    #[test]
    fn a_message_says_when_it_is_due() {
        let requests = Requests::new(Shape { due: Some(Due::Spread(1000)), ..shape() }).unwrap();
        let mut dues = std::collections::HashSet::new();
        for number in 0..100 {
            let (_, properties) = read(&requests, number, 0);
            let get = |name| properties::get(properties.as_bytes(), name).unwrap().parse::<u64>().unwrap();
            assert_eq!(get(property::TIMER_DELIVER_MS), get(DUE));
            assert!((1..=1000).contains(&(get(DUE) - 1_800_000_000_123)));
            dues.insert(get(DUE));
        }
        assert_eq!(dues.len(), 100);
        let requests = Requests::new(Shape { due: Some(Due::Level(3, 10_000)), ..shape() }).unwrap();
        let (_, properties) = read(&requests, 1, 0);
        let get = |name| properties::get(properties.as_bytes(), name);
        assert_eq!((get(DUE), get(property::DELAY)), (Some("1800000010123"), Some("3")));
        assert_eq!(get(property::TIMER_DELIVER_MS), None);
    }

    #[test]
    fn messages_of_a_batch_differ_as_others_do() {
        let requests = Requests::new(Shape { batch: 3, ..shape() }).unwrap();
        let (command, _) = read(&requests, 5, 0);
        assert_eq!(command.code, request::SEND_BATCH_MESSAGE);
        let messages: Vec<_> = batch::split(command.body).map(Result::unwrap).collect();
        assert_eq!(messages.len(), 3);
        for (message, number) in messages.iter().zip(15..) {
            assert_eq!(Bodies::new(9, 40).find(&message.body), Found::Ours(number));
            let get = |name| properties::get(&message.properties, name).unwrap();
            assert_eq!(get(property::TAGS), if number % 2 == 0 { "hot" } else { "ooo" });
            assert_eq!(get(property::UNIQ_KEY), format!("{:016X}{number:016X}", 9));
        }
    }
}
