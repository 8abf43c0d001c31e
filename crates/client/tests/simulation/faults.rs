//! What goes wrong, by the dice.

use std::time::Duration;

use apogee_base::rng::Rng;

use crate::network::Line;

/// What becomes of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The answer takes a while.
    Late(Duration),
    /// The connection breaks before anything is done.
    CutBefore,
    /// It is done, and the connection breaks before the answer.
    CutAfter,
    /// Nothing is done, and no answer comes.
    Swallowed,
    /// It is done, and no answer comes.
    Mute,
    /// The node has no time.
    Busy,
    /// It is not done, and the answer means nothing.
    Garbled,
}

/// What can happen to a request.
pub fn of_request(rng: &mut Rng) -> Fault {
    match rng.below(60) {
        0 => Fault::CutBefore,
        1 => Fault::CutAfter,
        2 => Fault::Swallowed,
        3 => Fault::Mute,
        4 | 5 => Fault::Busy,
        6 => Fault::Garbled,
        7..10 => Fault::Late(Duration::from_millis(rng.below(5_000))),
        _ => Fault::None,
    }
}

/// What can happen to a call.
pub fn of_call(rng: &mut Rng) -> Line {
    match rng.below(20) {
        0 => Line::Refused,
        1 => Line::Silent,
        2 => Line::Nonsense((0..rng.below(200)).map(|_| rng.number() as u8).collect()),
        // A frame that promises more than there is, and one that is longer than any may be.
        3 => Line::Nonsense(vec![0, 0, 0, 100, 0, 0, 0, 90, b'{']),
        4 => Line::Nonsense(vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0]),
        _ => Line::Node,
    }
}
