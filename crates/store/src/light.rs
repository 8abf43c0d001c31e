//! Light queues of messages: each gets a unit in every queue that it names, beside that of its topic (upstream
//! `LmqDispatch`, `MultiDispatch`). How they stand in a record is told in [`apogee_message::light`].

use std::collections::HashMap;
use std::fmt::Write;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use apogee_message::light;
use apogee_message::record::{Draft, Record};

use crate::deleted::Deleted;
use crate::dispatch::has_queue;
use crate::queue::{Kind, QueueTable, SharedQueue};

/// Light queues with a record's offset in each.
pub(crate) type Places = Box<[(SharedQueue, i64)]>;

/// The light queues of a message that is to be written.
pub(crate) struct Light {
    /// By the names in their order, numbers of `queues`; `None` for one that names no light queue.
    names: Vec<Option<usize>>,
    /// Each once.
    queues: Vec<SharedQueue>,
    /// The message's offsets in `queues`, once they are assigned.
    offsets: Vec<i64>,
}

impl Light {
    /// `None` for a message that names none. An error when a queue's files cannot be read.
    pub fn of(draft: &Draft, table: &QueueTable) -> io::Result<Option<Box<Self>>> {
        if !table.has_light() || !has_queue(draft.sys_flag()) {
            return Ok(None);
        }
        let Some(names) = light::dispatch(draft.topic(), draft.properties()) else { return Ok(None) };
        let (mut numbers, mut known, mut queues) = (Vec::new(), HashMap::new(), Vec::new());
        for name in light::split(names) {
            if !light::is_name(name) {
                numbers.push(None);
                continue;
            }
            let number = match known.get(name) {
                Some(number) => *number,
                None => {
                    queues.push(table.get_or_create(&Arc::from(name), light::QUEUE, Kind::Simple)?);
                    known.insert(name, queues.len() - 1);
                    queues.len() - 1
                }
            };
            numbers.push(Some(number));
        }
        Ok((!queues.is_empty()).then(|| Box::new(Self { names: numbers, queues, offsets: Vec::new() })))
    }

    /// Assigns offsets, which must not happen beside another one who does, and puts them into the record; once. A record
    /// whose properties have no room for them is in its own queue only.
    pub fn assign(&mut self, draft: &mut Draft) {
        if !self.offsets.is_empty() || self.queues.is_empty() {
            return;
        }
        self.offsets = self.queues.iter().map(|queue| queue.next.fetch_add(1, Ordering::Relaxed)).collect();
        let mut text = String::new();
        for (at, number) in self.names.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            // Writing to a text cannot fail.
            let _ = match number {
                Some(number) => write!(text, "{comma}{}", self.offsets[*number]),
                None => write!(text, "{comma}"),
            };
        }
        if let Err(error) = draft.put_light_offsets(&text) {
            tracing::error!(topic = %draft.topic(), queues = self.queues.len(), %error, "a message is in none of its light queues: name fewer, or give it fewer properties");
            self.take_back();
            self.queues.clear();
        }
    }

    /// Gives the offsets to the next message: this one is not written, and none after it.
    pub fn take_back(&mut self) {
        for queue in self.queues.iter().take(self.offsets.len()) {
            queue.next.fetch_sub(1, Ordering::Relaxed);
        }
        self.offsets.clear();
    }

    /// Where the message is once it is written.
    pub fn places(self) -> Places {
        self.queues.into_iter().zip(self.offsets).collect()
    }
}

/// The light queues that a record of the log is in. An error when a queue's files cannot be read.
pub(crate) fn places(record: &Record<'_>, table: &QueueTable, deleted: &Deleted) -> io::Result<Option<Places>> {
    if !table.has_light() || !has_queue(record.sys_flag) {
        return Ok(None);
    }
    let mut places = Vec::new();
    for (name, offset) in light::places(record.topic, record.properties) {
        if !deleted.covers(name, record.physical_offset) {
            places.push((table.get_or_create(&Arc::from(name), light::QUEUE, Kind::Simple)?, offset));
        }
    }
    Ok((!places.is_empty()).then(|| places.into()))
}
