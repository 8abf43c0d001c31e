//! Sending messages to other brokers that have a master of their topic (upstream `EscapeBridge`).

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use apogee_message::names::{self, property};
use apogee_message::record::NewMessage;
use apogee_message::{properties, sysflag};
use apogee_net::{Conn, OwnedConn, Tcp, Unasked};
use apogee_wire::Command;
use apogee_wire::bodies::TopicRouteData;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{RpcFields, SendMessageRequestHeader};
use tokio::task::JoinSet;

use crate::routes::Routes;
use crate::settings::BrokerSettings;
use crate::topics::perm;

/// How long an answer may take, as upstream waits for it.
const PATIENCE: Duration = Duration::from_secs(3);
/// How old a route may be, and that there is none.
const ROUTE_AGE: Duration = Duration::from_secs(3);
/// Topics that nobody else has and that were complained of; of more nothing is said.
const MOST_NOWHERE: usize = 1_024;
/// Id of a master.
const MASTER: i64 = 0;

/// A queue of another broker.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Queue {
    address: String,
    topic: Arc<str>,
    id: i32,
}

/// What is set about the broker that sends.
struct Own {
    broker_name: String,
    /// Group of what is sent, where a message has none of its own.
    group: String,
    /// Queues of a topic that is made by a message.
    topic_queues: i32,
}

/// See the module. Its connections are closed when it is dropped.
pub(super) struct Elsewhere {
    own: Arc<Own>,
    conns: HashMap<String, OwnedConn>,
    routes: Arc<Routes>,
    nowhere: HashSet<Arc<str>>,
}

impl Elsewhere {
    /// Of a broker with these settings, to where the routes say.
    pub fn new(settings: &BrokerSettings, routes: Arc<Routes>) -> Self {
        let own = Own {
            broker_name: settings.broker_name.clone(),
            group: format!("InnerProducerGroup_{}_{}", settings.broker_name, settings.broker_id),
            topic_queues: settings.default_topic_queue_nums,
        };
        Self { own: Arc::new(own), conns: HashMap::new(), routes, nowhere: HashSet::new() }
    }

    /// Sends messages; those for one queue in order. Says which were taken: none after the first of a queue that was not,
    /// and none any more once `goes_on` says no.
    pub async fn send<'m>(
        &mut self,
        messages: impl Iterator<Item = &'m NewMessage>,
        goes_on: impl Fn() -> bool + Clone + Send + 'static,
    ) -> Vec<bool> {
        let mut by_queue: HashMap<Queue, Vec<(usize, NewMessage)>> = HashMap::new();
        let mut routes: HashMap<Arc<str>, Vec<Queue>> = HashMap::new();
        let mut count = 0;
        for (place, message) in messages.enumerate() {
            count += 1;
            if !routes.contains_key(&message.topic) {
                routes.insert(Arc::clone(&message.topic), self.queues(&message.topic).await);
            }
            let queues = routes.get(&message.topic).map(Vec::as_slice).unwrap_or_default();
            // Messages of one queue stay together.
            let queue = message.queue_id.unsigned_abs() as usize % queues.len().max(1);
            if let Some(queue) = queues.get(queue) {
                by_queue.entry(queue.clone()).or_default().push((place, message.clone()));
            }
        }
        let mut sending = JoinSet::new();
        for (queue, messages) in by_queue {
            let Some(conn) = self.conn(&queue.address).await else {
                // It may not be the topic's master any more.
                self.routes.forget(&queue.topic);
                continue;
            };
            let (own, goes_on) = (Arc::clone(&self.own), goes_on.clone());
            sending.spawn(async move { send_in_order(&conn, &own, &queue, messages, goes_on).await });
        }
        let mut taken = vec![false; count];
        while let Some(sent) = sending.join_next().await {
            // One that panicked said so, and counts as not sent.
            let Ok((places, failed)) = sent else { continue };
            places.into_iter().for_each(|place: usize| taken[place] = true);
            if let Some(Queue { address, topic, .. }) = failed {
                self.routes.forget(&topic);
                // A message was not taken: the next one goes over another connection.
                self.conns.remove(&address);
            }
        }
        taken
    }

    /// The queues of a topic that others take messages in.
    async fn queues(&mut self, topic: &Arc<str>) -> Vec<Queue> {
        let route = self.routes.of(topic, ROUTE_AGE).await;
        let queues = route.map(|route| writable(&route, &self.own.broker_name, topic)).unwrap_or_default();
        if !queues.is_empty() {
            self.nowhere.remove(topic);
        } else if self.nowhere.len() < MOST_NOWHERE && self.nowhere.insert(Arc::clone(topic)) {
            tracing::warn!(
                %topic,
                "messages are due whose master is away, and no other broker has their topic; they wait for the master: create the topic at another broker, too, or start the master again"
            );
        }
        queues
    }

    async fn conn(&mut self, address: &str) -> Option<Arc<Conn>> {
        if let Some(conn) = self.conns.get(address).filter(|conn| conn.is_open()) {
            return Some(Arc::clone(conn));
        }
        let connected = OwnedConn::connect(&Tcp, address, Arc::new(Unasked), PATIENCE).await;
        let conn = connected.inspect_err(|error| tracing::debug!(address, %error, "cannot be reached")).ok()?;
        let shared = Arc::clone(&conn);
        self.conns.insert(address.to_owned(), conn);
        Some(shared)
    }
}

/// The queues of a topic at other brokers that take messages.
fn writable(route: &TopicRouteData, own: &str, topic: &Arc<str>) -> Vec<Queue> {
    let datas = route.broker_datas.iter().map(|data| (&data.broker_name, &data.broker_addrs));
    let masters: BTreeMap<_, _> = datas.collect();
    let mut queues = Vec::new();
    for data in route.queue_datas.iter().filter(|data| data.broker_name != own && data.perm & perm::WRITE != 0) {
        if let Some(address) = masters.get(&data.broker_name).and_then(|addresses| addresses.get(&MASTER)) {
            let queue = |id| Queue { address: address.clone(), topic: Arc::clone(topic), id };
            queues.extend((0..data.write_queue_nums).map(queue));
        }
    }
    queues
}

/// Sends until one is not taken. Returns the places of those that were, and the queue if one was not.
async fn send_in_order(
    conn: &Conn,
    own: &Own,
    queue: &Queue,
    messages: Vec<(usize, NewMessage)>,
    goes_on: impl Fn() -> bool,
) -> (Vec<usize>, Option<Queue>) {
    let mut taken = Vec::with_capacity(messages.len());
    for (place, message) in messages {
        if !goes_on() {
            break;
        }
        let refusal = match conn.call(request_for(own, queue, &message), PATIENCE).await {
            Ok(answer) => match answer.code {
                response::SUCCESS
                | response::FLUSH_DISK_TIMEOUT
                | response::FLUSH_SLAVE_TIMEOUT
                | response::SLAVE_NOT_AVAILABLE => {
                    taken.push(place);
                    continue;
                }
                code => format!("code {code}: {}", answer.remark.unwrap_or_default()),
            },
            Err(error) => error.to_string(),
        };
        tracing::warn!(
            broker = queue.address,
            topic = %queue.topic,
            refusal,
            "another broker did not take a message that is due and whose master is away; trying again every few seconds"
        );
        return (taken, Some(queue.clone()));
    }
    (taken, None)
}

fn request_for(own: &Own, queue: &Queue, message: &NewMessage) -> Command {
    // Who asks about a transaction, asks the group that its message names.
    let group = properties::get(&message.properties, property::PRODUCER_GROUP).unwrap_or(&own.group);
    let header = SendMessageRequestHeader {
        producer_group: group,
        topic: &queue.topic,
        default_topic: names::AUTO_CREATE_TOPIC,
        default_topic_queue_nums: own.topic_queues,
        queue_id: queue.id,
        // Those bits are of the record, which is made anew.
        sys_flag: message.sys_flag & !(sysflag::BORN_HOST_V6 | sysflag::STORE_HOST_V6),
        born_timestamp: message.born_timestamp,
        flag: message.flag,
        properties: std::str::from_utf8(&message.properties).ok(),
        reconsume_times: Some(message.reconsume_times),
        unit_mode: Some(false),
        batch: Some(false),
        max_reconsume_times: None,
        broker_name: None,
        rpc: RpcFields::default(),
    };
    let mut request = Command::request(request::SEND_MESSAGE_V2).with_body(message.body.clone());
    header.encode_v2(&mut request.fields);
    request
}

#[cfg(test)]
mod tests {
    use apogee_wire::bodies::{BrokerData, QueueData};

    use super::*;

    #[test]
    fn only_masters_of_other_names_that_take_messages_are_sent_to() {
        let data = |name: &str, ids: &[i64]| BrokerData {
            broker_addrs: ids.iter().map(|id| (*id, format!("{name}:{id}"))).collect(),
            broker_name: name.into(),
            ..BrokerData::default()
        };
        let queues = |name: &str, perm| QueueData {
            broker_name: name.into(),
            perm,
            write_queue_nums: 2,
            ..QueueData::default()
        };
        let route = TopicRouteData {
            broker_datas: vec![data("own", &[0]), data("a", &[0, 1]), data("no-master", &[1]), data("read-only", &[0])],
            queue_datas: vec![queues("own", 6), queues("a", 6), queues("no-master", 6), queues("read-only", 4)],
            ..TopicRouteData::default()
        };
        let topic: Arc<str> = "T".into();
        let places = writable(&route, "own", &topic).into_iter().map(|queue| (queue.address, queue.id));
        assert_eq!(places.collect::<Vec<_>>(), [("a:0".to_owned(), 0), ("a:0".to_owned(), 1)]);
    }
}
