//! Pulls over connections to a running broker.

use std::time::Duration;

use apogee_wire::codes::request;
use apogee_wire::frame;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::serve::MOST_COLD_READS;
use crate::testing::{Running, call, pull_header, send};

/// So little memory that all but the last few bytes of the log are cold.
const SMALL: u64 = 1_000;
const BIG: u64 = 1 << 30;
/// Long enough for an answer that must not come.
const BRIEF: Duration = Duration::from_millis(200);

fn pull_at(offset: i64, suspend: i64, commit: Option<i64>) -> Command {
    let flag = if suspend > 0 { SUSPEND } else { 0 } | if commit.is_some() { COMMIT_OFFSET } else { 0 };
    Command::request(request::PULL_MESSAGE).with_header(&PullMessageRequestHeader {
        sys_flag: flag | SUBSCRIPTION,
        commit_offset: commit.unwrap_or_default(),
        suspend_timeout_millis: suspend,
        ..pull_header("T", offset)
    })
}

fn next_of(answer: &Command) -> i64 {
    answer.header::<PullMessageResponseHeader>().unwrap().next_begin_offset
}

/// Stores messages so that the first ones are cold, and their units in files.
async fn fill(running: &Running, conn: &Conn) -> i64 {
    let mut last = 0;
    for _ in 0..10 {
        last = send(conn, "T", &[7; 1_000], "").await;
    }
    running.broker.store.checkpoint_step().unwrap();
    assert!(running.broker.store.may_wait("T", 0, 0));
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_pull_commits_when_it_comes_and_not_when_it_ends() {
    let running = Running::start(BIG, |_| {}).await;
    let conn = running.connect().await;
    send(&conn, "T", b"0", "").await;
    let parked = {
        let conn = Arc::clone(&conn);
        tokio::spawn(async move { call(&conn, pull_at(1, 10_000, Some(1))).await })
    };
    let offsets = &running.broker.offsets;
    while offsets.query("G", "T", 0) != Some(1) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(offsets.commit("G", "T", 0, 7), "the group goes on while the pull waits");
    send(&conn, "T", b"1", "").await;
    assert_eq!(next_of(&parked.await.unwrap()), 2);
    assert_eq!(offsets.query("G", "T", 0), Some(7));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_one_way_pull_is_not_answered() {
    let running = Running::start(BIG, |_| {}).await;
    let conn = running.connect().await;
    send(&conn, "T", b"0", "").await;
    let mut stream = tokio::net::TcpStream::connect(conn.peer()).await.unwrap();
    let asked = [pull_at(0, 0, None).oneway(), pull_at(1, 0, None)];
    for (number, mut pull) in asked.into_iter().enumerate() {
        pull.opaque = number as i32;
        stream.write_all(&frame::to_bytes(&pull)).await.unwrap();
    }
    let (mut bytes, mut answer) = (BytesMut::new(), Command::default());
    while !frame::decode(&mut bytes, &mut answer, frame::MAX_FRAME).unwrap() {
        assert!(stream.read_buf(&mut bytes).await.unwrap() > 0);
    }
    assert_eq!((answer.opaque, answer.code), (1, response::PULL_NOT_FOUND));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_of_cold_messages_is_told_that_the_group_was_moved() {
    let running = Running::start(SMALL, |_| {}).await;
    let conn = running.connect().await;
    fill(&running, &conn).await;
    running.broker.offsets.reset("G", "T", 0, 4);
    let answer = call(&conn, pull_at(0, 0, None)).await;
    assert_eq!((answer.code, next_of(&answer)), (response::PULL_OFFSET_MOVED, 4));
    let answer = call(&conn, pull_at(0, 0, None)).await;
    assert_eq!(answer.code, response::SUCCESS, "it is told once");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hot_pulls_pass_cold_ones_and_cold_ones_wait_their_turn() {
    let running = Running::start(SMALL, |_| {}).await;
    let (slow, fast) = (running.connect().await, running.connect().await);
    let last = fill(&running, &slow).await;
    let turns = Arc::clone(&running.broker.cold_reads).acquire_many_owned(MOST_COLD_READS as u32).await.unwrap();
    let mut cold = {
        let slow = Arc::clone(&slow);
        tokio::spawn(async move { call(&slow, pull_at(0, 0, None)).await })
    };
    assert!(tokio::time::timeout(BRIEF, &mut cold).await.is_err(), "all turns are taken");
    assert_eq!(call(&fast, pull_at(last + 1, 0, None)).await.code, response::PULL_NOT_FOUND);
    let hot = send(&fast, "T", b"hot", "").await;
    assert_eq!(call(&fast, pull_at(hot, 0, None)).await.code, response::SUCCESS);
    drop(turns);
    assert_eq!(cold.await.unwrap().code, response::SUCCESS);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_has_so_many_cold_pulls_and_no_more() {
    let running = Running::start(SMALL, |_| {}).await;
    let conn = running.connect().await;
    fill(&running, &conn).await;
    let turns = Arc::clone(&running.broker.cold_reads).acquire_many_owned(MOST_COLD_READS as u32).await.unwrap();
    let calls = (0..200).map(|_| {
        let conn = Arc::clone(&conn);
        tokio::spawn(async move { call(&conn, pull_at(0, 0, None)).await.code })
    });
    let calls: Vec<_> = calls.collect();
    tokio::time::sleep(BRIEF).await;
    drop(turns);
    let mut refused = 0;
    for call in calls {
        match call.await.unwrap() {
            response::SUCCESS => {}
            code => {
                assert_eq!(code, response::SYSTEM_BUSY);
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 200 - 128);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_is_answered_at_its_time_whoever_else_waits() {
    let running = Running::start(BIG, |_| {}).await;
    let conn = running.connect().await;
    send(&conn, "T", b"0", "").await;
    let parked = |suspend| {
        let conn = Arc::clone(&conn);
        tokio::spawn(async move { call(&conn, pull_at(1, suspend, None)).await.code })
    };
    let long = parked(900);
    while running.broker.longpoll.next_deadline().is_none() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(20)).await;
    let began = std::time::Instant::now();
    assert_eq!(parked(100).await.unwrap(), response::PULL_NOT_FOUND);
    let waited = began.elapsed();
    assert!((100..600).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(long.await.unwrap(), response::PULL_NOT_FOUND);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expression_without_a_tag_is_an_error() {
    let running = Running::start(BIG, |_| {}).await;
    let conn = running.connect().await;
    send(&conn, "T", b"0", "").await;
    let mut pull = pull_at(0, 0, None);
    pull.fields.set_str("subscription", "||");
    let answer = call(&conn, pull).await;
    assert_eq!(answer.code, response::SUBSCRIPTION_PARSE_FAILED);
    assert!(answer.remark.is_some_and(|remark| remark.contains("group G") && remark.contains("topic T")));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_beyond_its_limit_of_cold_messages_is_held_and_no_other() {
    let running = Running::start(SMALL, |_| {}).await;
    let conn = running.connect().await;
    fill(&running, &conn).await;
    running.broker.cold.limit([("G".to_owned(), "100".to_owned())]).unwrap();
    let began = std::time::Instant::now();
    assert_eq!(call(&conn, pull_at(0, 0, Some(3))).await.code, response::SUCCESS);
    let held: [_; 2] = std::array::from_fn(|_| {
        let conn = Arc::clone(&conn);
        tokio::spawn(async move { call(&conn, pull_at(0, 0, Some(4))).await })
    });
    tokio::time::sleep(BRIEF).await;
    assert!(held.iter().all(|held| !held.is_finished()));
    let mut other = pull_at(0, 0, None);
    other.fields.set_str("consumerGroup", "H");
    assert_eq!(call(&conn, other).await.code, response::SUCCESS);
    let hot = send(&conn, "T", b"hot", "").await;
    assert_eq!(call(&conn, pull_at(hot, 0, None)).await.code, response::SUCCESS, "it is in memory");
    let read = running.broker.cold.info(&running.broker.settings.load(), running.broker.now()).runtime_table;
    assert!((9_000..11_000).contains(&read["G"].cold_acc), "what was read, and no more: {read:?}");
    // The group goes on meanwhile: what the held pulls said of it when they came is not noted again.
    assert!(running.broker.offsets.commit("G", "T", 0, 7));
    let mut codes = Vec::new();
    for held in held {
        let answer = held.await.unwrap();
        assert_eq!(answer.code == response::PULL_RETRY_IMMEDIATELY, next_of(&answer) == 0, "{answer:?}");
        codes.push(answer.code);
    }
    codes.sort_unstable();
    assert_eq!(codes, [response::SUCCESS, response::PULL_RETRY_IMMEDIATELY], "one uses up what the next window allows");
    let waited = began.elapsed();
    assert!((4_900..8_000).contains(&waited.as_millis()), "{waited:?}");
    assert_eq!(running.broker.offsets.query("G", "T", 0), Some(7));
    running.stop().await;
}
