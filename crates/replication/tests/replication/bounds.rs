//! What is no frame, too large, of another kind or out of turn.

use apogee_replication::switch::{self, Handshake, Head};
use apogee_replication::{
    Epoch, Epochs, Facts, Follower, Following, FrameError, Heard, Refusal, Session, Step, Turned, plain,
};
use bytes::BytesMut;
use proptest::prelude::*;

const FACTS: Facts<'_> = Facts { begin: 1_000, end: 5_500, file_size: 1_000, from_last_file: false, epochs: None };

fn hears(session: &mut Session, facts: &Facts<'_>, bytes: &[u8]) -> Result<Option<Heard>, Turned> {
    session.received(&mut BytesMut::from(bytes), facts)
}

fn epochs(entries: &[(i32, i64)]) -> Epochs {
    Epochs::of(entries.iter().map(|&(number, start)| Epoch { number, start })).unwrap()
}

fn handshake(broker_id: i64) -> Handshake {
    Handshake { from_last_file: false, is_learner: false, broker_id }
}

/// A slave with a controller whose log is that of `epochs` up to an end.
fn follower(entries: &[(i32, i64)], end: i64) -> Follower {
    Follower::new(Following::Switch { handshake: handshake(2), epochs: epochs(entries) }, 0, end)
}

fn reply(end: i64, entries: &[(i32, i64)]) -> BytesMut {
    BytesMut::from(&switch::reply(end, 9, epochs(entries).entries())[..])
}

#[test]
fn a_copy_begins_where_the_slave_ends_and_an_empty_one_where_the_log_does() {
    let begins = |has, facts: &Facts<'_>| hears(&mut Session::default(), facts, &plain::ack(has));
    assert_eq!(begins(0, &FACTS), Ok(Some(Heard::Begins { has: 0, from: 1_000 })));
    let last = Facts { from_last_file: true, ..FACTS };
    assert_eq!(begins(0, &last), Ok(Some(Heard::Begins { has: 0, from: 5_000 })));
    assert_eq!(begins(5_500, &FACTS), Ok(Some(Heard::Begins { has: 5_500, from: 5_500 })));
    assert_eq!(begins(5_501, &FACTS), Err(Turned::Ahead { slave: 5_501, master: 5_500 }));
    assert_eq!(begins(999, &FACTS), Err(Turned::Behind { slave: 999, master: 1_000 }));
    assert_eq!(begins(-1, &FACTS), Err(Turned::Frame(FrameError::Offset(-1))));
}

#[test]
fn of_several_acknowledgements_the_last_counts_and_half_a_one_waits() {
    let mut session = Session::default();
    hears(&mut session, &FACTS, &plain::ack(2_000)).unwrap();
    let said = [plain::ack(3_000), plain::ack(4_000), plain::ack(5_000)].concat();
    let mut buffer = BytesMut::from(&said[..20]);
    assert_eq!(session.received(&mut buffer, &FACTS), Ok(Some(Heard::Acked(4_000))));
    assert_eq!(session.received(&mut buffer, &FACTS), Ok(None));
    buffer.extend_from_slice(&said[20..]);
    assert_eq!(session.received(&mut buffer, &FACTS), Ok(Some(Heard::Acked(5_000))));
    let ahead = Err(Turned::Ahead { slave: 6_000, master: 5_500 });
    assert_eq!(hears(&mut session, &FACTS, &plain::ack(6_000)), ahead);
}

#[test]
fn slaves_of_the_other_kind_are_turned_away_with_what_to_do() {
    let turned = hears(&mut Session::default(), &FACTS, &handshake(2).encode()).unwrap_err();
    assert!(turned.to_string().contains("enableControllerMode"), "{turned}");
    let ours = epochs(&[(1, 0)]);
    let facts = Facts { epochs: Some(&ours), ..FACTS };
    let turned = hears(&mut Session::default(), &facts, &plain::ack(5_000)).unwrap_err();
    assert!(turned.to_string().contains("enableControllerMode"), "{turned}");
    let turned = hears(&mut Session::default(), &facts, &switch::report(5_000));
    assert_eq!(turned, Err(Turned::Order(5_000)), "it has not said who it is");
}

#[test]
fn a_slave_appends_nothing_but_what_follows_its_log() {
    let mut slave = Follower::new(Following::Plain, 0, 500);
    let piece =
        |offset, bytes: &[u8]| BytesMut::from(&[&plain::head(offset, bytes.len() as u32)[..], bytes].concat()[..]);
    assert_eq!(slave.received(&mut piece(500, b"")), Ok(Some(Step::Nothing)));
    let Ok(Some(Step::Append { offset: 500, .. })) = slave.received(&mut piece(500, b"abc")) else { panic!() };
    for offset in [0, 500, 502, 504] {
        let elsewhere = Err(Refusal::Elsewhere { own: 503, master: offset });
        assert_eq!(slave.received(&mut piece(offset, b"abc")), elsewhere);
    }
    let mut empty = Follower::new(Following::Plain, 0, 0);
    let Ok(Some(Step::Append { offset: 7_000, .. })) = empty.received(&mut piece(7_000, b"abc")) else { panic!() };
    assert_eq!(empty.report(7_003), Some(plain::ack(7_003).to_vec()));
}

#[test]
fn a_refusal_comes_with_its_reason_in_both_protocols() {
    let told = Err(Refusal::Told("not you".into()));
    let mut slave = Follower::new(Following::Plain, 0, 500);
    assert_eq!(slave.received(&mut BytesMut::from(&plain::refusal("not you")[..])), told);
    let mut slave = follower(&[(1, 0)], 500);
    assert_eq!(slave.received(&mut BytesMut::from(&switch::refusal("not you")[..])), told);
    let long = "ä".repeat(10_000);
    let Err(Refusal::Told(text)) = slave.received(&mut BytesMut::from(&switch::refusal(&long)[..])) else { panic!() };
    assert!(text.len() <= 1_024 && long.starts_with(&text));
}

#[test]
fn logs_part_at_the_consistent_point() {
    let agreed = |own: &[(i32, i64)], end, theirs: &[(i32, i64)], master_end| {
        let mut slave = follower(own, end);
        let step = slave.received(&mut reply(master_end, theirs));
        (step, slave.report(end).is_some())
    };
    assert_eq!(agreed(&[], 0, &[(2, 50)], 900), (Ok(Some(Step::Begin)), true), "new");
    let first = Step::Keep(epochs(&[(1, 0), (2, 0)]));
    assert_eq!(
        agreed(&[], 0, &[(1, 0), (2, 0), (3, 50)], 900),
        (Ok(Some(first)), true),
        "new, and epochs without a byte"
    );
    assert_eq!(agreed(&[(1, 0)], 500, &[(1, 0), (2, 500)], 900), (Ok(Some(Step::Begin)), true), "a part of it");
    assert_eq!(agreed(&[(1, 0)], 700, &[(1, 0), (2, 500)], 900), (Ok(Some(Step::CutTo(500))), false), "deposed");
    assert_eq!(agreed(&[(5, 0)], 700, &[(3, 700), (6, 800)], 900), (Err(Refusal::Foreign { own: 700 }), false));
    assert_eq!(agreed(&[(2, 0)], 700, &[(3, 0)], 900), (Ok(Some(Step::BeginAnew)), false), "nothing of it was left");
    assert_eq!(
        agreed(&[(2, 0)], 700, &[(3, 701)], 900),
        (Ok(Some(Step::BeginAnew)), false),
        "it was away for too long"
    );
    assert_eq!(
        agreed(&[(2, 0)], 700, &[(2, 0), (3, 0)], 900),
        (Ok(Some(Step::BeginAnew)), false),
        "none of it was kept"
    );
    assert_eq!(agreed(&[], 700, &[(1, 0)], 900), (Err(Refusal::Foreign { own: 700 }), false), "without epochs");
}

#[test]
fn a_replayed_epoch_is_refused_and_a_new_one_is_kept_before_its_bytes_are() {
    let mut slave = follower(&[(3, 0)], 500);
    slave.received(&mut reply(900, &[(3, 0), (5, 600)])).unwrap();
    let piece = |offset, number, start| {
        let head = Head { offset, epoch: Epoch { number, start }, confirmed: 550 };
        BytesMut::from(&[&switch::head(100, &head)[..], &[7; 100]].concat()[..])
    };
    let Ok(Some(Step::Append { offset: 500, .. })) = slave.received(&mut piece(500, 3, 0)) else { panic!() };
    assert_eq!(slave.confirmed(), 550);
    let mut next = piece(600, 5, 600);
    assert_eq!(slave.received(&mut next), Ok(Some(Step::Keep(epochs(&[(3, 0), (5, 600)])))));
    let Ok(Some(Step::Append { offset: 600, .. })) = slave.received(&mut next) else { panic!() };
    let Err(Refusal::Epochs(_)) = slave.received(&mut piece(700, 4, 650)) else { panic!() };
    let Err(Refusal::Epochs(_)) = slave.received(&mut piece(700, 5, 601)) else { panic!() };
}

#[test]
fn what_announces_too_much_is_no_frame() {
    let mut slave = Follower::new(Following::Plain, 0, 0);
    for size in [16 << 20 | 1, u32::MAX] {
        let told = slave.received(&mut BytesMut::from(&plain::head(0, size)[..]));
        assert!(matches!(told, Err(Refusal::Frame(FrameError::TooLarge { .. }))), "{told:?}");
    }
    let mut slave = follower(&[], 0);
    let told = slave.received(&mut BytesMut::from(&b"HTTP/1.1 400 Bad Request"[..]));
    assert!(matches!(told, Err(Refusal::Frame(FrameError::State(_)))), "{told:?}");
}

#[test]
fn a_place_that_no_log_has_is_no_frame() {
    let far = i64::MAX - 2;
    let mut slave = Follower::new(Following::Plain, 0, 0);
    let told = slave.received(&mut BytesMut::from(&[&plain::head(far, 3)[..], b"abc"].concat()[..]));
    assert_eq!(told, Err(Refusal::Frame(FrameError::Offset(far))));
    let piece = |offset, number, start| {
        let (mut slave, mut agreed) = (follower(&[], 0), reply(900, &[(1, 0)]));
        while slave.received(&mut agreed).unwrap().is_some() {}
        let head = Head { offset, epoch: Epoch { number, start }, confirmed: 0 };
        slave.received(&mut BytesMut::from(&[&switch::head(3, &head)[..], b"abc"].concat()[..]))
    };
    assert_eq!(piece(far, 1, 0), Err(Refusal::Frame(FrameError::Offset(far))));
    // Its file could not be read again.
    for (number, start) in [(-3, 0), (1, -1)] {
        let wrong = FrameError::Epoch(Epoch { number, start });
        assert_eq!(piece(0, number, start), Err(Refusal::Frame(wrong.clone())));
        let told = follower(&[], 0).received(&mut reply(900, &[(number, start)]));
        assert_eq!(told, Err(Refusal::Frame(wrong)));
    }
}

proptest! {
    /// Nothing that comes makes either side panic, or hold more than it was sent.
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), plain in any::<bool>()) {
        let following =
            if plain { Following::Plain } else { Following::Switch { handshake: handshake(2), epochs: epochs(&[(1, 0)]) } };
        let mut slave = Follower::new(following, 0, 100);
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = slave.received(&mut buffer) {}
        let ours = epochs(&[(1, 0)]);
        let facts = Facts { epochs: (!plain).then_some(&ours), ..FACTS };
        let (mut session, mut buffer) = (Session::default(), BytesMut::from(&bytes[..]));
        while let Ok(Some(_)) = session.received(&mut buffer, &facts) {}
    }
}
