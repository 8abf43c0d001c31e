//! Old files of the log go, and everything that looked into them goes on.

mod common;

use std::path::Path;
use std::time::{Duration, Instant};

use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    GetEarliestMsgStoretimeResponseHeader, GetMaxOffsetResponseHeader, GetMinOffsetResponseHeader,
    SearchOffsetResponseHeader,
};
use common::{PATIENCE, Peer, Pull, Server};

/// Small files, and nothing is kept for longer than it must be.
const SETTINGS: &[&str] = &[
    "mappedFileSizeCommitLog=65536",
    "mappedFileSizeConsumeQueue=2000",
    "maxHashSlotNum=100",
    "maxIndexNum=200",
    "fileReservedTime=0",
    "messageDelayLevel=1s 3s",
    // Never the hour of the test.
    "deleteWhen=04",
];
/// Some twelve files of the log.
const MESSAGES: i64 = 600;

fn ask(peer: &mut Peer, code: i32, fields: &[(&str, &str)]) -> Command {
    let mut command = Command::request(code);
    for (name, value) in fields {
        command.fields.set_str(name, value);
    }
    peer.call(command)
}

fn fill(peer: &mut Peer, from: i64) {
    for number in from..from + MESSAGES {
        let offset = peer.send_ok("T", 0, &[b'x'; 1_000], &format!("KEYS\u{1}k{number}\u{2}"));
        assert_eq!(offset, number);
    }
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).expect("a folder");
    let mut names: Vec<_> =
        names.map(|entry| entry.expect("a file").file_name().into_string().expect("text")).collect();
    names.sort();
    names
}

/// Asks for expired files to go, until so few are left.
fn delete_until(peer: &mut Peer, folder: &Path, most: usize) {
    let deadline = Instant::now() + PATIENCE;
    while files(folder).len() > most {
        assert!(Instant::now() < deadline, "still there: {:?}", files(folder));
        assert_eq!(ask(peer, request::DELETE_EXPIRED_COMMITLOG, &[]).code, response::SUCCESS);
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn range(peer: &mut Peer) -> (i64, i64) {
    let queue = [("topic", "T"), ("queueId", "0")];
    let min: GetMinOffsetResponseHeader = ask(peer, request::GET_MIN_OFFSET, &queue).header().expect("a header");
    let max: GetMaxOffsetResponseHeader = ask(peer, request::GET_MAX_OFFSET, &queue).header().expect("a header");
    (min.offset, max.offset)
}

#[test]
fn readers_at_the_cut_are_moved_on_and_all_agrees_on_where_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let [log, queue, index] =
        ["commitlog", "consumequeue/T/0", "index"].map(|name| folder.path().join("store").join(name));
    let mut server = Server::start_in(folder.path(), SETTINGS);
    let mut peer = server.connect();
    fill(&mut peer, 0);
    assert!(files(&log).len() > 10);
    delete_until(&mut peer, &log, 2);

    for round in 0..2 {
        // One after the other, and the index only when it is noted durably that its files go.
        for (folder, most) in [(&queue, 2), (&index, 3)] {
            let deadline = Instant::now() + PATIENCE;
            while files(folder).len() > most {
                assert!(Instant::now() < deadline, "old files stay: {:?}", files(folder));
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        let (min, max) = range(&mut peer);
        assert!(min > MESSAGES - 150 && max == MESSAGES, "{min}..{max}");
        let (answer, next) = peer.pull(Pull::of("T", 0, 0));
        assert_eq!((answer.code, next), (response::PULL_OFFSET_MOVED, Some(min)));
        assert_eq!(answer.remark.as_deref(), Some("OFFSET_TOO_SMALL"));
        let (answer, _) = peer.pull(Pull::of("T", 0, min));
        let first = record::iter(&answer.body).next().expect("a message").expect("a record").queue_offset;
        assert_eq!((answer.code, first), (response::SUCCESS, min));

        let queue = [("topic", "T"), ("queueId", "0")];
        let time: GetEarliestMsgStoretimeResponseHeader =
            ask(&mut peer, request::GET_EARLIEST_MSG_STORETIME, &queue).header().expect("a header");
        assert!(time.timestamp > 1_700_000_000_000, "{}", time.timestamp);
        let search = [("topic", "T"), ("queueId", "0"), ("timestamp", "0"), ("boundaryType", "lower")];
        let found: SearchOffsetResponseHeader =
            ask(&mut peer, request::SEARCH_OFFSET_BY_TIMESTAMP, &search).header().expect("a header");
        assert_eq!(found.offset, min);
        for (key, code) in [("k1".to_owned(), response::QUERY_NOT_FOUND), (format!("k{min}"), response::SUCCESS)] {
            let end = i64::MAX.to_string();
            let query =
                [("topic", "T"), ("key", &*key), ("maxNum", "8"), ("beginTimestamp", "0"), ("endTimestamp", &*end)];
            assert_eq!(ask(&mut peer, request::QUERY_MESSAGE, &query).code, code, "{key}");
        }
        assert!(files(&index).len() <= 3, "{:?}", files(&index));
        if round == 0 {
            // The same after a crash, and sending goes on.
            server.kill();
            server = Server::start_in(folder.path(), SETTINGS);
            peer = server.connect();
        }
    }
    fill(&mut peer, MESSAGES);
    assert_eq!(range(&mut peer).1, 2 * MESSAGES);
    assert!(server.stop().success());
}

#[test]
fn a_message_that_waits_for_its_time_is_not_removed() {
    let due = |ms: i64| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        (now.as_millis() as i64 + ms).to_string()
    };
    for by_level in [true, false] {
        let timed = || format!("TIMER_DELIVER_MS\u{1}{}\u{2}", due(3_000));
        let properties = if by_level { "DELAY\u{1}2\u{2}".to_owned() } else { timed() };
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join("store/commitlog");
        let mut server = Server::start_in(folder.path(), SETTINGS);
        let mut peer = server.connect();
        peer.send_ok("Late", 0, b"patience", &properties);
        fill(&mut peer, 0);
        let before = files(&log);
        ask(&mut peer, request::DELETE_EXPIRED_COMMITLOG, &[]);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(files(&log), before, "it is in the first file: {properties}");
        server.kill();
        server = Server::start_in(folder.path(), SETTINGS);
        peer = server.connect();
        ask(&mut peer, request::DELETE_EXPIRED_COMMITLOG, &[]);
        let (answer, _) = peer.pull(Pull { suspend: PATIENCE.as_millis() as i64 - 1_000, ..Pull::of("Late", 0, 0) });
        let bodies: Vec<_> = record::iter(&answer.body).map(|record| record.expect("a record").body.to_vec()).collect();
        assert_eq!(bodies, [b"patience".to_vec()], "{properties}");
        // Now nothing waits there any more.
        delete_until(&mut peer, &log, 2);
    }
}
