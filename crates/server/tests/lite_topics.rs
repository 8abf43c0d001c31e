//! Lite topics over the wire: parts of a topic, read by the clients that say so. With `APOGEE_TEST_SERVER=apache` against
//! Apache's server, but for what that does otherwise: docs/differences.md.

mod common;

use std::collections::BTreeSet;

use apogee_message::record;
use apogee_wire::Command;
use apogee_wire::bodies::{
    Body, GetBrokerLiteInfoResponseBody, GetLiteClientInfoResponseBody, GetLiteGroupInfoResponseBody,
    GetLiteTopicInfoResponseBody, GetParentTopicInfoResponseBody, LiteSubscriptionAction as Action,
    LiteSubscriptionDto, OffsetOption, OffsetOptionType,
};
use apogee_wire::codes::{request, response};
use common::lite::*;
use common::{Pull, Server};

#[test]
fn a_client_gets_what_it_subscribed_to_and_each_lite_topic_in_order() {
    if common::oracle::is_wanted() {
        return;
    }
    let (server, mut peer) = server(&[]);
    for (lite, body) in [("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1")] {
        send(&mut peer, lite, body);
    }
    subscribe(&mut peer, "one", &["a", "b"]);
    let popped = pop(&mut peer, "one", 60_000);
    assert_eq!(bodies(&popped), BTreeSet::from(["a1", "a2", "b1"]));
    // As long as they are out, nothing behind them comes, to nobody of the group.
    send(&mut peer, "a", "a3");
    subscribe(&mut peer, "two", &["a"]);
    assert!(pop(&mut peer, "one", 60_000).is_empty() && pop(&mut peer, "two", 60_000).is_empty());
    let mut waits = server.connect();
    let waiting = waits.park(pop_command("two", 60_000, 20_000));
    popped.iter().for_each(|popped| ack(&mut peer, popped));
    let answer = waits.read();
    assert_eq!((answer.opaque, bodies(&read(&answer))), (waiting, BTreeSet::from(["a3"])));
    // A message wakes who waits for its lite topic, and nobody else.
    let waiting = waits.park(pop_command("one", 60_000, 20_000));
    send(&mut peer, "c", "c2");
    send(&mut peer, "b", "b2");
    let answer = waits.read();
    assert_eq!((answer.opaque, bodies(&read(&answer))), (waiting, BTreeSet::from(["b2"])));
}

#[test]
fn what_is_not_acknowledged_comes_again_also_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start_in(folder.path(), LIGHT);
    let mut peer = server.connect();
    make(&mut peer, &[]);
    (1..=3).for_each(|at| send(&mut peer, "a", &at.to_string()));
    subscribe(&mut peer, "one", &["a"]);
    let popped = pop(&mut peer, "one", 300);
    ack(&mut peer, &popped[0]);
    let again = read(&peer.call(pop_command("one", 300, 20_000)));
    assert_eq!(again.iter().map(|one| (&*one.body, one.count)).collect::<Vec<_>>(), [("2", 1), ("3", 1)]);
    server.kill();

    let server = Server::start_in(folder.path(), LIGHT);
    let mut peer = server.connect();
    subscribe(&mut peer, "one", &["a"]);
    let again = read(&peer.call(pop_command("one", 60_000, 20_000)));
    assert!(bodies(&again).is_superset(&BTreeSet::from(["2", "3"])), "{again:?}");
    again.iter().for_each(|popped| ack(&mut peer, popped));
    assert!(pop(&mut peer, "one", 60_000).is_empty());
}

#[test]
fn a_client_reads_what_it_said_last_from_where_it_says() {
    if common::oracle::is_wanted() {
        return;
    }
    let (_server, mut peer) = server(&[]);
    (1..=4).for_each(|at| send(&mut peer, "a", &format!("a{at}")));
    send(&mut peer, "b", "b1");
    let option = OffsetOption { kind: OffsetOptionType::TailN, value: 1 };
    let tail = LiteSubscriptionDto { offset_option: Some(option), ..change("one", Action::PartialAdd, &["a"]) };
    assert_eq!(tell(&mut peer, tail), response::SUCCESS);
    let popped = pop(&mut peer, "one", 60_000);
    assert_eq!(bodies(&popped), BTreeSet::from(["a4"]));
    ack(&mut peer, &popped[0]);
    assert_eq!(tell(&mut peer, change("one", Action::CompleteAdd, &["b"])), response::SUCCESS);
    send(&mut peer, "a", "a5");
    assert_eq!(bodies(&pop(&mut peer, "one", 60_000)), BTreeSet::from(["b1"]));
    assert_eq!(tell(&mut peer, change("one", Action::CompleteRemove, &[])), response::SUCCESS);
    send(&mut peer, "b", "b2");
    assert!(pop(&mut peer, "one", 60_000).is_empty());
    // From the first message, which was a bug of upstream's where that is 0.
    let option = OffsetOption { kind: OffsetOptionType::Offset, value: 0 };
    let first = LiteSubscriptionDto { offset_option: Some(option), ..change("one", Action::PartialAdd, &["a"]) };
    assert_eq!(tell(&mut peer, first), response::SUCCESS);
    assert_eq!(pop(&mut peer, "one", 60_000).len(), 5);
}

#[test]
fn a_lite_topic_can_be_pulled_and_searched_and_goes_with_its_parent() {
    let (_server, mut peer) = server(&[]);
    send(&mut peer, "a", "1");
    send(&mut peer, "a", "2");
    send(&mut peer, "b", "3");
    let pull = |lite: &str| {
        let mut command = Pull::of("P", 0, 1).command();
        command.fields.set_str("liteTopic", lite);
        command
    };
    let answer = peer.call(pull("a"));
    let bodies: Vec<_> = record::iter(&answer.body).map(|record| record.expect("a record").body.to_vec()).collect();
    assert_eq!((answer.code, bodies), (response::SUCCESS, vec![b"2".to_vec()]));
    assert_eq!(peer.call(pull("a/b")).code, response::INVALID_PARAMETER);
    let mut search = |lite: &str, timestamp: &str| {
        let mut command = Command::request(request::SEARCH_OFFSET_BY_TIMESTAMP);
        let fields = [("topic", "P"), ("queueId", "0"), ("liteTopic", lite), ("timestamp", timestamp)];
        fields.iter().for_each(|(name, value)| command.fields.set_str(name, value));
        peer.call(command).fields.get("offset").map(str::to_owned)
    };
    let far = "9999999999999";
    assert_eq!((search("a", "0").as_deref(), search("a", far).as_deref()), (Some("0"), Some("2")));
    assert_eq!(search("none", far).as_deref(), Some("0"));

    subscribe(&mut peer, "one", &["a"]);
    pop(&mut peer, "one", 60_000).iter().for_each(|popped| ack(&mut peer, popped));
    let mut delete = |code, name: &str, value: &str| {
        let mut command = Command::request(code);
        command.fields.set_str(name, value);
        assert_eq!(peer.call(command).code, response::SUCCESS);
    };
    delete(request::DELETE_TOPIC_IN_BROKER, "topic", "P");
    make(&mut peer, &[]);
    let mut info = Command::request(request::GET_PARENT_TOPIC_INFO);
    info.fields.set_str("topic", "P");
    let info = GetParentTopicInfoResponseBody::decode(&peer.call(info).body).expect("figures");
    assert_eq!(info.lite_topic_count, 0);
    send(&mut peer, "a", "4");
    assert_eq!(common::lite::bodies(&pop(&mut peer, "one", 60_000)), BTreeSet::from(["4"]));
    // Offsets of a group in its lite topics go with it, though nobody says so.
    let mut delete = Command::request(request::DELETE_SUBSCRIPTIONGROUP);
    delete.fields.set_str("groupName", "G");
    assert_eq!(peer.call(delete).code, response::SUCCESS);
    let mut offset = Command::request(request::QUERY_CONSUMER_OFFSET);
    for (name, value) in [("consumerGroup", "G"), ("topic", "%LMQ%$P$a"), ("queueId", "0")] {
        offset.fields.set_str(name, value);
    }
    assert_eq!(peer.call(offset).code, response::QUERY_NOT_FOUND);
}

#[test]
fn administrators_see_it() {
    let (_server, mut peer) = server(&[]);
    send(&mut peer, "a", "1");
    send(&mut peer, "a", "2");
    send(&mut peer, "b", "3");
    subscribe(&mut peer, "one", &["a"]);
    assert_eq!(pop(&mut peer, "one", 60_000).len(), 2);
    let mut ask = |code, fields: &[(&str, &str)]| {
        let mut command = Command::request(code);
        fields.iter().for_each(|(name, value)| command.fields.set_str(name, value));
        let answer = peer.call(command);
        assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        answer.body
    };
    let info = GetBrokerLiteInfoResponseBody::decode(&ask(request::GET_BROKER_LITE_INFO, &[])).expect("figures");
    assert_eq!((info.current_lmq_num, info.lite_subscription_count, info.topic_meta["P"]), (2, 1, -1));
    assert!(info.group_meta["P"].contains("G") && info.order_info_count == 1, "{info:?}");
    let info = ask(request::GET_PARENT_TOPIC_INFO, &[("topic", "P")]);
    let info = GetParentTopicInfoResponseBody::decode(&info).expect("figures");
    assert_eq!((info.lite_topic_count, info.lmq_num, info.ttl), (2, 2, -1));
    let info = ask(request::GET_LITE_TOPIC_INFO, &[("parentTopic", "P"), ("liteTopic", "a")]);
    let info = GetLiteTopicInfoResponseBody::decode(&info).expect("figures");
    assert_eq!(info.topic_offset.map(|range| range.max_offset), Some(2));
    assert_eq!(info.subscriber.expect("readers")[0].client_id.as_deref(), Some("one"));
    let fields = [("parentTopic", "P"), ("group", "G"), ("clientId", "one"), ("maxCount", "10")];
    let info = GetLiteClientInfoResponseBody::decode(&ask(request::GET_LITE_CLIENT_INFO, &fields)).expect("figures");
    assert_eq!(info.lite_topic_set, Some(BTreeSet::from(["%LMQ%$P$a".to_owned()])));
    assert!(info.last_access_time > 0);
    let info = ask(request::GET_LITE_GROUP_INFO, &[("group", "G"), ("topK", "1")]);
    let info = GetLiteGroupInfoResponseBody::decode(&info).expect("figures");
    let first = &info.lag_count_top_k.expect("the first")[0];
    // Nobody of it reads the other one.
    assert_eq!((info.total_lag_count, first.lag_count, first.lite_topic.as_deref()), (2, 2, Some("a")));
    ask(request::TRIGGER_LITE_DISPATCH, &[("group", "G")]);
}

#[test]
fn what_makes_no_sense_is_refused() {
    if common::oracle::is_wanted() {
        return;
    }
    let plain = Server::start(&[]);
    assert_eq!(make_topic(&mut plain.connect(), "+message.type=LITE").code, response::INVALID_PARAMETER);
    let (_server, mut peer) = server(&[]);
    assert_eq!(peer.send("P", 0, b"x", "").code, response::MESSAGE_ILLEGAL);
    assert_eq!(peer.send("P", 0, b"x", "__LITE_TOPIC\x01../x\x02").code, response::INVALID_PARAMETER);
    peer.send_ok("T", 0, b"x", "");
    let other = |topic: Option<&str>, client: Option<&str>, names: &[&str]| LiteSubscriptionDto {
        topic: topic.map(str::to_owned),
        client_id: client.map(str::to_owned),
        ..change("one", Action::PartialAdd, names)
    };
    for (change, code) in [
        (other(Some("T"), Some("one"), &["a"]), response::INVALID_PARAMETER),
        (other(Some("U"), Some("one"), &["a"]), response::TOPIC_NOT_EXIST),
        (other(None, Some("one"), &["a"]), response::INVALID_PARAMETER),
        (other(Some("P"), None, &["a"]), response::INVALID_PARAMETER),
        (other(Some("P"), Some("one"), &["a/b"]), response::INVALID_PARAMETER),
    ] {
        assert_eq!(tell(&mut peer, change.clone()), code, "{change:?}");
    }
    for (body, code) in [
        ("{", response::INVALID_PARAMETER),
        ("", response::ILLEGAL_OPERATION),
        ("{}", response::ILLEGAL_OPERATION),
        (r#"{"subscriptionSet":[{"clientId":"one","group":"G","topic":"P"}]}"#, response::INVALID_PARAMETER),
    ] {
        let garbage = Command::request(request::LITE_SUBSCRIPTION_CTL).with_body(body.as_bytes().to_vec());
        assert_eq!(peer.call(garbage).code, code, "{body}");
    }
    assert_eq!(peer.send("%LMQ%$P$a", 0, b"x", "").code, response::INVALID_PARAMETER);
    let below = OffsetOption { kind: OffsetOptionType::TailN, value: -1 };
    let below = LiteSubscriptionDto { offset_option: Some(below), ..change("one", Action::PartialAdd, &["a"]) };
    assert_eq!(tell(&mut peer, below), response::INVALID_PARAMETER);
    // Handles of other pops, and of what is no lite topic.
    send(&mut peer, "a", "1");
    subscribe(&mut peer, "one", &["a"]);
    let popped = pop(&mut peer, "one", 60_000).remove(0);
    for (lite, handle, code) in [
        ("a", popped.handle.replace(" 999 ", " 0 "), response::INVALID_PARAMETER),
        ("a/b", popped.handle.clone(), response::INVALID_PARAMETER),
        ("b", popped.handle.clone(), response::NO_MESSAGE),
        ("", popped.handle.clone(), response::MESSAGE_ILLEGAL),
    ] {
        let mut command = Command::request(request::ACK_MESSAGE);
        for (name, value) in [("consumerGroup", "G"), ("topic", "P"), ("queueId", "0"), ("offset", "0")] {
            command.fields.set_str(name, value);
        }
        command.fields.set_str("extraInfo", &handle);
        command.fields.set_str("liteTopic", lite);
        let answer = peer.call(command);
        assert_eq!(answer.code, code, "{lite} {handle} {answer:?}");
    }
    ack(&mut peer, &popped);
}
