//! Subscriptions to lite topics, without a broker.

use super::*;

const LIMITS: Limits = Limits { each: 3, all: 4, ready: 2 };

fn member(client: &str) -> Member {
    Member { group: "G".into(), client: client.into() }
}

fn change(client: &str, queues: &[&str]) -> Change<()> {
    Change {
        member: member(client),
        parent: "P".into(),
        queues: queues.iter().map(|queue| Arc::from(*queue)).collect(),
        is_complete: None,
        is_exclusive: false,
        channel: (),
        now_ms: 5,
    }
}

fn reads(all: &Subscriptions<()>, client: &str) -> Vec<String> {
    let reader = all.get(&member(client));
    reader.into_iter().flat_map(|reader| &reader.queues).map(|queue| queue.to_string()).collect()
}

fn take(all: &mut Subscriptions<()>, client: &str, attempt: Option<&str>) -> Vec<String> {
    let taken = all.take(&member(client), attempt, 9).expect("a client");
    taken.queues.iter().map(|queue| queue.to_string()).collect()
}

#[test]
fn clients_read_what_they_say() {
    let mut all = Subscriptions::default();
    all.add(change("a", &["1", "2"]), LIMITS).unwrap();
    assert_eq!(all.add(change("a", &["2", "3"]), LIMITS).unwrap().new, ["3".into()]);
    assert_eq!(reads(&all, "a"), ["1", "2", "3"]);
    all.remove(&member("a"), |queue| &**queue == "1");
    let complete = |version, queues| Change { is_complete: Some(version), ..change("a", queues) };
    all.add(complete(7, &["4"]), LIMITS).unwrap();
    all.add(complete(6, &["5"]), LIMITS).unwrap();
    assert_eq!((reads(&all, "a"), all.len()), (vec!["4".to_owned()], 1));
    assert_eq!(all.readers_of("4").count() + all.readers_of("1").count() + all.readers_of("5").count(), 1);
    all.forget(&member("a"));
    assert_eq!((all.len(), all.all().count(), all.readers_of("4").count()), (0, 0, 0));
}

#[test]
fn limits_are_kept_and_a_refusal_changes_nothing() {
    let mut all = Subscriptions::default();
    all.add(change("a", &["1", "2", "3"]), LIMITS).unwrap();
    assert_eq!(all.add(change("a", &["4"]), LIMITS), Err(Full::Client(3)));
    assert_eq!(all.add(change("b", &["1", "2"]), LIMITS), Err(Full::Broker(4)));
    all.add(change("b", &["1"]), LIMITS).unwrap();
    let idle = |client| Change { is_complete: Some(1), ..change(client, &[]) };
    assert!(all.add(idle("c"), LIMITS).is_ok() && all.add(idle("d"), LIMITS).is_ok());
    assert_eq!(all.add(idle("e"), LIMITS), Err(Full::Broker(4)));
    all.add(Change { is_complete: Some(1), ..change("a", &["4", "5"]) }, LIMITS).unwrap();
    assert_eq!((reads(&all, "a").len(), reads(&all, "b").len(), all.len()), (2, 1, 3));
}

#[test]
fn an_exclusive_reader_takes_the_place_of_the_one_before() {
    let mut all = Subscriptions::default();
    all.add(change("a", &["1", "2"]), LIMITS).unwrap();
    let other_group = Change { member: Member { group: "H".into(), client: "a".into() }, ..change("a", &["1"]) };
    all.add(other_group, LIMITS).unwrap();
    let added = all.add(Change { is_exclusive: true, ..change("b", &["1"]) }, LIMITS).unwrap();
    assert_eq!(added.displaced, [(member("a"), Arc::from("1"))]);
    assert_eq!((reads(&all, "a"), reads(&all, "b")), (vec!["2".to_owned()], vec!["1".to_owned()]));
    assert_eq!(all.readers_of("1").count(), 2);
}

#[test]
fn who_lost_a_lite_topic_gets_it_back_when_it_says_so_anew_or_nobody_else_reads_it() {
    let mut all = Subscriptions::default();
    let exclusive = |client, queues| Change { is_exclusive: true, ..change(client, queues) };
    let again = |client, queues| Change { is_complete: Some(1), ..exclusive(client, queues) };
    all.add(exclusive("a", &["1"]), LIMITS).unwrap();
    all.add(exclusive("b", &["1"]), LIMITS).unwrap();
    // It does not know yet.
    let added = all.add(again("a", &["1", "2"]), LIMITS).unwrap();
    assert_eq!((added.new, added.displaced, added.lost), (vec!["2".into()], vec![], vec!["1".into()]));
    assert_eq!((reads(&all, "a"), reads(&all, "b")), (vec!["2".to_owned()], vec!["1".to_owned()]));
    all.add(exclusive("a", &["1"]), LIMITS).unwrap();
    assert_eq!((reads(&all, "a").len(), reads(&all, "b").len()), (2, 0));
    // The other one in turn, until this one is gone.
    assert!(!all.add(again("b", &["1"]), LIMITS).unwrap().lost.is_empty());
    all.forget(&member("a"));
    assert_eq!(all.add(again("b", &["1"]), LIMITS).unwrap().new, ["1".into()]);
    // What it names no more it did not lose.
    all.add(exclusive("a", &["1"]), LIMITS).unwrap();
    all.add(again("b", &[]), LIMITS).unwrap();
    assert_eq!(all.add(again("b", &["1"]), LIMITS).unwrap().new, ["1".into()]);
}

#[test]
fn a_client_looks_into_what_may_have_something_for_it() {
    let mut all = Subscriptions::default();
    all.add(change("a", &["1", "2"]), LIMITS).unwrap();
    assert_eq!(take(&mut all, "a", None), ["1", "2"]);
    assert!(!all.is_ready(&member("a")) && all.take(&member("b"), None, 9).is_none());
    assert!(all.offer("P", "3", None).is_empty() && all.offer("P", "2", Some("H")).is_empty());
    assert_eq!(all.offer("P", "2", Some("G")), [("G".into(), "P@a".into())]);
    assert!(all.is_ready(&member("a")));
    all.consumed(&member("a"), Some("try"), &["2".into()], 6);
    assert_eq!(take(&mut all, "a", Some("other")), ["2"]);
    assert_eq!(take(&mut all, "a", Some("try")), ["2"]);
    // More than there is room for.
    all.add(change("a", &["3"]), LIMITS).unwrap();
    all.offer_to(&member("a"), ["1".into(), "2".into()]);
    let taken = all.take(&member("a"), None, 9).unwrap();
    assert_eq!((taken.queues, taken.has_missed), (vec!["3".into(), "1".into()], true));
}

#[test]
fn a_group_that_reads_all_looks_into_each_once() {
    let mut all = Subscriptions::default();
    let everything = |client| Change { queues: BTreeSet::from([wild("P", "G")]), ..change(client, &[]) };
    all.add(everything("a"), LIMITS).unwrap();
    all.add(everything("b"), LIMITS).unwrap();
    // Its own name comes first, and is none of a light queue.
    all.offer("P", "%LMQ%$P$1", None);
    all.offer("P", "%LMQ%$P$2", None);
    assert_eq!(all.offer("P", "%LMQ%$P$3", None), [("G".into(), "P@*".into())]);
    assert_eq!(take(&mut all, "b", None), ["%LMQ%$P$1", "%LMQ%$P$2", "%LMQ%$P$3"]);
    assert!(take(&mut all, "a", None).is_empty() && all.offer("Q", "%LMQ%$Q$1", None).is_empty());
    all.forget(&member("a"));
    assert_eq!((all.offer("P", "%LMQ%$P$1", None).len(), all.len()), (1, 1));
    all.forget(&member("b"));
    assert_eq!((all.offer("P", "%LMQ%$P$1", None).len(), all.len()), (0, 0));
}

#[test]
fn the_silent_are_known() {
    let mut all = Subscriptions::default();
    all.add(change("a", &["1"]), LIMITS).unwrap();
    all.asks(&member("a"), (), 10);
    assert!(all.silent(10).is_empty());
    assert_eq!(all.silent(11), [member("a")]);
}
