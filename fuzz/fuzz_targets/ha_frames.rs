//! What master and slave send is cut into frames, refused, or waited for: the same ones however it comes. What was
//! read as a frame is the same frame after it was written.
#![no_main]

use apogee_replication::switch::{self, FromSlave};
use apogee_replication::{FrameError, plain};
use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;

type Decode<T> = fn(&mut BytesMut) -> Result<Option<T>, FrameError>;

fuzz_target!(|input: (&[u8], &[u8])| {
    let (bytes, cuts) = input;
    for frame in frames(bytes, cuts, plain::decode) {
        let again = match &frame {
            plain::FromMaster::Piece { offset, bytes } => {
                [&plain::head(*offset, bytes.len() as u32)[..], bytes].concat()
            }
            plain::FromMaster::Refused(reason) => plain::refusal(reason),
        };
        let whole = !matches!(&frame, plain::FromMaster::Refused(reason) if reason.len() > 1_024);
        assert!(!whole || plain::decode(&mut BytesMut::from(&again[..])) == Ok(Some(frame)));
    }
    for frame in frames(bytes, cuts, switch::decode) {
        let again = match &frame {
            switch::FromMaster::Reply { end, epoch, epochs } => switch::reply(*end, *epoch, epochs),
            switch::FromMaster::Piece(piece) => {
                [&switch::head(piece.bytes.len() as u32, &piece.head)[..], &piece.bytes].concat()
            }
            switch::FromMaster::Refused(reason) => switch::refusal(reason),
        };
        let whole = !matches!(&frame, switch::FromMaster::Refused(reason) if reason.len() > 1_024);
        assert!(!whole || switch::decode(&mut BytesMut::from(&again[..])) == Ok(Some(frame)));
    }
    for said in frames(bytes, cuts, switch::decode_slave) {
        let again = match said {
            FromSlave::Handshake(handshake) => handshake.encode().to_vec(),
            FromSlave::Report(end) => switch::report(end).to_vec(),
        };
        assert_eq!(switch::decode_slave(&mut BytesMut::from(&again[..])), Ok(Some(said)));
    }
});

/// The frames that are there, in whatever pieces they come.
fn frames<T: PartialEq + std::fmt::Debug>(bytes: &[u8], cuts: &[u8], decode: Decode<T>) -> Vec<T> {
    let whole = in_pieces(bytes, &[], decode);
    assert_eq!(in_pieces(bytes, cuts, decode), whole);
    whole.0
}

fn in_pieces<T>(bytes: &[u8], cuts: &[u8], decode: Decode<T>) -> (Vec<T>, Option<FrameError>) {
    let (mut frames, mut buffer, mut rest) = (Vec::new(), BytesMut::new(), bytes);
    let sizes = cuts.iter().map(|size| usize::from(*size)).chain([usize::MAX]);
    for size in sizes {
        let (piece, after) = rest.split_at(size.min(rest.len()));
        buffer.extend_from_slice(piece);
        rest = after;
        loop {
            match decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}
