//! Which part of a queue is read.

use std::time::SystemTime;

use apogee_client::{From, PullConsumer, Queue, Received};

use crate::error::CliError;

/// Messages asked for at a time; brokers give no more with their usual settings.
const BATCH: u32 = 32;

/// Times between which messages were stored.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// From then on; from the first when there is none.
    pub begin: Option<SystemTime>,
    /// Before then; to the last when there is none.
    pub end: Option<SystemTime>,
}

/// A part of a queue.
#[derive(Debug)]
pub struct Range {
    /// The queue.
    pub queue: Queue,
    /// The first offset.
    pub first: i64,
    /// The one after the last.
    pub end: i64,
}

impl Range {
    /// The part of a queue that was stored between two times.
    pub async fn of(consumer: &PullConsumer, queue: Queue, times: Times) -> Result<Self, CliError> {
        let first = consumer.offset(&queue, times.begin.map_or(From::First, From::Time)).await?;
        let end = consumer.offset(&queue, times.end.map_or(From::Last, From::Time)).await?;
        Ok(Self { queue, first, end })
    }

    /// Reads it, a few messages at a time; returns how many there were. What cannot be read is given as why.
    pub async fn read(
        &self,
        consumer: &PullConsumer,
        mut each: impl FnMut(Vec<Result<Received, String>>) -> Result<(), CliError>,
    ) -> Result<u64, CliError> {
        let (mut offset, mut count) = (self.first, 0);
        while offset < self.end {
            let most = u32::try_from(self.end - offset).map_or(BATCH, |left| left.min(BATCH));
            let pull = consumer.pull(&self.queue, offset, most).await?;
            let messages = pull.messages.into_iter().map(|message| message.map_err(|error| error.to_string()));
            // A broker may give more than was asked for.
            let wanted =
                |message: &Result<Received, String>| message.as_ref().map_or(true, |one| one.offset < self.end);
            let messages: Vec<_> = messages.filter(wanted).collect();
            count += messages.len() as u64;
            if !messages.is_empty() {
                each(messages)?;
            }
            if pull.next_offset <= offset {
                break;
            }
            offset = pull.next_offset;
        }
        Ok(count)
    }
}

/// A queue as upstream writes it.
pub fn written(queue: &Queue) -> String {
    format!("MessageQueue [topic={}, brokerName={}, queueId={}]", queue.topic, queue.broker, queue.id)
}
