//! Stopping a broker that has work to do.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use apogee_base::disk::SimDisk;
use apogee_message::record::Record;
use apogee_wire::codes::response;
use bytes::Bytes;

use super::*;
use crate::testing::{PATIENCE, Running, send, send_request};

const MEMORY: u64 = 1 << 30;

/// Sends until it is refused or the connection ends; returns what was answered as stored.
async fn produce(conn: Arc<apogee_net::Conn>, name: usize, stopped: Arc<AtomicBool>) -> BTreeSet<Bytes> {
    let mut stored = BTreeSet::new();
    for number in 0.. {
        let body = format!("{name}.{number}").into_bytes();
        let Ok(answer) = conn.call(send_request("T", &body, ""), PATIENCE).await else { break };
        match answer.code {
            response::SUCCESS => stored.insert(Bytes::from(body)),
            code => {
                assert_eq!(code, response::SERVICE_NOT_AVAILABLE, "clients try another broker then");
                assert!(stopped.load(Ordering::Acquire));
                break;
            }
        };
    }
    stored
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stop_under_load_leaves_no_stored_message_unanswered() {
    for round in 0..10 {
        let disk = SimDisk::new(round);
        let running = Running::start_on(disk.clone(), MEMORY, |_| {});
        let conn = running.connect().await;
        send(&conn, "T", b"first", "").await;
        let stopped = Arc::new(AtomicBool::new(false));
        let mut producers = Vec::new();
        for name in 0..4 {
            let conn = running.connect().await;
            for lane in 0..8 {
                producers.push(tokio::spawn(produce(Arc::clone(&conn), name * 8 + lane, Arc::clone(&stopped))));
            }
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
        stopped.store(true, Ordering::Release);
        running.stop().await;
        let mut answered = BTreeSet::from([Bytes::from_static(b"first")]);
        for producer in producers {
            answered.append(&mut producer.await.unwrap());
        }
        assert!(answered.len() > 1, "there was load");
        let again = Running::start_on(disk, MEMORY, |_| {});
        let store = &again.broker.store;
        let (min, max) = store.queue_range("T", 0).unwrap();
        let stored = (min..max).map(|offset| {
            let record = store.record_at(store.unit("T", 0, offset).unwrap().physical_offset).unwrap();
            record.slice_ref(Record::read(&record).unwrap().body)
        });
        let stored = stored.collect::<BTreeSet<_>>();
        let unlike: Vec<_> = stored.symmetric_difference(&answered).collect();
        assert!(unlike.is_empty(), "stored or answered, but not both: {unlike:?}");
        again.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_server_that_never_answers_keeps_nobody_from_stopping() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let running = Running::start(MEMORY, |settings| settings.namesrv_addr = address).await;
    // Accepted, and kept open: the registration waits for its answer.
    let (accepted, _) = silent.accept().await.unwrap();
    accepted.readable().await.unwrap();
    let began = Instant::now();
    running.stop().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
}
