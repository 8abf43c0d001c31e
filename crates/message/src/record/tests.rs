use proptest::prelude::*;

use super::*;

/// Encoded by Apache RocketMQ 5.5.0: born 10.1.2.3 or fd00::1, stored at 10.1.2.4 or fd00::2.
const UPSTREAM: [(&str, &str, &str); 2] = [
    (
        "10.1.2.3:5555",
        "10.1.2.4:10911",
        "00000075daa320a73f57ed540000000300000009000000000000004d00000000075bcd15000000000000018bcfe568010a010203000015b30000018bcfe568020a01020400002a9f0000000200000000000000080000000768656c6c6f207609546f70696354657374000a54414753015461674102",
    ),
    (
        "[fd00::1]:5555",
        "10.1.2.4:10911",
        "00000081daa320a73f57ed540000000300000009000000000000004d00000000075bcd15000000100000018bcfe56801fd000000000000000000000000000001000015b30000018bcfe568020a01020400002a9f0000000200000000000000080000000768656c6c6f207609546f70696354657374000a54414753015461674102",
    ),
];

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn message(born: &str, store: &str) -> NewMessage {
    NewMessage {
        topic: "TopicTest".into(),
        queue_id: 3,
        flag: 9,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_001,
        born_host: born.parse().unwrap(),
        store_host: store.parse().unwrap(),
        reconsume_times: 2,
        prepared_transaction_offset: 8,
        body: Bytes::from_static(b"hello v"),
        properties: Bytes::from_static(b"TAGS\x01TagA\x02"),
    }
}

#[test]
fn records_are_those_of_upstream() {
    for (born, store, hex) in UPSTREAM {
        let mut draft = Draft::new(&message(born, store), &mut BytesMut::new()).unwrap();
        draft.leave_out_sum();
        draft.assign(77, 123_456_789, 1_700_000_000_002);
        assert_eq!(draft.to_vec(), bytes(hex));
        assert_eq!(draft.size(), draft.to_vec().len());
        assert_eq!(crate::properties::get(draft.properties(), "TAGS"), Some("TagA"));

        let encoded = bytes(hex);
        let record = Record::read(&encoded).unwrap();
        assert_eq!((record.queue_offset, record.physical_offset), (77, 123_456_789));
        assert_eq!((record.born_host, record.store_host), (born.parse().unwrap(), store.parse().unwrap()));
        assert_eq!((record.topic, record.body), ("TopicTest", &b"hello v"[..]));
        assert_eq!((record.born_timestamp, record.store_timestamp), (1_700_000_000_001, 1_700_000_000_002));
        assert_eq!((record.reconsume_times, record.prepared_transaction_offset), (2, 8));
        assert!(record.body_is_intact());
        assert_eq!(record.property("TAGS"), Some("TagA"));
    }
}

#[test]
fn a_long_topic_takes_the_second_version() {
    let long = NewMessage { topic: "t".repeat(200).into(), ..message("1.1.1.1:1", "[::ffff:2.2.2.2]:2") };
    let encoded = Draft::new(&long, &mut BytesMut::new()).unwrap().to_vec();
    assert_eq!(encoded[4..8], MAGIC_V2.to_be_bytes());
    let record = Record::read(&encoded).unwrap();
    assert_eq!((record.topic.len(), record.sys_flag), (200, 0));
    assert_eq!(record.store_host, "2.2.2.2:2".parse().unwrap());
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut arena = BytesMut::new();
    let too_long = NewMessage { properties: vec![b'x'; 32_768].into(), ..message("1.1.1.1:1", "1.1.1.1:1") };
    assert_eq!(Draft::new(&too_long, &mut arena).unwrap_err(), DraftError::PropertiesTooLong(32_768));
    let too_long = NewMessage { topic: "t".repeat(256).into(), ..message("1.1.1.1:1", "1.1.1.1:1") };
    assert_eq!(Draft::new(&too_long, &mut arena).unwrap_err(), DraftError::TopicTooLong(256));
}

#[test]
fn records_follow_each_other() {
    let one = bytes(UPSTREAM[0].2);
    let two = [&one[..], &bytes(UPSTREAM[1].2), b"rest"].concat();
    let read: Vec<_> = iter(&two).collect();
    assert_eq!(read.len(), 3);
    assert!(read[0].is_ok() && read[1].is_ok());
    assert_eq!(read[2], Err(RecordError::Short));
}

#[test]
fn a_sum_covers_the_whole_record_and_is_made_anew() {
    let sizes = [0, 7, SUMMED_ANEW, SUMMED_ANEW + 1, 100_000];
    for (size, text) in sizes.into_iter().zip(["", "TAGS\x01TagA\x02", "TAGS\x01TagA", "a\x01#", "a\x01b\x02"]) {
        let new =
            NewMessage { body: vec![b'b'; size].into(), properties: text.into(), ..message("1.1.1.1:1", "[::1]:2") };
        let mut draft = Draft::new(&new, &mut BytesMut::new()).unwrap();
        draft.assign(1, 2, 3);
        let mut encoded = draft.to_vec();
        let record = Record::read(&encoded).unwrap();
        assert!(record.has_sum() && record.is_intact(&encoded), "{size}");

        // Written again, at another place, it has one sum: its own.
        let mut properties = record.properties.to_vec();
        properties::push(&mut properties, "more", "x");
        let again = NewMessage { properties: properties.into(), ..new };
        let mut draft = Draft::new(&again, &mut BytesMut::new()).unwrap();
        draft.assign(4, 5, 6);
        let second = draft.to_vec();
        let record = Record::read(&second).unwrap();
        assert!(record.is_intact(&second));
        assert_eq!(properties::iter(record.properties).filter(|(name, _)| *name == b"__CRC32#").count(), 1);
        assert_eq!(record.property("more"), Some("x"));

        for at in [16, 21, 30, 42, 60, encoded.len() - 25, encoded.len() - 18, encoded.len() - 3, encoded.len() - 1] {
            encoded[at] ^= 4;
            assert!(!Record::read(&encoded).is_ok_and(|record| record.is_intact(&encoded)), "{size}: byte {at}");
            encoded[at] ^= 4;
        }
    }
}

#[test]
fn properties_that_leave_no_room_for_a_sum_go_without() {
    let full = NewMessage { properties: vec![b'x'; 32_767].into(), ..message("1.1.1.1:1", "1.1.1.1:1") };
    let encoded = Draft::new(&full, &mut BytesMut::new()).unwrap().to_vec();
    let record = Record::read(&encoded).unwrap();
    assert!(!record.has_sum() && record.is_intact(&encoded));
}

proptest! {
    #[test]
    fn a_damaged_record_is_refused_or_read(at in 0..117usize, byte: u8, cut in 0..=117usize) {
        let mut encoded = bytes(UPSTREAM[0].2);
        encoded[at] = byte;
        let _ = Record::read(&encoded[..cut.min(encoded.len())]).map(|record| record.body_is_intact());
    }

    #[test]
    fn anything_is_read_or_refused(rest in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut bytes = (rest.len() as u32 + 8).to_be_bytes().to_vec();
        bytes.extend(MAGIC_V1.to_be_bytes());
        bytes.extend(rest);
        let _ = iter(&bytes).count();
    }
}

#[test]
fn a_batch_that_is_one_record_tells_the_offset_of_its_first_message() {
    for (length, with_sum) in [(100, true), (100, false), (10_000, true), (10_000, false)] {
        let mut message = message("10.1.2.3:5555", "10.1.2.4:10911");
        message.sys_flag = sysflag::INNER_BATCH | sysflag::NEED_UNWRAP;
        message.body = vec![b'x'; length].into();
        // As one that is written again has them.
        message.properties = Bytes::from_static(b"INNER_NUM\x0112\x02INNER_BASE\x017\x02TAGS\x01TagA");
        let mut draft = Draft::new(&message, &mut BytesMut::new()).unwrap();
        if !with_sum {
            draft.leave_out_sum();
        }
        assert_eq!((draft.messages(), draft.is_in_batch_queue()), (12, true));
        let most = draft.most_size();
        for offset in [i64::MAX, 123_456, 0] {
            draft.assign(offset, 1, 2);
            assert!(draft.size() <= most);
            let bytes = draft.to_vec();
            let record = Record::read(&bytes).unwrap();
            assert_eq!((record.size as usize, record.has_sum()), (bytes.len(), with_sum));
            assert!(record.is_intact(&bytes), "{length} {with_sum} {offset}");
            assert_eq!(record.property("INNER_BASE"), Some(&*offset.to_string()));
            assert_eq!(record.properties.windows(10).filter(|part| part == b"INNER_BASE").count(), 1);
            assert_eq!((record.property("TAGS"), record.messages()), (Some("TagA"), 12));
        }
    }
}

#[test]
fn a_message_alone_in_a_queue_of_batches_has_one_offset() {
    let mut message = message("10.1.2.3:5555", "10.1.2.4:10911");
    message.properties = Bytes::from_static(b"INNER_NUM\x011\x02");
    let mut draft = Draft::in_batch_queue(&message, &mut BytesMut::new()).unwrap();
    draft.assign(5, 1, 2);
    let bytes = draft.to_vec();
    let record = Record::read(&bytes).unwrap();
    assert_eq!((record.messages(), record.is_in_batch_queue(), record.property("INNER_BASE")), (1, true, Some("5")));
    assert!(record.is_intact(&bytes) && record.has_offset(5) && !record.has_offset(6));
}
