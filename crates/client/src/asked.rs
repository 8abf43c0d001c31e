//! What brokers ask of a client.

use std::sync::{Arc, Weak};

use apogee_net::{Conn, Service};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::NotifyConsumerIdsChangedRequestHeader;

use crate::consumer;
use crate::producer::{self, transaction};
use crate::shared::Shared;

/// Answers what brokers ask of a client.
pub(crate) struct Asked(pub Weak<Shared>);

impl Service for Asked {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        if request.code == request::NOTIFY_CONSUMER_IDS_CHANGED {
            let header = request.header::<NotifyConsumerIdsChangedRequestHeader<'_>>();
            if let (Ok(header), Some(shared)) = (header, self.0.upgrade())
                && let Some(group) = shared.consumer_of(header.consumer_group)
            {
                group.members_changed();
            }
            return;
        }
        if request.code == request::CHECK_TRANSACTION_STATE {
            if let Some(shared) = self.0.upgrade() {
                transaction::check(&shared, conn, request);
            }
            return;
        }
        if request.code == request::PUSH_REPLY_MESSAGE_TO_CLIENT {
            if let Some(shared) = self.0.upgrade() {
                producer::take_reply(&shared, conn, request);
            }
            return;
        }
        if matches!(
            request.code,
            request::RESET_CONSUMER_CLIENT_OFFSET
                | request::GET_CONSUMER_STATUS_FROM_CLIENT
                | request::GET_CONSUMER_RUNNING_INFO
                | request::CONSUME_MESSAGE_DIRECTLY
        ) {
            if let Some(shared) = self.0.upgrade() {
                consumer::asked(&shared, conn, request);
            }
            return;
        }
        if !request.is_oneway() {
            let remark = format!("this client does not answer requests of code {}", request.code);
            conn.reply(&Command::response_to(request, response::REQUEST_CODE_NOT_SUPPORTED).with_remark(remark));
        }
    }
}
