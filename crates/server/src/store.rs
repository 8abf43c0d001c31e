//! `apogee store`: looking at a store that no broker has open.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use apogee_base::disk::RealDisk;
use apogee_message::record::Record;
use apogee_store::{Offline, Report, Stands};
use serde_json::{Value, json};

use crate::args::{StoreArgs, StoreCommand, StoreDumpArgs};

/// Exit code of a check that found damage; 1 is for a store that cannot be read at all.
const DAMAGED: u8 = 2;
/// Between two lines of progress.
const EVERY: Duration = Duration::from_millis(200);

type Failure = Box<dyn std::error::Error>;

/// Does what `apogee store` says.
pub fn run(command: StoreCommand) -> Result<ExitCode, Failure> {
    let done = match &command {
        StoreCommand::Check { store, json } => check(store, *json),
        StoreCommand::Dump(args) => dump(args).map(|()| ExitCode::SUCCESS),
    };
    match done {
        // Whoever reads has seen enough.
        Err(error)
            if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(ExitCode::SUCCESS)
        }
        done => done,
    }
}

fn open(args: &StoreArgs) -> Result<Offline, Failure> {
    let sizes = (args.index_slots, args.index_entries);
    Ok(Offline::open(Arc::new(RealDisk), args.folder.clone(), args.log_folder.clone(), sizes)?)
}

fn check(args: &StoreArgs, as_json: bool) -> Result<ExitCode, Failure> {
    let store = open(args)?;
    let shows = io::stderr().is_terminal();
    let mut shown = Instant::now();
    let report = store.check(&mut |done, total| {
        if shows && (shown.elapsed() >= EVERY || done == total) {
            shown = Instant::now();
            let percent = done * 100 / total.max(1);
            let bar = "#".repeat(percent as usize / 4);
            // Nobody is hurt when the progress cannot be shown.
            let _ = write!(io::stderr(), "\r[{bar:<25}] {percent:>3} % of {} MiB", total >> 20);
            if done == total {
                let _ = writeln!(io::stderr());
            }
        }
    })?;
    let mut out = io::stdout().lock();
    match as_json {
        true => writeln!(out, "{}", report_json(&report))?,
        false => print_report(&mut out, &report)?,
    }
    Ok(if report.problem_count == 0 { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
}

fn print_report(out: &mut impl Write, report: &Report) -> io::Result<()> {
    for problem in &report.problems {
        writeln!(out, "{} byte {}: {}", problem.file.display(), problem.at, problem.what)?;
    }
    let more = report.problem_count - report.problems.len() as u64;
    if more > 0 {
        writeln!(out, "... and {more} more")?;
    }
    writeln!(out, "log: {} to {}", report.log_begin, report.log_end)?;
    writeln!(out, "records: {}, {} with a check sum over all of them", report.records, report.with_sum)?;
    if report.without_queue > 0 {
        writeln!(out, "records without a queue (their topic was deleted): {}", report.without_queue)?;
    }
    writeln!(out, "units of queues: {}", report.units)?;
    writeln!(out, "entries of the index: {}", report.entries)?;
    if report.index_files_skipped > 0 {
        writeln!(
            out,
            "index files not checked: {}, made with other sizes (see --index-slots and --index-entries)",
            report.index_files_skipped
        )?;
    }
    match report.problem_count {
        0 => writeln!(out, "no damage found"),
        count => writeln!(out, "damage found: {count} places"),
    }
}

fn report_json(report: &Report) -> Value {
    let problem = |problem: &apogee_store::Problem| json!({ "file": problem.file.display().to_string(), "at": problem.at, "what": problem.what });
    json!({
        "logBegin": report.log_begin,
        "logEnd": report.log_end,
        "records": report.records,
        "recordsWithSum": report.with_sum,
        "recordsWithoutQueue": report.without_queue,
        "units": report.units,
        "indexEntries": report.entries,
        "indexFilesSkipped": report.index_files_skipped,
        "problemCount": report.problem_count,
        "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
    })
}

fn dump(args: &StoreDumpArgs) -> Result<(), Failure> {
    let store = open(&args.store)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut line = |value: Value| -> io::Result<()> {
        match args.json {
            true => writeln!(out, "{value}"),
            false => writeln!(out, "{}", readable(&value)),
        }
    };
    let all = !args.log && args.queue.is_none() && !args.index && !args.checkpoint;
    if let Some(fields) = store.checkpoint().filter(|_| all || args.checkpoint) {
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value.into()));
        line(json!({ "checkpoint": fields.collect::<serde_json::Map<_, _>>() }))?;
    }
    if all || args.log {
        for stands in store.log() {
            line(match stands {
                Stands::Record(bytes) => record_json(&bytes)?,
                Stands::Damaged(at, length, reason) => json!({ "damaged": at, "length": length, "reason": reason }),
            })?;
        }
    }
    let queues = match args.queue.as_deref() {
        Some([topic, id]) => vec![(topic.clone(), id.parse().map_err(|_| format!("{id} is no id of a queue"))?)],
        _ if all => store.queues()?,
        _ => Vec::new(),
    };
    for (topic, id) in queues {
        let mut outcome = Ok(());
        store.units(&topic, id, &mut |offset, unit, _, _| {
            if outcome.is_ok() {
                outcome = line(match unit.is_blank() {
                    true => json!({ "topic": topic, "queueId": id, "offset": offset, "blank": true }),
                    false => json!({
                        "topic": topic, "queueId": id, "offset": offset,
                        "physicalOffset": unit.physical_offset, "size": unit.size, "tagCode": unit.tag_code,
                    }),
                });
            }
        })?;
        outcome?;
    }
    if all || args.index {
        for path in store.index_files()? {
            let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let entries = match store.entries(&path) {
                Ok(entries) => entries,
                Err(error) => {
                    line(json!({ "index": file, "error": error.to_string() }))?;
                    continue;
                }
            };
            for entry in entries {
                let entry = entry?;
                line(json!({
                    "index": file, "entry": entry.number, "hash": entry.hash, "physicalOffset": entry.physical_offset,
                    "timestamp": entry.timestamp, "previous": entry.previous,
                }))?;
            }
        }
    }
    Ok(out.flush()?)
}

fn record_json(bytes: &[u8]) -> Result<Value, Failure> {
    let record = Record::read(bytes)?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let properties =
        apogee_message::properties::iter(record.properties).map(|(name, value)| (text(name), text(value).into()));
    let mut fields = json!({
        "physicalOffset": record.physical_offset,
        "size": record.size,
        "topic": record.topic,
        "queueId": record.queue_id,
        "queueOffset": record.queue_offset,
        "flag": record.flag,
        "sysFlag": record.sys_flag,
        "bornTimestamp": record.born_timestamp,
        "bornHost": record.born_host.to_string(),
        "storeTimestamp": record.store_timestamp,
        "storeHost": record.store_host.to_string(),
        "reconsumeTimes": record.reconsume_times,
        "preparedTransactionOffset": record.prepared_transaction_offset,
        "bodyCrc": record.body_crc,
        "bodyLength": record.body.len(),
        "properties": properties.collect::<serde_json::Map<_, _>>(),
    });
    // A body that is no text is told by its length and sum.
    if let Ok(body) = std::str::from_utf8(record.body) {
        fields["body"] = body.into();
    }
    Ok(fields)
}

/// One line of `name=value` pairs.
fn readable(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{name}={{{}}}", readable(value)),
                _ => format!("{name}={}", readable(value)),
            };
            fields.iter().map(field).collect::<Vec<_>>().join(" ")
        }
        // Control characters must not reach the terminal.
        Value::String(text) if text.contains(|one: char| one.is_control() || one.is_whitespace()) => {
            format!("{text:?}")
        }
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
