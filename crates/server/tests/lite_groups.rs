//! How groups read lite topics: one client at a time, all of them, anew; and how many may wait for a client.

mod common;

use std::collections::BTreeSet;

use apogee_wire::Command;
use apogee_wire::bodies::{Body, GetLiteTopicInfoResponseBody, LiteSubscriptionAction as Action};
use apogee_wire::codes::{request, response};
use apogee_wire::headers::NotifyUnsubscribeLiteRequestHeader;
use common::lite::*;

#[test]
fn a_lite_topic_may_be_read_by_one_client_at_a_time() {
    let (server, mut peer) = server(&[("+lite.sub.model", "Exclusive"), ("+lite.sub.client.quota", "2")]);
    let mut first = server.connect();
    subscribe(&mut first, "one", &["a", "b"]);
    assert_eq!(tell(&mut first, change("one", Action::PartialAdd, &["c"])), response::LITE_SUBSCRIPTION_QUOTA_EXCEEDED);
    subscribe(&mut peer, "two", &["a"]);
    let told = first.read();
    assert_eq!(told.code, request::NOTIFY_UNSUBSCRIBE_LITE);
    let head: NotifyUnsubscribeLiteRequestHeader<'_> = told.header().expect("a header");
    assert_eq!((head.lite_topic, head.consumer_group, head.client_id), ("a", "G", "one"));
    send(&mut peer, "a", "x");
    assert!(pop(&mut peer, "one", 60_000).is_empty());
    assert_eq!(bodies(&pop(&mut peer, "two", 60_000)), BTreeSet::from(["x"]));
}

#[test]
fn who_lost_a_lite_topic_does_not_take_it_back_by_saying_what_it_read_all_along() {
    let (server, mut peer) = server(&[("+lite.sub.model", "Exclusive"), ("+lite.sub.reset.offset.exclusive", "true")]);
    let mut first = server.connect();
    send(&mut peer, "a", "1");
    subscribe(&mut first, "one", &["a"]);
    assert_eq!(bodies(&pop(&mut first, "one", 60_000)), BTreeSet::from(["1"]));
    // The group begins anew, though the other one has it still.
    subscribe(&mut peer, "two", &["a"]);
    let popped = pop(&mut peer, "two", 60_000);
    assert_eq!(bodies(&popped), BTreeSet::from(["1"]));
    ack(&mut peer, &popped[0]);
    assert_eq!(first.read().code, request::NOTIFY_UNSUBSCRIBE_LITE);
    first.request(tell_command(change("one", Action::CompleteAdd, &["a", "b"])));
    let (told, answer) = (first.read(), first.read());
    assert_eq!(answer.code, response::SUCCESS);
    let head: NotifyUnsubscribeLiteRequestHeader<'_> = told.header().expect("a header");
    assert_eq!((head.lite_topic, head.client_id), ("a", "one"));
    send(&mut peer, "a", "2");
    assert!(pop(&mut first, "one", 60_000).is_empty());
    assert_eq!(bodies(&pop(&mut peer, "two", 60_000)), BTreeSet::from(["2"]));
}

#[test]
fn a_group_begins_anew_in_what_a_client_reads_no_more_if_it_is_to() {
    for resets in ["true", "false"] {
        let (_server, mut peer) = server(&[("+lite.sub.reset.offset.unsubscribe", resets)]);
        send(&mut peer, "a", "1");
        send(&mut peer, "a", "2");
        subscribe(&mut peer, "one", &["a"]);
        let popped = pop(&mut peer, "one", 60_000);
        ack(&mut peer, &popped[0]);
        assert_eq!(tell(&mut peer, change("one", Action::PartialRemove, &["a"])), response::SUCCESS);
        subscribe(&mut peer, "one", &["a"]);
        let again = if resets == "true" { 2 } else { 0 };
        assert_eq!(pop(&mut peer, "one", 60_000).len(), again, "{resets}");
    }
}

#[test]
fn a_group_may_read_all_lite_topics() {
    let (server, mut peer) = server(&[("+lite.sub.wildcard", "true")]);
    (0..100).for_each(|at| send(&mut peer, &format!("s-{at}"), "old"));
    assert_eq!(tell(&mut peer, change("one", Action::PartialAdd, &["a"])), response::ILLEGAL_OPERATION);
    assert!(pop(&mut peer, "one", 60_000).is_empty());
    for client in ["one", "two"] {
        assert_eq!(tell(&mut peer, change(client, Action::CompleteAdd, &[])), response::SUCCESS);
    }
    let mut got = Vec::new();
    for client in ["one", "two"].iter().cycle() {
        let popped = pop(&mut peer, client, 60_000);
        if popped.is_empty() {
            break;
        }
        got.extend(popped);
    }
    let names: BTreeSet<&str> = got.iter().map(|popped| &*popped.lite).collect();
    assert_eq!((got.len(), names.len()), (100, 100));
    // One of them is woken by a new one, and by what another one's is done with.
    let mut waits = server.connect();
    waits.park(pop_command("two", 60_000, 20_000));
    send(&mut peer, "new", "1");
    assert_eq!(bodies(&read(&waits.read())), BTreeSet::from(["1"]));
    send(&mut peer, "s-7", "next");
    waits.park(pop_command("one", 60_000, 20_000));
    let of_seven = got.iter().find(|popped| popped.lite == "s-7").expect("it was popped");
    ack(&mut peer, of_seven);
    assert_eq!(bodies(&read(&waits.read())), BTreeSet::from(["next"]));
    let mut info = Command::request(request::GET_LITE_TOPIC_INFO);
    info.fields.set_str("parentTopic", "P");
    info.fields.set_str("liteTopic", "s-7");
    let info = GetLiteTopicInfoResponseBody::decode(&peer.call(info).body).expect("figures");
    assert_eq!(info.subscriber.expect("readers")[0].client_id.as_deref(), Some("*"));
    // Until nobody reads them.
    for client in ["one", "two"] {
        assert_eq!(tell(&mut peer, change(client, Action::CompleteRemove, &[])), response::SUCCESS);
    }
    send(&mut peer, "new-2", "1");
    assert!(pop(&mut peer, "one", 60_000).is_empty());
}

#[test]
fn more_lite_topics_with_messages_than_may_wait_for_a_client_are_all_read() {
    let (_server, mut peer) = server(&[("+lite.sub.client.max.event.cnt", "10")]);
    let names: Vec<String> = (0..50).map(|at| format!("s-{at}")).collect();
    subscribe(&mut peer, "one", &names.iter().map(String::as_str).collect::<Vec<_>>());
    names.iter().for_each(|name| send(&mut peer, name, name));
    let mut got = BTreeSet::new();
    while got.len() < names.len() {
        let popped = read(&peer.call(pop_command("one", 60_000, 20_000)));
        assert!(!popped.is_empty(), "only {got:?}");
        got.extend(popped.into_iter().map(|popped| popped.lite));
    }
    assert!(pop(&mut peer, "one", 60_000).is_empty());
}

#[test]
fn an_attempt_gets_again_what_it_got() {
    let (_server, mut peer) = server(&[]);
    subscribe(&mut peer, "one", &["a", "b", "c"]);
    ["a", "b", "c"].iter().for_each(|name| send(&mut peer, name, name));
    let mut attempt = |name: &str| {
        let mut command = pop_command("one", 60_000, 0);
        command.fields.set_str("attemptId", name);
        read(&peer.call(command)).iter().map(|popped| (popped.lite.clone(), popped.count)).collect::<BTreeSet<_>>()
    };
    let first = attempt("first");
    assert_eq!((first.len(), attempt("second").len()), (3, 0));
    assert_eq!(attempt("first"), first);
}
