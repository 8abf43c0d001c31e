//! A master takes over what a slave delivered in its place: it notes so in its log, as a delivery of its own would say
//! it. So a start after a kill, other slaves, and whoever is master next know it, too.

use std::sync::Arc;

use apogee_message::names;
use apogee_message::record::{Draft, NewMessage, Record};
use bytes::{Bytes, BytesMut};

use super::ledger::Delivered;
use crate::broker::Broker;
use crate::settled::{is_kept, settling};
use crate::topics::perm;
use crate::transactions::{self, HalfRecord};

/// Topic of the notes. They are of interest to nobody but brokers of this group.
const TOPIC: &str = "rmq_sys_delivered_elsewhere";

/// What is noted of a message.
struct Note {
    /// By which place in the log it is known to be settled.
    place: i64,
    /// First offset of a half message whose end this is.
    half: Option<i64>,
}

/// Notes what a slave delivered; `by` is where it is. Those that this log does not have are no concern of its. Returns
/// the place in the log before which the notes are. On threads that may wait.
pub(crate) fn take_over(broker: &Broker, by: &str, delivered: &[Delivered]) -> Result<i64, String> {
    let Broker { store, schedule, timer, .. } = broker;
    let mut notes = Vec::with_capacity(delivered.len());
    let (mut delayed, mut timed) = (Vec::new(), Vec::new());
    for one in broker.acting.not_noted(delivered) {
        let Some(bytes) = store.record_at(one.offset) else { continue };
        let record = Record::read(&bytes).ok().filter(|record| record.store_timestamp == one.stored_ms);
        let Some(record) = record else { continue };
        match record.topic {
            names::SCHEDULE_TOPIC => delayed.push((record.queue_id + 1, record.queue_offset)),
            names::WHEEL_TOPIC => timed.push(one.offset),
            names::TRANS_HALF_TOPIC => {
                let Some(half) = HalfRecord::read(&bytes) else { continue };
                let first = half.first();
                // One that its producer has ended here meanwhile is ended.
                if broker.transactions.begin(first, store.log_max_offset()).is_ok() {
                    notes.push(Note { place: transactions::settled_by(store, first, &half), half: Some(first) });
                }
                continue;
            }
            _ => continue,
        }
        notes.push(Note { place: one.offset, half: None });
    }
    schedule.settle_elsewhere(&delayed);
    let timed = timer.settle_elsewhere(store, &timed);
    let timed = timed.map_err(|error| format!("the timer's files cannot be used: {error}"));
    let written = timed.and_then(|()| write(broker, by, &notes));
    for first in notes.iter().filter_map(|note| note.half) {
        broker.end_transaction(first, written.is_ok());
    }
    written?;
    broker.acting.noted(delivered);
    let end = store.log_max_offset();
    if !is_kept(store, end) {
        return Err("the notes are not on disk, or not on enough replicas, yet".into());
    }
    broker.schedule.bell.ring();
    broker.timer.bell.ring();
    tracing::info!(slave = by, messages = notes.len(), "a slave has delivered messages while this master was away");
    Ok(end)
}

fn write(broker: &Broker, by: &str, notes: &[Note]) -> Result<(), String> {
    if notes.is_empty() {
        return Ok(());
    }
    let topic: Arc<str> = Arc::clone(&broker.ensure_topic(TOPIC, 1, perm::READ).name);
    let (mut arena, body, now) = (BytesMut::new(), Bytes::copy_from_slice(by.as_bytes()), broker.now());
    let draft = |note: &Note| {
        let message = NewMessage {
            prepared_transaction_offset: settling(note.place),
            ..NewMessage::own(Arc::clone(&topic), body.clone(), broker.store_host, now)
        };
        Draft::new(&message, &mut arena).map_err(|error| error.to_string())
    };
    let drafts = notes.iter().map(draft).collect::<Result<Vec<_>, _>>()?;
    broker.store.append_now(drafts).map(drop).map_err(|error| error.to_string())
}
