//! Pulls that are ahead of their heartbeat.
//!
//! A client raises the version of its subscription whenever its queues change, and tells it by a
//! heartbeat; the Java client leaves that one out when another of its threads is sending one. Its
//! pulls then name a version that the broker has not heard of, until the next heartbeat half a
//! minute later. Upstream refuses them all that time; here the client is asked what it wants.

use std::sync::Arc;
use std::time::Duration;

use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{Body, ConsumerRunningInfo};
use apogee_wire::codes::{request as code, response};
use apogee_wire::headers::{GetConsumerRunningInfoRequestHeader, PullMessageRequestHeader};

use super::pull;
use crate::broker::Broker;
use crate::error::BrokerError;

/// How long a client may take to tell what it wants.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether asking the client may help a pull that was refused.
pub(crate) fn may_help(error: &BrokerError) -> bool {
    matches!(error.code, response::SUBSCRIPTION_NOT_LATEST | response::SUBSCRIPTION_NOT_EXIST)
}

/// Asks the client of a refused pull what it subscribes to, and runs the pull again.
pub(crate) fn ask(broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command, refused: BrokerError) {
    let (broker, conn, request) = (Arc::clone(broker), Arc::clone(conn), request.clone());
    tokio::spawn(async move {
        match told(&broker, &conn, &request).await {
            Some((group, info)) => {
                tracing::debug!(group, peer = %conn.peer(), "a pull was ahead of its heartbeat; the client was asked");
                broker.consumers.resubscribe(&group, conn.id(), &info.subscription_set);
                pull::pull_as_told(&broker, &conn, &request);
            }
            None => conn.reply(&refused.response_to(&request)),
        }
    });
}

/// What the client says of its consumer; none when it is not a member of its group, or says nothing.
async fn told(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Option<(String, ConsumerRunningInfo)> {
    let group = request.header::<PullMessageRequestHeader<'_>>().ok()?.consumer_group;
    let client_id = broker.consumers.client_at(group, conn.id())?;
    let header = GetConsumerRunningInfoRequestHeader {
        consumer_group: group,
        client_id: &client_id,
        jstack_enable: Some(false),
        rpc: Default::default(),
    };
    let question = Command::request(code::GET_CONSUMER_RUNNING_INFO).with_header(&header);
    let said = conn.call(question, PATIENCE).await.ok().filter(|said| said.code == response::SUCCESS)?;
    Some((group.to_owned(), ConsumerRunningInfo::decode(&said.body).ok()?))
}
