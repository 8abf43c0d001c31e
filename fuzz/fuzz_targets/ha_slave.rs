//! Whatever a master sends, and in whatever pieces: a slave appends nothing but what follows its log, keeps epochs
//! that it can read again, and does nothing more once it is to begin anew.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use apogee_base::disk::{Disk, SimDisk};
use apogee_replication::switch::Handshake;
use apogee_replication::{Epoch, EpochFile, Epochs, Follower, Following, Refusal, Step};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (bool, bool, &[u8], &[u8])| {
    let (has_controller, has_log, bytes, cuts) = input;
    let whole = follow(has_controller, has_log, bytes, &[]);
    assert_eq!(follow(has_controller, has_log, bytes, cuts), whole);
});

fn follow(has_controller: bool, has_log: bool, bytes: &[u8], cuts: &[u8]) -> (Vec<Step>, Option<Refusal>) {
    let (mut begin, mut end) = if has_log { (10, 100) } else { (0, 0) };
    let own = [Epoch { number: 1, start: 0 }, Epoch { number: 2, start: 50 }];
    let following = match (has_controller, Epochs::of(own.into_iter().take(if has_log { 2 } else { 0 }))) {
        (true, Ok(epochs)) => {
            let handshake = Handshake { from_last_file: false, is_learner: false, broker_id: 2 };
            Following::Switch { handshake, epochs }
        }
        _ => Following::Plain,
    };
    let mut slave = Follower::new(following, begin, end);
    let (mut steps, mut buffer, mut rest, mut is_over) = (Vec::new(), BytesMut::new(), bytes, false);
    let sizes = cuts.iter().map(|size| usize::from(*size)).chain([usize::MAX]);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        loop {
            let step = match slave.received(&mut buffer) {
                Ok(Some(step)) => step,
                Ok(None) => {
                    assert!(slave.end() == end && slave.confirmed() <= end);
                    break;
                }
                Err(refusal) => return (steps, Some(refusal)),
            };
            assert!(!is_over);
            match &step {
                Step::Append { offset, bytes } => {
                    assert!(*offset == end || (begin == end && *offset >= 0));
                    begin = if begin == end { *offset } else { begin };
                    end = *offset + bytes.len() as i64;
                }
                Step::Keep(epochs) => is_kept(epochs),
                Step::CutTo(to) => {
                    assert!((begin + 1..end).contains(to));
                    is_over = true;
                }
                Step::BeginAnew => is_over = true,
                Step::Begin | Step::Nothing => {}
            }
            assert!(slave.report(end).is_none_or(|report| report.ends_with(&end.to_be_bytes())));
            steps.push(step);
        }
    }
    (steps, None)
}

/// A slave that starts again has the epochs that it was told.
fn is_kept(epochs: &Epochs) {
    let (disk, folder) = (Arc::new(SimDisk::new(1)), Path::new("store"));
    assert!(disk.create_folder(folder).is_ok());
    let file = EpochFile::of(disk, folder);
    assert!(file.write(epochs).is_ok());
    assert!(matches!(file.read(), Ok(read) if read == *epochs));
}
