//! Op messages: they note which half messages are decided, many in one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use apogee_message::names::{self, property};
use apogee_message::properties;
use apogee_message::record::{Draft, NewMessage};
use apogee_store::Store;
use bytes::{Bytes, BytesMut};

use super::{GROUP, Rules, Transactions};
use crate::offsets::OffsetTable;
use crate::settled::is_kept;

/// Tag of an op message that notes half messages as done.
const TAG: &str = "d";
/// Bytes of a half offset in an op message, with its comma: 10^9 messages in.
const USUAL_DIGITS: usize = 10;

/// How many half offsets make an op message full.
pub(super) fn fitting(op_bytes: usize) -> usize {
    (op_bytes / USUAL_DIGITS).max(1)
}

/// The half offsets of an op message.
pub(super) fn parse(body: &[u8]) -> impl Iterator<Item = i64> {
    body.split(|byte| *byte == b',').filter_map(|text| std::str::from_utf8(text).ok()?.trim().parse().ok())
}

/// Bodies of at most so many bytes that note these half offsets, each with the highest of its offsets.
fn bodies(offsets: &[i64], most_bytes: usize) -> Vec<(Bytes, i64)> {
    let mut bodies = Vec::new();
    let (mut body, mut highest) = (String::new(), i64::MIN);
    for offset in offsets {
        let text = format!("{offset},");
        if !body.is_empty() && body.len() + text.len() > most_bytes {
            bodies.push((std::mem::take(&mut body).into(), highest));
            highest = i64::MIN;
        }
        body.push_str(&text);
        highest = highest.max(*offset);
    }
    if !body.is_empty() {
        bodies.push((body.into(), highest));
    }
    bodies
}

impl Transactions {
    /// Notes all that is decided, and the progress that comes of it. What cannot be written is tried
    /// again at the next step.
    pub fn write_ops(&self, store: &Store, offsets: &OffsetTable, rules: &Rules, now_ms: i64) {
        let (done, settled_from) = self.lock().take_done(|| store.log_max_offset());
        if let Err(error) = self.append_ops(store, &done, rules, now_ms) {
            self.lock().put_back();
            tracing::warn!(%error, "decided transactions cannot be noted now; trying again: the error says why messages are refused");
            return;
        }
        // Progress is saved at once: what it rests on shall not be lost, to a power cut or to another master.
        if is_kept(store, store.log_max_offset()) {
            self.settled_from.store(settled_from, Ordering::Release);
            self.commit_progress(offsets);
        }
    }

    fn append_ops(&self, store: &Store, done: &[i64], rules: &Rules, now_ms: i64) -> Result<(), String> {
        let topic: Arc<str> = names::TRANS_OP_HALF_TOPIC.into();
        let (mut text, mut arena) = (BytesMut::new(), BytesMut::new());
        properties::push(&mut text, property::TAGS, TAG);
        let text = text.freeze();
        let bodies = bodies(done, rules.op_bytes);
        let draft = |body: &Bytes| {
            let message = NewMessage {
                properties: text.clone(),
                ..NewMessage::own(Arc::clone(&topic), body.clone(), rules.host, now_ms)
            };
            Draft::new(&message, &mut arena).map_err(|error| error.to_string())
        };
        let drafts = bodies.iter().map(|(body, _)| body).map(draft).collect::<Result<Vec<_>, _>>()?;
        let appended = store.append_now(drafts).map_err(|error| error.to_string())?;
        let mut table = self.lock();
        for (op, (_, highest)) in appended.iter().zip(&bodies) {
            table.noted(op.queue_offset, *highest);
        }
        table.written();
        Ok(())
    }

    /// Tells the progress of both queues, as upstream's broker would go on from it.
    pub(super) fn commit_progress(&self, offsets: &OffsetTable) {
        let (half, op) = self.lock().progress();
        offsets.commit_together(GROUP, &[(names::TRANS_HALF_TOPIC, 0, half), (names::TRANS_OP_HALF_TOPIC, 0, op)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_noted_in_as_few_messages_as_fit() {
        assert_eq!(bodies(&[5, 12, 7], 4096), [(Bytes::from_static(b"5,12,7,"), 12)]);
        assert_eq!(bodies(&[5, 12, 7], 5), [(Bytes::from_static(b"5,12,"), 12), (Bytes::from_static(b"7,"), 7)]);
        assert_eq!(bodies(&[123_456], 1), [(Bytes::from_static(b"123456,"), 123_456)]);
        assert_eq!(bodies(&[], 4096), []);
    }

    #[test]
    fn what_is_noted_is_read_and_nonsense_passed_over() {
        assert_eq!(parse(b"5,12,7,").collect::<Vec<_>>(), [5, 12, 7]);
        assert_eq!(parse(b"5").collect::<Vec<_>>(), [5]);
        assert_eq!(parse(b",x,\xff,-,9 ,99999999999999999999,").collect::<Vec<_>>(), [9]);
    }
}
