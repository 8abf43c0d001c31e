//! A slave and its master: what the slave says, and what it does with what comes.

use bytes::{Bytes, BytesMut};

use crate::epochs::{EpochError, Epochs};
use crate::frame::FrameError;
use crate::plain;
use crate::switch::{self, Handshake, Piece};

/// How a slave follows.
#[derive(Debug, Clone)]
pub enum Following {
    /// Roles are set by hand.
    Plain,
    /// A controller elects the master.
    Switch {
        /// What the master is told of this broker.
        handshake: Handshake,
        /// Epochs of the own log.
        epochs: Epochs,
    },
}

/// What a slave is to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Its epochs have changed: to be kept durably before anything else is done.
    Keep(Epochs),
    /// Tell the master where the log ends, see [`Follower::report`]: the copy begins.
    Begin,
    /// Append bytes where the log ends; that is at this offset, or the log is empty.
    Append {
        /// Where they stand in the master's log.
        offset: i64,
        /// The bytes.
        bytes: Bytes,
    },
    /// The master is still there, and may have told more of what is confirmed.
    Nothing,
    /// What is behind this offset nobody was promised, and the master does not have it: the log is to be cut here.
    CutTo(i64),
    /// Nothing of the log is in the master's as it is now: it is older than what the master keeps, or was never
    /// promised.
    BeginAnew,
}

/// Why a slave cannot follow a master.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// What the master sends makes no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The master does not want it.
    #[error("the master refuses this slave: {0}")]
    Told(String),
    /// The master goes on elsewhere in the log.
    #[error(
        "the master sends its log from {master} on, and this slave's ends at {own}: it is a slave of another master, or the master begins its log behind; if its log is the right one, move this broker's store away and it copies anew"
    )]
    Elsewhere {
        /// End of the own log.
        own: i64,
        /// Where the master goes on.
        master: i64,
    },
    /// The logs have nothing in common.
    #[error(
        "this slave's log, which ends at {own}, and the master's have no epoch in common: they are logs of different groups, or one was begun anew; if the master's is the right one, move this broker's store away and it copies anew"
    )]
    Foreign {
        /// End of the own log.
        own: i64,
    },
    /// The master's epochs make no sense.
    #[error("the master is of the past, or of another group: {0}")]
    Epochs(#[from] EpochError),
    /// The master sends what it should not.
    #[error("the master sends {0} out of turn: the other side does not speak this protocol")]
    Order(&'static str),
}

#[derive(PartialEq)]
enum Stage {
    /// It waits for the master's epochs.
    Asks,
    Copies,
    /// It follows no more, on this connection.
    Over,
}

/// What is said and done on one connection to a master.
pub struct Follower {
    following: Following,
    stage: Stage,
    begin: i64,
    end: i64,
    confirmed: i64,
    /// What came before and could not be done at once.
    next: Option<Step>,
}

impl Follower {
    /// Begins with a log from `begin` to `end`.
    pub fn new(following: Following, begin: i64, end: i64) -> Self {
        let stage = match following {
            Following::Plain => Stage::Copies,
            Following::Switch { .. } => Stage::Asks,
        };
        Self { following, stage, begin, end, confirmed: 0, next: None }
    }

    /// What is said first.
    pub fn hello(&self) -> Vec<u8> {
        match &self.following {
            Following::Plain => plain::ack(self.has(self.end)).to_vec(),
            Following::Switch { handshake, .. } => handshake.encode().to_vec(),
        }
    }

    /// What is said of the log when it is durable up to `end`; nothing until the copy has begun.
    pub fn report(&self, end: i64) -> Option<Vec<u8>> {
        if self.stage != Stage::Copies {
            return None;
        }
        Some(match self.following {
            Following::Plain => plain::ack(self.has(end)).to_vec(),
            Following::Switch { .. } => switch::report(self.has(end)).to_vec(),
        })
    }

    /// Up to where all replicas in sync have the log, as far as this one has it.
    pub fn confirmed(&self) -> i64 {
        self.confirmed.min(self.end)
    }

    /// Where the log ends.
    pub fn end(&self) -> i64 {
        self.end
    }

    /// Takes the next frame from the front of what came, and says what to do; `None` while it is not complete.
    pub fn received(&mut self, buffer: &mut BytesMut) -> Result<Option<Step>, Refusal> {
        if let Some(step) = self.next.take() {
            return Ok(Some(step));
        }
        if self.stage == Stage::Over {
            return Ok(None);
        }
        match self.following {
            Following::Plain => match plain::decode(buffer)? {
                None => Ok(None),
                Some(plain::FromMaster::Refused(reason)) => Err(Refusal::Told(reason)),
                Some(plain::FromMaster::Piece { offset, bytes }) => self.append(offset, bytes).map(Some),
            },
            Following::Switch { .. } => match (switch::decode(buffer)?, &self.stage) {
                (None, _) => Ok(None),
                (Some(switch::FromMaster::Refused(reason)), _) => Err(Refusal::Told(reason)),
                (Some(switch::FromMaster::Reply { end, epochs, .. }), Stage::Asks) => {
                    self.agree(end, &Epochs::of(epochs)?).map(Some)
                }
                (Some(switch::FromMaster::Piece(piece)), Stage::Copies) => self.piece(piece).map(Some),
                (Some(switch::FromMaster::Reply { .. }), _) => Err(Refusal::Order("its epochs")),
                (Some(switch::FromMaster::Piece(_)), _) => Err(Refusal::Order("its log")),
            },
        }
    }

    fn is_empty(&self) -> bool {
        self.begin == self.end
    }

    /// What an end of the log means to the master: an empty log has nothing, wherever it may begin.
    fn has(&self, end: i64) -> i64 {
        if self.is_empty() { 0 } else { end }
    }

    /// Finds where the logs part.
    fn agree(&mut self, master_end: i64, theirs: &Epochs) -> Result<Step, Refusal> {
        let Following::Switch { epochs, .. } = &mut self.following else { return Ok(Step::Nothing) };
        if self.begin == self.end {
            self.stage = Stage::Copies;
            // Epochs without a byte count: who was master in one, and wrote nothing or nothing that was copied, may know
            // no other, and Apache's follows nobody with whom it has none in common.
            let mut shared = theirs.clone();
            shared.end_with(0);
            if *epochs == shared {
                return Ok(Step::Begin);
            }
            *epochs = shared;
            self.next = Some(Step::Begin);
            return Ok(Step::Keep(epochs.clone()));
        }
        match epochs.common_end(self.end, theirs, master_end) {
            Some(common) if common == self.end => {
                self.stage = Stage::Copies;
                Ok(Step::Begin)
            }
            Some(common) if common > self.begin => {
                self.stage = Stage::Over;
                Ok(Step::CutTo(common))
            }
            None if !self.is_whole_history(theirs)
                && theirs.entries().first().is_none_or(|first| first.start <= self.end) =>
            {
                Err(Refusal::Foreign { own: self.end })
            }
            _ => {
                self.stage = Stage::Over;
                Ok(Step::BeginAnew)
            }
        }
    }

    /// Both logs tell all of their past. Then one of a group that has nothing in common with the master's was
    /// written by masters before anything was promised to anybody.
    fn is_whole_history(&self, theirs: &Epochs) -> bool {
        let Following::Switch { epochs, .. } = &self.following else { return false };
        [epochs, theirs].iter().all(|epochs| epochs.entries().first().is_some_and(|first| first.start == 0))
    }

    fn piece(&mut self, piece: Piece) -> Result<Step, Refusal> {
        let Piece { head, bytes } = piece;
        self.confirmed = self.confirmed.max(head.confirmed);
        if bytes.is_empty() {
            // An epoch that was not told at first and has no bytes yet: its first byte tells it.
            return Ok(Step::Nothing);
        }
        let Following::Switch { epochs, .. } = &mut self.following else { return Ok(Step::Nothing) };
        if epochs.last() == Some(head.epoch) {
            return self.append(head.offset, bytes);
        }
        // A log that begins behind the epoch's start has no others.
        epochs.push(head.epoch)?;
        let kept = epochs.clone();
        self.next = Some(self.append(head.offset, bytes)?);
        Ok(Step::Keep(kept))
    }

    fn append(&mut self, offset: i64, bytes: Bytes) -> Result<Step, Refusal> {
        if bytes.is_empty() {
            return Ok(Step::Nothing);
        }
        if offset != self.end && !self.is_empty() {
            return Err(Refusal::Elsewhere { own: self.end, master: offset });
        }
        if self.is_empty() {
            self.begin = offset;
        }
        self.end = offset + bytes.len() as i64;
        Ok(Step::Append { offset, bytes })
    }
}
