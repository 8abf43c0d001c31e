//! Requests: messages whose sender waits for a reply.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_message::names::property;
use apogee_message::properties;
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::codes::response;
use apogee_wire::headers::ReplyMessageRequestHeader;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Producer;
use crate::shared::Shared;
use crate::{Error, Message, Queue, Received};

/// Who waits for a reply, by the id of the request.
#[derive(Default)]
pub(crate) struct Replies(Mutex<HashMap<String, oneshot::Sender<Reply>>>);

/// What a broker passed on, and from where.
struct Reply {
    command: Command,
    peer: SocketAddr,
}

/// A place among those who wait: given up when dropped.
struct Waiting<'r> {
    replies: &'r Replies,
    id: String,
}

impl Producer {
    /// Sends a message and waits until somebody who consumed it has sent a reply, see [`Message::reply_to`]: at most for
    /// `timeout`, sending included.
    ///
    /// ```no_run
    /// # async fn example(producer: apogee_client::Producer) -> Result<(), apogee_client::Error> {
    /// use std::time::Duration;
    /// use apogee_client::Message;
    ///
    /// let reply = producer.request(Message::new("Questions", "6 * 7"), Duration::from_secs(3)).await?;
    /// println!("{:?}", reply.body);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// See [`Producer::send`]; [`Error::NoReply`] when there is none in time: the message may have been consumed all the
    /// same.
    pub async fn request(&self, message: Message, timeout: Duration) -> Result<Received, Error> {
        let (deadline, shared) = (Instant::now() + timeout, &self.sending.shared);
        let topic = message.topic().to_owned();
        if message.is_delayed() {
            return Err(Error::message(&topic, "nobody waits so long for the reply to a delayed message"));
        }
        let id = shared.message_ids.next(shared.now_ms());
        let message = message
            .with(property::CORRELATION_ID, &*id)
            .with(property::REPLY_TO_CLIENT, &*shared.id)
            .with(property::REPLY_TTL, timeout.as_millis().to_string());
        let (_waiting, reply) = shared.replies.wait(id);
        let sent = async {
            // Whichever broker the reply comes through must know the way to this client.
            shared.introduce(&shared.topic(&topic)?).await?;
            self.send(message).await
        };
        let sent = tokio::time::timeout_at(deadline, sent).await;
        let sent = sent.map_err(|_| Error::Timeout(timeout, "the request was not confirmed".to_owned()))??;
        match tokio::time::timeout_at(deadline, reply).await {
            Ok(Ok(reply)) => {
                let mut reply = reply.read()?;
                self.sending.hooks.decode(&mut reply)?;
                Ok(reply)
            }
            Ok(Err(_)) => Err(Error::Closed),
            Err(_) => Err(Error::NoReply { topic, message_id: sent.message_id, timeout }),
        }
    }
}

impl Replies {
    fn wait(&self, id: String) -> (Waiting<'_>, oneshot::Receiver<Reply>) {
        let (tell, told) = oneshot::channel();
        self.lock().insert(id.clone(), tell);
        (Waiting { replies: self, id }, told)
    }

    /// Nobody will get a reply any more.
    pub fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, oneshot::Sender<Reply>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.replies.lock().remove(&self.id);
    }
}

/// A broker brings a reply: whoever waits for it gets it. The broker is told that it was taken in any case, as others do:
/// a reply that comes too late is nobody's fault.
pub(crate) fn take_reply(shared: &Shared, conn: &Arc<Conn>, request: &Command) {
    let header = request.header::<ReplyMessageRequestHeader<'_>>();
    let text = header.as_ref().ok().and_then(|header| header.properties).unwrap_or_default();
    let Some(id) = properties::get(text.as_bytes(), property::CORRELATION_ID) else {
        let remark = "the reply has no CORRELATION_ID".to_owned();
        conn.reply(&Command::response_to(request, response::SYSTEM_ERROR).with_remark(remark));
        return;
    };
    let waiting = shared.replies.lock().remove(id);
    match waiting {
        // It may have given up in this moment.
        Some(waiting) => drop(waiting.send(Reply { command: request.clone(), peer: conn.peer() })),
        None => tracing::debug!(id, peer = %conn.peer(), "a reply came that nobody waits for any more"),
    }
    conn.reply(&Command::response_to(request, response::SUCCESS));
}

impl Reply {
    fn read(&self) -> Result<Received, Error> {
        let peer = self.peer.to_string();
        let header: ReplyMessageRequestHeader<'_> =
            self.command.header().map_err(|error| Error::header(&peer, &error))?;
        let queue = Queue::new(header.topic, &peer.into(), header.queue_id);
        Received::of_reply(&header, &self.command.body, queue, [header.born_host, header.store_host].map(address))
    }
}

/// An address as Java writes it: a name and a slash may stand before it.
fn address(text: &str) -> SocketAddr {
    let address = text.rsplit('/').next().unwrap_or_default();
    address.parse().unwrap_or_else(|_| (Ipv4Addr::UNSPECIFIED, 0).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_java_writes_them() {
        for text in ["10.0.0.7:80", "/10.0.0.7:80", "some.where/10.0.0.7:80"] {
            assert_eq!(address(text).to_string(), "10.0.0.7:80");
        }
        assert_eq!(address("nowhere").to_string(), "0.0.0.0:0");
    }
}
