//! A master that is told what a slave delivered in its place.

use apogee_base::disk::SimDisk;
use apogee_message::names;
use apogee_message::record::Record;
use apogee_wire::Command;
use apogee_wire::codes::{request as code, response};

use super::Delivered;
use crate::broker::Broker;
use crate::role::BrokerRole;
use crate::slave::{DELIVERED_BY, NOTED_TO};
use crate::testing::{Running, call, send};

const MEMORY: u64 = 1 << 30;
/// The longest delay, level 18, in milliseconds.
const DELAY: i64 = 2 * 3_600_000;

fn entry(broker: &Broker, topic: &str, queue_id: i32, offset: i64) -> Delivered {
    let unit = broker.store.unit(topic, queue_id, offset).unwrap();
    let bytes = broker.store.record_at(unit.physical_offset).unwrap();
    Delivered { offset: unit.physical_offset, stored_ms: Record::read(&bytes).unwrap().store_timestamp }
}

fn tell(delivered: &[Delivered]) -> Command {
    let mut request = Command::request(code::EXCHANGE_BROKER_HA_INFO).with_body(Delivered::encode(delivered));
    request.fields.set_str(DELIVERED_BY, "slave:1");
    request
}

fn noted(broker: &Broker) -> i64 {
    broker.store.queue_range("rmq_sys_delivered_elsewhere", 0).map_or(0, |(_, end)| end)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_slave_tells_is_noted_once_and_known_after_a_start() {
    let disk = SimDisk::new(1);
    let master = Running::start_on(disk.clone(), MEMORY, |_| {});
    let conn = master.connect().await;
    for body in [b"one", b"two"] {
        send(&conn, "T", body, "DELAY\u{1}18\u{2}").await;
    }
    send(&conn, "T", b"half", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}P\u{2}").await;
    let broker = &master.broker;
    let [one, two] = [0, 1].map(|offset| entry(broker, names::SCHEDULE_TOPIC, 17, offset));
    let half = entry(broker, names::TRANS_HALF_TOPIC, 0, 0);
    assert_eq!(broker.transactions.len(), 1);
    let of_another_log = Delivered { stored_ms: one.stored_ms - 1, ..one };
    let answer = call(&conn, tell(&[two, half, of_another_log])).await;
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    assert_eq!(answer.fields.get(NOTED_TO), Some(&*broker.store.log_max_offset().to_string()));
    assert_eq!((noted(broker), broker.transactions.len()), (2, 0));
    // The slave got no answer.
    assert_eq!(call(&conn, tell(&[two, half, of_another_log])).await.code, response::SUCCESS);
    assert_eq!(noted(broker), 2);
    master.stop().await;

    let master = Running::start_on(disk, MEMORY, |_| {});
    let broker = &master.broker;
    assert_eq!(broker.transactions.len(), 0, "it is decided elsewhere");
    broker.schedule.step(&broker.store, broker.now() + DELAY);
    let bodies: Vec<_> = (0..broker.store.queue_range("T", 0).map_or(0, |(_, end)| end))
        .map(|offset| {
            let unit = broker.store.unit("T", 0, offset).unwrap();
            Record::read(&broker.store.record_at(unit.physical_offset).unwrap()).unwrap().body.to_vec()
        })
        .collect();
    assert_eq!(bodies, [b"one"]);
    master.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_and_notes_nothing() {
    let master = Running::start(MEMORY, |_| {}).await;
    let conn = master.connect().await;
    let refusal = call(&conn, tell(&[]).with_body(&b"no list"[..])).await;
    assert_eq!(refusal.code, response::INVALID_PARAMETER);
    let nowhere = Delivered { offset: i64::MAX - 7, stored_ms: 1 };
    assert_eq!(call(&conn, tell(&[nowhere])).await.code, response::SUCCESS);
    assert_eq!(noted(&master.broker), 0);
    master.stop().await;
    let slave = Running::start(MEMORY, |settings| {
        (settings.broker_role, settings.broker_id) = (BrokerRole::Slave, 1);
        settings.namesrv_addr = "127.0.0.1:1".into();
    });
    let slave = slave.await;
    let conn = slave.connect().await;
    let refusal = call(&conn, tell(&[nowhere])).await;
    assert_eq!(refusal.code, response::INVALID_PARAMETER);
    assert!(refusal.remark.unwrap_or_default().contains("slave"));
    assert_eq!(slave.broker.store.log_max_offset(), 0);
    slave.stop().await;
}
