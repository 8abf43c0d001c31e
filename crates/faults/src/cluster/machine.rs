//! What one machine has, asked directly: its queues as it shows them, and its log's files.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use apogee_message::record;

use super::check::{Found, Log};
use super::clients::TOPICS;
use super::history::{Place, Sending};
use crate::body;
use crate::error::Failure;
use crate::peer::Peer;

/// How often it is looked whether more is shown.
const LOOK: Duration = Duration::from_millis(20);

/// Reads all queues of a broker, once it shows as much as was promised, or does not in time.
pub fn read(broker: SocketAddr, sends: &[Sending], patience: Duration) -> Result<Log, Failure> {
    let deadline = Instant::now() + patience;
    let mut peer = Peer::connect(broker)?;
    let mut log = Log::new();
    for (topic, queues) in TOPICS {
        for queue in 0..queues as i32 {
            let place: Place = (topic.to_owned(), queue);
            let promised = sends.iter().filter(|sending| sending.place.as_ref() == Some(&place));
            let end = promised.filter_map(Sending::acknowledged).max().map_or(0, |last| last + 1);
            while peer.max_offset(topic, queue)? < end && Instant::now() < deadline {
                std::thread::sleep(LOOK);
            }
            let found = read_queue(&mut peer, topic, queue, deadline)?;
            log.insert(place, found);
        }
    }
    Ok(log)
}

fn read_queue(peer: &mut Peer, topic: &str, queue: i32, deadline: Instant) -> Result<Vec<Found>, Failure> {
    let (mut found, mut at) = (Vec::new(), peer.min_offset(topic, queue)?);
    let end = peer.max_offset(topic, queue)?;
    while at < end {
        let pulled = peer.pull(topic, queue, at)?;
        let before = found.len();
        for record in record::iter(&pulled.body).map_while(Result::ok) {
            found.push((record.queue_offset, body::check(record.body)));
        }
        let last = found[before..].last().map_or(at, |(offset, _)| offset + 1);
        let next = pulled.next.max(last);
        // A slave may not know yet that its log is confirmed. What is not shown in time counts as missing.
        match next <= at {
            false => at = next,
            true if Instant::now() < deadline => std::thread::sleep(LOOK),
            true => break,
        }
    }
    Ok(found)
}

/// The files of a log, by the offset that each begins with.
fn files(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Failure> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Failure::at(folder))? {
        let path = entry?.path();
        if let Some(offset) = path.file_name().and_then(|name| name.to_str()?.parse().ok()) {
            files.push((offset, path));
        }
    }
    files.sort();
    Ok(files)
}

/// Where two logs differ first, in what both have; their brokers must have been stopped. Behind the end of a log its last
/// file has zeros, which differ from nothing.
pub fn difference(one: &Path, other: &Path) -> Result<Option<u64>, Failure> {
    let others = files(other)?;
    for (offset, path) in files(one)? {
        let Some((_, same)) = others.iter().find(|(begin, _)| *begin == offset) else { continue };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        File::open(&path).and_then(|mut file| file.read_to_end(&mut ours)).map_err(Failure::at(&path))?;
        File::open(same).and_then(|mut file| file.read_to_end(&mut theirs)).map_err(Failure::at(same))?;
        let ends = [&ours, &theirs].map(|bytes| bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
        let end = ends[0].min(ends[1]);
        if let Some(at) = (0..end).find(|at| ours[*at] != theirs[*at]) {
            return Ok(Some(offset + at as u64));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_differ_where_both_have_something() {
        let folder = tempfile::tempdir().unwrap();
        let write = |log: &str, file: &str, bytes: &[u8]| {
            let folder = folder.path().join(log);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(file), bytes).unwrap();
            folder
        };
        let one = write("one", "00000000000000000000", b"abcdef\0\0");
        write("one", "00000000000000000008", b"gh\0\0\0\0\0\0");
        let shorter = write("shorter", "00000000000000000000", b"abc\0\0\0\0\0");
        let other = write("other", "00000000000000000008", b"gx\0\0\0\0\0\0");
        assert_eq!(difference(&one, &shorter).unwrap(), None);
        assert_eq!(difference(&one, &other).unwrap(), Some(9));
    }
}
