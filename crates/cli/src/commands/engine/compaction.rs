//! What is in a compacted log's file, which Apache's broker writes for topics of the attribute
//! `cleanup.policy=COMPACTION`: records like those of the commit log.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use apogee_message::properties;
use apogee_message::record::Record;
use clap::Args;
use serde_json::{Map, Value, json};

use crate::cell::Cell;
use crate::context::Context;
use crate::error::CliError;
use crate::report::Report;

/// A record is not larger than this: a message has at most 4 MiB, and settings may raise that.
const MOST: usize = 64 << 20;

/// Flags of `dumpCompactionLog`.
#[derive(Args, Debug)]
pub struct Dump {
    /// File of a compacted log
    #[arg(short = 'f', long = "file")]
    file: Option<PathBuf>,
}

/// The records of a compacted log's file, one after the other, told as they are read.
pub async fn dump(context: &Context, flags: &Dump) -> Result<Report, CliError> {
    let Some(path) = &flags.file else { return Err(CliError::usage("give the file of a compacted log (-f FILE)")) };
    if path.is_dir() {
        return Err(CliError::usage(format!("{} is a folder: give one of its files", path.display())));
    }
    let file = File::open(path).map_err(|error| CliError::file(format!("cannot read {}", path.display()), error))?;
    let mut records = Records { input: BufReader::new(file), bytes: Vec::new(), place: 0 };
    while let Some(report) = records.next(path)? {
        context.tell(&report)?;
    }
    Ok(Report::new())
}

/// What has been read of a file.
struct Records<R> {
    input: R,
    bytes: Vec<u8>,
    place: u64,
}

impl<R: Read> Records<R> {
    /// The next record; `None` at the end, or where nothing has been written yet.
    fn next(&mut self, path: &Path) -> Result<Option<Report>, CliError> {
        let failed = |place: u64, reason: &str| {
            CliError::failed(format!("{}: no record at byte {place}: {reason}", path.display()))
        };
        let mut size = [0; 4];
        match self.input.read_exact(&mut size) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read.map_err(|error| CliError::file(format!("cannot read {}", path.display()), error))?,
        }
        let size = i32::from_be_bytes(size);
        if size == 0 {
            return Ok(None);
        }
        let length = usize::try_from(size).ok().filter(|length| (4..=MOST).contains(length));
        let Some(length) = length else { return Err(failed(self.place, "its size is none")) };
        self.bytes.resize(length, 0);
        self.bytes[..4].copy_from_slice(&size.to_be_bytes());
        if self.input.read_exact(&mut self.bytes[4..]).is_err() {
            return Err(failed(self.place, "the file ends within it"));
        }
        let record = Record::read(&self.bytes).map_err(|error| failed(self.place, &error.to_string()))?;
        self.place += length as u64;
        Ok(Some(told(&record)))
    }
}

/// A record as upstream writes it, without its body.
fn told(record: &Record<'_>) -> Report {
    let properties: Map<String, Value> = properties::iter(record.properties)
        .map(|(name, value)| {
            (String::from_utf8_lossy(name).into_owned(), Value::from(String::from_utf8_lossy(value).into_owned()))
        })
        .collect();
    let pairs: Vec<_> =
        properties.iter().map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    let id = record.offset_id().to_string();
    let line = format!(
        "MessageExt [brokerName=null, queueId={}, storeSize={}, queueOffset={}, sysFlag={}, bornTimestamp={}, \
         bornHost=/{}, storeTimestamp={}, storeHost=/{}, msgId={id}, commitLogOffset={}, bodyCRC={}, \
         reconsumeTimes={}, preparedTransactionOffset={}, toString()=Message{{topic='{}', flag={}, \
         properties={{{}}}, body=null, transactionId='null'}}]",
        record.queue_id,
        record.size,
        record.queue_offset,
        record.sys_flag,
        record.born_timestamp,
        record.born_host,
        record.store_timestamp,
        record.store_host,
        record.physical_offset,
        record.body_crc,
        record.reconsume_times,
        record.prepared_transaction_offset,
        record.topic,
        record.flag,
        pairs.join(", ")
    );
    let json = json!({
        "topic": record.topic, "queue": record.queue_id, "queueOffset": record.queue_offset, "messageId": id,
        "size": record.size, "bodySize": record.body.len(), "properties": properties,
        "stored": Cell::milliseconds(record.store_timestamp).to_json(),
        "born": Cell::milliseconds(record.born_timestamp).to_json(),
    });
    Report::new().line(line).data("message", json)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_said_with_its_place() {
        let path = Path::new("log");
        let next = |bytes: &[u8]| {
            Records { input: bytes, bytes: Vec::new(), place: 7 }.next(path).map(|record| record.is_some())
        };
        assert!(!next(&[]).unwrap() && !next(&[0; 8]).unwrap());
        for (bytes, reason) in [(&[0xff; 8][..], "its size is none"), (&[0, 0, 0, 9, 1], "the file ends within it")] {
            let error = next(bytes).unwrap_err().to_string();
            assert!(error == format!("log: no record at byte 7: {reason}"), "{error}");
        }
    }
}
