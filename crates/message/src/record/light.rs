//! A record that is also in light queues.

use bytes::{BufMut, BytesMut};

use super::{Draft, DraftError, Hasher, SUM_LENGTH, inner};
use crate::names::property::INNER_MULTI_QUEUE_OFFSET;
use crate::properties;

impl Draft {
    /// Puts its offsets in its light queues among the properties, as [`crate::light`] has them, in place of any that the
    /// sender made up. Before [`Draft::assign`]. When there is no room for them, nothing is changed.
    ///
    /// # Errors
    ///
    /// The properties would be too long.
    pub fn put_light_offsets(&mut self, offsets: &str) -> Result<(), DraftError> {
        let sum = if self.sum.is_some() { SUM_LENGTH } else { 0 };
        let text = self.properties_at..self.tail.len() - sum;
        let mut tail = BytesMut::with_capacity(self.tail.len() + INNER_MULTI_QUEUE_OFFSET.len() + offsets.len() + 2);
        tail.put_slice(&self.tail[..self.properties_at]);
        properties::copy_without(&mut tail, &self.tail[text], &[INNER_MULTI_QUEUE_OFFSET]);
        properties::push(&mut tail, INNER_MULTI_QUEUE_OFFSET, offsets);
        let length = tail.len() - self.properties_at + sum;
        let reserved = if self.inner.is_some() { inner::MOST_BASE } else { 0 };
        if length + reserved > properties::MAX_LENGTH {
            return Err(DraftError::PropertiesTooLong(length));
        }
        tail[self.properties_at - 2..self.properties_at].copy_from_slice(&(length as u16).to_be_bytes());
        if let Some(inner) = &mut self.inner {
            inner.base_at = tail.len();
        }
        if let Some(rest) = &mut self.sum {
            let mut anew = Hasher::new();
            anew.update(&self.body);
            if self.inner.is_none() {
                anew.update(&tail);
            }
            *rest = anew;
            tail.put_bytes(0, SUM_LENGTH);
        }
        self.tail = tail;
        self.note_size();
        Ok(())
    }
}
