use super::*;

const JSON: &str = r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":7,"stateVersion":0,"timestamp":1700000000000},"mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":1795231941904},"topicConfigTable":{"T1":{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T1","topicSysFlag":0,"writeQueueNums":4},"T2":{"attributes":{"message.type":"FIFO"},"order":false,"perm":4,"readQueueNums":2,"topicFilterType":"SINGLE_TAG","topicName":"T2","topicSysFlag":0,"writeQueueNums":3}},"topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}"#;

/// The same registration, compressed by upstream.
const COMPRESSED: &str = "78da636060b0a8564ace2fcd2b492d52b232d7512a2e492c490d4b2d2acecccf53b232d0512ac9cc4d050ae6162859199a1b20402d03030313108b85182a9800a19942b0a79fbb8f6b7c88a3bb423548563bc448c148c11828872ca30434ae38313d55afa4b22055c94ac9cdd3cd5f096c58742c906400003fab24e1";

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

#[test]
fn both_forms_say_the_same() {
    let mut plain: RegisterBrokerBody = survives(JSON);
    let compressed = RegisterBrokerBody::decode_compressed(&hex(COMPRESSED)).expect("upstream wrote it");
    let version = RegisterBrokerBody::version_of_compressed(&hex(COMPRESSED)).expect("it begins with it");
    assert_eq!(Some(version), compressed.topic_config_serialize_wrapper.data_version);
    // The compressed form does not carry it.
    plain.topic_config_serialize_wrapper.mapping_data_version = None;
    assert_eq!(compressed, plain);
    let again = RegisterBrokerBody::decode_compressed(&compressed.encode_compressed().expect("compressible"));
    assert_eq!(again, Ok(plain));
}

#[test]
fn a_mapping_travels_compressed() {
    let mut body = RegisterBrokerBody::default();
    body.topic_config_serialize_wrapper.data_version = Some(DataVersion::default());
    body.filter_server_list.push("10.0.0.1:80".to_owned());
    let mapping = TopicQueueMappingInfo {
        topic: Some("T".to_owned()),
        curr_id_map: [(0, 3)].into(),
        ..TopicQueueMappingInfo::default()
    };
    body.topic_config_serialize_wrapper.topic_queue_mapping_info_map.insert("T".to_owned(), mapping);
    let compressed = body.encode_compressed().expect("compressible");
    assert_eq!(RegisterBrokerBody::decode_compressed(&compressed), Ok(body));
}

#[test]
fn hostile_registrations_are_refused() {
    use apogee_message::compression::Compression;
    let refused = |plain: &[u8]| {
        let body = Compression::Zlib.compress(plain).expect("compressible");
        RegisterBrokerBody::decode_compressed(&body).expect_err("malformed").to_string()
    };
    assert!(RegisterBrokerBody::decode_compressed(b"no zlib").is_err());
    refused(b"");
    assert!(refused(&[255; 8]).contains("ends in the middle"));
    assert!(refused(b"\0\0\0\x02{}\xff\xff\xff\xff").contains("ends in the middle"));
    assert!(refused(b"\0\0\0\x02{}\0\0\0\x01\0\0\0\x05T x 1").contains("`T x 1` is not a topic's line"));
    refused(&vec![0; MAX_REGISTRATION + 1]);
}
