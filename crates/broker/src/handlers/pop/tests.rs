//! Pops over connections to a running broker: what is bounded.

use std::collections::BTreeSet;

use apogee_base::disk::SimDisk;
use apogee_message::record;
use apogee_wire::headers::{AckMessageRequestHeader, RpcFields};

use super::*;
use crate::pop::reader;
use crate::testing::{PATIENCE, Running, call, send};

const BIG: u64 = 1 << 30;

fn pop_of(group: &str, topic: &str, most: i32, invisible: i64, poll: i64) -> Command {
    Command::request(code::POP_MESSAGE).with_header(&PopMessageRequestHeader {
        consumer_group: group,
        topic,
        queue_id: -1,
        max_msg_nums: most,
        invisible_time: invisible,
        poll_time: poll,
        born_time: 0,
        init_mode: FROM_FIRST,
        exp_type: None,
        exp: None,
        order: None,
        attempt_id: None,
        rpc: RpcFields::default(),
    })
}

/// Bodies of what was popped, each with where it is stored and its handle.
fn popped(answer: &Command) -> Vec<(Vec<u8>, String, i64, String)> {
    if answer.code != response::SUCCESS {
        return Vec::new();
    }
    let header: PopMessageResponseHeader<'_> = answer.header().unwrap();
    let PopMessageResponseHeader { pop_time, invisible_time, revive_qid, .. } = header;
    let records = record::iter(&answer.body).map(|record| {
        let record = record.unwrap();
        let (queue, offset) = (record.queue_id, record.queue_offset);
        let own = || {
            ("T".to_owned(), format!("{offset} {pop_time} {invisible_time} {revive_qid} 0 broker-a {queue} {offset}"))
        };
        let again = |handle: &str| ("%RETRY%G_T".to_owned(), handle.to_owned());
        let (topic, handle) = record.property("POP_CK").map_or_else(own, again);
        (record.body.to_vec(), topic, offset, handle)
    });
    records.collect()
}

async fn acknowledge(conn: &Conn, topic: &str, offset: i64, handle: &str) {
    let header = AckMessageRequestHeader {
        consumer_group: "G",
        topic,
        queue_id: 0,
        extra_info: handle,
        offset,
        lite_topic: None,
        rpc: RpcFields::default(),
    };
    let answer = call(conn, Command::request(code::ACK_MESSAGE).with_header(&header)).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited in vain: {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_pops_go_on_for_a_while_and_nothing_is_lost() {
    const MESSAGES: usize = 8;
    let disk = SimDisk::new(1);
    let running = Running::start_on(disk.clone(), BIG, |settings| {
        settings.pop_ck_max_buffer_size = 2;
        settings.pop_ck_stay_buffer_time = 100;
    });
    let conn = running.connect().await;
    for number in 0..MESSAGES {
        send(&conn, "T", &[number as u8], "").await;
    }
    assert_eq!(popped(&call(&conn, pop_of("H", "T", 1, 60_000, 0)).await).len(), 1, "the topic of notes is there");
    disk.set_room(Some(0));
    running.broker.store.refuse_for_room(Some((95, 90)));
    let mut out = Vec::new();
    let refusal = loop {
        let answer = call(&conn, pop_of("G", "T", 1, 300, 0)).await;
        match answer.code {
            response::SUCCESS => out.extend(popped(&answer)),
            _ => break answer,
        }
    };
    assert_eq!(refusal.code, response::SYSTEM_BUSY, "{refusal:?}");
    assert!((2..=5).contains(&out.len()), "{out:?}");
    let (body, topic, offset, handle) = out.remove(0);
    acknowledge(&conn, &topic, offset, &handle).await;
    disk.set_room(None);
    running.broker.store.refuse_for_room(None);
    let mut left: BTreeSet<Vec<u8>> =
        (0..MESSAGES).map(|number| vec![number as u8]).filter(|other| *other != body).collect();
    let began = std::time::Instant::now();
    while !left.is_empty() {
        assert!(began.elapsed() < 2 * PATIENCE, "do not come: {left:?}");
        for (came, topic, offset, handle) in popped(&call(&conn, pop_of("G", "T", 1, 5_000, 500)).await) {
            assert_ne!(came, body, "it is acknowledged");
            left.remove(&came);
            acknowledge(&conn, &topic, offset, &handle).await;
        }
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poppers_of_one_group_wait_up_to_a_number_and_disturb_nobody() {
    const EACH: usize = 400;
    let running = Running::start(BIG, |_| {}).await;
    let conn = running.connect().await;
    send(&conn, "T", b"first", "").await;
    send(&conn, "other", b"other", "").await;
    let first = popped(&call(&conn, pop_of("G", "T", 32, 60_000, 0)).await);
    assert_eq!(first.len(), 1);
    let most = running.broker.settings.load().pop_polling_size;
    let mut answers = Vec::new();
    for _ in 0..most.div_ceil(EACH) + 1 {
        let conn = running.connect().await;
        for _ in 0..EACH {
            let conn = Arc::clone(&conn);
            answers.push(tokio::spawn(async move { call(&conn, pop_of("G", "T", 32, 60_000, 8_000)).await }));
        }
    }
    let waiters = &running.broker.pop.waiters;
    until("as many as may wait", || waiters.len() == most).await;
    let is_over = |answers: &[tokio::task::JoinHandle<Command>]| answers.iter().filter(|one| one.is_finished()).count();
    until("the others are refused", || is_over(&answers) == answers.len() - most).await;
    assert_eq!(popped(&call(&conn, pop_of("G", "other", 32, 60_000, 8_000)).await).len(), 1, "of another topic");
    assert_eq!(popped(&call(&conn, pop_of("H", "T", 32, 60_000, 8_000)).await).len(), 1, "of another group");
    send(&conn, "T", b"second", "").await;
    until("one is woken", || is_over(&answers) > answers.len() - most).await;
    assert_eq!(waiters.len(), most - 1, "and no more");
    let (mut full, mut came) = (0, 0);
    for answer in answers {
        let answer = tokio::time::timeout(2 * PATIENCE, answer).await.unwrap().unwrap();
        full += usize::from(answer.code == response::POLLING_FULL);
        came += popped(&answer).len();
    }
    assert_eq!((full, came, waiters.len()), (EACH * (most.div_ceil(EACH) + 1) - most, 1, 0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pops_of_cold_messages_keep_to_the_limit_of_their_group() {
    // So little memory that all but the last few bytes of the log are cold.
    let running = Running::start(1_000, |settings| {
        settings.cold_data_flow_control_enable = true;
        settings.cg_cold_read_threshold = 1;
        settings.max_transfer_count_on_message_in_disk = 1;
    })
    .await;
    let conn = running.connect().await;
    for _ in 0..10 {
        send(&conn, "T", &[7; 1_000], "").await;
    }
    running.broker.store.checkpoint_step().unwrap();
    assert!(running.broker.store.may_wait("T", 0, 0) && running.broker.store.may_wait("T", 0, 1));
    let pop = |poll| call(&conn, pop_of("G", "T", 1, 60_000, poll));
    assert_eq!(popped(&pop(0).await).len(), 1);
    let read =
        || running.broker.cold.info(&running.broker.settings.load(), running.broker.now()).runtime_table["G"].cold_acc;
    assert!((1_000..2_000).contains(&read()), "what was read is accounted for: {}", read());
    let refused = pop(0).await;
    assert_eq!(refused.code, response::POLLING_TIMEOUT, "{refused:?}");
    let began = std::time::Instant::now();
    let mut other = 0;
    while other == 0 {
        assert!(began.elapsed() < PATIENCE, "never again");
        other = popped(&pop(10_000).await).len();
    }
    assert_eq!(other, 1, "in the next seconds it may read again");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_note_that_is_dealt_with_is_committed_for_apaches_broker() {
    let running = Running::start(BIG, |settings| {
        settings.pop_ck_stay_buffer_time = 100;
        settings.pop_ck_stay_buffer_time_out = 0;
        settings.revive_queue_num = 1;
    })
    .await;
    let conn = running.connect().await;
    for number in 0..3 {
        send(&conn, "T", &[number], "").await;
        assert_eq!(popped(&call(&conn, pop_of("G", "T", 1, 1_000, 0)).await).len(), 1);
    }
    let Broker { offsets, store, pop, .. } = &*running.broker;
    until("all come again", || store.queue_range("%RETRY%G_T", 0).is_some_and(|(_, max)| max == 3)).await;
    let notes = store.queue_range(&pop.revive_topic, 0).unwrap().1;
    until("it is committed", || offsets.query(reader::GROUP, &pop.revive_topic, 0) == Some(notes - 1)).await;
    assert!(notes > 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_out_is_not_removed_with_the_log() {
    let running = Running::start_on(SimDisk::new(1), BIG, |settings| {
        settings.mapped_file_size_commit_log = 65_536;
        settings.mapped_file_size_consume_queue = 2_000;
        settings.message_index_enable = false;
        settings.clean_resource_interval = 100;
        settings.delete_commit_log_files_interval = 0;
        settings.file_reserved_time = 0;
        settings.pop_ck_stay_buffer_time = 100;
        settings.pop_ck_stay_buffer_time_out = 0;
    });
    let conn = running.connect().await;
    send(&conn, "T", b"out", "").await;
    let out = popped(&call(&conn, pop_of("G", "T", 1, 3_600_000, 0)).await).remove(0);
    for _ in 0..40 {
        send(&conn, "T", &[b'x'; 8_000], "").await;
    }
    let broker = &running.broker;
    for is_noted in [false, true] {
        until("it is noted", || !is_noted || broker.pop.messages() == 0).await;
        assert_eq!(broker.pop.held_from(broker), Some(0), "noted: {is_noted}");
        broker.retention.by_hand();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert_eq!(broker.store.log_min_offset(), 0, "noted: {is_noted}");
    }
    acknowledge(&conn, &out.1, out.2, &out.3).await;
    until("nothing is out", || broker.pop.held_from(broker).is_none()).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledgement_is_noted_when_the_log_takes_messages_again() {
    let disk = SimDisk::new(1);
    let running = Running::start_on(disk.clone(), BIG, |settings| {
        settings.pop_ck_stay_buffer_time = 100;
        settings.pop_ck_stay_buffer_time_out = 0;
    });
    let conn = running.connect().await;
    for body in [b"done", b"left"] {
        send(&conn, "T", body, "").await;
    }
    let out = popped(&call(&conn, pop_of("G", "T", 32, 5_000, 0)).await);
    let Broker { store, pop, .. } = &*running.broker;
    until("they are noted", || pop.messages() == 0).await;
    disk.set_room(Some(0));
    store.refuse_for_room(Some((95, 90)));
    let (body, topic, offset, handle) = &out[0];
    assert_eq!(body, b"done");
    acknowledge(&conn, topic, *offset, handle).await;
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    disk.set_room(None);
    store.refuse_for_room(None);
    let came = || store.queue_range("%RETRY%G_T", 0).map_or(0, |(_, end)| end);
    until("the other one comes again", || came() > 0).await;
    let again = popped(&call(&conn, pop_of("G", "T", 32, 60_000, 0)).await);
    assert_eq!(again.iter().map(|popped| &*popped.0).collect::<Vec<_>>(), [b"left"]);
    running.stop().await;
}
