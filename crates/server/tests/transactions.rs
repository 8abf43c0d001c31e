//! Transactions over the wire: what is visible when, ends that are refused, and `kill -9` between any
//! two steps.

mod common;

use std::time::Duration;

use apogee_message::record::{self, Record};
use apogee_wire::Command;
use apogee_wire::bodies::{Body, HeartbeatData, ProducerData};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    CheckTransactionStateRequestHeader, EndTransactionRequestHeader, PullMessageResponseHeader,
    ResumeCheckHalfMessageRequestHeader, RpcFields, SendMessageResponseHeader,
};
use common::{Peer, Pull, Server, send_request};

const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
/// Long enough that a check which is to come has come.
const A_WHILE: Duration = Duration::from_millis(1_500);
/// Checks come soon.
const SOON: [&str; 2] = ["transactionTimeOut=200", "transactionCheckInterval=500"];

/// Where a half message is: half queue offset, physical offset.
type Place = (i64, i64);

fn prepare(peer: &mut Peer, topic: &str, body: &[u8], properties: &str) -> Place {
    let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}{properties}");
    let answer = peer.send(topic, 1, body, &properties);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let header: SendMessageResponseHeader<'_> = answer.header().expect("a header");
    let id: apogee_message::ids::OffsetId = header.msg_id.parse().expect("an offset id");
    assert!(header.transaction_id.is_some());
    assert_eq!(header.queue_id, 1, "the queue that it is for");
    (header.queue_offset, id.offset)
}

fn end_request(group: &str, place: Place, decision: i32) -> Command {
    Command::request(request::END_TRANSACTION).with_header(&EndTransactionRequestHeader {
        topic: None,
        producer_group: group,
        tran_state_table_offset: place.0,
        commit_log_offset: place.1,
        commit_or_rollback: decision,
        from_transaction_check: Some(false),
        msg_id: "id",
        transaction_id: None,
        rpc: RpcFields::default(),
    })
}

fn end(peer: &mut Peer, place: Place, decision: i32) -> Command {
    peer.call(end_request("P", place, decision))
}

fn end_ok(peer: &mut Peer, place: Place, decision: i32) {
    let answer = end(peer, place, decision);
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

/// Bodies that consumers of a topic's queue 1 find.
fn bodies(peer: &mut Peer, topic: &str) -> Vec<Vec<u8>> {
    let (mut bodies, mut offset) = (Vec::new(), 0);
    loop {
        let (answer, _) = peer.pull(Pull::of(topic, 1, offset));
        if answer.code != response::SUCCESS {
            return bodies;
        }
        bodies.extend(record::iter(&answer.body).map(|record| record.expect("a record").body.to_vec()));
        offset = answer.header::<PullMessageResponseHeader>().expect("a header").next_begin_offset;
    }
}

/// A connection that can be asked for the decisions of group `P`.
fn producer(server: &Server) -> Peer {
    let mut peer = server.connect();
    let group = ProducerData { group_name: "P".into() };
    let beat = HeartbeatData { client_id: "c".into(), producer_data_set: vec![group], ..Default::default() };
    let answer = peer.call(Command::request(request::HEART_BEAT).with_body(beat.encode()));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    peer
}

/// The next question, if it comes: place, body, times asked.
fn asked(producer: &mut Peer, patience: Duration) -> Option<(Place, Vec<u8>, String)> {
    let question = producer.read_within(patience)?;
    assert_eq!(question.code, request::CHECK_TRANSACTION_STATE, "{question:?}");
    let header: CheckTransactionStateRequestHeader<'_> = question.header().expect("a header");
    let record = Record::read(&question.body).expect("a record");
    let times = record.property("TRANSACTION_CHECK_TIMES").unwrap_or("none").to_owned();
    assert_eq!(header.msg_id, record.property("UNIQ_KEY"));
    assert_eq!((header.topic, record.queue_id), (Some(record.topic), 1));
    Some(((header.tran_state_table_offset, header.commit_log_offset), record.body.to_vec(), times))
}

#[test]
fn a_message_is_seen_after_its_commit_and_not_before() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let one = prepare(&mut peer, "T", b"one", "KEYS\u{1}k\u{2}");
    let two = prepare(&mut peer, "T", b"two", "");
    assert!(bodies(&mut peer, "T").is_empty());
    end_ok(&mut peer, two, 0);
    end_ok(&mut peer, one, COMMIT);
    end_ok(&mut peer, two, ROLLBACK);
    assert_eq!(bodies(&mut peer, "T"), [b"one"]);
    let (answer, _) = peer.pull(Pull::of("T", 1, 0));
    let record = Record::read(&answer.body).expect("a record");
    assert_eq!((record.queue_offset, record.sys_flag & 12, record.property("KEYS")), (0, 8, Some("k")));
    assert_eq!((record.property("TRAN_MSG"), record.property("REAL_TOPIC")), (None, None));
    for (place, decision) in [(one, COMMIT), (one, ROLLBACK), (two, COMMIT), (two, ROLLBACK)] {
        let answer = end(&mut peer, place, decision);
        assert_eq!(answer.code, response::SYSTEM_ERROR);
        assert!(answer.remark.as_deref().is_some_and(|remark| remark.contains("was decided before")), "{answer:?}");
    }
    assert_eq!(bodies(&mut peer, "T"), [b"one"]);
}

#[test]
fn an_end_that_is_wrong_is_refused_and_changes_nothing() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    peer.send_ok("T", 1, b"plain", "");
    let half = prepare(&mut peer, "T", b"half", "");
    let refused = |peer: &mut Peer, command: Command, code: i32, text: &str| {
        let answer = peer.call(command);
        let remark = answer.remark.clone().unwrap_or_default();
        assert!(answer.code == code && remark.contains(text), "{text}: {answer:?}");
    };
    let wrong = [
        (end_request("Q", half, COMMIT), "producer group wrong"),
        (end_request("", half, COMMIT), "producer group wrong"),
        (end_request("P", (half.0 + 1, half.1), COMMIT), "table offset wrong"),
        (end_request("P", (-1, half.1), ROLLBACK), "table offset wrong"),
        (end_request("P", (half.0, half.1 + 1), COMMIT), "no half message"),
        (end_request("P", (half.0, 0), COMMIT), "no half message"),
        (end_request("P", (half.0, i64::MAX), COMMIT), "no half message"),
        (end_request("P", (half.0, i64::MIN), ROLLBACK), "no half message"),
    ];
    for (command, text) in wrong {
        refused(&mut peer, command, response::SYSTEM_ERROR, text);
    }
    refused(&mut peer, end_request("P", half, 4), response::INVALID_PARAMETER, "commitOrRollback=4");
    let mut lacking = end_request("P", half, COMMIT);
    lacking.fields.set("commitLogOffset", "many");
    refused(&mut peer, lacking, response::INVALID_PARAMETER, "commitLogOffset");
    let delayed = send_request("T", 1, b"x", "TRAN_MSG\u{1}true\u{2}DELAY\u{1}3\u{2}");
    refused(&mut peer, delayed, response::MESSAGE_ILLEGAL, "cannot be delayed");
    let long = format!("TRAN_MSG\u{1}true\u{2}a\u{1}{}\u{2}", "x".repeat(32_500));
    refused(&mut peer, send_request("T", 1, b"x", &long), response::MESSAGE_ILLEGAL, "over the limit of");
    let half_topic = send_request("RMQ_SYS_TRANS_HALF_TOPIC", 0, b"x", "");
    refused(&mut peer, half_topic, response::NO_PERMISSION, "forbidden");
    assert_eq!(bodies(&mut peer, "T"), [b"plain"]);
    end_ok(&mut peer, half, COMMIT);
    assert_eq!(bodies(&mut peer, "T"), [&b"plain"[..], b"half"]);
}

#[test]
fn transactional_messages_can_be_refused() {
    let server = Server::start(&["rejectTransactionMessage=true"]);
    let mut peer = server.connect();
    let answer = peer.send("T", 1, b"x", "TRAN_MSG\u{1}true\u{2}");
    assert_eq!(answer.code, response::NO_PERMISSION, "{answer:?}");
    assert_eq!(peer.send("T", 1, b"x", "TRAN_MSG\u{1}false\u{2}").code, response::SUCCESS);
}

#[test]
fn a_one_way_commit_counts_though_its_connection_ends() {
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let half = prepare(&mut peer, "T", b"x", "");
    let mut other = server.connect();
    other.request(end_request("P", half, COMMIT).oneway());
    drop(other);
    let mut nonsense = server.connect();
    let half = prepare(&mut peer, "T", b"y", "");
    let mut bytes = apogee_wire::frame::to_bytes(&end_request("P", half, COMMIT).oneway()).to_vec();
    bytes.extend([0xff; 16]);
    nonsense.write(&bytes);
    let deadline = std::time::Instant::now() + common::PATIENCE;
    while bodies(&mut peer, "T").len() < 2 {
        assert!(std::time::Instant::now() < deadline, "only {:?}", bodies(&mut peer, "T"));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn of_ends_at_the_same_time_one_wins() {
    const TRANSACTIONS: usize = 100;
    let server = Server::start(&[]);
    let mut peer = server.connect();
    let halves: Vec<Place> = (0..TRANSACTIONS).map(|_| prepare(&mut peer, "T", b"x", "")).collect();
    let enders: Vec<_> = [COMMIT, ROLLBACK, COMMIT]
        .into_iter()
        .map(|decision| {
            let (mut peer, halves) = (server.connect(), halves.clone());
            std::thread::spawn(move || {
                let won = |half: &&Place| end(&mut peer, **half, decision).code == response::SUCCESS;
                halves.iter().filter(won).count()
            })
        })
        .collect();
    let won: Vec<usize> = enders.into_iter().map(|ender| ender.join().expect("no panic")).collect();
    assert_eq!(won.iter().sum::<usize>(), TRANSACTIONS, "{won:?}");
    assert_eq!(bodies(&mut peer, "T").len(), won[0] + won[2]);
}

#[test]
fn an_undecided_producer_is_asked_again_and_its_answer_counts() {
    let server = Server::start(&SOON);
    let mut producer = producer(&server);
    let mut peer = server.connect();
    let half = prepare(&mut peer, "T", b"x", "");
    let (first, body, times) = asked(&mut producer, common::PATIENCE).expect("a check");
    assert_eq!((&body[..], &times[..]), (&b"x"[..], "1"));
    let (second, _, times) = asked(&mut producer, common::PATIENCE).expect("a second check");
    assert_eq!(times, "2");
    let foreign = peer.call(end_request("Q", second, COMMIT));
    assert_eq!(foreign.code, response::SYSTEM_ERROR, "a reply of another group: {foreign:?}");
    // The first place is as good as any: the end may have been on its way.
    end_ok(&mut peer, half, COMMIT);
    for place in [first, second] {
        assert_eq!(end(&mut peer, place, COMMIT).code, response::SYSTEM_ERROR);
    }
    assert_eq!(asked(&mut producer, A_WHILE), None);
    assert_eq!(bodies(&mut peer, "T"), [b"x"]);
}

#[test]
fn a_message_asked_about_too_often_is_discarded_and_can_be_put_back() {
    let server = Server::start(&[SOON[0], "transactionCheckInterval=100", "transactionCheckMax=2"]);
    let mut producer = producer(&server);
    let mut peer = server.connect();
    let half = prepare(&mut peer, "T", b"x", "");
    let times: Vec<_> = std::iter::from_fn(|| asked(&mut producer, A_WHILE)).map(|(_, _, times)| times).collect();
    assert_eq!(times, ["1", "2"]);
    assert_eq!(end(&mut peer, half, COMMIT).code, response::SYSTEM_ERROR);
    let (answer, _) = peer.pull(Pull::of("TRANS_CHECK_MAX_TIME_TOPIC", 0, 0));
    let record = Record::read(&answer.body).expect("the discarded message");
    assert_eq!((record.body, record.property("REAL_TOPIC")), (&b"x"[..], Some("T")));
    let id = record.offset_id().to_string();
    let resume = |id: &str| {
        Command::request(request::RESUME_CHECK_HALF_MESSAGE)
            .with_header(&ResumeCheckHalfMessageRequestHeader { topic: Some("T"), msg_id: Some(id) })
    };
    for wrong in ["", "nonsense", "7F00000100002A9F0000000000000000"] {
        let answer = peer.call(resume(wrong));
        assert_eq!(answer.code, response::SYSTEM_ERROR, "{wrong}: {answer:?}");
    }
    let answer = peer.call(resume(&id));
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let (place, _, times) = asked(&mut producer, common::PATIENCE).expect("a check");
    assert_eq!(times, "1");
    end_ok(&mut peer, place, COMMIT);
    assert_eq!(bodies(&mut peer, "T"), [b"x"]);
}

/// What was done before the process was killed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Step {
    Stored,
    Asked,
    Committed,
    CommittedAfterCheck,
    Noted,
}

#[test]
fn a_kill_between_any_two_steps_loses_nothing_and_delivers_nothing_twice() {
    let check = |step: Step| {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        let batch =
            if step == Step::Noted { "transactionOpBatchInterval=10" } else { "transactionOpBatchInterval=60000" };
        let server = Server::start_in(&data, &[SOON[0], SOON[1], batch]);
        let mut asker = producer(&server);
        let mut peer = server.connect();
        let half = prepare(&mut peer, "T", b"x", "");
        let mut last = half;
        if matches!(step, Step::Asked | Step::CommittedAfterCheck) {
            last = asked(&mut asker, common::PATIENCE).expect("a check").0;
        }
        if !matches!(step, Step::Stored | Step::Asked) {
            end_ok(&mut peer, last, COMMIT);
        }
        if step == Step::Noted {
            std::thread::sleep(A_WHILE);
        }
        server.kill();

        let server = Server::start_in(&data, &[SOON[0], SOON[1], batch]);
        let mut asker = producer(&server);
        let mut peer = server.connect();
        if matches!(step, Step::Stored | Step::Asked) {
            assert!(bodies(&mut peer, "T").is_empty());
            assert!(asked(&mut asker, common::PATIENCE).is_some(), "{step:?}: nobody asks");
            end_ok(&mut peer, last, COMMIT);
        } else {
            assert_eq!(asked(&mut asker, A_WHILE), None, "{step:?}");
        }
        for again in [half, last] {
            assert_eq!(end(&mut peer, again, COMMIT).code, response::SYSTEM_ERROR, "{step:?}");
        }
        assert_eq!(bodies(&mut peer, "T"), [b"x"], "{step:?}");
        server.kill();

        let server = Server::start_in(&data, &SOON);
        let mut asker = producer(&server);
        assert_eq!(asked(&mut asker, A_WHILE), None, "{step:?}, later");
        assert_eq!(bodies(&mut server.connect(), "T"), [b"x"], "{step:?}, later");
    };
    let steps = [Step::Stored, Step::Asked, Step::Committed, Step::CommittedAfterCheck, Step::Noted];
    std::thread::scope(|scope| steps.into_iter().for_each(|step| drop(scope.spawn(move || check(step)))));
}

#[test]
fn a_rollback_is_kept_over_a_stop_and_asked_for_again_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), &SOON);
    let half = prepare(&mut server.connect(), "T", b"x", "");
    end_ok(&mut server.connect(), half, ROLLBACK);
    assert!(server.stop().success());
    let server = Server::start_in(folder.path(), &SOON);
    let mut peer = producer(&server);
    assert_eq!(asked(&mut peer, A_WHILE), None);
    assert_eq!(end(&mut peer, half, COMMIT).code, response::SYSTEM_ERROR);
    let half = prepare(&mut server.connect(), "T", b"y", "");
    end_ok(&mut peer, half, ROLLBACK);
    server.kill();
    let server = Server::start_in(folder.path(), &SOON);
    let mut peer = producer(&server);
    let (place, body, _) = asked(&mut peer, common::PATIENCE).expect("a check");
    assert_eq!(body, b"y");
    end_ok(&mut server.connect(), place, ROLLBACK);
    assert!(bodies(&mut server.connect(), "T").is_empty());
}

/// Sends and waits for the answer, as long as there is a server.
fn try_call(peer: &mut Peer, command: &Command) -> Option<Command> {
    if !peer.try_write(&apogee_wire::frame::to_bytes(command)) {
        return None;
    }
    loop {
        let frame = peer.try_read()?;
        if frame.is_response() {
            return Some(frame);
        }
    }
}

/// Whether the transaction with this number shall be committed.
fn is_wanted(number: u64) -> bool {
    !number.is_multiple_of(3)
}

fn decision(number: u64) -> i32 {
    if is_wanted(number) { COMMIT } else { ROLLBACK }
}

/// Makes transactions with numbers from `first` on until the server is gone, ending only some of them.
/// Returns up to which number they are stored for sure.
fn work(mut peer: Peer, first: u64) -> u64 {
    for number in first.. {
        let text = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}";
        let Some(answer) = try_call(&mut peer, &send_request("T", 1, &number.to_be_bytes(), text)) else {
            return number;
        };
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        let header: SendMessageResponseHeader<'_> = answer.header().expect("a header");
        let id: apogee_message::ids::OffsetId = header.msg_id.parse().expect("an offset id");
        let command = end_request("P", (header.queue_offset, id.offset), decision(number));
        if !number.is_multiple_of(5) && try_call(&mut peer, &command).is_none() {
            return number + 1;
        }
    }
    first
}

/// Answers checks until the server is gone or asks nothing for a while.
fn answer_checks(mut asker: Peer) {
    while let Some(question) = asker.read_within(A_WHILE) {
        if question.code != request::CHECK_TRANSACTION_STATE || question.is_response() {
            continue;
        }
        let header: CheckTransactionStateRequestHeader<'_> = question.header().expect("a header");
        let record = Record::read(&question.body).expect("a record");
        let number = u64::from_be_bytes(record.body.try_into().expect("a number"));
        let place = (header.tran_state_table_offset, header.commit_log_offset);
        let reply = end_request("P", place, decision(number)).oneway();
        asker.try_write(&apogee_wire::frame::to_bytes(&reply));
    }
}

#[test]
fn kills_at_any_moment_lose_nothing_and_deliver_nothing_twice() {
    const ROUNDS: u64 = 4;
    let folder = tempfile::tempdir().expect("a folder");
    // Ops are written often, so that kills come at all kinds of moments.
    let settings = ["transactionTimeOut=100", "transactionCheckInterval=200", "transactionOpBatchInterval=50"];
    let mut stored = Vec::new();
    for round in 0..ROUNDS {
        let server = Server::start_in(folder.path(), &settings);
        let asker = producer(&server);
        let workers: Vec<_> = (0..2_u64)
            .map(|worker| {
                let (peer, first) = (server.connect(), (round * 2 + worker) << 32);
                std::thread::spawn(move || first..work(peer, first))
            })
            .collect();
        let asker = std::thread::spawn(move || answer_checks(asker));
        std::thread::sleep(Duration::from_millis(300 + 170 * round));
        server.kill();
        stored.extend(workers.into_iter().map(|worker| worker.join().expect("no panic")));
        asker.join().expect("no panic");
    }
    let server = Server::start_in(folder.path(), &settings);
    answer_checks(producer(&server));
    let mut delivered: Vec<u64> = bodies(&mut server.connect(), "T")
        .into_iter()
        .map(|body| u64::from_be_bytes(body.try_into().expect("a number")))
        .collect();
    delivered.sort_unstable();
    assert!(delivered.len() > 20, "only {} were delivered", delivered.len());
    let twice: Vec<_> = delivered.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "delivered twice: {twice:?}");
    assert!(delivered.iter().all(|number| is_wanted(*number)), "delivered in spite of a rollback");
    let lost = |number: &u64| is_wanted(*number) && delivered.binary_search(number).is_err();
    let lost: Vec<_> = stored.into_iter().flatten().filter(lost).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
}
