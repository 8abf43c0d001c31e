//! Messages for the tests.

use apogee_message::record::{Draft, NewMessage};
use bytes::{Bytes, BytesMut};

/// A message as a producer would have sent it; `properties` as they are stored.
pub fn draft(topic: &str, queue_id: i32, body: impl Into<Bytes>, properties: impl Into<Bytes>) -> Draft {
    let message =
        NewMessage { queue_id, properties: properties.into(), ..NewMessage::own(topic, body, ([127, 0, 0, 1], 1), 1) };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}
