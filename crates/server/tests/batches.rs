//! Topics with `queue.type=BatchCQ`: a batch is one record, and each of its messages has an offset. What is not about files or
//! kills also holds for Apache's server: `APOGEE_TEST_SERVER=apache`.

mod common;

use std::path::Path;
use std::process::Command as Process;

use apogee_message::record::{self, Record};
use apogee_message::sysflag;
use apogee_wire::codes::{request, response};
use bytes::Buf;
use common::batch::{SETTINGS, ask, batch_request, create, create_t, send, texts_of};
use common::group::until;
use common::{Peer, Pull, Server};

/// Set where another server is tested.
const OTHER: &str = "APOGEE_TEST_SERVER";

/// A server that has the topic.
fn start() -> (Server, Peer) {
    let server = Server::start(SETTINGS);
    let mut peer = server.connect();
    create_t(&mut peer);
    (server, peer)
}

/// What a pull brings: of each record the first offset, the flag, the number of messages, and their texts.
type Pulled = (i64, i32, Option<String>, Vec<String>);

fn pull(peer: &mut Peer, offset: i64) -> (Vec<Pulled>, i64) {
    let (answer, next) = peer.pull(Pull::of("T", 0, offset));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let records = record::iter(&answer.body).map(|record| unwrapped(&record.expect("a record"))).collect();
    (records, next.expect("where to go on"))
}

fn unwrapped(record: &Record<'_>) -> Pulled {
    assert_eq!(record.property("CLUSTER"), Some("DefaultCluster"));
    let is_batch = record.sys_flag & sysflag::INNER_BATCH != 0;
    let texts = match is_batch {
        true => {
            assert_eq!(record.property("INNER_BASE"), Some(&*record.queue_offset.to_string()));
            texts_of(record.body)
        }
        false => vec![String::from_utf8_lossy(record.body).into_owned()],
    };
    let count = record.property("INNER_NUM").map(str::to_owned);
    (record.queue_offset, record.sys_flag, count, texts)
}

/// What a pull should bring of a batch.
fn whole(first: i64, texts: &[&str]) -> Pulled {
    let texts: Vec<_> = texts.iter().map(|text| (*text).to_owned()).collect();
    (first, sysflag::INNER_BATCH | sysflag::NEED_UNWRAP, Some(texts.len().to_string()), texts)
}

fn offset(peer: &mut Peer, code: i32, fields: &[(&str, &str)]) -> i64 {
    let fields: Vec<_> = [("topic", "T"), ("queueId", "0")].iter().chain(fields).copied().collect();
    let answer = peer.call(ask(code, &fields));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    answer.fields.get("offset").and_then(|offset| offset.parse().ok()).expect("an offset")
}

/// Waits until messages up to an offset can be pulled.
fn await_end(peer: &mut Peer, end: i64) {
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while offset(peer, request::GET_MAX_OFFSET, &[]) < end {
        assert!(std::time::Instant::now() < deadline, "{end} is not reached");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn a_batch_is_one_record_and_each_of_its_messages_has_an_offset() {
    let (_server, mut peer) = start();
    assert_eq!(send(&mut peer, "A1", &["a", "b", "c"]), 0);
    assert_eq!(send(&mut peer, "A2", &["d"]), 3);
    assert_eq!(send(&mut peer, "A3", &["e", "f"]), 4);
    await_end(&mut peer, 6);
    let all = [whole(0, &["a", "b", "c"]), whole(3, &["d"]), whole(4, &["e", "f"])];
    assert_eq!(pull(&mut peer, 0), (all.to_vec(), 6));
    // Amid a batch begins the batch.
    assert_eq!(pull(&mut peer, 2), (all.to_vec(), 6));
    assert_eq!(pull(&mut peer, 3), (all[1..].to_vec(), 6));
    assert_eq!(pull(&mut peer, 5), (all[2..].to_vec(), 6));
    assert_eq!(offset(&mut peer, request::GET_MIN_OFFSET, &[]), 0);
    assert_eq!(offset(&mut peer, request::SEARCH_OFFSET_BY_TIMESTAMP, &[("timestamp", "1000")]), 0);
    if std::env::var_os(OTHER).is_none() {
        let mut behind_all = |boundary| {
            let fields = [("timestamp", "9999999999999"), ("boundaryType", boundary)];
            offset(&mut peer, request::SEARCH_OFFSET_BY_TIMESTAMP, &fields)
        };
        assert_eq!((behind_all("LOWER"), behind_all("UPPER")), (6, 5));
    }
    let (answer, _) = peer.pull(Pull::of("T", 0, 6));
    assert_eq!(answer.code, response::PULL_NOT_FOUND);
}

#[test]
fn a_pull_takes_no_more_messages_than_it_asks_for_but_always_a_batch() {
    let (_server, mut peer) = start();
    let texts: Vec<String> = (0..40).map(|number| number.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    send(&mut peer, "A1", &texts);
    send(&mut peer, "A2", &texts[..20]);
    send(&mut peer, "A3", &texts[..20]);
    await_end(&mut peer, 80);
    // A pull asks for 32.
    assert_eq!(pull(&mut peer, 0), (vec![whole(0, &texts)], 40));
    assert_eq!(pull(&mut peer, 40), (vec![whole(40, &texts[..20])], 60));
}

#[test]
fn what_is_sent_alone_is_there_too() {
    if std::env::var_os(OTHER).is_some() {
        // Apache's server stores it, and no consumer ever sees it.
        return;
    }
    let (_server, mut peer) = start();
    assert_eq!(peer.send_ok("T", 0, b"one", "UNIQ_KEY\u{1}1\u{2}"), 0);
    assert_eq!(send(&mut peer, "A1", &["a", "b"]), 1);
    // A batch without an id of its own is what its sender takes for its messages.
    let answer = peer.call(batch_request("", &["c", "d"]));
    assert_eq!((answer.code, answer.fields.get("batchUniqId")), (response::SUCCESS, None));
    assert_eq!(answer.fields.get("msgId").map(|ids| ids.split(',').count()), Some(2));
    let alone = |offset, text: &str| (offset, 0, Some("1".to_owned()), vec![text.to_owned()]);
    let all = vec![alone(0, "one"), whole(1, &["a", "b"]), alone(3, "c"), alone(4, "d")];
    assert_eq!(pull(&mut peer, 0), (all, 5));
}

/// The units of the queue's files: place, bytes, tag code, offset, messages, and what follows.
fn units(data: &Path) -> Vec<(i64, i32, i64, i64, i16, [i32; 2])> {
    let folder = data.join("store/batchconsumequeue/T/0");
    let mut names: Vec<_> =
        std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("a name").path()).collect();
    names.sort();
    let bytes: Vec<u8> = names.iter().flat_map(|path| std::fs::read(path).expect("a file")).collect();
    let unit = |mut unit: &[u8]| {
        let (place, size, tag) = (unit.get_i64(), unit.get_i32(), unit.get_i64());
        let stored = unit.get_i64();
        let (offset, messages) = (unit.get_i64(), unit.get_i16());
        assert!(size == 0 || stored > 1_700_000_000_000, "when it was stored: {stored}");
        (place, size, tag, offset, messages, [unit.get_i32(), unit.get_i32()])
    };
    bytes.chunks_exact(46).map(unit).take_while(|unit| unit.1 > 0).collect()
}

#[test]
fn the_queue_is_the_same_after_a_kill_and_when_its_files_are_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let server = Server::start_in(&data, SETTINGS);
    let mut peer = server.connect();
    create(&mut peer, "T", "+queue.type=BatchCQ");
    let mut all = Vec::new();
    // More than a file holds.
    for number in 0..25 {
        let texts = [format!("{number}a"), format!("{number}b"), format!("{number}c")];
        let texts: Vec<&str> = texts.iter().map(String::as_str).take(1 + number % 3).collect();
        let first = send(&mut peer, &format!("ID{number}"), &texts);
        all.push(whole(first, &texts));
    }
    let end = all.iter().map(|pulled| pulled.3.len() as i64).sum::<i64>();
    await_end(&mut peer, end);
    let check = |peer: &mut Peer| {
        let (mut pulled, mut next) = (Vec::new(), 0);
        while next < end {
            let (records, then) = pull(peer, next);
            assert!(then > next);
            pulled.extend(records);
            next = then;
        }
        assert_eq!(pulled, all);
        assert_eq!(offset(peer, request::GET_MAX_OFFSET, &[]), end);
    };
    check(&mut peer);
    server.kill();
    let server = Server::start_in(&data, SETTINGS);
    check(&mut server.connect());
    if std::env::var_os(OTHER).is_some() {
        return;
    }
    assert!(server.stop().success());
    let written = units(&data);
    assert_eq!(written.len(), all.len());
    for (unit, pulled) in written.iter().zip(&all) {
        assert_eq!((unit.2, unit.3, usize::from(unit.4 as u16), unit.5), (0, pulled.0, pulled.3.len(), [-1, 0]));
    }
    assert!(written.windows(2).all(|pair| pair[0].0 + i64::from(pair[0].1) <= pair[1].0), "in the log's order");
    let folder = data.join("store/batchconsumequeue");
    for lost in ["T/0/00000000000000000460", "T/0", ""] {
        let lost = folder.join(lost);
        if lost.is_dir() { std::fs::remove_dir_all(lost) } else { std::fs::remove_file(lost) }.expect("removed");
        let server = Server::start_in(&data, SETTINGS);
        let mut peer = server.connect();
        check(&mut peer);
        assert!(server.stop().success());
        assert_eq!(units(&data), written);
        let checked = Process::new(common::binary()).args(["store", "check"]).arg(data.join("store")).output();
        let checked = checked.expect("it runs");
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

#[test]
fn a_batch_that_a_consumer_gives_back_is_left_to_the_consumer() {
    let (_server, mut peer) = start();
    let answer = peer.call(batch_request("UNIQ_KEY\u{1}A1\u{2}", &["a", "b"]));
    let id = answer.fields.get("msgId").expect("an id").to_owned();
    let place = i64::from_str_radix(&id[16..], 16).expect("a place").to_string();
    let fields = [("group", "G"), ("offset", &*place), ("delayLevel", "1"), ("originTopic", "T")];
    peer.call(ask(request::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP, &[]).with_body(&br#"{"groupName":"G"}"#[..]));
    let answer = peer.call(ask(request::CONSUMER_SEND_MSG_BACK, &fields));
    assert_ne!(answer.code, response::SUCCESS, "{answer:?}");
}

#[test]
fn what_cannot_be_in_such_a_topic_is_refused() {
    let (_server, mut peer) = start();
    for property in ["DELAY\u{1}1\u{2}", "TIMER_DELAY_SEC\u{1}1\u{2}", "TRAN_MSG\u{1}true\u{2}"] {
        if std::env::var_os(OTHER).is_none() {
            let answer = peer.send("T", 0, b"x", property);
            assert_eq!(answer.code, response::MESSAGE_ILLEGAL, "{property}: {answer:?}");
        }
    }
    let answer = create(&mut peer, "T", "+queue.type=SimpleCQ");
    assert_ne!(answer.code, response::SUCCESS, "the type of a topic's queues stays");
    let answer = create(&mut peer, "U", "+queue.type=OtherCQ");
    assert_ne!(answer.code, response::SUCCESS);
}

#[test]
fn the_queue_begins_where_the_log_does() {
    if std::env::var_os(OTHER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let settings = ["mappedFileSizeCommitLog=65536", "fileReservedTime=0", "deleteWhen=04", SETTINGS[0]];
    let server = Server::start_in(folder.path(), &settings);
    let mut peer = server.connect();
    create_t(&mut peer);
    let text = "x".repeat(1_000);
    // Four files of the log, and five of the queue.
    let (mut end, mut firsts) = (0, Vec::new());
    for number in 0..50_usize {
        let texts = vec![&*text; 1 + number % 7];
        firsts.push(send(&mut peer, &format!("ID{number}"), &texts));
        end += texts.len() as i64;
    }
    await_end(&mut peer, end);
    let folder_of_store = folder.path().join("store");
    let names = |folder: &str| {
        let names = std::fs::read_dir(folder_of_store.join(folder)).into_iter().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.expect("a file").file_name()).collect();
        names.sort();
        names
    };
    until("the queue is in its files", || names("batchconsumequeue/T/0").len() >= 5);
    let queue = names("batchconsumequeue/T/0");
    until("old files are removed", || {
        peer.call(ask(request::DELETE_EXPIRED_COMMITLOG, &[]));
        names("commitlog").len() <= 2
    });
    until("the queue begins later", || offset(&mut peer, request::GET_MIN_OFFSET, &[]) > 0);
    let begins = |peer: &mut Peer| {
        let min = offset(peer, request::GET_MIN_OFFSET, &[]);
        assert!(min > 0 && firsts.contains(&min), "{min} is amid a batch");
        // Who reads what is gone is sent to the beginning.
        let (answer, next) = peer.pull(Pull::of("T", 0, 1));
        assert_eq!((answer.code, next), (response::PULL_OFFSET_MOVED, Some(min)), "{answer:?}");
        let (pulled, _) = pull(peer, min);
        assert_eq!(pulled[0].0, min);
        min
    };
    let min = begins(&mut peer);
    until("files of the queue are removed", || {
        peer.call(ask(request::CLEAN_EXPIRED_CONSUMEQUEUE, &[]));
        let names = names("batchconsumequeue/T/0");
        names.len() < queue.len() && names.last() == queue.last()
    });
    assert_eq!((begins(&mut peer), offset(&mut peer, request::GET_MAX_OFFSET, &[])), (min, end));
    server.kill();
    let server = Server::start_in(folder.path(), &settings);
    let mut peer = server.connect();
    assert_eq!((begins(&mut peer), offset(&mut peer, request::GET_MAX_OFFSET, &[])), (min, end));
    assert_eq!(send(&mut peer, "NEW", &["a", "b"]), end);
    assert!(server.stop().success());
    std::fs::remove_dir_all(folder.path().join("store/batchconsumequeue")).expect("removed");
    let server = Server::start_in(folder.path(), &settings);
    let mut peer = server.connect();
    assert_eq!((begins(&mut peer), offset(&mut peer, request::GET_MAX_OFFSET, &[])), (min, end + 2));
}
