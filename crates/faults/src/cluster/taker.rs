//! A slave that keeps nothing: it takes a master's log, acknowledges it, and begins anew when it has as much as an empty
//! one would lack.
//!
//! It shows what a slave that catches up costs its master. A real one beside it would show what both cost one machine.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::host::Host;
use crate::error::Failure;

/// Port where a master listens to slaves, above that of the broker (`haListenPort`).
const HA_PORT_ABOVE: u16 = 1;
/// Bytes before each piece of the log: where it stands, 8, and how long it is, 4.
const HEAD: usize = 12;
/// Bytes taken in one read at most.
const READ: usize = 1 << 20;

/// Who runs where: the master and the load share all cores but one.
pub struct Cores {
    /// The one that is left.
    pub other: CpuSet,
}

impl Cores {
    /// Takes one core from this thread and from all that it starts.
    pub fn split() -> Result<Self, Failure> {
        let mut most = sched_getaffinity(None).map_err(std::io::Error::from)?;
        let mut other = CpuSet::new();
        if let Some(last) = (0..CpuSet::MAX_CPU).rev().find(|&core| most.is_set(core)).filter(|_| most.count() > 1) {
            most.unset(last);
            other.set(last);
        } else {
            other = most;
        }
        sched_setaffinity(None, &most).map_err(std::io::Error::from)?;
        Ok(Self { other })
    }
}

/// The thread of such a slave.
pub struct Taker {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64, std::io::Error>>,
}

impl Taker {
    /// Begins to take so many bytes of the log of a host's broker again and again, on some cores.
    pub fn start(master: &Host, bytes: u64, cores: CpuSet) -> Result<Self, Failure> {
        let broker = master.broker();
        let address = (broker.ip(), broker.port() + HA_PORT_ABOVE);
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::Builder::new().name("taker".into()).spawn(move || {
            sched_setaffinity(None, &cores)?;
            let mut taken = 0;
            while !ended.load(Ordering::Relaxed) {
                taken += take(&TcpStream::connect(address)?, bytes, &ended)?;
            }
            Ok(taken)
        })?;
        Ok(Self { ends, thread })
    }

    /// Ends it. Bytes that it took.
    pub fn stop(self) -> Result<f64, Failure> {
        self.ends.store(true, Ordering::Relaxed);
        let taken = self.thread.join().map_err(|_| Failure::Tool("the slave that keeps nothing panicked".into()))??;
        Ok(taken as f64)
    }
}

/// Takes so many bytes of the log from its beginning on, or until it is told to end. Bytes that it took.
fn take(stream: &TcpStream, bytes: u64, ended: &AtomicBool) -> std::io::Result<u64> {
    stream.set_nodelay(true)?;
    let (mut reads, mut writes) = (BufReader::with_capacity(READ, stream), stream);
    let (mut taken, mut head, mut piece) = (0, [0; HEAD], Vec::new());
    while taken < bytes && !ended.load(Ordering::Relaxed) {
        // Said once for all that came together, and first of an empty log.
        if reads.buffer().is_empty() {
            writes.write_all(&taken.to_be_bytes())?;
        }
        reads.read_exact(&mut head)?;
        let [.., a, b, c, d] = head;
        piece.resize(u32::from_be_bytes([a, b, c, d]) as usize, 0);
        reads.read_exact(&mut piece)?;
        taken += piece.len() as u64;
    }
    Ok(taken)
}
