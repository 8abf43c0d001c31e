//! Topics that require codecs.

mod common;

use apogee_client::{Checksum, Client, Codecs, Compression, Error, Key, KeyRing, Message};
use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::CreateTopicRequestHeader;
use common::Server;

fn create(server: &Server, attributes: &str) -> Command {
    let header = CreateTopicRequestHeader {
        topic: "T",
        default_topic: "TBW102",
        read_queue_nums: 4,
        write_queue_nums: 4,
        perm: 6,
        topic_filter_type: "SINGLE_TAG",
        topic_sys_flag: Some(0),
        order: false,
        attributes: Some(attributes),
        force: Some(false),
        rpc: Default::default(),
    };
    server.connect().call(Command::request(request::UPDATE_AND_CREATE_TOPIC).with_header(&header))
}

#[tokio::test]
async fn a_topic_refuses_bodies_that_are_not_encrypted_or_damaged() {
    let server = Server::start(&[]);
    let answer = create(&server, "+required.codecs=aes-256-gcm+crc32c");
    assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
    let client = Client::new(server.namesrv.to_string()).expect("an address");
    let keys = || KeyRing::new("k", Key::new([1; 32]));
    let producer = |codecs| client.producer_builder("P").codecs(codecs).build().expect("a producer");
    let refused = async |codecs, message: Message, told: &str| {
        let error = producer(codecs).send(message).await.expect_err("refused");
        assert!(matches!(error, Error::Refused { code: response::MESSAGE_ILLEGAL, .. }), "{error}");
        assert!(error.to_string().contains(told), "{error}");
    };
    let message = || Message::new("T", "secret");
    refused(Codecs::new(), message(), "its body did not go through aes-256-gcm; it went through []").await;
    refused(Codecs::new().compress(Compression::Zstd), message(), "did not go through aes-256-gcm").await;
    refused(Codecs::new().encrypt(keys()), message(), "did not go through crc32c; it went through [aes-256-gcm:k]")
        .await;
    let claims = "aes-256-gcm:k,crc32c:00000000";
    let long = Message::new("T", "x".repeat(50)).property("CODECS", claims);
    refused(Codecs::new(), long.clone(), "the body is damaged: its crc32c sum is").await;
    refused(Codecs::new(), message().property("CODECS", claims), "is too short").await;
    // One of a batch, and one that nobody is to see yet: nothing of them is stored.
    let plain = producer(Codecs::new());
    assert!(plain.send_batch(vec![long.clone(), message()]).await.is_err());
    assert!(plain.begin(message()).await.is_err());

    let codecs = Codecs::new().encrypt(keys()).checksum(Checksum::Crc32c);
    let good = producer(codecs.clone());
    good.send(message()).await.expect("sent");
    good.send_batch(vec![message(), message()]).await.expect("sent");
    good.begin(message()).await.expect("begun").commit().await.expect("committed");
    let mut reader = client.reader("T").from_first().codecs(codecs).open().await.expect("open");
    for _ in 0..4 {
        assert_eq!(reader.next().await.expect("one").expect("decoded").body, "secret");
    }
    assert!(reader.next_now().is_none());
    // As long as it requires them.
    assert_eq!(create(&server, "-required.codecs").code, response::SUCCESS);
    plain.send(message()).await.expect("sent");
    assert_eq!(create(&server, "+required.codecs=Not a name").code, response::INVALID_PARAMETER);
}
