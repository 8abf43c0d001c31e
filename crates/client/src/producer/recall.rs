//! Messages that are not to be delivered at their time after all.

use apogee_message::handle::{Handle, decode};
use apogee_wire::Command;
use apogee_wire::codes::request;
use apogee_wire::headers::{RecallMessageRequestHeader, RecallMessageResponseHeader, RpcFields};

use super::Producer;
use crate::{Error, Queue};

impl Producer {
    /// Takes back a message with a time of its own, by [`crate::Sent::recall_handle`], before that time; returns the
    /// message's id (upstream `recallMessage`).
    ///
    /// ```no_run
    /// # async fn example(producer: apogee_client::Producer) -> Result<(), apogee_client::Error> {
    /// use std::time::Duration;
    /// use apogee_client::Message;
    ///
    /// let reminder = Message::new("Reminders", "pay").delay(Duration::from_secs(3600));
    /// if let Some(handle) = producer.send(reminder).await?.recall_handle {
    ///     producer.recall(&handle).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the handle is none, the broker that has the message is not there, or the broker refuses: the time is past, or
    /// recalling is switched off (`recallMessageEnable`).
    pub async fn recall(&self, handle: &str) -> Result<String, Error> {
        let sending = &self.sending;
        sending.shared.check_open()?;
        let text = decode(handle).unwrap_or_default();
        let read = Handle::read(&text).ok_or_else(|| Error::RecallHandle(handle.to_owned()))?;
        let header = RecallMessageRequestHeader {
            producer_group: Some(&sending.group),
            topic: read.topic,
            recall_handle: handle,
            rpc: RpcFields { broker_name: Some(read.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::RECALL_MESSAGE).with_header(&header);
        let queue = Queue::new(read.topic, &read.broker.into(), 0);
        let (address, answer) = sending.shared.ask_master(&queue, question).await?;
        let header: RecallMessageResponseHeader<'_> =
            answer.header().map_err(|error| Error::header(&address, &error))?;
        Ok(header.msg_id.to_owned())
    }
}
