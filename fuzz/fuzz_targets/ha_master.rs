//! Whatever a slave says, and in whatever pieces: its copy begins within the log, and nobody counts as having more
//! than there is.
#![no_main]

use apogee_replication::{Epoch, Epochs, Facts, Heard, Leader, Mastership, Rules, Session};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

const CONNECTION: u64 = 7;
const RULES: Rules = Rules {
    in_sync_replicas: 2,
    min_in_sync_replicas: 1,
    auto: false,
    all_in_sync: true,
    most_gap: 1_000,
    most_lag_ms: 15_000,
    silence_ms: 20_000,
};

fuzz_target!(|input: (bool, bool, &[u8], &[u8])| {
    let (has_controller, from_last_file, bytes, cuts) = input;
    let epochs = Epochs::of([Epoch { number: 1, start: 0 }, Epoch { number: 3, start: 4_000 }]).unwrap_or_default();
    let epochs = has_controller.then_some(&epochs);
    let facts = Facts { begin: 1_000, end: 5_500, file_size: 1_000, from_last_file, epochs };
    let mastership = has_controller.then(|| Mastership::new(1, 4_000, [1, 2].into(), 5));
    let mut leader = Leader::new(RULES, mastership, facts.end, 0);
    let (mut session, mut buffer, mut rest, mut now_ms) = (Session::default(), BytesMut::new(), bytes, 0);
    let (mut copied, mut confirmed) = (0, 0);
    let sizes = cuts.iter().map(|size| usize::from(*size)).chain([usize::MAX]);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        now_ms += size.min(1_000) as i64;
        loop {
            let heard = match session.received(&mut buffer, &facts) {
                Ok(Some(heard)) => heard,
                Ok(None) => break,
                Err(turned) => return assert!(!turned.to_string().is_empty()),
            };
            match heard {
                Heard::Handshake(handshake) => {
                    let who = Some((handshake.broker_id, handshake.is_learner));
                    if leader.connected(CONNECTION, "slave:1".into(), who, now_ms).is_err() {
                        return;
                    }
                }
                Heard::Begins { has, from } => {
                    assert!((facts.begin..=facts.end).contains(&from) && (has == 0 || has == from));
                    if !has_controller {
                        assert_eq!(leader.connected(CONNECTION, "slave:1".into(), None, now_ms), Ok(()));
                    }
                    assert!(leader.begins(CONNECTION, from, has, now_ms));
                }
                Heard::Acked(end) => assert!(end <= facts.end && leader.acked(CONNECTION, end, now_ms)),
            }
            assert!((copied..=facts.end).contains(&leader.copied()));
            assert!((confirmed..=facts.end).contains(&leader.confirmed()));
            (copied, confirmed) = (leader.copied(), leader.confirmed());
            assert!(leader.wanted(now_ms).is_none_or(|wanted| wanted.members.contains(&1)));
            assert!(leader.slaves(now_ms).iter().all(|slave| (0..=facts.end).contains(&slave.progress.behind)));
        }
    }
});
