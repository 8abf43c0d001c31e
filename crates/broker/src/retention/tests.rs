//! What goes and what stays, on a disk with little room.

use apogee_base::disk::{Disk, SimDisk};
use apogee_message::record::Record;
use apogee_wire::codes::response;

use super::*;
use crate::testing::{PATIENCE, Running, call, send, send_request};

#[test]
fn hours_are_read_and_told() {
    let read = |text| Hours::read("deleteWhen", text);
    assert_eq!(read("04").unwrap(), Hours::at(4));
    assert_eq!(read("4; 16;").unwrap().print(), "04;16");
    for wrong in ["", "24", "4,16", "-1", ";"] {
        assert!(read(wrong).unwrap_err().to_string().contains("semicolons"), "{wrong}");
    }
    // 2023-11-14 22:13 UTC.
    assert!(Hours::at(22).contain(1_700_000_000_000) && !Hours::at(4).contain(1_700_000_000_000));
}

#[test]
fn each_limit_has_its_level() {
    let settings = BrokerSettings::default();
    let of = |disk: u64, used: f64| {
        let used = (disk as f64 * used / 100.0) as u64;
        level(&settings, Space { used, free: disk - used })
    };
    use Level::{Enough, Full, Short, VeryShort};
    let levels = [0.0, 75.0, 75.1, 85.0, 85.1, 90.0, 90.1, 100.0];
    assert_eq!(levels.map(|used| of(16 << 30, used)), [Enough, Enough, Short, Short, VeryShort, VeryShort, Full, Full]);
    // 40 GiB are 40 files of the log; 3 GiB are three.
    assert_eq!(levels.map(|used| of(400 << 30, used)), [Enough, Enough, Short, Short, Short, Short, Short, Full]);
    assert_eq!(of(400 << 30, 99.3), Full);
}

const MEMORY: u64 = 1 << 30;
const BODY: [u8; 8_000] = [b'x'; 8_000];

fn small_files(settings: &mut BrokerSettings) {
    settings.mapped_file_size_commit_log = 65_536;
    settings.mapped_file_size_consume_queue = 2_000;
    settings.message_index_enable = false;
    settings.clean_resource_interval = 100;
    settings.delete_commit_log_files_interval = 0;
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "waited in vain: {what}");
}

/// Leaves so much room that so many per cent of the disk are used.
fn use_to(disk: &SimDisk, percent: f64) {
    disk.set_room(Some(1 << 20));
    let used = disk.space("/store".as_ref()).unwrap().used;
    disk.set_room(Some((used as f64 * (100.0 / percent - 1.0)) as u64));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_messages_are_refused_and_nothing_is_removed_before_its_time() {
    let disk = SimDisk::new(1);
    let running = Running::start_on(disk.clone(), MEMORY, small_files);
    let conn = running.connect().await;
    for _ in 0..40 {
        send(&conn, "T", &BODY, "").await;
    }
    use_to(&disk, 92.0);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    let refusal = loop {
        let answer = call(&conn, send_request("T", b"small", "")).await;
        if answer.code != response::SUCCESS {
            break answer;
        }
        assert!(tokio::time::Instant::now() < deadline, "never refused");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refusal.code, response::SERVICE_NOT_AVAILABLE);
    let remark = refusal.remark.unwrap();
    assert!(remark.contains("over the limit of 90 %") && remark.contains("diskSpaceWarningLevelRatio"), "{remark}");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(running.broker.store.queue_range("T", 0).unwrap().0, 0, "nothing is gone");
    assert!(running.broker.store.record_at(0).is_some(), "reading goes on");
    disk.set_room(None);
    let room = std::time::Instant::now();
    while call(&conn, send_request("T", b"small", "")).await.code != response::SUCCESS {
        assert!(room.elapsed() < PATIENCE, "never resumed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_it_is_allowed_the_oldest_files_make_room() {
    let disk = SimDisk::new(1);
    let running = Running::start_on(disk.clone(), MEMORY, |settings| {
        small_files(settings);
        settings.clean_file_forcibly_enable = true;
    });
    let conn = running.connect().await;
    for _ in 0..80 {
        send(&conn, "T", &BODY, "").await;
    }
    use_to(&disk, 87.0);
    let store = &running.broker.store;
    until("room", || {
        disk.space("/store".as_ref()).unwrap().usage() <= 0.85 && store.queue_range("T", 0).unwrap().0 > 0
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (min, max) = store.queue_range("T", 0).unwrap();
    assert!((1..=40).contains(&min) && max == 80, "no more than it takes: {min}..{max}");
    let first = store.record_at(store.unit("T", 0, min).unwrap().physical_offset).unwrap();
    assert_eq!(Record::read(&first).unwrap().queue_offset, min);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_in_the_log_holds_it() {
    let in_an_hour = || format!("TIMER_DELIVER_MS\u{1}{}\u{2}", now() + 3_600_000);
    for (by, properties) in [
        ("nothing", String::new()),
        ("delay levels", "DELAY\u{1}18\u{2}".to_owned()),
        ("timer", in_an_hour()),
        ("transactions", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}".to_owned()),
    ] {
        let running = Running::start_on(SimDisk::new(1), MEMORY, |settings| {
            small_files(settings);
            settings.file_reserved_time = 0;
        });
        let conn = running.connect().await;
        let mut waiting = send_request("T", b"waits", &properties);
        if by == "transactions" {
            // The system flag of a half message.
            waiting.fields.set_str("f", "4");
        }
        let answer = call(&conn, waiting).await;
        assert_eq!(answer.code, response::SUCCESS, "{by}: {answer:?}");
        for _ in 0..40 {
            send(&conn, "T", &BODY, "").await;
        }
        let broker = &running.broker;
        let end = broker.store.log_max_offset();
        let held = held(broker, end);
        if by == "nothing" {
            assert!(held.is_none());
            broker.retention.by_hand();
            until("the log is cut", || broker.store.log_segments().len() <= 2).await;
        } else {
            let held = held.expect(by);
            assert_eq!((held.from, held.by), (0, by));
            broker.retention.by_hand();
            tokio::time::sleep(Duration::from_millis(300)).await;
            assert_eq!(broker.store.log_min_offset(), 0, "{by}");
        }
        running.stop().await;
    }
}

fn now() -> i64 {
    apogee_base::clock::Clock::now_ms(&apogee_base::clock::SystemClock)
}
