//! What the pieces work on: a message of 1 KB as the Java client sends it.

use std::net::SocketAddr;
use std::sync::Arc;

use apogee_message::record::NewMessage;
use apogee_wire::Command;
use bytes::Bytes;

/// The topic of all messages.
pub const TOPIC: &str = "orders-of-the-day";
/// Operations within one measurement of what is done for each message.
pub const TIMES: u64 = 1_000;

/// Properties as sent: a unique key, a tag, a key and two of the user's.
pub fn properties(number: u64) -> String {
    // In each of the four queues.
    let tag = if (number / 4).is_multiple_of(100) { "rare" } else { "common" };
    let (region, price) = (number % 7, number % 1_000);
    format!(
        "UNIQ_KEY\u{1}7F00000100002A139F1C{number:012X}\u{2}WAIT\u{1}true\u{2}TAGS\u{1}{tag}\u{2}KEYS\u{1}order-{number}\
         \u{2}region\u{1}r{region}\u{2}price\u{1}{price}\u{2}"
    )
}

/// The body of all messages.
pub fn body() -> Bytes {
    Bytes::from(vec![b'x'; 1024])
}

/// A message that a broker has taken.
pub fn message(number: u64, topic: &Arc<str>, body: &Bytes) -> NewMessage {
    NewMessage {
        topic: Arc::clone(topic),
        queue_id: (number % 4) as i32,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_763_000_000_000,
        born_host: SocketAddr::from(([127, 0, 0, 1], 40_000)),
        store_host: SocketAddr::from(([127, 0, 0, 1], 10_911)),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.clone(),
        properties: Bytes::from(properties(number)),
    }
}

/// The request that is answered.
pub fn answered() -> Command {
    Command { opaque: 4_711, ..Command::default() }
}
