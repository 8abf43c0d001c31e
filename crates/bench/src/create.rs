//! Creating topics, many at a time.

use apogee_wire::frame;
use bytes::BytesMut;

use crate::caller::{Caller, code_and_remark, create};
use crate::engine::frames::Answer;
use crate::engine::{Phase, Place, Tally, Timing, Traffic, Verdict};
use crate::error::BenchError;
use crate::options::Topics;
use crate::run::{Measured, Run};

/// Connections that create topics: administrators are few.
const CONNECTIONS: u32 = 16;

/// Creates topics, or changes them to have the queues of the run.
pub(crate) fn topics(run: &Run, topics: &Topics) -> Result<Option<Measured>, BenchError> {
    let queues = run.options.queues;
    if topics.count == 1 {
        Caller::connect(&run.options)?.create(&topics.name(0), queues)?;
        return Ok(None);
    }
    many(run, topics).map(Some)
}

/// Creates topics on several connections, and measures it.
pub(crate) fn many(run: &Run, topics: &Topics) -> Result<Measured, BenchError> {
    let queues = run.options.queues;
    let connections = run.options.connections.min(CONNECTIONS);
    let threads = u64::from(run.options.threads.min(connections));
    let mut engines = run.engines(
        connections,
        |_| 1,
        |thread| Ok(Creator { topics: topics.clone(), queues, next: thread, threads }),
    )?;
    let measured = run.phase("create", &mut engines, |_| Phase::default())?;
    match measured.tally.errors.texts().iter().next() {
        None => Ok(measured),
        Some((text, _)) => Err(BenchError::new(format!(
            "the broker did not create {} of {} topics: {text}",
            measured.tally.errors.count(),
            topics.count
        ))),
    }
}

struct Creator {
    topics: Topics,
    queues: u32,
    next: u64,
    threads: u64,
}

impl Traffic for Creator {
    fn request(&mut self, place: Place, _now: u64, out: &mut BytesMut) -> bool {
        if self.next >= self.topics.count {
            return false;
        }
        let mut command = create(&self.topics.name(self.next), self.queues);
        command.opaque = place.opaque();
        frame::encode(&command, out);
        self.next += self.threads;
        true
    }

    fn answer(&mut self, _: Place, answer: &Answer<'_>, timing: Timing, tally: &mut Tally) -> Verdict {
        match answer {
            Answer::Other(command) if command.code != 0 => Verdict::Failed(code_and_remark(command)),
            _ => {
                tally.messages += 1;
                tally.latencies.record(timing.latency());
                Verdict::Next
            }
        }
    }
}
