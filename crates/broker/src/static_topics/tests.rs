use std::path::Path;
use std::sync::Arc;

use apogee_base::disk::{Disk, SimDisk};
use apogee_wire::bodies::LogicQueueMappingItem;

use super::*;

fn open(disk: &SimDisk) -> StaticTopics {
    disk.create_folder(Path::new("/c")).unwrap();
    StaticTopics::open(JsonFile::new(Arc::new(disk.clone()), "/c/m.json".into()), "a", 1).unwrap()
}

fn stay(generation: i32, broker: &str, queue_id: i32, logic_offset: i64) -> LogicQueueMappingItem {
    LogicQueueMappingItem { bname: Some(broker.into()), generation, queue_id, logic_offset, ..Default::default() }
}

/// A mapping of broker `a` with four queues in all.
fn mapping(epoch: i64, queues: &[(i32, Vec<LogicQueueMappingItem>)]) -> TopicQueueMappingDetail {
    let hosted_queues = queues.iter().cloned().collect();
    let (bname, topic) = (Some("a".into()), Some("T".into()));
    TopicQueueMappingDetail { bname, topic, epoch, total_queues: 4, hosted_queues, ..Default::default() }
}

fn put(statics: &StaticTopics, mapping: TopicQueueMappingDetail) -> Result<(), BrokerError> {
    statics.put("T", 2, mapping, false, 2)
}

fn asked(code: i32, fields: &[(&str, &str)]) -> Command {
    let mut request = Command::request(code);
    fields.iter().for_each(|(name, value)| request.fields.set_str(name, value));
    request
}

#[test]
fn a_global_queue_leads_to_one_of_ours() {
    let disk = SimDisk::new(1);
    let queue = |statics: &StaticTopics, request: &Command, field: &str| {
        let own = statics.with_own_queue(request)?.map(|own| own.fields.get(field).unwrap().to_owned());
        Some(own.map_err(|error| error.code))
    };
    let pull = |queue| asked(code::PULL_MESSAGE, &[("topic", "T"), ("queueId", queue)]);
    assert!(queue(&open(&disk), &pull("1"), "queueId").is_none(), "there are no static topics");
    let queues = [(1, vec![stay(0, "a", 0, 0)]), (3, vec![stay(0, "a", 1, 0)]), (2, vec![stay(0, "b", 0, 0)])];
    put(&open(&disk), mapping(1, &queues)).unwrap();
    disk.crash();
    let statics = open(&disk);
    assert_eq!(queue(&statics, &pull("1"), "queueId"), Some(Ok("0".into())));
    assert_eq!(queue(&statics, &pull("3"), "queueId"), Some(Ok("1".into())));
    let send = asked(code::SEND_MESSAGE_V2, &[("b", "T"), ("e", "3")]);
    assert_eq!(queue(&statics, &send, "e"), Some(Ok("1".into())));
    for elsewhere in ["0", "2", "9"] {
        assert_eq!(queue(&statics, &pull(elsewhere), "queueId"), Some(Err(response::NOT_LEADER_FOR_QUEUE)));
    }
    let as_they_are = [
        pull("-1"),
        pull("x"),
        asked(code::PULL_MESSAGE, &[("topic", "U"), ("queueId", "1")]),
        asked(code::PULL_MESSAGE, &[("topic", "T"), ("queueId", "1"), ("lo", "false")]),
        asked(code::GET_TOPIC_CONFIG, &[("topic", "T"), ("queueId", "1")]),
    ];
    assert!(as_they_are.iter().all(|request| statics.with_own_queue(request).is_none()));
    assert_eq!(statics.infos(["T", "U"].into_iter())["T"].curr_id_map, [(1, 0), (3, 1)].into());
    let version = statics.version();
    statics.remove("T", 3).unwrap();
    assert!(statics.get("T").is_none() && statics.version() > version);
}

#[test]
fn mappings_that_make_no_sense_are_refused() {
    let statics = open(&SimDisk::new(1));
    let negative = LogicQueueMappingItem { start_offset: -2, ..stay(0, "a", 0, 0) };
    for (queues, why) in [
        (vec![(4, vec![stay(0, "a", 0, 0)])], "queue 4 is none of the 4"),
        (vec![(0, vec![])], "nowhere"),
        (vec![(0, vec![negative])], "negative"),
        (vec![(0, vec![stay(0, "a", 2, 0)])], "queue 2 here, of 2"),
        (vec![(0, vec![stay(0, "a", 1, 0)]), (1, vec![stay(0, "a", 1, 0)])], "given to two queues"),
        (vec![(0, vec![stay(1, "b", 0, 0), stay(1, "c", 0, 9)])], "generations do not grow"),
        (vec![(0, vec![stay(0, "b", 0, 9), stay(1, "c", 0, 9)])], "offsets do not grow"),
        (vec![(0, vec![stay(0, "b", 0, 0), stay(1, "a", 0, 9)])], "not supported"),
    ] {
        let error = put(&statics, mapping(1, &queues)).unwrap_err();
        assert!(error.remark.contains(why), "{error} without {why:?}");
    }
    let other = TopicQueueMappingDetail { bname: Some("b".into()), ..mapping(1, &[]) };
    assert!(put(&statics, other).unwrap_err().remark.contains("broker"));
    assert!(statics.get("T").is_none());
}

#[test]
fn what_was_is_not_changed_afterwards_and_a_queue_may_move_away() {
    let statics = open(&SimDisk::new(1));
    let ours = || (0, vec![stay(0, "a", 0, 0)]);
    put(&statics, mapping(5, &[ours(), (1, vec![stay(0, "a", 1, 0)])])).unwrap();
    put(&statics, mapping(5, &[ours(), (1, vec![stay(0, "a", 1, 0)])])).unwrap();
    for (mapping, why) in [
        (mapping(4, &[ours()]), "small epoch 4 < 5"),
        (mapping(5, &[ours()]), "equal epoch with null data"),
        (mapping(6, &[(0, vec![stay(0, "a", 1, 0)])]), "not what it was"),
        (mapping(5, &[(0, vec![stay(0, "a", 0, 0), stay(1, "b", 0, 9)]), (1, vec![stay(0, "a", 1, 0)])]), "leader"),
        (TopicQueueMappingDetail { scope: "other".into(), ..mapping(6, &[ours()]) }, "scope"),
    ] {
        let error = put(&statics, mapping).unwrap_err();
        assert!(error.remark.contains(why), "{error} without {why:?}");
    }
    let away = mapping(6, &[(0, vec![stay(0, "a", 0, 0), stay(1, "b", 0, 9)])]);
    put(&statics, away).unwrap();
    assert_eq!(statics.infos(["T"].into_iter())["T"].curr_id_map, [(1, 1)].into(), "what only the old one had stays");
    statics.put("T", 2, mapping(1, &[ours()]), true, 3).unwrap();
    assert_eq!(statics.get("T").unwrap().epoch, 1, "by force");
}
