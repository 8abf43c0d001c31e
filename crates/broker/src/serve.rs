//! Requests: which handler answers a code, and where it runs.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use apogee_net::{Conn, Service};
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};

use crate::broker::Broker;
use crate::error::BrokerError;
use crate::handlers::send::{Place, Sends};
use crate::handlers::{
    access, assignment, cold, config, group, lite, offset, pop, pull, query, recall, relay, replication, reply, reset,
    rocksdb, runtime, send_back, stats, topic, transaction,
};
use crate::metrics::requests::{Begun, Outcome};

/// Requests of one connection that are handled on other threads at a time.
const MOST_SPAWNED: usize = 128;

/// Reads of cold messages that wait for the disk at a time. Each has a thread to itself, and more of
/// them make no disk faster.
pub(crate) const MOST_COLD_READS: usize = 16;

/// A handler: the answer, or none when it comes later.
type Handler = fn(&Broker, &Arc<Conn>, &Command) -> Result<Option<Command>, BrokerError>;

/// Where a request is handled.
enum Lane {
    /// Into the store, with what else came in the same read.
    Send,
    /// At once, or when a message arrives.
    Pull,
    /// The same of any queue.
    Pop,
    /// On the connection's task: it never waits for anything.
    Here(Handler),
    /// On a thread that may wait for the disk.
    Blocking(Handler),
    /// A consumer's offset: noted here, and on disk before it is answered. To those who don't want to know,
    /// one-way, it is as good as noted.
    Commit,
    /// Here if it is about what is in memory, else on a thread that may wait for the disk.
    Change,
    /// Which queues a member reads: a name server may have to be asked.
    Assigned,
    /// Passed on to a consumer, whose answer is waited for.
    Relayed,
    /// Passed on to a producer that asked for it; its answer and the store's are waited for.
    Reply,
}

/// The lane of each code.
fn lane(code: i32) -> Option<Lane> {
    use Lane::{Assigned, Blocking, Change, Commit, Here, Pop, Pull, Relayed, Reply, Send};
    Some(match code {
        code::SEND_MESSAGE | code::SEND_MESSAGE_V2 | code::SEND_BATCH_MESSAGE => Send,
        code::SEND_REPLY_MESSAGE | code::SEND_REPLY_MESSAGE_V2 => Reply,
        code::PULL_MESSAGE | code::LITE_PULL_MESSAGE => Pull,
        code::POP_MESSAGE | code::POP_LITE_MESSAGE | code::NOTIFICATION => Pop,
        code::ACK_MESSAGE => Here(pop::ack),
        code::BATCH_ACK_MESSAGE => Here(pop::ack_batch),
        code::CHANGE_MESSAGE_INVISIBLETIME => Change,
        code::PEEK_MESSAGE => Blocking(pop::peek),
        code::POLLING_INFO => Here(pop::polling_info),
        code::CONSUMER_SEND_MSG_BACK => Blocking(send_back::send_back),
        // What it brings goes to the store with what else came in the same read.
        code::END_TRANSACTION => Here(transaction::end),
        code::RESUME_CHECK_HALF_MESSAGE => Blocking(transaction::resume),
        code::RECALL_MESSAGE => Blocking(recall::recall),
        code::QUERY_MESSAGE => Blocking(query::query_message),
        code::VIEW_MESSAGE_BY_ID => Blocking(query::view_message),
        code::HEART_BEAT
        | code::UNREGISTER_CLIENT
        | code::GET_CONSUMER_LIST_BY_GROUP
        | code::CHECK_CLIENT_CONFIG
        | code::LOCK_BATCH_MQ
        | code::UNLOCK_BATCH_MQ
        | code::GET_CONSUMER_CONNECTION_LIST
        | code::GET_PRODUCER_CONNECTION_LIST
        | code::GET_ALL_PRODUCER_INFO
        | code::QUERY_TOPIC_CONSUME_BY_WHO
        | code::QUERY_SUBSCRIPTION_BY_CONSUMER => Here(clients),
        code::UPDATE_CONSUMER_OFFSET => Commit,
        code::GET_MAX_OFFSET => Here(offset::max),
        code::GET_MIN_OFFSET => Here(offset::min),
        code::QUERY_CONSUMER_OFFSET => Blocking(offset::query),
        code::SEARCH_OFFSET_BY_TIMESTAMP => Blocking(offset::search),
        code::GET_EARLIEST_MSG_STORETIME => Blocking(offset::earliest_store_time),
        code::GET_ALL_CONSUMER_OFFSET => Blocking(offset::all),
        code::CLONE_GROUP_OFFSET => Blocking(offset::clone),
        code::QUERY_CORRECTION_OFFSET => Blocking(offset::correction),
        code::QUERY_CONSUME_QUEUE => Blocking(offset::queue_units),
        code::QUERY_TOPICS_BY_CONSUMER => Blocking(offset::topics_of_group),
        code::INVOKE_BROKER_TO_RESET_OFFSET => Blocking(reset::reset),
        code::UPDATE_AND_CREATE_TOPIC => Blocking(topic::update),
        code::UPDATE_AND_CREATE_STATIC_TOPIC => Blocking(topic::update_static),
        code::UPDATE_AND_CREATE_TOPIC_LIST => Blocking(topic::update_list),
        code::GET_ALL_TOPIC_CONFIG => Blocking(topic::all),
        code::GET_TOPIC_CONFIG => Blocking(topic::get),
        code::DELETE_TOPIC_IN_BROKER => Blocking(topic::delete),
        code::GET_TOPIC_STATS_INFO => Blocking(topic::stats),
        code::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => Blocking(topic::system),
        code::CLEAN_UNUSED_TOPIC => Blocking(topic::clean_unused),
        code::DELETE_EXPIRED_COMMITLOG => Here(topic::delete_expired_log),
        code::CLEAN_EXPIRED_CONSUMEQUEUE => Blocking(topic::clean_expired_queues),
        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => Blocking(group::update),
        code::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST => Blocking(group::update_list),
        code::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => Blocking(group::all),
        code::DELETE_SUBSCRIPTIONGROUP => Blocking(group::delete),
        code::GET_SUBSCRIPTIONGROUP_CONFIG => Blocking(group::get),
        code::UPDATE_AND_GET_GROUP_FORBIDDEN => Blocking(group::forbidden),
        code::GET_CONSUME_STATS => Blocking(stats::of_group),
        code::GET_BROKER_CONSUME_STATS => Blocking(stats::of_broker),
        code::QUERY_CONSUME_TIME_SPAN => Blocking(stats::time_span),
        code::VIEW_BROKER_STATS_DATA => Blocking(stats::counter),
        code::GET_BROKER_RUNTIME_INFO => Blocking(runtime::runtime),
        code::GET_BROKER_HA_STATUS => Here(replication::status),
        code::NOTIFY_MIN_BROKER_ID_CHANGE => Here(replication::min_broker_id),
        code::EXCHANGE_BROKER_HA_INFO => Blocking(replication::exchange),
        code::RESET_MASTER_FLUSH_OFFSET => Here(replication::reset_flushed),
        code::GET_BROKER_EPOCH_CACHE => Here(replication::epochs),
        code::NOTIFY_BROKER_ROLE_CHANGED => Here(replication::role_changed),
        code::CHECK_ROCKSDB_CQ_WRITE_PROGRESS => Here(rocksdb::check_queues),
        code::EXPORT_ROCKSDB_CONFIG_TO_JSON => Blocking(rocksdb::export_config),
        code::SWITCH_TIMER_ENGINE => Here(rocksdb::switch_timer),
        code::POP_ROLLBACK => Here(rocksdb::export_pop_records),
        code::GET_BROKER_LITE_INFO => Blocking(lite::of_broker),
        code::LITE_SUBSCRIPTION_CTL => Blocking(lite::subscribe),
        code::GET_PARENT_TOPIC_INFO => Blocking(lite::of_parent),
        code::GET_LITE_TOPIC_INFO => Blocking(lite::of_topic),
        code::GET_LITE_CLIENT_INFO => Here(lite::of_client),
        code::GET_LITE_GROUP_INFO => Blocking(lite::of_group),
        code::TRIGGER_LITE_DISPATCH => Here(lite::trigger),
        code::QUERY_ASSIGNMENT => Assigned,
        code::SET_MESSAGE_REQUEST_MODE => Blocking(assignment::set_mode),
        code::GET_ALL_MESSAGE_REQUEST_MODE => Blocking(assignment::modes),
        code::UPDATE_COLD_DATA_FLOW_CTR_CONFIG => Blocking(cold::limit),
        code::REMOVE_COLD_DATA_FLOW_CTR_CONFIG => Blocking(cold::unlimit),
        code::GET_COLD_DATA_FLOW_CTR_INFO => Here(cold::info),
        code::SET_COMMITLOG_READ_MODE => Blocking(cold::read_mode),
        code::AUTH_CREATE_USER => Blocking(access::create_user),
        code::AUTH_UPDATE_USER => Blocking(access::update_user),
        code::AUTH_DELETE_USER => Blocking(access::delete_user),
        code::AUTH_GET_USER => Here(access::user),
        code::AUTH_LIST_USER => Blocking(access::users),
        code::AUTH_CREATE_ACL => Blocking(access::create_acl),
        code::AUTH_UPDATE_ACL => Blocking(access::update_acl),
        code::AUTH_DELETE_ACL => Blocking(access::delete_acl),
        code::AUTH_GET_ACL => Here(access::acl),
        code::AUTH_LIST_ACL => Blocking(access::acls),
        code::GET_TIMER_CHECK_POINT => Blocking(stats::timer_checkpoint),
        code::GET_TIMER_METRICS => Blocking(stats::timer_metrics),
        code::GET_ALL_DELAY_OFFSET => Blocking(stats::delay_offsets),
        code::GET_BROKER_CONFIG => Blocking(config::get),
        code::UPDATE_BROKER_CONFIG => Blocking(config::update),
        code::GET_CONSUMER_RUNNING_INFO
        | code::CONSUME_MESSAGE_DIRECTLY
        | code::INVOKE_BROKER_TO_GET_CONSUMER_STATUS => Relayed,
        _ => return None,
    })
}

/// What the client desk answers. A heartbeat is taken before the end of its connection is: on the
/// connection's task.
fn clients(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Result<Option<Command>, BrokerError> {
    let topics = broker.topics.version();
    let answer = broker.clients(&broker.settings.load()).serve(conn, request).transpose();
    // A new group brings its retry topic.
    if broker.topics.version() != topics {
        broker.topics_changed();
    }
    answer
}

/// The broker behind a connection.
pub(crate) struct Requests {
    broker: Arc<Broker>,
}

impl Requests {
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

/// Handles a request on a thread that may wait.
fn spawn(broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command, handler: impl Handles) {
    if let Some(work) = work(broker, conn, request, handler) {
        tokio::task::spawn_blocking(work);
    }
}

/// Handles a request that waits for the disk: only a few of all connections at a time, each in its
/// turn. The others wait without a thread.
pub(crate) fn spawn_cold(broker: &Arc<Broker>, conn: &Arc<Conn>, request: &Command, handler: impl Handles) {
    let Some(work) = work(broker, conn, request, handler) else { return };
    let (reads, conn) = (Arc::clone(&broker.cold_reads), Arc::clone(conn));
    tokio::spawn(async move {
        // Fails only if it were closed, which it never is.
        let turn = reads.acquire_owned().await;
        if conn.is_open() {
            tokio::task::spawn_blocking(move || {
                work();
                drop(turn);
            });
        }
    });
}

/// Does something with a request after a time, if it is still wanted then.
pub(crate) fn hold(
    broker: &Arc<Broker>,
    conn: &Arc<Conn>,
    request: &Command,
    wait: Duration,
    then: impl FnOnce(&Arc<Broker>, &Arc<Conn>, &Command) + Send + 'static,
) {
    let Some(place) = place(broker, conn, request) else { return };
    let begun = Begun::now(request.code);
    let (broker, conn, request) = (broker.weak(), Arc::clone(conn), request.clone());
    tokio::spawn(async move {
        tokio::time::sleep(wait).await;
        drop(place);
        begun.carry();
        if let Some(broker) = broker.upgrade().filter(|_| conn.is_open()) {
            then(&broker, &conn, &request);
        }
    });
}

/// A place for a request that is not answered at once; one too many is refused here.
fn place(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Option<Place> {
    let place = Sends::of(broker, conn).and_then(|sends| sends.take_place(MOST_SPAWNED));
    if place.is_none() {
        let remark = format!("{MOST_SPAWNED} requests of this connection are being worked on: wait for answers");
        let begun = Begun::now(request.code);
        answer(broker, conn, request, begun, Err(BrokerError::new(response::SYSTEM_BUSY, remark)));
    }
    place
}

/// What handles a request on another thread. A connection has so many of them and no more: one too
/// many is refused here.
fn work<H: Handles>(
    broker: &Arc<Broker>,
    conn: &Arc<Conn>,
    request: &Command,
    handler: H,
) -> Option<impl FnOnce() + use<H>> {
    let begun = Begun::now(request.code);
    let place = place(broker, conn, request)?;
    let (broker, conn, request) = (Arc::clone(broker), Arc::clone(conn), request.clone());
    Some(move || {
        begun.carry();
        // A handler's bug is answered; it ends nothing but its request.
        let handled = catch_unwind(AssertUnwindSafe(|| handler(&broker, &conn, &request)));
        let handled = handled.unwrap_or_else(|panic| Err(bug(&request, &*panic)));
        answer(&broker, &conn, &request, begun, handled);
        if let Some(sends) = Sends::of(&broker, &conn) {
            sends.flush(&broker);
        }
        drop(place);
    })
}

/// What handles one request on another thread.
pub(crate) trait Handles:
    FnOnce(&Broker, &Arc<Conn>, &Command) -> Result<Option<Command>, BrokerError> + Send + 'static
{
}

impl<H> Handles for H where
    H: FnOnce(&Broker, &Arc<Conn>, &Command) -> Result<Option<Command>, BrokerError> + Send + 'static
{
}

/// Takes a message; it is answered when the store has it.
fn send(broker: &Broker, conn: &Arc<Conn>, request: &Command) -> Result<Option<Command>, BrokerError> {
    let other = || BrokerError::new(response::SYSTEM_ERROR, "the connection is used for something else");
    let sends = Sends::of(broker, conn).ok_or_else(other)?;
    sends.request(broker, conn, request)?;
    Ok(None)
}

impl Service for Requests {
    fn request(&self, conn: &Arc<Conn>, request: &Command) {
        let begun = Begun::now(request.code);
        if self.broker.role.is_slave()
            && let Err(error) = self.broker.role.check(request, self.broker.unread())
        {
            return answer(&self.broker, conn, request, begun, Err(error));
        }
        let own = match self.broker.statics.with_own_queue(request).transpose() {
            Ok(own) => own,
            Err(error) => return answer(&self.broker, conn, request, begun, Err(error)),
        };
        let request = own.as_ref().unwrap_or(request);
        match lane(request.code) {
            Some(Lane::Send) => match send(&self.broker, conn, request) {
                // A producer shall find the route of the topic that its message creates: that waits for a
                // name server.
                Err(error) if error.code == response::TOPIC_NOT_EXIST && Sends::creates_topic(request) => {
                    spawn(&self.broker, conn, request, |broker, conn, request| {
                        broker.create_for(request)?;
                        send(broker, conn, request)
                    });
                }
                sent => answer(&self.broker, conn, request, begun, sent),
            },
            Some(Lane::Pull) => pull::pull(&self.broker, conn, request),
            Some(Lane::Pop) => pop::pop(&self.broker, conn, request),
            Some(Lane::Here(handler)) => {
                answer(&self.broker, conn, request, begun, handler(&self.broker, conn, request))
            }
            Some(Lane::Blocking(handler)) => spawn(&self.broker, conn, request, handler),
            Some(Lane::Commit) => match offset::update(&self.broker, conn, request) {
                Ok(done) if !request.is_oneway() => spawn(&self.broker, conn, request, move |broker, _, _| {
                    broker.offsets.save(broker.now())?;
                    Ok(done)
                }),
                noted => answer(&self.broker, conn, request, begun, noted),
            },
            Some(Lane::Change) => match pop::change(&self.broker, conn, request) {
                Ok(None) => spawn(&self.broker, conn, request, pop::change_noted),
                done => answer(&self.broker, conn, request, begun, done),
            },
            Some(Lane::Assigned) => {
                let Some(place) = place(&self.broker, conn, request) else { return };
                let (broker, conn, request) = (Arc::clone(&self.broker), Arc::clone(conn), request.clone());
                tokio::spawn(async move {
                    let assigned = assignment::query(&broker, &request).await;
                    answer(&broker, &conn, &request, begun, assigned.map(Some));
                    drop(place);
                });
            }
            Some(Lane::Relayed) => {
                let (broker, conn, request) = (Arc::clone(&self.broker), Arc::clone(conn), request.clone());
                let origin = Arc::clone(&broker);
                tokio::spawn(async move {
                    let relayed = relay::relay(broker, &request).await;
                    answer(&origin, &conn, &request, begun, relayed.map(Some));
                });
            }
            Some(Lane::Reply) => {
                let (broker, conn, request) = (Arc::clone(&self.broker), Arc::clone(conn), request.clone());
                tokio::spawn(async move {
                    let replied = reply::reply(&broker, &conn, &request).await;
                    answer(&broker, &conn, &request, begun, replied.map(Some));
                });
            }
            None => {
                let remark = format!(" request type {} not supported", request.code);
                answer(
                    &self.broker,
                    conn,
                    request,
                    begun,
                    Err(BrokerError::new(response::REQUEST_CODE_NOT_SUPPORTED, remark)),
                );
            }
        }
    }

    fn batch_end(&self, conn: &Arc<Conn>) {
        if let Some(sends) = Sends::of(&self.broker, conn) {
            sends.flush(&self.broker);
        }
    }

    fn closed(&self, conn: &Arc<Conn>) {
        self.broker.closed(conn.id());
    }
}

/// Sends an answer, unless the peer wants none; counts it.
fn answer(
    broker: &Broker,
    conn: &Conn,
    request: &Command,
    begun: Begun,
    handled: Result<Option<Command>, BrokerError>,
) {
    if let Err(error) = &handled {
        tracing::debug!(code = request.code, peer = %conn.peer(), %error, "refused a request");
    }
    let answer = match handled {
        Ok(Some(answer)) => answer,
        Ok(None) => return,
        Err(error) => error.response_to(request),
    };
    let outcome = match () {
        () if request.is_oneway() => Outcome::Oneway,
        () if !conn.is_open() => Outcome::Gone,
        () => Outcome::Answered,
    };
    let nanoseconds = begun.ends(&broker.counters.requests, answer.code, outcome);
    broker.counters.events.answered(request, answer.code, nanoseconds);
    if outcome != Outcome::Oneway {
        conn.reply(&answer);
    }
}

fn bug(request: &Command, panic: &(dyn Any + Send)) -> BrokerError {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    let text = text.unwrap_or("no text");
    tracing::error!(code = request.code, panic = text, "a handler failed by a bug of the broker; please report it");
    BrokerError::new(response::SYSTEM_ERROR, format!("the broker failed by a bug of its own: {text}"))
}
