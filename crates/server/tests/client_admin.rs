//! Administration by the Rust client against the real binary.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command as Process, Stdio};
use std::time::{Duration, SystemTime};

use apogee_client::admin::{
    Access, ConsumeType, Counter, GroupConfig, GroupMode, MessageModel, Outcome, Permission, Query, RequestMode,
    RetryDelays, Rule, TopicConfig, TrackState, User,
};
use apogee_client::{Admin, Client, Error, From, Message, Producer, Queue};
use common::{Server, binary};

const PATIENCE: Duration = Duration::from_secs(20);

fn client(server: &Server) -> Client {
    Client::new(server.namesrv.to_string()).expect("an address")
}

/// Sends so many messages, the body and key of which are their numbers, to one queue of a topic.
async fn send(client: &Client, queue: &Queue, count: usize) -> Producer {
    let producer = client.producer("P").expect("a producer");
    for number in 0..count {
        let message = Message::new(&*queue.topic, number.to_string()).key(number.to_string()).tag("t");
        producer.send_to(queue, message).await.expect("sent");
    }
    producer
}

/// A topic of one queue.
async fn one_queue(admin: &Admin, topic: &str) -> Queue {
    admin.put_topic(&TopicConfig::new(topic, 1)).await.expect("created");
    admin.topic_stats(topic).await.expect("there").queues.remove(0).queue
}

#[tokio::test]
async fn a_topic_is_created_changed_and_removed() {
    let server = Server::start(&[]);
    let admin = client(&server).admin();
    assert!(matches!(admin.route("T").await, Err(Error::NoTopic(topic)) if topic == "T"));
    assert!(admin.topic_configs("T").await.expect("asked").is_empty());
    let topic = TopicConfig::new("T", 3).attribute("message.type", "FIFO");
    admin.put_topic(&topic).await.expect("created");
    let configs = admin.topic_configs("T").await.expect("asked");
    assert_eq!(configs.iter().map(|config| &config.value).collect::<Vec<_>>(), [&topic]);
    assert_eq!(configs[0].address, server.broker.to_string());
    // The same again; then others, and no attribute.
    admin.put_topic(&topic).await.expect("nothing to do");
    let topic = TopicConfig { read_queues: 5, ordered: true, ..TopicConfig::new("T", 2) };
    admin.put_topic(&topic).await.expect("changed");
    admin.set_topic_permission("T", Permission::READ).await.expect("changed");
    let topic = topic.permission(Permission::READ);
    assert_eq!(admin.topic_configs("T").await.expect("asked")[0].value, topic);
    assert!(admin.all_topic_configs().await.expect("asked").iter().any(|config| config.value == topic));
    let route = admin.route("T").await.expect("there");
    let [broker] = &route.brokers[..] else { panic!("{route:?}") };
    assert_eq!((broker.read_queues, broker.write_queues, broker.permission), (5, 2, Permission::READ));
    assert_eq!(broker.addresses[&0], server.broker.to_string());
    assert_eq!(route.clusters(), BTreeSet::from(["DefaultCluster"]));
    for admin in [admin.clone(), admin.cluster("DefaultCluster"), admin.broker(server.broker.to_string())] {
        assert!(admin.topics().await.expect("asked").contains("T"), "{admin:?}");
    }
    assert!(admin.system_topics().await.expect("asked").contains("TBW102"));
    admin.cluster("DefaultCluster").delete_topic("T").await.expect("removed");
    assert!(matches!(admin.route("T").await, Err(Error::NoTopic(_))));
    assert!(!admin.topics().await.expect("asked").contains("T"));
    admin.delete_topic("T").await.expect("nothing to do");
    assert!(matches!(admin.set_topic_permission("T", Permission::READ).await, Err(Error::NoTopic(_))));
}

#[tokio::test]
async fn what_cannot_be_is_an_error_that_says_why() {
    let server = Server::start(&[]);
    let admin = client(&server).admin();
    let error = admin.cluster("Elsewhere").brokers().await.expect_err("no such cluster").to_string();
    assert_eq!(error, "there is no cluster Elsewhere; there are: DefaultCluster");
    let error = admin.put_topic(&TopicConfig::new("a b", 1)).await.expect_err("no name").to_string();
    assert!(error.contains("`a b`"), "{error}");
    let topic = TopicConfig::new("T", 1).attribute("message.type", "NONE");
    let error = admin.put_topic(&topic).await.expect_err("no such type").to_string();
    assert!(error.contains(&server.broker.to_string()), "{error}");
    let smuggled = TopicConfig::new("T", 1).attribute("message.type", "FIFO,+other=1");
    assert!(matches!(admin.put_topic(&smuggled).await, Err(Error::Argument(_))));
    let error = admin.message("12").await.expect_err("no id").to_string();
    assert!(error.starts_with("`12` is no message id"), "{error}");
    let nowhere = admin.broker("127.0.0.1:1").timeout(Duration::from_millis(500));
    assert!(matches!(nowhere.broker_states().await, Err(Error::Connect(_))));
    let client = client(&server);
    client.close().await;
    assert!(matches!(client.admin().brokers().await, Err(Error::Closed)));
    assert!(matches!(client.admin().broker(server.broker.to_string()).groups().await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_group_is_created_changed_and_removed() {
    let server = Server::start(&[]);
    let admin = client(&server).admin();
    assert!(admin.group_configs("G").await.expect("asked").is_empty());
    let steps = RetryDelays::Steps(vec![Duration::from_secs(1), Duration::from_secs(10)]);
    let mut group = GroupConfig { max_retries: 3, retry_delays: steps, ..GroupConfig::new("G") };
    admin.put_group(&group).await.expect("created");
    assert_eq!(admin.group_configs("G").await.expect("asked")[0].value, group);
    group.may_consume = false;
    group.retry_delays = RetryDelays::Levels;
    admin.put_group(&group).await.expect("changed");
    assert!(admin.all_group_configs().await.expect("asked").iter().any(|config| config.value == group));
    admin.put_topic(&TopicConfig::new("T", 1)).await.expect("created");
    assert!(admin.may_read("G", "T").await.expect("asked")[0].value);
    admin.set_may_read("G", "T", false).await.expect("changed");
    assert!(!admin.may_read("G", "T").await.expect("asked")[0].value);
    admin.delete_group("G", true).await.expect("removed");
    assert!(!admin.groups().await.expect("asked").contains("G"));
}

#[tokio::test]
async fn a_group_is_followed_and_moved() {
    let server = Server::start(&[]);
    let client = client(&server);
    let admin = client.admin();
    let queue = one_queue(&admin, "T").await;
    let _producer = send(&client, &queue, 10).await;
    let mut consumer = client.consumer("G").subscribe_tags("T", "t").from_first().join().await.expect("joined");
    for _ in 0..4 {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
        delivery.ack();
    }
    let members = admin.members("G").await.expect("asked");
    let [member] = &members.clients[..] else { panic!("{members:?}") };
    assert_eq!((&*member.id, &*member.language), (client.id(), "RUST"));
    assert_eq!((members.consume_type, members.model), (Some(ConsumeType::Passively), Some(MessageModel::Clustering)));
    let subscription = admin.subscription("G", "T").await.expect("asked").expect("one");
    assert_eq!((&*subscription.topic, &*subscription.expression, &*subscription.kind), ("T", "t", "TAG"));
    assert!(members.subscriptions.contains(&subscription), "{members:?}");
    assert!(admin.groups_of("T").await.expect("asked").contains("G"));
    let producers = admin.producers().await.expect("asked");
    assert!(producers.iter().any(|producer| producer.group == "P" && producer.client.id == client.id()));
    consumer.close(PATIENCE).await.expect("left");
    assert!(admin.members("G").await.expect("asked").clients.is_empty());
    assert_eq!(admin.subscription("G", "Other").await.expect("asked"), None);
    // It is followed.
    let progress = admin.progress("G", Some("T")).await.expect("asked");
    let [of_queue] = &progress.queues[..] else { panic!("{progress:?}") };
    assert_eq!((&of_queue.queue, of_queue.committed, of_queue.end, progress.lag()), (&queue, 4, 10, 6));
    assert!(of_queue.last_stored.is_some());
    assert_eq!(admin.all_progress().await.expect("asked")["G"].lag(), 6);
    assert!(admin.topics_of("G").await.expect("asked").contains("T"));
    assert_eq!(admin.offset("G", &queue).await.expect("asked"), Some(4));
    assert_eq!(admin.offset("Other", &queue).await.expect("asked"), None);
    let times = &admin.times("G", "T").await.expect("asked")[0];
    assert!(times.oldest <= times.consumed && times.consumed <= times.newest, "{times:?}");
    // And moved.
    for (to, offset) in [
        (From::First, 0),
        (From::Last, 10),
        (From::Offset(7), 7),
        (From::Time(SystemTime::UNIX_EPOCH), 0),
        (From::Time(SystemTime::now() + Duration::from_secs(60)), 10),
    ] {
        let moved = admin.reset("G", "T", to).await.expect("moved");
        assert_eq!((&moved[0].queue, moved[0].offset, moved.len()), (&queue, offset, 1), "{to:?}");
        assert_eq!(admin.offset("G", &queue).await.expect("asked"), Some(offset), "{to:?}");
    }
    admin.reset_queue("G", &queue, From::Offset(99)).await.expect_err("not in the queue");
    admin.reset("NoGroup", "T", From::First).await.expect_err("no such group");
    admin.reset_queue("G", &queue, From::Offset(8)).await.expect("moved");
    admin.put_group(&GroupConfig::new("Heir")).await.expect("created");
    admin.copy_offsets("G", "Heir", Some("T"), false).await.expect("copied");
    assert_eq!(admin.offset("Heir", &queue).await.expect("asked"), Some(8));
    admin.set_offset("Heir", &queue, 9).await.expect("set");
    let all = admin.all_offsets().await.expect("asked");
    let of_both: Vec<_> = all.iter().filter(|one| one.topic == "T").map(|one| (&*one.group, one.offset)).collect();
    assert_eq!(of_both, [("G", 8), ("Heir", 9)]);
    // A member goes on where the group was moved to.
    let mut consumer = client.consumer("G").subscribe("T").join().await.expect("joined");
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
    assert_eq!(delivery.offset, 8);
}

#[tokio::test]
async fn messages_are_found() {
    let server = Server::start(&[]);
    let client = client(&server);
    let admin = client.admin();
    let queue = one_queue(&admin, "T").await;
    let began = SystemTime::now() - Duration::from_secs(1);
    send(&client, &queue, 5).await;
    let stats = admin.topic_stats("T").await.expect("asked");
    assert_eq!((stats.messages(), stats.queues[0].first, stats.queues[0].end), (5, 0, 5));
    assert!(stats.queues[0].last_stored.is_some_and(|stored| stored >= began));
    let message = admin.message_at(&queue, 3).await.expect("asked").expect("there");
    assert_eq!((&message.body[..], &message.queue), (&b"3"[..], &queue));
    assert_eq!(admin.message_at(&queue, 5).await.expect("asked"), None);
    assert_eq!(admin.message(&message.offset_id()).await.expect("there"), message);
    // The index is written a moment after the log.
    let by_key = Query::key("T", "3").since(began).at_most(10);
    let found = async {
        loop {
            let found = admin.find(&by_key).await.expect("asked");
            if !found.is_empty() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    assert_eq!(tokio::time::timeout(PATIENCE, found).await.expect("indexed"), std::slice::from_ref(&message));
    let by_id = Query::message_id("T", message.message_id());
    assert_eq!(admin.find(&by_id).await.expect("asked"), std::slice::from_ref(&message));
    for none in [by_key.clone().until(began), Query::key("T", "none"), Query::message_id("T", "none")] {
        assert!(admin.find(&none).await.expect("asked").is_empty(), "{none:?}");
    }
    let units = admin.queue_units(&queue, 3, 10, None).await.expect("asked");
    assert_eq!((units.first, units.end, units.units.len()), (0, 5, 2));
    assert!(message.offset_id().ends_with(&format!("{:016X}", units.units[0].log_offset)));
}

#[tokio::test]
async fn brokers_tell_of_themselves_and_are_set() {
    let server = Server::start(&[]);
    let client = client(&server);
    let admin = client.admin();
    let brokers = admin.brokers().await.expect("asked");
    let [broker] = &brokers[..] else { panic!("{brokers:?}") };
    assert_eq!((&*broker.cluster, &*broker.address), ("DefaultCluster", &*server.broker.to_string()));
    assert!(broker.is_master());
    let queue = one_queue(&admin, "T").await;
    assert_eq!(&*queue.broker, &*broker.name);
    send(&client, &queue, 3).await;
    let state = &admin.broker_states().await.expect("asked")[0];
    assert!(state.active && state.started.is_some() && state.log_end > state.log_first, "{state:?}");
    assert!(state.version.starts_with('V') && state.log_disk_usage > 0.0, "{state:?}");
    let rates = &admin.counter(Counter::TopicPuts("T")).await.expect("asked")[0];
    assert_eq!(rates.address, server.broker.to_string());
    assert!(admin.counter(Counter::TopicPuts("Never")).await.is_err());
    let replication = &admin.replication().await.expect("asked")[0];
    assert!(replication.is_master && replication.slaves.is_empty(), "{replication:?}");
    admin.set_broker_settings(&[("fileReservedTime", "71")]).await.expect("set");
    assert_eq!(admin.broker_settings().await.expect("asked")[0].value["fileReservedTime"], "71");
    admin.set_broker_settings(&[]).await.expect_err("nothing to set");
    admin.remove_unused_topics().await.expect("done");
    admin.remove_expired_queues().await.expect("done");
    admin.remove_expired_log().await.expect("done");
    assert_eq!(admin.topic_stats("T").await.expect("still there").messages(), 3);
}

#[tokio::test]
async fn name_servers_keep_values_and_take_permissions() {
    let server = Server::start(&[]);
    let admin = client(&server).admin();
    assert_eq!(admin.value("N", "k").await.expect("asked"), None);
    assert!(admin.values("N").await.expect("asked").is_empty());
    admin.put_value("N", "k", "v").await.expect("kept");
    assert_eq!(admin.value("N", "k").await.expect("asked").as_deref(), Some("v"));
    assert_eq!(admin.values("N").await.expect("asked")["k"], "v");
    admin.delete_value("N", "k").await.expect("forgotten");
    assert_eq!(admin.value("N", "k").await.expect("asked"), None);
    let settings = &admin.name_server_settings().await.expect("asked")[0];
    assert_eq!(settings.address, server.namesrv.to_string());
    assert!(settings.contains_key("listenPort") || settings.len() > 1, "{settings:?}");
    admin.put_topic(&TopicConfig::new("T", 1)).await.expect("created");
    let broker = admin.brokers().await.expect("asked").remove(0).name;
    assert!(admin.wipe_write_permission(&broker).await.expect("wiped")[0].value > 0);
    assert_eq!(admin.route("T").await.expect("there").brokers[0].permission, Permission::READ);
    admin.add_write_permission(&broker).await.expect("given back");
    assert_eq!(admin.route("T").await.expect("there").brokers[0].permission, Permission::READ_WRITE);
}

#[tokio::test]
async fn a_message_is_tracked_and_sent_again() {
    let server = Server::start(&["messageDelayLevel=1s 1s 1s"]);
    let client = client(&server);
    let admin = client.admin();
    let queue = one_queue(&admin, "T").await;
    let producer = client.producer("P").expect("a producer");
    for tag in ["wanted", "unwanted", "wanted"] {
        let message = Message::new("T", tag).tag(tag).key("k").property("region", "eu").flag(7);
        producer.send(message).await.expect("sent");
    }
    let consumer = client.consumer("G").subscribe_tags("T", "wanted").from_first().max_reconsume_times(0);
    let mut consumer = consumer.commit_every(Duration::from_millis(50)).join().await.expect("joined");
    let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
    // To the dead letters.
    delivery.retry();
    let third = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
    assert_eq!(third.offset, 2);
    let mut states = Vec::new();
    tokio::time::timeout(PATIENCE, async {
        while states != [TrackState::Consumed, TrackState::Filtered, TrackState::Waiting] {
            states.clear();
            for offset in 0..3 {
                let message = admin.message_at(&queue, offset).await.expect("asked").expect("there");
                let tracks = admin.track(&message).await.expect("asked");
                let of_group = tracks.iter().find(|track| track.group == "G").expect("it consumes the topic");
                assert!(of_group.is_online);
                states.push(of_group.state);
            }
        }
    })
    .await
    .expect("committed");
    third.ack();
    consumer.close(PATIENCE).await.expect("left");
    let dead = Queue { topic: "%DLQ%G".into(), ..queue.clone() };
    let dead = async {
        loop {
            match admin.message_at(&dead, 0).await {
                Ok(Some(message)) => return message,
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    let dead = tokio::time::timeout(PATIENCE, dead).await.expect("it died");
    let sent = admin.send_again(&dead).await.expect("sent");
    let again = admin.message_at(&queue, 3).await.expect("asked").expect("there");
    assert_eq!(again.message_id(), sent.message_id);
    assert_ne!(again.message_id(), dead.message_id());
    assert_eq!(
        (&again.body[..], again.tag(), again.flag, again.reconsume_times),
        (&b"wanted"[..], Some("wanted"), 7, 0)
    );
    assert_eq!((again.keys().next(), again.property("region")), (Some("k"), Some("eu")));
    assert_eq!(again.property("RETRY_TOPIC"), None);
    let elsewhere = Client::builder(server.namesrv.to_string()).namespace("ns").build().expect("an address").admin();
    assert!(matches!(elsewhere.send_again(&again).await, Err(Error::Argument(_))));
}

#[tokio::test]
async fn members_tell_of_themselves_and_do_what_they_are_told() {
    let server = Server::start(&[]);
    let client = client(&server);
    let admin = client.admin();
    let queue = one_queue(&admin, "T").await;
    let _producer = send(&client, &queue, 10).await;
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let (sender, mut handled) = tokio::sync::mpsc::unbounded_channel();
    let works = tokio::spawn(async move {
        consumer
            .run(1, |message| {
                let sender = sender.clone();
                async move {
                    let _ = sender.send(message.offset);
                    if &message.body[..] == b"9" { Err("not this one") } else { Ok(()) }
                }
            })
            .await;
    });
    let mut offsets = BTreeSet::new();
    while offsets.len() < 10 {
        offsets.extend(tokio::time::timeout(PATIENCE, handled.recv()).await.expect("in time"));
    }
    let state = admin.member_state("G", client.id(), false).await.expect("it answers");
    let of_queue = state.queues.iter().find(|one| one.queue == queue).expect("its queue");
    assert!(!of_queue.dropped && of_queue.last_consumed.is_some(), "{of_queue:?}");
    assert!(state.subscriptions.iter().any(|subscription| subscription.topic == "T"), "{state:?}");
    assert!(!state.settings.is_empty());
    // The one that failed is settled when it was sent back.
    let settled = async {
        loop {
            let offsets = admin.member_offsets("G", "T").await.expect("it answers");
            if offsets[client.id()].iter().any(|one| one.queue == queue && one.offset == 10) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, settled).await.expect("all are settled");
    // One more time.
    let message = admin.message_at(&queue, 5).await.expect("asked").expect("there");
    let consumed = admin.consume_directly("G", client.id(), &message).await.expect("it answers");
    assert_eq!(consumed.outcome, Some(Outcome::Success), "{consumed:?}");
    assert_eq!(tokio::time::timeout(PATIENCE, handled.recv()).await.expect("in time"), Some(5));
    let message = admin.message_at(&queue, 9).await.expect("asked").expect("there");
    let consumed = admin.consume_directly("G", client.id(), &message).await.expect("it answers");
    assert_ne!(consumed.outcome, Some(Outcome::Success), "{consumed:?}");
    for error in [
        admin.member_state("G", "nobody", false).await.expect_err("not there").to_string(),
        admin.consume_directly("G", "nobody", &message).await.expect_err("not there").to_string(),
    ] {
        assert!(error.contains("nobody"), "{error}");
    }
    works.abort();
}

/// A second broker of a server's cluster, killed when dropped.
struct Second {
    child: Child,
    _folder: tempfile::TempDir,
}

impl Second {
    fn start(server: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let store = format!("storePathRootDir={}", folder.path().display());
        let mut process = Process::new(binary());
        process.args(["broker", "-n", &server.namesrv.to_string()]);
        for setting in ["listenPort=0", "brokerIP1=127.0.0.1", "bindAddress=127.0.0.1", "brokerName=second", &store] {
            process.args(["--set", setting]);
        }
        let mut child = process.env("APOGEE_LOG", "error").stdout(Stdio::piped()).spawn().expect("it starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut ready).expect("a line");
        assert!(ready.contains("(second)"), "{ready}");
        Self { child, _folder: folder }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn what_several_brokers_have_comes_together() {
    let server = Server::start(&[]);
    let second = Second::start(&server);
    let client = client(&server);
    let admin = client.admin();
    let brokers = admin.brokers().await.expect("asked");
    assert_eq!(brokers.len(), 2, "{brokers:?}");
    let other = brokers.iter().find(|broker| broker.name == "second").expect("it is there").address.clone();
    admin.put_topic(&TopicConfig::new("T", 1)).await.expect("created");
    admin.broker(&*other).put_topic(&TopicConfig::new("T", 2)).await.expect("changed");
    let configs = admin.topic_configs("T").await.expect("asked");
    assert_eq!(configs.len(), 2, "{configs:?}");
    for config in &configs {
        assert_eq!(config.write_queues, if config.address == other { 2 } else { 1 });
    }
    admin.put_group(&GroupConfig::new("G")).await.expect("created");
    let queues: Vec<_> = admin.topic_stats("T").await.expect("there").queues;
    assert_eq!(queues.len(), 3, "{queues:?}");
    let mut producers = Vec::new();
    for range in &queues {
        producers.push(send(&client, &range.queue, 4).await);
    }
    assert_eq!(admin.topic_stats("T").await.expect("there").messages(), 12);
    let of_second = admin.broker(&*other).topic_stats("T").await.expect("there");
    assert_eq!(of_second.messages(), 8);
    let mut consumer = client.consumer("G").subscribe("T").from_first().join().await.expect("joined");
    let members = admin.members("G").await.expect("asked");
    assert_eq!(members.clients.iter().map(|member| &*member.id).collect::<Vec<_>>(), [client.id()]);
    for _ in 0..12 {
        let delivery = tokio::time::timeout(PATIENCE, consumer.next()).await.expect("in time").expect("not closed");
        delivery.ack();
    }
    consumer.close(PATIENCE).await.expect("left");
    let progress = admin.progress("G", Some("T")).await.expect("asked");
    assert_eq!((progress.queues.len(), progress.lag()), (3, 0), "{progress:?}");
    let moved = admin.reset("G", "T", From::First).await.expect("moved");
    assert_eq!(moved.iter().map(|moved| moved.offset).collect::<Vec<_>>(), [0, 0, 0]);
    assert_eq!(admin.progress("G", None).await.expect("asked").lag(), 12);
    let by_key = Query::key("T", "2");
    let found = async {
        while admin.find(&by_key).await.expect("asked").len() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("indexed");
    // One that goes is not asked any more.
    drop(second);
    let gone = async {
        while admin.brokers().await.expect("asked").len() > 1 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.expect("noticed");
    assert_eq!(admin.topic_stats("T").await.expect("there").messages(), 4);
    let error = admin.broker(&*other).groups().await.expect_err("it is gone").to_string();
    assert!(error.contains(&other), "{error}");
}

#[tokio::test]
async fn a_group_is_moved_by_a_broker_that_leaves_it_to_members() {
    let server = Server::start(&["useServerSideResetOffset=false"]);
    let client = client(&server);
    let admin = client.admin();
    let queue = one_queue(&admin, "T").await;
    let _producer = send(&client, &queue, 6).await;
    admin.put_group(&GroupConfig::new("G")).await.expect("created");
    admin.set_offset("G", &queue, 5).await.expect("set");
    // Nobody is there.
    let moved = admin.reset("G", "T", From::Offset(3)).await.expect("moved");
    assert_eq!((moved.len(), moved[0].offset), (1, 3));
    assert_eq!(admin.offset("G", &queue).await.expect("asked"), Some(3));
    let mut consumer = client.consumer("G").subscribe("T").join().await.expect("joined");
    let mut next = async |offset: i64| {
        let delivery = async {
            loop {
                let delivery = consumer.next().await.expect("not closed");
                if delivery.offset == offset {
                    return delivery.ack();
                }
                delivery.ack();
            }
        };
        tokio::time::timeout(PATIENCE, delivery).await.unwrap_or_else(|_| panic!("{offset} did not come"));
    };
    next(3).await;
    next(5).await;
    // The member is told.
    admin.reset("G", "T", From::First).await.expect("moved");
    next(0).await;
}

/// Our broker knows nothing of these yet: against Apache's only (`APOGEE_TEST_SERVER=apache`).
#[tokio::test]
async fn groups_are_told_how_to_read() {
    if std::env::var("APOGEE_TEST_SERVER").as_deref() != Ok("apache") {
        return;
    }
    let server = Server::start(&[]);
    let client = client(&server);
    let admin = client.admin();
    one_queue(&admin, "T").await;
    let mode = GroupMode { group: "G".into(), topic: "T".into(), mode: RequestMode::Pop, shared_by: 2 };
    admin.set_request_mode(&mode).await.expect("set");
    assert_eq!(admin.request_modes().await.expect("asked")[0].value, mode);
    let message = Message::new("T", "later").delay(Duration::from_secs(600));
    client.producer("P").expect("a producer").send(message).await.expect("sent");
    let waiting = async {
        while admin.waiting_for_their_time().await.expect("asked").get("T") != Some(&1) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it waits");
    admin.set_cold_read_limit("G", 4096).await.expect("set");
    let reads = &admin.cold_reads().await.expect("asked")[0];
    assert!(reads.limits["G"] == 4096 && reads.limit > 0, "{reads:?}");
    admin.remove_cold_read_limit("G").await.expect("removed");
    assert!(admin.cold_reads().await.expect("asked")[0].limits.is_empty());
}

/// Our broker keeps no users yet: against Apache's only (`APOGEE_TEST_SERVER=apache`).
#[tokio::test]
async fn users_get_rules() {
    if std::env::var("APOGEE_TEST_SERVER").as_deref() != Ok("apache") {
        return;
    }
    let server = Server::start(&[
        "authenticationProvider=org.apache.rocketmq.auth.authentication.provider.DefaultAuthenticationProvider",
        "authenticationMetadataProvider=org.apache.rocketmq.auth.authentication.provider.LocalAuthenticationMetadataProvider",
        "authorizationProvider=org.apache.rocketmq.auth.authorization.provider.DefaultAuthorizationProvider",
        "authorizationMetadataProvider=org.apache.rocketmq.auth.authorization.provider.LocalAuthorizationMetadataProvider",
    ]);
    let admin = client(&server).admin();
    // Brokers may tell passwords.
    let users = async || {
        let users = admin.users(None).await.expect("asked").into_iter();
        users.map(|user| User { password: None, ..user.value }).collect::<Vec<_>>()
    };
    let accesses = async || {
        let accesses = admin.accesses(None, None).await.expect("asked").into_iter();
        accesses.map(|access| access.value).collect::<Vec<_>>()
    };
    let (alice, bob) = (User::new("alice"), User { is_super: true, is_enabled: false, ..User::new("bob") });
    admin.put_user(&alice).await.expect_err("no password");
    admin.put_user(&alice.clone().password("secret-1")).await.expect("created");
    admin.put_user(&bob.clone().password("secret-2")).await.expect("created");
    assert_eq!(users().await, [alice.clone(), bob.clone()]);
    let alice = User { is_enabled: false, ..alice };
    admin.put_user(&alice).await.expect("changed");
    assert_eq!(users().await, [alice, bob]);
    let access = Access::new("User:alice").rule(Rule::allow("Topic:T", ["Pub", "Sub"]).from("10.0.0.0/8"));
    admin.put_access(&access).await.expect("created");
    assert_eq!(accesses().await, std::slice::from_ref(&access));
    let more = Access::new("User:alice").rule(Rule::deny("Group:G", ["Sub"]));
    admin.put_access(&more).await.expect("changed");
    assert_eq!(accesses().await[0].rules.len(), 2);
    admin.delete_access("User:alice", Some("Topic:T")).await.expect("removed");
    assert_eq!(accesses().await, [more]);
    admin.delete_access("User:alice", None).await.expect("removed");
    admin.delete_user("alice").await.expect("removed");
    admin.delete_user("bob").await.expect("removed");
    assert!(users().await.is_empty() && accesses().await.is_empty());
}
