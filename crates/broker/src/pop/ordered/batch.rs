//! Messages of one queue that one pop in order brought.

use std::collections::BTreeMap;

use apogee_wire::bodies::OrderInfo;

/// Messages of a batch: upstream notes which are acknowledged in a number of so many bits.
pub(super) const MOST: usize = 64;

/// See the module. Not empty; its messages are in order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Batch {
    pub pop_time: i64,
    pub invisible: i64,
    pub attempt: Option<String>,
    pub messages: Vec<Message>,
    /// How often messages from the floor on were given out before this batch, where they were.
    pub times: BTreeMap<i64, i32>,
    pub changed_at: i64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Message {
    pub offset: i64,
    /// The offset behind it, as far as that is known.
    pub end: i64,
    /// When it may be given out again, in milliseconds since 1970.
    pub visible_at: i64,
    /// For how long it was to be invisible, when that was said last.
    pub invisible: i64,
    pub is_acked: bool,
    /// Coming again does not count as a failed delivery.
    pub suspend: bool,
}

impl Batch {
    /// The first message that is not acknowledged; what is behind the last one if all are.
    pub fn floor(&self) -> i64 {
        let open = self.open().next().map(|message| message.offset);
        open.or_else(|| self.messages.last().map(|last| last.end)).unwrap_or(0)
    }

    /// Messages that are not acknowledged.
    pub fn open(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|message| !message.is_acked)
    }

    /// When all that is not acknowledged may be given out again; `None` if nothing is left.
    pub fn due(&self) -> Option<i64> {
        self.due_from(0)
    }

    /// The same of what is behind an offset.
    pub fn due_from(&self, offset: i64) -> Option<i64> {
        self.open().filter(|message| message.offset >= offset).map(|message| message.visible_at).max()
    }

    /// Whether there is nothing left to know of it.
    pub fn is_over(&self) -> bool {
        self.open().next().is_none() && self.times.range(self.floor()..).next().is_none()
    }

    /// Messages before an offset are done with.
    pub fn pass(&mut self, to: i64) {
        for message in self.messages.iter_mut().filter(|message| message.offset < to) {
            message.is_acked = true;
        }
        self.times = self.times.split_off(&self.floor());
    }

    /// The clock was put back: nothing stays invisible for longer than it was to be.
    pub fn put_back(&mut self, now_ms: i64) {
        for message in &mut self.messages {
            message.visible_at = message.visible_at.min(now_ms.saturating_add(message.invisible));
        }
    }

    /// How often messages were given out before a batch that follows this one. `is_again`: by the same attempt.
    pub fn times_after(&self, is_again: bool) -> BTreeMap<i64, i32> {
        let mut times = self.times.clone();
        for Message { offset, suspend, .. } in self.open() {
            if !is_again && !suspend {
                *times.entry(*offset).or_default() += 1;
            }
        }
        times
    }

    /// Whether an attempt has messages of it.
    pub fn is_of(&self, attempt: Option<&str>) -> bool {
        attempt.is_some() && self.attempt.as_deref() == attempt && self.due().is_some()
    }

    /// Whether a group that is at an offset still has it.
    pub fn holds(&self, committed: i64) -> bool {
        let last = self.messages.last().map_or(0, |last| last.offset);
        (self.floor()..=last.max(self.floor())).contains(&committed)
    }

    /// As it was kept; `None` when it cannot be.
    pub fn read(info: OrderInfo, now_ms: i64) -> Option<Self> {
        let invisible = info.invisible_time.unwrap_or(0).max(0);
        let list = info.offset_list.unwrap_or_default();
        let first = *list.first()?;
        let later = info.offset_next_visible_time.unwrap_or_default();
        let has_bit = |bits: i64, number: usize| number < MOST && bits & 1 << number != 0;
        let mut messages = Vec::with_capacity(list.len());
        for (number, offset) in list.iter().enumerate() {
            let offset = if number == 0 { first } else { first.checked_add(*offset)? };
            let visible_at = later.get(&offset).copied().unwrap_or(info.pop_time.saturating_add(invisible));
            messages.push(Message {
                offset,
                end: offset.checked_add(1)?,
                visible_at,
                // The time of the pop may be ahead of a clock that was put back.
                invisible: visible_at.saturating_sub(info.pop_time.min(info.last_consume_timestamp)).max(invisible),
                is_acked: has_bit(info.commit_offset_bit, number),
                suspend: has_bit(info.suspended.unwrap_or(0), number),
            });
        }
        let is_sound = first >= 0
            && (0..i64::MAX / 2).contains(&info.pop_time)
            && messages.len() <= MOST
            && messages.is_sorted_by(|one, next| one.offset < next.offset);
        let mut batch = Self {
            pop_time: info.pop_time,
            invisible,
            attempt: info.attempt_id,
            messages,
            times: info.offset_consumed_count.unwrap_or_default(),
            changed_at: info.last_consume_timestamp,
        };
        batch.put_back(now_ms);
        is_sound.then_some(batch)
    }

    /// As it is kept.
    pub fn write(&self) -> OrderInfo {
        let first = self.messages.first().map_or(0, |message| message.offset);
        let numbered = || self.messages.iter().enumerate();
        let usual = self.pop_time.saturating_add(self.invisible);
        let later = self.messages.iter().filter(|message| message.visible_at != usual);
        let later: BTreeMap<i64, i64> = later.map(|message| (message.offset, message.visible_at)).collect();
        let bits = |is_set: fn(&Message) -> bool| -> i64 {
            numbered().filter(|(_, message)| is_set(message)).fold(0, |bits, (number, _)| bits | 1 << number)
        };
        OrderInfo {
            attempt_id: self.attempt.clone(),
            commit_offset_bit: bits(|message| message.is_acked),
            suspended: Some(bits(|message| message.suspend)).filter(|bits| *bits != 0),
            invisible_time: Some(self.invisible),
            last_consume_timestamp: self.changed_at,
            offset_list: Some(
                numbered().map(|(number, message)| message.offset - first * i64::from(number > 0)).collect(),
            ),
            offset_consumed_count: (!self.times.is_empty()).then(|| self.times.clone()),
            offset_next_visible_time: (!later.is_empty()).then_some(later),
            pop_time: self.pop_time,
        }
    }
}

/// The messages of a new batch. What was acknowledged of the one before stays so where it is among them.
pub(super) fn messages(offsets: &[i64], before: Option<&Batch>, invisible: i64, now_ms: i64) -> Vec<Message> {
    let visible_at = now_ms.saturating_add(invisible);
    let message = |offset: &i64| Message {
        offset: *offset,
        end: offset + 1,
        visible_at,
        invisible,
        is_acked: false,
        suspend: false,
    };
    let mut messages: Vec<Message> = offsets.iter().map(message).collect();
    let range = offsets.first().copied().unwrap_or(0)..offsets.last().copied().unwrap_or(0);
    let acked = before.into_iter().flat_map(|batch| &batch.messages);
    let acked = acked.filter(|message| message.is_acked && range.contains(&message.offset));
    messages.extend(acked.take(MOST.saturating_sub(offsets.len())).copied());
    messages.sort_by_key(|message| message.offset);
    messages
}
