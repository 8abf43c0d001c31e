//! A cluster in memory: a name server and brokers that know what consumers of a group need, and may fail at any time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use apogee_base::rng::Rng;
use apogee_message::batch;
use apogee_message::names::retry_topic;
use apogee_message::record::{Draft, NewMessage, Record};
use apogee_net::Conn;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, BrokerData, GetConsumerListByGroupResponseBody, HeartbeatData, QueueData, TopicRouteData,
};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::*;
use bytes::{Bytes, BytesMut};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::faults::{self, Fault};
use crate::network::Line;

pub const TOPIC: &str = "T";
pub const GROUP: &str = "G";
/// Queues of the topic on each broker.
pub const QUEUES: i32 = 2;
/// How long a message that was sent back waits.
const BACK: Duration = Duration::from_secs(10);

pub const NAME: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1)), 9876);
pub const BROKERS: [SocketAddr; 2] = [
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2)), 10911),
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3)), 10911),
];

pub struct Cluster {
    state: Mutex<State>,
    /// A message came, or a node went.
    changed: Notify,
}

struct State {
    rng: Rng,
    /// Nothing goes wrong any more, but what is said here of the next calls.
    is_calm: bool,
    next_calls: VecDeque<Line>,
    nodes: BTreeMap<SocketAddr, Node>,
    /// Bodies that a consumer acknowledged.
    acknowledged: BTreeSet<Bytes>,
}

#[derive(Default)]
struct Node {
    is_down: bool,
    conns: Vec<Arc<Conn>>,
    /// Records by topic and queue.
    queues: BTreeMap<(String, i32), Vec<Bytes>>,
    /// Bytes of all records.
    size: i64,
    /// By group, topic and queue.
    committed: BTreeMap<(String, String, i32), i64>,
    /// Members of groups, with their connections.
    members: BTreeMap<String, BTreeMap<String, u64>>,
    /// Bodies of messages that were sent back and wait.
    sent_back: BTreeSet<Bytes>,
}

impl Cluster {
    pub fn new(seed: u64) -> Arc<Self> {
        let mut nodes: BTreeMap<_, _> = BROKERS.iter().map(|address| (*address, Node::default())).collect();
        for node in nodes.values_mut() {
            node.queues.extend((0..QUEUES).map(|id| ((TOPIC.to_owned(), id), Vec::new())));
        }
        nodes.insert(NAME, Node::default());
        let state = State {
            rng: Rng::new(seed),
            is_calm: false,
            next_calls: VecDeque::new(),
            nodes,
            acknowledged: BTreeSet::new(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Chance, as the seed has it.
    pub fn below(&self, end: u64) -> u64 {
        self.lock().rng.below(end)
    }

    /// Nothing goes wrong from now on, and all nodes are up.
    pub fn calm(&self) {
        let mut state = self.lock();
        state.is_calm = true;
        state.nodes.values_mut().for_each(|node| node.is_down = false);
    }

    /// Ends a node as a crash does, or starts it again.
    pub fn set_down(&self, address: SocketAddr, is_down: bool) {
        let mut state = self.lock();
        let is_calm = state.is_calm;
        let node = state.nodes.get_mut(&address).expect("a node");
        node.is_down = is_down && !is_calm;
        if node.is_down {
            node.members.clear();
            let conns = std::mem::take(&mut node.conns);
            drop(state);
            conns.iter().for_each(|conn| conn.close("the node is down"));
        }
    }

    /// Bodies of the topic, with how often each is stored, and where.
    pub fn stored(&self) -> BTreeMap<Bytes, Vec<(SocketAddr, i32, i64)>> {
        let state = self.lock();
        let mut stored = BTreeMap::<_, Vec<_>>::new();
        for (address, node) in &state.nodes {
            for ((_, queue), records) in node.queues.iter().filter(|((topic, _), _)| topic == TOPIC) {
                for (offset, bytes) in records.iter().enumerate() {
                    stored.entry(body(bytes)).or_default().push((*address, *queue, offset as i64));
                }
            }
        }
        stored
    }

    /// A consumer is about to acknowledge a message.
    pub fn acknowledge(&self, body: Bytes) {
        self.lock().acknowledged.insert(body);
    }

    /// What was stored and never acknowledged.
    pub fn outstanding(&self) -> Vec<Bytes> {
        let stored = self.stored();
        let state = self.lock();
        stored.into_keys().filter(|body| !state.acknowledged.contains(body)).collect()
    }

    /// Queues whose end the group has not committed.
    pub fn behind(&self) -> Vec<String> {
        let state = self.lock();
        let mut behind = Vec::new();
        for (address, node) in &state.nodes {
            for ((topic, queue), records) in &node.queues {
                let committed = node.committed.get(&(GROUP.to_owned(), topic.clone(), *queue)).copied().unwrap_or(0);
                if committed != records.len() as i64 {
                    behind.push(format!("{topic}@{address}:{queue}: {committed} of {}", records.len()));
                }
            }
        }
        behind
    }

    /// What those find who call next, whomever.
    pub fn next_calls(&self, lines: impl IntoIterator<Item = Line>) {
        self.lock().next_calls.extend(lines);
    }

    /// What somebody finds who calls a node.
    pub fn line(&self, address: SocketAddr) -> Line {
        let mut state = self.lock();
        if let Some(line) = state.next_calls.pop_front() {
            return line;
        }
        if state.nodes.get(&address).is_none_or(|node| node.is_down) {
            return Line::Refused;
        }
        if state.is_calm { Line::Node } else { faults::of_call(&mut state.rng) }
    }

    pub fn accepted(&self, address: SocketAddr, conn: &Arc<Conn>) {
        self.lock().nodes.get_mut(&address).expect("a node").conns.push(Arc::clone(conn));
    }

    pub fn closed(&self, address: SocketAddr, conn: &Arc<Conn>) {
        let mut state = self.lock();
        let node = state.nodes.get_mut(&address).expect("a node");
        node.conns.retain(|other| other.id() != conn.id());
        for members in node.members.values_mut() {
            members.retain(|_, id| *id != conn.id());
        }
    }

    /// Does what is asked, unless something goes wrong.
    pub fn request(self: &Arc<Self>, address: SocketAddr, conn: &Arc<Conn>, request: &Command) {
        let fault = {
            let mut state = self.lock();
            if state.is_calm { Fault::None } else { faults::of_request(&mut state.rng) }
        };
        match fault {
            Fault::CutBefore => conn.close("cut"),
            Fault::Swallowed => {}
            Fault::Busy => conn.reply(&Command::response_to(request, response::SYSTEM_BUSY)),
            Fault::Garbled => {
                // Not a lie: where the code says all, it is one that nobody knows.
                let all_in_code = [request::CONSUMER_SEND_MSG_BACK, request::UPDATE_CONSUMER_OFFSET];
                let code = if all_in_code.contains(&request.code) { 31_337 } else { response::SUCCESS };
                conn.reply(&Command::response_to(request, code).with_body(vec![b'{'; 77]));
            }
            Fault::CutAfter => {
                self.execute(address, conn, request);
                conn.close("cut");
            }
            Fault::Mute => drop(self.execute(address, conn, request)),
            Fault::None | Fault::Late(_) => {
                let Some(answer) = self.execute(address, conn, request) else { return };
                let (cluster, conn, late) = (Arc::clone(self), Arc::clone(conn), fault);
                let request = request.clone();
                tokio::spawn(async move {
                    if let Fault::Late(time) = late {
                        tokio::time::sleep(time).await;
                    }
                    let answer = match answer {
                        Answer::Now(answer) => answer,
                        Answer::Pull(header, deadline) => cluster.pull(address, &request, &header, deadline).await,
                    };
                    conn.reply(&answer);
                });
            }
        }
    }

    fn execute(self: &Arc<Self>, address: SocketAddr, conn: &Arc<Conn>, request: &Command) -> Option<Answer> {
        if request.code == request::PULL_MESSAGE {
            let header: PullMessageRequestHeader<'_> = request.header().expect("a header");
            let deadline = Instant::now() + Duration::from_millis(header.suspend_timeout_millis as u64);
            let place = Place { topic: header.topic.to_owned(), queue: header.queue_id, offset: header.queue_offset };
            return Some(Answer::Pull(place, deadline));
        }
        let mut state = self.lock();
        let State { nodes, acknowledged, rng, .. } = &mut *state;
        if request.code == request::GET_ROUTEINFO_BY_TOPIC {
            return Some(Answer::Now(route(nodes, request)));
        }
        let node = nodes.get_mut(&address)?;
        let succeeded = Command::response_to(request, response::SUCCESS);
        let answer = match request.code {
            request::HEART_BEAT => {
                let data = HeartbeatData::decode(&request.body).expect("a heartbeat");
                let mut told = Vec::new();
                for group in data.consumer_data_set {
                    let members = node.members.entry(group.group_name.clone()).or_default();
                    if members.insert(data.client_id.clone(), conn.id()) != Some(conn.id()) {
                        told.extend(members.values().copied());
                    }
                    node.queues.entry((retry_topic(&group.group_name), 0)).or_default();
                }
                tell(node, &told);
                succeeded
            }
            request::UNREGISTER_CLIENT => {
                let header: UnregisterClientRequestHeader<'_> = request.header().expect("a header");
                if let Some(members) = header.consumer_group.and_then(|group| node.members.get_mut(group)) {
                    members.remove(header.client_id);
                    let told: Vec<_> = members.values().copied().collect();
                    tell(node, &told);
                }
                succeeded
            }
            request::GET_CONSUMER_LIST_BY_GROUP => {
                let header: GetConsumerListByGroupRequestHeader<'_> = request.header().expect("a header");
                match node.members.get(header.consumer_group).filter(|members| !members.is_empty()) {
                    None => Command::response_to(request, response::SYSTEM_ERROR).with_remark("no consumer".to_owned()),
                    Some(members) => {
                        let consumer_id_list = members.keys().cloned().collect();
                        succeeded.with_body(GetConsumerListByGroupResponseBody { consumer_id_list }.encode())
                    }
                }
            }
            request::QUERY_CONSUMER_OFFSET => {
                let header: QueryConsumerOffsetRequestHeader<'_> = request.header().expect("a header");
                let key = (header.consumer_group.to_owned(), header.topic.to_owned(), header.queue_id);
                match node.committed.get(&key) {
                    Some(offset) => succeeded.with_header(&QueryConsumerOffsetResponseHeader { offset: *offset }),
                    None => Command::response_to(request, response::QUERY_NOT_FOUND),
                }
            }
            request::UPDATE_CONSUMER_OFFSET => {
                let header: UpdateConsumerOffsetRequestHeader<'_> = request.header().expect("a header");
                let records = &node.queues[&(header.topic.to_owned(), header.queue_id)];
                let done = &records[..(header.commit_offset as usize).min(records.len())];
                // The one promise: what is behind a committed offset was acknowledged, or sent back.
                let lost =
                    done.iter().map(body).find(|body| !acknowledged.contains(body) && !node.sent_back.contains(body));
                assert_eq!(lost, None, "offset {} is committed", header.commit_offset);
                let key = (header.consumer_group.to_owned(), header.topic.to_owned(), header.queue_id);
                node.committed.insert(key, header.commit_offset);
                succeeded
            }
            request::GET_MIN_OFFSET => succeeded.with_header(&GetMinOffsetResponseHeader { offset: 0 }),
            request::SEND_MESSAGE_V2 => {
                let header = SendMessageRequestHeader::decode_v2(&request.fields).expect("a header");
                let message =
                    new(header.topic, header.queue_id, &request.body, header.properties.unwrap_or_default(), 0);
                sent(address, node, succeeded, message)
            }
            request::SEND_BATCH_MESSAGE => {
                let header = SendMessageRequestHeader::decode_v2(&request.fields).expect("a header");
                let messages: Vec<_> =
                    batch::split(request.body.clone()).map(|message| message.expect("a batch")).collect();
                let mut answer = None;
                for message in messages {
                    let properties = std::str::from_utf8(&message.properties).expect("text");
                    let message = new(header.topic, header.queue_id, &message.body, properties, 0);
                    answer.get_or_insert(sent(address, node, succeeded.clone(), message));
                }
                answer?
            }
            request::CONSUMER_SEND_MSG_BACK => {
                let header: ConsumerSendMsgBackRequestHeader<'_> = request.header().expect("a header");
                let found = node
                    .queues
                    .values()
                    .flatten()
                    .find(|bytes| Record::read(bytes).is_ok_and(|record| record.physical_offset == header.offset));
                let bytes = found.expect("what is sent back is there").clone();
                let record = Record::read(&bytes).expect("a record");
                let body = Bytes::copy_from_slice(record.body);
                node.sent_back.insert(body.clone());
                let back =
                    new(&retry_topic(header.group), 0, &body, "RETRY_TOPIC\u{1}T\u{2}", record.reconsume_times + 1);
                let (cluster, late) = (Arc::clone(self), Duration::from_millis(rng.below(100)));
                tokio::spawn(async move {
                    tokio::time::sleep(BACK + late).await;
                    store(address, cluster.lock().nodes.get_mut(&address).expect("a node"), back);
                    cluster.changed.notify_waiters();
                });
                succeeded
            }
            other => panic!("a client asks for {other}, which this cluster has no answer to"),
        };
        drop(state);
        self.changed.notify_waiters();
        Some(Answer::Now(answer))
    }

    /// Waits for messages as a broker does.
    async fn pull(&self, address: SocketAddr, request: &Command, place: &Place, deadline: Instant) -> Command {
        loop {
            let changed = self.changed.notified();
            let records: Vec<_> = {
                let state = self.lock();
                let records = &state.nodes[&address].queues[&(place.topic.clone(), place.queue)];
                records.iter().skip(place.offset as usize).take(32).cloned().collect()
            };
            let next_begin_offset = place.offset + records.len() as i64;
            let code = if records.is_empty() { response::PULL_NOT_FOUND } else { response::SUCCESS };
            if !records.is_empty() || tokio::time::timeout_at(deadline, changed).await.is_err() {
                let header = PullMessageResponseHeader {
                    suggest_which_broker_id: 0,
                    next_begin_offset,
                    min_offset: 0,
                    max_offset: next_begin_offset,
                    offset_delta: None,
                    topic_sys_flag: None,
                    group_sys_flag: None,
                    forbidden_type: None,
                };
                return Command::response_to(request, code).with_header(&header).with_body(records.concat());
            }
        }
    }
}

/// How a request is answered.
enum Answer {
    Now(Command),
    /// When there are messages, or at a time.
    Pull(Place, Instant),
}

struct Place {
    topic: String,
    queue: i32,
    offset: i64,
}

fn route(nodes: &BTreeMap<SocketAddr, Node>, request: &Command) -> Command {
    let header: GetRouteInfoRequestHeader<'_> = request.header().expect("a header");
    // As a name server that learns it at once.
    let up = BROKERS.iter().filter(|address| !nodes[*address].is_down);
    let mut data = TopicRouteData::default();
    for address in up {
        let queues = nodes[address].queues.keys().filter(|(topic, _)| topic == header.topic).count() as i32;
        if queues > 0 {
            data.broker_datas.push(BrokerData {
                cluster: Some("c".to_owned()),
                broker_name: address.to_string(),
                broker_addrs: [(0, address.to_string())].into(),
                ..BrokerData::default()
            });
            data.queue_datas.push(QueueData {
                broker_name: address.to_string(),
                read_queue_nums: queues,
                write_queue_nums: queues,
                perm: 6,
                topic_sys_flag: 0,
            });
        }
    }
    if data.queue_datas.is_empty() {
        return Command::response_to(request, response::TOPIC_NOT_EXIST);
    }
    Command::response_to(request, response::SUCCESS).with_body(data.encode())
}

fn new(topic: &str, queue_id: i32, body: &Bytes, properties: &str, reconsume_times: i32) -> NewMessage {
    NewMessage {
        topic: topic.into(),
        queue_id,
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: NAME,
        store_host: NAME,
        reconsume_times,
        prepared_transaction_offset: 0,
        body: body.clone(),
        properties: Bytes::copy_from_slice(properties.as_bytes()),
    }
}

/// Stores a message; its place, and its offset in the queue.
fn store(address: SocketAddr, node: &mut Node, mut message: NewMessage) -> (i64, i64) {
    message.store_host = address;
    let queue = node.queues.entry((message.topic.to_string(), message.queue_id)).or_default();
    let mut draft = Draft::new(&message, &mut BytesMut::new()).expect("a record");
    let (place, offset) = (node.size, queue.len() as i64);
    draft.assign(offset, place, 0);
    node.size += draft.size() as i64;
    queue.push(draft.to_vec().into());
    (place, offset)
}

fn sent(address: SocketAddr, node: &mut Node, answer: Command, message: NewMessage) -> Command {
    let queue_id = message.queue_id;
    let (place, queue_offset) = store(address, node, message);
    answer.with_header(&SendMessageResponseHeader {
        msg_id: &format!("{place:032X}"),
        queue_id,
        queue_offset,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    })
}

/// Tells members that there are others.
fn tell(node: &Node, conns: &[u64]) {
    let header = NotifyConsumerIdsChangedRequestHeader { consumer_group: GROUP, rpc: RpcFields::default() };
    let news = Command::request(request::NOTIFY_CONSUMER_IDS_CHANGED).with_header(&header);
    for conn in node.conns.iter().filter(|conn| conns.contains(&conn.id())) {
        conn.send_oneway(news.clone());
    }
}

fn body(bytes: &Bytes) -> Bytes {
    bytes.slice_ref(Record::read(bytes).expect("a record").body)
}
