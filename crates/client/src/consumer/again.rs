//! Messages that are to be delivered again.

use std::sync::Arc;
use std::time::Duration;

use apogee_wire::Command;
use apogee_wire::codes::request;
use apogee_wire::headers::{ConsumerSendMsgBackRequestHeader, RpcFields};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::delivery::{GivenBack, When};
use super::group::{Group, Kind, REST};

/// An orderly consumer's queue rests at least and at most so long (as the Java client's).
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(30);

impl Group {
    /// A message is to come again.
    pub(super) fn give_back(&self, given_back: GivenBack) {
        let GivenBack { message, held, .. } = &given_back;
        if self.has_left() {
            return;
        }
        if held.told(false) {
            // Who asked for it knows.
            held.settle(message.offset);
            return;
        }
        if self.stays(&given_back) {
            // It is nobody's work now, and keeps nobody from leaving.
            held.rests(message.offset);
        } else if self.settings.kind.is_broadcasting() {
            tracing::warn!(group = &*self.name, queue = %message.queue, offset = message.offset,
                "a message failed and is dropped: nobody else gets a member's broadcast messages");
            held.settle(message.offset);
            return;
        }
        // Nobody takes it when the consumer is gone: the message is not committed, and comes again.
        let _ = self.given_back.send(given_back);
    }

    /// Whether a message comes again without the broker.
    fn stays(&self, given_back: &GivenBack) -> bool {
        let is_last = self.max_reconsume_times() <= given_back.message.reconsume_times;
        self.settings.kind.is_orderly() && given_back.when != When::Never && !is_last
    }

    /// Sends back what was given back, or has it come again after a rest.
    pub(super) async fn deliver_again(self: Arc<Self>, mut given_back: mpsc::UnboundedReceiver<GivenBack>) {
        let mut tasks = JoinSet::new();
        while let Some(given_back) = given_back.recv().await {
            if self.stays(&given_back) {
                tasks.spawn(rest(given_back, self.settings.suspend));
            } else {
                tasks.spawn(Arc::clone(&self).send_back(given_back));
            }
            while tasks.try_join_next().is_some() {}
        }
    }

    /// Sends a message back until the broker has it, or the queue is somebody else's: then it comes again there.
    async fn send_back(self: Arc<Self>, given_back: GivenBack) {
        let GivenBack { message, held, when } = given_back;
        // One that was delivered in order goes nowhere but to the dead letters.
        let delay_level = if self.settings.kind == Kind::Orderly { When::Never.level() } else { when.level() };
        let header = ConsumerSendMsgBackRequestHeader {
            offset: message.physical_offset,
            group: &self.name,
            delay_level,
            origin_msg_id: Some(&message.message_id()),
            origin_topic: Some(message.full_topic()),
            unit_mode: Some(false),
            max_reconsume_times: Some(self.max_reconsume_times()),
            rpc: RpcFields { broker_name: Some(&message.queue.broker), ..RpcFields::default() },
        };
        let question = Command::request(request::CONSUMER_SEND_MSG_BACK).with_header(&header);
        while !held.is_given_up() {
            match self.shared.ask_master(&message.queue, question.clone()).await {
                Ok(_) => {
                    held.settle(message.offset);
                    return;
                }
                Err(error) => {
                    let (queue, offset) = (&message.queue, message.offset);
                    tracing::warn!(group = &*self.name, %queue, offset, %error, "a message is not sent back yet");
                    tokio::time::sleep(REST).await;
                }
            }
        }
    }
}

/// Has a message come again after its queue has rested.
async fn rest(given_back: GivenBack, policy: Duration) {
    let GivenBack { mut message, held, when } = given_back;
    tokio::time::sleep(when.rest(policy).clamp(SHORTEST, LONGEST)).await;
    message.reconsume_times = message.reconsume_times.saturating_add(1);
    held.again(message);
}
