//! Where the queues of a topic are.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use apogee_wire::bodies::{MessageQueue, TopicRouteData};

/// Id of a master among the brokers of one name.
pub(crate) const MASTER: i64 = 0;
/// Bits of a topic's permission (upstream `PermName`).
const READ: i32 = 1 << 2;
const WRITE: i32 = 1 << 1;

/// A queue of a topic, on the brokers of one name (upstream `MessageQueue`). Ordered by topic, broker and number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Queue {
    /// The topic.
    pub topic: Arc<str>,
    /// Name that a master shares with its slaves.
    pub broker: Arc<str>,
    /// Number among the topic's queues there.
    pub id: i32,
}

impl Queue {
    pub(crate) fn new(topic: &str, broker: &Arc<str>, id: i32) -> Self {
        Self { topic: topic.into(), broker: Arc::clone(broker), id }
    }

    /// As it is named to brokers.
    pub(crate) fn to_wire(&self) -> MessageQueue {
        MessageQueue::new(&*self.topic, &*self.broker, self.id)
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}:{}", self.topic, self.broker, self.id)
    }
}

/// What a name server says of a topic.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Route {
    /// Queues that can be sent to: of brokers that have a master.
    pub writable: Vec<Queue>,
    /// Queues that can be read.
    pub readable: Vec<Queue>,
    /// Addresses by the name of a broker and its id.
    pub brokers: BTreeMap<Arc<str>, BTreeMap<i64, String>>,
    /// The brokers' cluster.
    pub cluster: Option<String>,
}

impl Route {
    /// Reads what a name server answered about a topic. `name` is the topic that the queues are to be of.
    pub fn of(data: &TopicRouteData, name: &str) -> Self {
        let topic: Arc<str> = name.into();
        let brokers: BTreeMap<Arc<str>, _> = data
            .broker_datas
            .iter()
            .map(|broker| (Arc::from(&*broker.broker_name), broker.broker_addrs.clone()))
            .collect();
        let cluster = data.broker_datas.first().and_then(|broker| broker.cluster.clone());
        let mut route = Self { brokers, cluster, ..Self::default() };
        for queues in &data.queue_datas {
            let Some((broker, addresses)) = route.brokers.get_key_value(&*queues.broker_name) else { continue };
            let all = |count: i32| {
                let (topic, broker) = (Arc::clone(&topic), Arc::clone(broker));
                (0..count).map(move |id| Queue { topic: Arc::clone(&topic), broker: Arc::clone(&broker), id })
            };
            if queues.perm & WRITE != 0 && addresses.contains_key(&MASTER) {
                route.writable.extend(all(queues.write_queue_nums));
            }
            if queues.perm & READ != 0 {
                route.readable.extend(all(queues.read_queue_nums));
            }
        }
        // All clients must see them in the same order.
        route.writable.sort_unstable();
        route.readable.sort_unstable();
        route
    }

    /// Where the master of a name is.
    pub fn master(&self, broker: &str) -> Option<&str> {
        self.brokers.get(broker)?.get(&MASTER).map(|address| &**address)
    }

    /// Where the masters of all names are.
    pub fn masters(&self) -> impl Iterator<Item = &str> {
        self.brokers.keys().filter_map(|broker| self.master(broker))
    }

    /// Where a broker is that can be read from: the one with that id, else the master, else any.
    pub fn reader(&self, broker: &str, id: i64) -> Option<&str> {
        let addresses = self.brokers.get(broker)?;
        let found = addresses.get(&id).or_else(|| addresses.get(&MASTER)).or_else(|| addresses.values().next());
        found.map(|address| &**address)
    }
}

#[cfg(test)]
mod tests {
    use apogee_wire::bodies::{BrokerData, QueueData};

    use super::*;

    #[test]
    fn queues_without_a_master_can_be_read_but_not_written() {
        let broker = |name: &str, ids: &[i64]| BrokerData {
            broker_name: name.to_owned(),
            broker_addrs: ids.iter().map(|id| (*id, format!("{name}:{id}"))).collect(),
            ..BrokerData::default()
        };
        let queues = |name: &str, perm, count| QueueData {
            broker_name: name.to_owned(),
            perm,
            read_queue_nums: count,
            write_queue_nums: count,
            topic_sys_flag: 0,
        };
        let data = TopicRouteData {
            broker_datas: vec![broker("b", &[0, 1]), broker("a", &[1]), broker("c", &[0])],
            queue_datas: vec![queues("b", 6, 2), queues("a", 6, 1), queues("c", 4, 1), queues("gone", 6, 1)],
            ..TopicRouteData::default()
        };
        let route = Route::of(&data, "T");
        let names = |queues: &[Queue]| queues.iter().map(Queue::to_string).collect::<Vec<_>>();
        assert_eq!(names(&route.writable), ["T@b:0", "T@b:1"]);
        assert_eq!(names(&route.readable), ["T@a:0", "T@b:0", "T@b:1", "T@c:0"]);
        assert_eq!((route.master("a"), route.master("b")), (None, Some("b:0")));
        assert_eq!((route.reader("a", 0), route.reader("b", 1)), (Some("a:1"), Some("b:1")));
    }
}
