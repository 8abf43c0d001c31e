//! What Apache's master and slave said to each other, held against ours.

use apogee_replication::plain;
use apogee_replication::switch::{self, FromMaster, FromSlave, Handshake};
use apogee_replication::{Epoch, Epochs, Follower, Following, Step};
use bytes::BytesMut;

struct Said {
    by_master: bool,
    bytes: Vec<u8>,
}

/// What was said on the connections with a label.
fn recorded(label: &str) -> Vec<Vec<Said>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/ha/stream.json");
    let text = std::fs::read_to_string(path).unwrap();
    let connections: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let bytes = |hex: &str| {
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(byte).collect()
    };
    let said = |connection: &serde_json::Value| {
        let events = connection["events"].as_array().unwrap().iter();
        let heard = events.filter_map(|event| {
            let bytes = bytes(event["hex"].as_str()?);
            Some(Said { by_master: event["dir"] == "master->slave", bytes })
        });
        heard.collect()
    };
    connections.iter().filter(|connection| connection["label"] == label).map(said).collect()
}

/// All bytes of one side, in pieces of so many.
fn pieces(said: &[Said], by_master: bool, size: usize) -> Vec<Vec<u8>> {
    let all: Vec<u8> =
        said.iter().filter(|said| said.by_master == by_master).flat_map(|said| said.bytes.clone()).collect();
    all.chunks(size).map(<[u8]>::to_vec).collect()
}

#[test]
fn frames_without_a_controller_are_upstreams() {
    for said in recorded("ha") {
        let (mut buffer, mut again) = (BytesMut::new(), Vec::new());
        for piece in pieces(&said, true, 1_000) {
            buffer.extend_from_slice(&piece);
            while let Some(frame) = plain::decode(&mut buffer).unwrap() {
                let plain::FromMaster::Piece { offset, bytes } = frame else { panic!("{frame:?}") };
                again.extend_from_slice(&plain::head(offset, bytes.len() as u32));
                again.extend_from_slice(&bytes);
            }
        }
        assert!(buffer.is_empty());
        assert_eq!(again, pieces(&said, true, usize::MAX)[0]);
    }
}

#[test]
fn a_slave_says_what_upstreams_says_to_the_same_master() {
    for said in recorded("ha") {
        let says = pieces(&said, false, plain::ACK);
        let begin = i64::from_be_bytes(says[0].clone().try_into().unwrap());
        let mut slave = Follower::new(Following::Plain, 0, begin);
        assert_eq!(slave.hello(), says[0]);
        let (mut buffer, mut acks) = (BytesMut::new(), vec![says[0].clone()]);
        for piece in pieces(&said, true, 1_000) {
            buffer.extend_from_slice(&piece);
            while let Some(step) = slave.received(&mut buffer).unwrap() {
                match step {
                    Step::Append { .. } => acks.push(slave.report(slave.end()).unwrap()),
                    step => assert_eq!(step, Step::Nothing),
                }
            }
        }
        let mut theirs = says;
        // Those that only say that it is still there.
        theirs.dedup();
        assert_eq!(acks, theirs);
    }
}

#[test]
fn frames_with_a_controller_are_upstreams() {
    for said in recorded("ha-auto") {
        let mut buffer = BytesMut::new();
        let mut again = Vec::new();
        for piece in pieces(&said, false, 5) {
            buffer.extend_from_slice(&piece);
            while let Some(word) = switch::decode_slave(&mut buffer).unwrap() {
                match word {
                    FromSlave::Handshake(handshake) => again.extend_from_slice(&handshake.encode()),
                    FromSlave::Report(end) => again.extend_from_slice(&switch::report(end)),
                }
            }
        }
        assert_eq!(again, pieces(&said, false, usize::MAX)[0]);

        let (mut buffer, mut again) = (BytesMut::new(), Vec::new());
        for piece in pieces(&said, true, 100) {
            buffer.extend_from_slice(&piece);
            while let Some(frame) = switch::decode(&mut buffer).unwrap() {
                match frame {
                    FromMaster::Reply { end, epoch, epochs } => again.extend(switch::reply(end, epoch, &epochs)),
                    FromMaster::Piece(piece) => {
                        again.extend(switch::head(piece.bytes.len() as u32, &piece.head));
                        again.extend_from_slice(&piece.bytes);
                    }
                    FromMaster::Refused(reason) => panic!("{reason}"),
                }
            }
        }
        assert_eq!(again, pieces(&said, true, usize::MAX)[0]);
    }
}

#[test]
fn a_slave_with_a_controller_says_what_upstreams_says() {
    for said in recorded("ha-auto") {
        let handshake = Handshake { from_last_file: false, is_learner: false, broker_id: 2 };
        let following = Following::Switch { handshake, epochs: Default::default() };
        let mut slave = Follower::new(following, 0, 0);
        let mut says = slave.hello();
        let (mut buffer, mut epochs) = (BytesMut::new(), Vec::new());
        for piece in pieces(&said, true, 100) {
            buffer.extend_from_slice(&piece);
            while let Some(step) = slave.received(&mut buffer).unwrap() {
                match step {
                    Step::Begin | Step::Append { .. } => says.extend(slave.report(slave.end()).unwrap()),
                    Step::Keep(kept) => epochs = kept.entries().to_vec(),
                    step => assert_eq!(step, Step::Nothing),
                }
            }
        }
        let (hello, reports) = says.split_at(switch::HANDSHAKE);
        let theirs = pieces(&said, false, usize::MAX).remove(0);
        assert_eq!(hello, &theirs[..switch::HANDSHAKE]);
        let without_repeats = |reports: &[u8]| {
            let mut reports: Vec<_> = reports.chunks(switch::REPORT).map(<[u8]>::to_vec).collect();
            reports.dedup();
            reports
        };
        assert_eq!(without_repeats(reports), without_repeats(&theirs[switch::HANDSHAKE..]));
        assert_eq!(epochs, [Epoch { number: 1, start: 0 }]);
        assert_eq!(slave.confirmed(), slave.end());
    }
}

/// Apache's broker that was the first master, and lost its place before anything was written, knows no epoch but the
/// first: it follows nobody who does not know that one.
#[test]
fn an_empty_slave_knows_the_epoch_of_a_master_that_has_written_nothing() {
    for said in recorded("ha-auto") {
        let handshake = Handshake { from_last_file: false, is_learner: false, broker_id: 2 };
        // What it knows of a log that it no longer has does not count.
        let stale = Epochs::of([Epoch { number: 1, start: 0 }, Epoch { number: 2, start: 0 }]).unwrap();
        for epochs in [Epochs::default(), stale] {
            let mut slave = Follower::new(Following::Switch { handshake, epochs }, 0, 0);
            let mut buffer = BytesMut::from(&pieces(&said, true, usize::MAX)[0][..]);
            let first = Epochs::of([Epoch { number: 1, start: 0 }]).unwrap();
            assert_eq!(slave.received(&mut buffer).unwrap(), Some(Step::Keep(first)));
            assert_eq!(slave.received(&mut buffer).unwrap(), Some(Step::Begin));
        }
    }
}
