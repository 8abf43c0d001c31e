//! What names one delivery of a message to the broker that made it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use apogee_message::names::{property, retry_topic};
use apogee_wire::headers::PopMessageResponseHeader;

use crate::Received;

/// One delivery of a message (upstream `ExtraInfoUtil`). Its text is
/// `startOffset popTime invisibleTime reviveQueue retryFlag broker queue offset`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The first offset of the queue that the same pop brought.
    pub start: i64,
    /// When it was delivered, in milliseconds since 1970, by the broker's clock.
    pub pop_time: i64,
    /// For how long nobody else gets it, in milliseconds from then on.
    pub invisible_time: i64,
    /// Where the broker keeps that it was delivered.
    pub revive_queue: i32,
    /// 0: of the topic itself; 1 and 2: it comes again, by the older and the newer name of the retry topic.
    pub retry: u8,
    pub broker: Arc<str>,
    pub queue: i32,
    pub offset: i64,
}

impl Receipt {
    fn read(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        Some(Self {
            start: parts.next()?.parse().ok()?,
            pop_time: parts.next()?.parse().ok()?,
            invisible_time: parts.next()?.parse().ok()?,
            revive_queue: parts.next()?.parse().ok()?,
            retry: parts.next()?.parse().ok()?,
            broker: parts.next()?.into(),
            queue: parts.next()?.parse().ok()?,
            offset: parts.next()?.parse().ok()?,
        })
    }

    /// The topic that the delivered record is stored in.
    pub fn topic(&self, group: &str, topic: &str) -> String {
        match self.retry {
            0 => topic.to_owned(),
            1 => format!("{}_{topic}", retry_topic(group)),
            _ => format!("{}+{topic}", retry_topic(group)),
        }
    }
}

impl fmt::Display for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { start, pop_time, invisible_time, revive_queue, retry, broker, queue, offset } = self;
        write!(f, "{start} {pop_time} {invisible_time} {revive_queue} {retry} {broker} {queue} {offset}")
    }
}

/// What one pop says of the messages that it brought.
pub(super) struct Popped<'p> {
    header: &'p PopMessageResponseHeader<'p>,
    /// By retry flag and queue.
    starts: HashMap<(u8, i32), i64>,
    counts: HashMap<&'p str, i32>,
}

impl<'p> Popped<'p> {
    pub fn new(header: &'p PopMessageResponseHeader<'p>) -> Self {
        // `flag queue offset`, separated by semicolons.
        let entries = |info: Option<&'p str>| info.unwrap_or_default().split(';');
        let start = |entry: &str| {
            let mut parts = entry.split(' ');
            let of = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
            Some((of, parts.next()?.parse().ok()?))
        };
        let count = |entry: &'p str| {
            let (of, count) = entry.rsplit_once(' ')?;
            Some((of, count.parse().ok()?))
        };
        Self {
            header,
            starts: entries(header.start_offset_info).filter_map(start).collect(),
            counts: entries(header.order_count_info).filter_map(count).collect(),
        }
    }

    /// The receipt of a message. `None` when the broker says too little.
    pub fn receipt(&self, message: &Received) -> Option<Receipt> {
        // One that comes again was written anew for this delivery, and carries its receipt.
        if let Some(receipt) = message.property(property::POP_CK) {
            return Receipt::read(receipt);
        }
        let start = match self.header.start_offset_info {
            None => message.offset,
            Some(_) => *self.starts.get(&(0, message.queue.id))?,
        };
        Some(Receipt {
            start,
            pop_time: self.header.pop_time,
            invisible_time: self.header.invisible_time,
            revive_queue: self.header.revive_qid,
            retry: 0,
            broker: Arc::clone(&message.queue.broker),
            queue: message.queue.id,
            offset: message.offset,
        })
    }

    /// How often a message was delivered before, where the broker keeps the order.
    pub fn times(&self, receipt: &Receipt) -> Option<i32> {
        let Receipt { retry, queue, offset, .. } = receipt;
        let of_message = self.counts.get(&*format!("{retry} qo{queue}%{offset}"));
        of_message.or_else(|| self.counts.get(&*format!("{retry} {queue}"))).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_is_written_as_it_is_read() {
        let text = "4 1795230126910 20000 3 1 broker-w 1 5";
        let receipt = Receipt::read(text).expect("a receipt");
        assert_eq!(receipt.to_string(), text);
        assert_eq!((receipt.start, receipt.offset, &*receipt.broker), (4, 5, "broker-w"));
        assert_eq!(receipt.topic("G", "T"), "%RETRY%G_T");
        assert_eq!(Receipt { retry: 2, ..receipt.clone() }.topic("G", "T"), "%RETRY%G+T");
        assert_eq!(Receipt { retry: 0, ..receipt }.topic("G", "T"), "T");
        for broken in ["", "1 2 3", "4 x 20000 3 1 broker-w 1 5", "4 1 20000 3 1 broker-w 1"] {
            assert_eq!(Receipt::read(broken), None, "{broken}");
        }
    }

    #[test]
    fn counts_are_of_a_queue_or_of_one_message() {
        let header = PopMessageResponseHeader {
            pop_time: 1,
            invisible_time: 2,
            revive_qid: 999,
            rest_num: 0,
            start_offset_info: Some("0 1 7;1 0 3;nonsense"),
            msg_offset_info: None,
            order_count_info: Some("0 1 2;0 qo1%8 5"),
        };
        let popped = Popped::new(&header);
        assert_eq!((popped.starts.len(), popped.starts.get(&(0, 1))), (2, Some(&7)));
        let receipt = Receipt::read("7 1 2 999 0 b 1 7").expect("a receipt");
        assert_eq!(popped.times(&receipt), Some(2));
        assert_eq!(popped.times(&Receipt { offset: 8, ..receipt.clone() }), Some(5));
        assert_eq!(popped.times(&Receipt { queue: 2, ..receipt }), None);
    }
}
