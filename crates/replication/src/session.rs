//! A master and one slave that comes: where its copy begins, and what is told of it.

use bytes::BytesMut;

use crate::epochs::Epochs;
use crate::frame::FrameError;
use crate::plain;
use crate::switch::{self, FromSlave, Handshake};

/// What of the master's log matters to a slave that comes.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Where the log begins.
    pub begin: i64,
    /// Where it ends.
    pub end: i64,
    /// Bytes of one file of it.
    pub file_size: u64,
    /// Whether a slave without a log gets the last file only, where it has no word in it.
    pub from_last_file: bool,
    /// Its epochs, where a controller elects the master.
    pub epochs: Option<&'a Epochs>,
}

impl Facts<'_> {
    /// Where an empty log begins.
    fn first(&self, from_last_file: bool) -> i64 {
        let size = self.file_size.max(1) as i64;
        if from_last_file { self.begin + (self.end - self.begin).max(0) / size * size } else { self.begin }
    }
}

/// What a slave said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Who it is. It gets [`Session::reply`].
    Handshake(Handshake),
    /// It wants what follows in the log.
    Begins {
        /// What it has, in bytes from the log's beginning on; 0: nothing.
        has: i64,
        /// Where the copy goes on.
        from: i64,
    },
    /// It has the log up to here.
    Acked(i64),
}

/// Why a slave is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Turned {
    /// What it sends makes no sense.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It does not keep to the order.
    #[error("it says out of turn that its log ends at {0}: the other side does not speak this protocol")]
    Order(i64),
    /// It has more than this master.
    #[error(
        "its log ends at {slave}, behind the end of the master's log at {master}: it is a slave of another master, or this master has lost what it wrote; see which log is the right one, and move the other broker's store away"
    )]
    Ahead {
        /// End of the slave's log.
        slave: i64,
        /// End of the master's.
        master: i64,
    },
    /// It needs what is not kept any more.
    #[error(
        "it needs the log from {slave} on, and the master's begins at {master}: move the slave's store away, and it copies anew"
    )]
    Behind {
        /// End of the slave's log.
        slave: i64,
        /// Beginning of the master's.
        master: i64,
    },
    /// Its master is elected by a controller, and this one was set.
    #[error("it is run with enableControllerMode=true and this master without: set the same on both")]
    Controlled,
}

enum Stage {
    New,
    /// It was told the epochs.
    Told(Handshake),
    Copies,
}

/// What is said on one connection.
pub struct Session {
    stage: Stage,
    acked: i64,
}

impl Default for Session {
    fn default() -> Self {
        Self { stage: Stage::New, acked: -1 }
    }
}

impl Session {
    /// Takes the next thing that was said from the front of what came; `None` while it is not complete.
    pub fn received(&mut self, buffer: &mut BytesMut, facts: &Facts<'_>) -> Result<Option<Heard>, Turned> {
        if facts.epochs.is_some() { self.switch(buffer, facts) } else { self.plain(buffer, facts) }
    }

    /// What a slave that said who it is gets.
    pub fn reply(facts: &Facts<'_>) -> Vec<u8> {
        let epochs = facts.epochs.map(Epochs::entries).unwrap_or_default();
        switch::reply(facts.end, epochs.last().map_or(0, |epoch| epoch.number), epochs)
    }

    fn plain(&mut self, buffer: &mut BytesMut, facts: &Facts<'_>) -> Result<Option<Heard>, Turned> {
        if !matches!(self.stage, Stage::New) {
            return self.acked(plain::decode_ack(buffer)?, facts);
        }
        let Some(has) = plain::decode_first(buffer)? else { return Ok(None) };
        // What the first half of the other protocol's first word looks like as an offset.
        const HANDSHAKE: i64 = 1 << 32;
        if has > facts.end && (has & !0x1_0001) == HANDSHAKE {
            return Err(Turned::Controlled);
        }
        self.begins(has, facts.from_last_file, facts).map(Some)
    }

    fn switch(&mut self, buffer: &mut BytesMut, facts: &Facts<'_>) -> Result<Option<Heard>, Turned> {
        match (switch::decode_slave(buffer)?, &self.stage) {
            (None, _) => Ok(None),
            // Upstream's slave begins anew on the same connection when it lost its master.
            (Some(FromSlave::Handshake(handshake)), _) => {
                self.stage = Stage::Told(handshake);
                Ok(Some(Heard::Handshake(handshake)))
            }
            (Some(FromSlave::Report(end)), Stage::New) => Err(Turned::Order(end)),
            (Some(FromSlave::Report(has)), Stage::Told(handshake)) => {
                self.begins(has, handshake.from_last_file, facts).map(Some)
            }
            (Some(FromSlave::Report(end)), Stage::Copies) => self.acked(Some(end), facts),
        }
    }

    fn begins(&mut self, has: i64, from_last_file: bool, facts: &Facts<'_>) -> Result<Heard, Turned> {
        let from = if has == 0 { facts.first(from_last_file) } else { has };
        if from > facts.end {
            return Err(Turned::Ahead { slave: has, master: facts.end });
        }
        if from < facts.begin {
            return Err(Turned::Behind { slave: has, master: facts.begin });
        }
        (self.stage, self.acked) = (Stage::Copies, has);
        Ok(Heard::Begins { has, from })
    }

    fn acked(&mut self, end: Option<i64>, facts: &Facts<'_>) -> Result<Option<Heard>, Turned> {
        let Some(end) = end else { return Ok(None) };
        if end > facts.end {
            return Err(Turned::Ahead { slave: end, master: facts.end });
        }
        // A heartbeat may have been on its way with less.
        self.acked = self.acked.max(end);
        Ok(Some(Heard::Acked(self.acked)))
    }
}
