//! Topics with `cleanup.policy=COMPACTION`: of each key the newest message stays for ever, at its offset. What is not
//! about files or kills also holds for Apache's server: `APOGEE_TEST_SERVER=apache`.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use apogee_message::batch::{self, BatchMessage};
use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use common::{PATIENCE, Peer, Pull, Server};

/// Files of nine messages, compacted all the time.
const SETTINGS: &[&str] = &[
    "compactionCqMappedFileSize=460",
    "compactionMappedFileSize=2300",
    "compactionScheduleInternal=200",
    "mappedFileSizeCommitLog=65536",
    "mappedFileSizeConsumeQueue=2000",
    "maxHashSlotNum=100",
    "maxIndexNum=200",
    // Never the hour of the test.
    "deleteWhen=04",
    "fileReservedTime=0",
];

fn ask(code: i32, fields: &[(&str, &str)]) -> Command {
    let mut command = Command::request(code);
    fields.iter().for_each(|(name, value)| command.fields.set(name, *value));
    command
}

fn create(peer: &mut Peer, topic: &str, attributes: &str) -> Command {
    peer.call(ask(
        request::UPDATE_AND_CREATE_TOPIC,
        &[
            ("topic", topic),
            ("defaultTopic", "TBW102"),
            ("readQueueNums", "2"),
            ("writeQueueNums", "2"),
            ("perm", "6"),
            ("topicFilterType", "SINGLE_TAG"),
            ("topicSysFlag", "0"),
            ("order", "false"),
            ("attributes", attributes),
        ],
    ))
}

/// A server that has the topic.
fn start(folder: &Path) -> (Server, Peer) {
    let server = Server::start_in(folder, SETTINGS);
    let mut peer = server.connect();
    let created = create(&mut peer, "T", "+cleanup.policy=COMPACTION");
    assert_eq!(created.code, response::SUCCESS, "{created:?}");
    (server, peer)
}

fn keyed(key: &str) -> String {
    format!("KEYS\u{1}{key}\u{2}TAGS\u{1}t\u{2}")
}

fn put(peer: &mut Peer, key: &str, value: &str) -> i64 {
    peer.send_ok("T", 0, value.as_bytes(), &keyed(key))
}

/// What is in the queue: offset, key, value.
type Messages = BTreeMap<i64, (String, String)>;

/// Reads the queue from an offset to its end.
fn read_from(peer: &mut Peer, mut offset: i64) -> Messages {
    let mut messages = Messages::new();
    loop {
        let (answer, next) = peer.pull(Pull::of("T", 0, offset));
        let next = next.expect("where to go on");
        match answer.code {
            response::SUCCESS => {}
            response::PULL_NOT_FOUND => return messages,
            response::PULL_RETRY_IMMEDIATELY => assert!(next > offset, "{answer:?}"),
            code => panic!("{code} at {offset}: {answer:?}"),
        }
        for record in record::iter(&answer.body) {
            let record = record.expect("a record");
            assert!(record.body_is_intact() && record.queue_offset >= offset && record.queue_offset < next);
            let key = record.property("KEYS").expect("a key").to_owned();
            let value = String::from_utf8_lossy(record.body).into_owned();
            let older = messages.insert(record.queue_offset, (key, value));
            assert_eq!(older, None, "twice at {}", record.queue_offset);
        }
        offset = next;
    }
}

/// The value of each key, as who reads all messages has it. Without a body there is none.
fn values(messages: &Messages) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for (key, value) in messages.values() {
        values.insert(key.clone(), value.clone());
    }
    values.retain(|_, value| !value.is_empty());
    values
}

fn until<T>(what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match look() {
            Ok(found) => return found,
            Err(is) => assert!(Instant::now() < deadline, "not {what}: {is}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Waits until so few messages are left.
fn until_compacted(peer: &mut Peer, most: usize) -> Messages {
    until("compacted", || {
        let messages = read_from(peer, 0);
        if messages.len() <= most { Ok(messages) } else { Err(format!("{} messages", messages.len())) }
    })
}

fn offset(peer: &mut Peer, code: i32, fields: &[(&str, &str)]) -> i64 {
    let fields: Vec<_> = [("topic", "T"), ("queueId", "0")].iter().chain(fields).copied().collect();
    let answer = peer.call(ask(code, &fields));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.fields.get("offset").and_then(|offset| offset.parse().ok()).expect("an offset")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

/// Has old files of the commit log removed, until few are left.
fn expire(peer: &mut Peer, folder: &Path) {
    until("expired", || {
        assert_eq!(peer.call(ask(request::DELETE_EXPIRED_COMMITLOG, &[])).code, response::SUCCESS);
        let left = files(&folder.join("store/commitlog")).len();
        if left <= 2 { Ok(()) } else { Err(format!("{left} files")) }
    });
}

/// Sends what is not of the topic, several files of the commit log.
fn fill(peer: &mut Peer) {
    for _ in 0..300 {
        peer.send_ok("Other", 0, &[b'x'; 1_000], "");
    }
}

#[test]
fn the_newest_message_of_each_key_stays_at_its_offset() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut peer) = start(folder.path());
    for round in 0..40 {
        for key in 0..5 {
            assert_eq!(put(&mut peer, &format!("k{key}"), &format!("v{round}")), round * 5 + key);
        }
    }
    // Read at once, and after a compaction: what is in the file that grows stays a while.
    assert_eq!(values(&read_from(&mut peer, 0)).len(), 5);
    let messages = until_compacted(&mut peer, 5 + 9);
    let expected: BTreeMap<_, _> = (0..5).map(|key| (format!("k{key}"), "v39".to_owned())).collect();
    assert_eq!(values(&messages), expected);
    let (first, last) = (*messages.keys().next().expect("one"), *messages.keys().next_back().expect("one"));
    assert_eq!(last, 199);
    for (at, (key, value)) in &messages {
        assert_eq!((key.as_str(), value.as_str()), (&*format!("k{}", at % 5), &*format!("v{}", at / 5)), "{at}");
    }
    // From an offset that is gone it goes on with the next one.
    assert_eq!(read_from(&mut peer, first + 1).len(), messages.len() - 1);
    assert_eq!(offset(&mut peer, request::GET_MAX_OFFSET, &[]), 200);
    // Clients refuse to go back to an offset before this one.
    assert_eq!(offset(&mut peer, request::GET_MIN_OFFSET, &[]), 0);
    let by_time = |peer: &mut Peer, time: &str, boundary: &str| {
        let fields = [("timestamp", time), ("boundaryType", boundary)];
        offset(peer, request::SEARCH_OFFSET_BY_TIMESTAMP, &fields)
    };
    assert_eq!(by_time(&mut peer, "0", "lower"), first);
    assert_eq!(by_time(&mut peer, "99999999999999", "lower"), 200);
    assert_eq!(by_time(&mut peer, "99999999999999", "upper"), 199);

    // As it was after a stop, and going on.
    assert!(server.stop().success());
    let server = Server::start_in(folder.path(), SETTINGS);
    let mut peer = server.connect();
    assert_eq!(values(&read_from(&mut peer, 0)), expected);
    assert_eq!(put(&mut peer, "k0", "v40"), 200);
    assert_eq!(values(&read_from(&mut peer, 0))["k0"], "v40");
}

#[test]
fn what_has_no_key_is_refused_and_the_policy_stays() {
    let server = Server::start(SETTINGS);
    let mut peer = server.connect();
    let created = create(&mut peer, "T", "+cleanup.policy=COMPACTION");
    assert_eq!(created.code, response::SUCCESS, "{created:?}");
    let refused = peer.send("T", 0, b"value", "TAGS\u{1}t\u{2}");
    assert_eq!(refused.code, response::MESSAGE_ILLEGAL);
    assert!(refused.remark.expect("why").starts_with("Required message key is missing"));
    let mut body = Vec::new();
    for properties in [keyed("k"), String::new()] {
        batch::push(&mut body, &BatchMessage { flag: 0, body: "v".into(), properties: properties.into() });
    }
    let mut command = Command::request(request::SEND_BATCH_MESSAGE).with_body(bytes::Bytes::from(body));
    common::send_header("T", 0, "").encode_v2(&mut command.fields);
    command.fields.set("m", "true");
    assert_eq!(peer.call(command).code, response::MESSAGE_ILLEGAL, "one of the batch has no key");
    assert_eq!(read_from(&mut peer, 0).len(), 0, "and none of it is there");
    assert_eq!(put(&mut peer, "k", "v"), 0);

    assert_ne!(create(&mut peer, "T", "+cleanup.policy=DELETE").code, response::SUCCESS);
    assert_ne!(create(&mut peer, "T", "-cleanup.policy").code, response::SUCCESS);
    assert_ne!(create(&mut peer, "U", "+cleanup.policy=COMPACTION,+queue.type=BatchCQ").code, response::SUCCESS);
    assert_eq!(create(&mut peer, "U", "").code, response::SUCCESS);
    assert_ne!(create(&mut peer, "U", "+cleanup.policy=COMPACTION").code, response::SUCCESS);
}

#[test]
fn what_stays_outlives_the_commit_log() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut peer) = start(folder.path());
    for round in 0..10 {
        for key in 0..20 {
            put(&mut peer, &format!("k{key}"), &format!("v{round}"));
        }
    }
    let copied = folder.path().join("store/compaction/compactionLog/T/0");
    fill(&mut peer);
    expire(&mut peer, folder.path());
    let expected: BTreeMap<_, _> = (0..20).map(|key| (format!("k{key}"), "v9".to_owned())).collect();
    let messages = until_compacted(&mut peer, 20 + 9);
    assert_eq!(values(&messages), expected);
    assert!(!files(&copied).is_empty());
    server.kill();
    let server = Server::start_in(folder.path(), SETTINGS);
    let mut peer = server.connect();
    assert_eq!(read_from(&mut peer, 0), messages);
    assert_eq!(offset(&mut peer, request::GET_MIN_OFFSET, &[]), 0);
    assert_eq!(put(&mut peer, "k3", "new"), 200);

    // Without its queues, which cannot be made anew from the log, offsets go on all the same.
    assert!(server.stop().success());
    std::fs::remove_dir_all(folder.path().join("store/consumequeue/T")).expect("removed");
    std::fs::remove_file(folder.path().join("store/checkpoint")).expect("removed");
    let server = Server::start_in(folder.path(), SETTINGS);
    let mut peer = server.connect();
    assert_eq!(values(&read_from(&mut peer, 0))["k3"], "new");
    assert_eq!(put(&mut peer, "k4", "newer"), 201);
    assert_eq!(values(&read_from(&mut peer, 0)).len(), 20);
}

#[test]
fn a_message_without_a_body_deletes_its_key() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, mut peer) = start(folder.path());
    for key in 0..10 {
        put(&mut peer, &format!("k{key}"), "v");
    }
    for key in 0..10 {
        // Of some producers without any body, as batches have it.
        put(&mut peer, &format!("k{key}"), if key == 3 { "stays" } else { "" });
    }
    for _ in 0..20 {
        put(&mut peer, "last", "v");
    }
    let messages = until_compacted(&mut peer, 1 + 9);
    let keys: Vec<_> = messages.values().map(|(key, _)| key.as_str()).collect();
    assert!(keys.contains(&"k3") && !keys.contains(&"k4"), "{messages:?}");
    assert_eq!(values(&messages), [("k3", "stays"), ("last", "v")].map(|(k, v)| (k.to_owned(), v.to_owned())).into());
}

#[test]
fn nothing_that_was_confirmed_is_lost_by_a_kill_at_any_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut server, mut peer) = start(folder.path());
    let (mut known, mut round) = (BTreeMap::new(), 0);
    for life in 0..8 {
        // Compactions go on meanwhile: some five in a second.
        let ends = Instant::now() + Duration::from_millis(400 + 170 * life);
        while Instant::now() < ends {
            round += 1;
            for key in 0..7 {
                let (key, value) = (format!("k{}", (key * round) % 23), format!("v{round}"));
                put(&mut peer, &key, &value);
                known.insert(key, value);
            }
            if round % 40 == 0 {
                fill(&mut peer);
                peer.call(ask(request::DELETE_EXPIRED_COMMITLOG, &[]));
            }
        }
        server.kill();
        server = Server::start_in(folder.path(), SETTINGS);
        peer = server.connect();
        assert_eq!(values(&read_from(&mut peer, 0)), known, "in life {life}");
    }
    until_compacted(&mut peer, 23 + 9 + 9);
    assert_eq!(values(&read_from(&mut peer, 0)), known);
}

#[test]
fn a_deleted_topic_leaves_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (server, mut peer) = start(folder.path());
    for number in 0..100 {
        put(&mut peer, &format!("k{}", number % 10), "old");
    }
    until_compacted(&mut peer, 10 + 9);
    assert_eq!(peer.call(ask(request::DELETE_TOPIC_IN_BROKER, &[("topic", "T")])).code, response::SUCCESS);
    for kind in ["compactionLog", "compactionCq"] {
        assert!(!folder.path().join("store/compaction").join(kind).join("T").exists(), "{kind}");
    }
    create(&mut peer, "T", "+cleanup.policy=COMPACTION");
    assert_eq!(put(&mut peer, "k1", "new"), 0);
    assert_eq!(values(&read_from(&mut peer, 0)), [("k1".to_owned(), "new".to_owned())].into());
    server.kill();
    let server = Server::start_in(folder.path(), SETTINGS);
    assert_eq!(values(&read_from(&mut server.connect(), 0)), [("k1".to_owned(), "new".to_owned())].into());
}

/// Pops what there is: offset and value of each message, as it was in the topic.
fn pop(peer: &mut Peer) -> Vec<String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis();
    let answer = peer.call(ask(
        request::POP_MESSAGE,
        &[
            ("consumerGroup", "G"),
            ("topic", "T"),
            ("queueId", "-1"),
            ("maxMsgNums", "16"),
            ("invisibleTime", "2000"),
            ("pollTime", "0"),
            ("bornTime", &now.to_string()),
            ("initMode", "0"),
            ("expType", "TAG"),
            ("exp", "*"),
            ("order", "false"),
        ],
    ));
    let value = |record: record::Record<'_>| String::from_utf8_lossy(record.body).into_owned();
    match answer.code {
        response::SUCCESS => record::iter(&answer.body).map(|record| value(record.expect("a record"))).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn what_only_the_compacted_log_has_is_popped_and_comes_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_server, mut peer) = start(folder.path());
    for number in 0..120 {
        put(&mut peer, &format!("k{}", number % 30), &format!("v{number}"));
    }
    until_compacted(&mut peer, 30 + 9);
    fill(&mut peer);
    expire(&mut peer, folder.path());
    let mut expected: Vec<_> = read_from(&mut peer, 0).into_values().map(|(_, value)| value).collect();
    expected.sort();
    for round in ["popped", "popped again, as nobody acknowledged"] {
        let mut popped = Vec::new();
        until(round, || {
            popped.extend(pop(&mut peer));
            if popped.len() >= expected.len() { Ok(()) } else { Err(format!("{popped:?} of {expected:?}")) }
        });
        popped.sort();
        assert_eq!(popped, expected, "{round}");
    }
}
