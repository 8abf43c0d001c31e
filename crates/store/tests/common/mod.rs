//! Messages for the tests.

use apogee_message::record::{Draft, NewMessage};
use bytes::{Bytes, BytesMut};

/// A message as a producer would have sent it; `properties` as they are stored.
pub fn draft(topic: &str, queue_id: i32, body: impl Into<Bytes>, properties: impl Into<Bytes>) -> Draft {
    let message = NewMessage {
        topic: topic.into(),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1,
        born_host: ([127, 0, 0, 1], 1).into(),
        store_host: ([127, 0, 0, 1], 2).into(),
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: body.into(),
        properties: properties.into(),
    };
    Draft::new(&message, &mut BytesMut::new()).unwrap()
}
