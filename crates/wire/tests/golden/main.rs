//! Every frame recorded between official clients and Apache RocketMQ 5.5.0 is read, written and
//! read again as the same value: the frame, its typed header, its body. `tests/golden/rpc` has a
//! file per request code.

mod config;
mod damaged;
mod json;
mod table;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use apogee_message::{batch, record};
use apogee_wire::bodies::{Body, RegisterBrokerBody};
use apogee_wire::codes::{request, response};
use apogee_wire::command::{Command, Encoding};
use apogee_wire::fields::Fields;
use apogee_wire::frame;
use apogee_wire::headers::{DecodeHeader, HeaderError, RegisterBrokerRequestHeader};
use bytes::{Bytes, BytesMut};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use table::{Kind, ROWS, Rewrite, Row};

/// Codes that no table has: sent to see how a server refuses them, or cut to 16 bits by the
/// binary header.
const UNKNOWN: [i32; 7] = [-31_073, 3_442, 3_443, 3_444, 3_446, 3_447, 99_999];

/// Ext fields that are in no typed header.
const EXTRA_FIELDS: [&str; 11] = [
    "AccessKey",
    "Signature",
    "SecurityToken",
    "_UNIQUE_KEY_QUERY",
    "MSG_REGION",
    "TRACE_ON",
    "READ_AHEAD_MODE",
    "ReqT",
    "E_T",
    "IS_SUPPORT_HEART_BEAT_V2",
    "IS_SUB_CHANGE",
];

#[derive(Deserialize)]
struct Recording {
    code: i32,
    exchanges: Vec<Exchange>,
}

#[derive(Deserialize)]
struct Exchange {
    #[serde(skip)]
    code: i32,
    scenario: String,
    request: Option<Frame>,
    response: Option<Frame>,
}

impl Exchange {
    fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.request.iter().chain(&self.response)
    }
}

#[derive(Deserialize)]
struct Frame {
    #[serde(deserialize_with = "hexadecimal")]
    frame_hex: Bytes,
    /// What the recorder, another program, found in the frame.
    header: Value,
}

fn hexadecimal<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    let hex = String::deserialize(deserializer)?;
    let digit = |at| u8::from_str_radix(&hex[at..at + 2], 16).map_err(D::Error::custom);
    (0..hex.len()).step_by(2).map(digit).collect()
}

fn golden(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(folder)
}

fn exchanges() -> Vec<Exchange> {
    let mut all = Vec::new();
    for file in std::fs::read_dir(golden("rpc")).expect("the golden frames are in the repository") {
        let path = file.expect("a readable folder").path();
        let text = std::fs::read(&path).expect("a readable file");
        let recording: Recording =
            serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let code = recording.code;
        all.extend(recording.exchanges.into_iter().map(|exchange| Exchange { code, ..exchange }));
    }
    assert!(all.len() > 600, "only {} exchanges found", all.len());
    all
}

fn read(frame: &[u8]) -> Command {
    let mut command = Command::default();
    let mut buffer = BytesMut::from(frame);
    let got = frame::decode(&mut buffer, &mut command, frame::MAX_FRAME).expect("a golden frame is well formed");
    assert!(got && buffer.is_empty(), "a golden frame is one frame");
    command
}

/// Collects what is wrong, so that one run shows all of it.
#[derive(Default)]
struct Report(String);

impl Report {
    fn add(&mut self, exchange: &Exchange, what: impl std::fmt::Display) {
        let name = request::name(exchange.code).unwrap_or("unknown code");
        let _ = writeln!(self.0, "{} {name}, {}: {what}", exchange.code, exchange.scenario);
    }

    fn check(self) {
        assert!(self.0.is_empty(), "\n{}", self.0);
    }
}

/// Runs a check on every frame with the row of its code.
fn each_frame(mut check: impl FnMut(&Exchange, Option<&'static Row>, &Command, &Command) -> Result<(), String>) {
    let mut report = Report::default();
    for exchange in exchanges() {
        let row = ROWS.iter().find(|row| row.code == exchange.code);
        let request = exchange.request.as_ref().map(|frame| read(&frame.frame_hex)).unwrap_or_default();
        for command in exchange.frames().map(|frame| read(&frame.frame_hex)) {
            if let Err(what) = check(&exchange, row, &request, &command) {
                let side = if command.is_response() { "response" } else { "request" };
                report.add(&exchange, format!("{side}: {what}"));
            }
        }
    }
    report.check();
}

#[test]
fn every_code_with_golden_frames_is_in_the_table() {
    let mut report = Report::default();
    for exchange in exchanges() {
        let known = ROWS.iter().any(|row| row.code == exchange.code) && request::name(exchange.code).is_some();
        if known == UNKNOWN.contains(&exchange.code) {
            report.add(&exchange, "must be either in the table or among the unknown codes");
        }
    }
    report.check();
}

#[test]
fn frames_hold_what_the_recorder_found_in_them() {
    let mut report = Report::default();
    for exchange in exchanges() {
        for Frame { frame_hex, header } in exchange.frames() {
            let command = read(frame_hex);
            if !command.is_response() && command.code != exchange.code {
                report.add(&exchange, format!("the request's code is {}", command.code));
            }
            let number = |name: &str| header[name].as_i64().unwrap_or_default() as i32;
            let found = (number("code"), number("flag"), number("opaque"), number("version"));
            assert_eq!((command.code, command.flag, command.opaque, command.version), found);
            assert_eq!(command.remark.as_deref(), header["remark"].as_str());
            match &header["language"] {
                Value::String(name) => assert_eq!(command.language.name(), name),
                code => assert_eq!(Some(u64::from(command.language.code())), code.as_u64()),
            }
            let fields = header["extFields"].as_object().into_iter().flatten();
            let fields = fields.map(|(name, value)| (name, value.as_str().expect("a text")));
            // The binary form cannot tell an empty value from none.
            let told = |value: &str| command.encoding == Encoding::Json || !value.is_empty();
            let fields: Fields = fields.filter(|(_, value)| told(value)).collect();
            assert_eq!(command.fields, fields);
            assert!(frame_hex.ends_with(&command.body));
        }
    }
    report.check();
}

#[test]
fn frames_survive_being_written_in_both_encodings() {
    let mut report = Report::default();
    for exchange in exchanges() {
        for Frame { frame_hex, header } in exchange.frames() {
            let command = read(frame_hex);
            let mut recorded = header["extFields"].as_object().into_iter().flatten();
            let empty_values = recorded.any(|(_, value)| value == "");
            let written = frame::to_bytes(&command);
            if read(&written) != command {
                report.add(&exchange, "changed by writing");
            }
            if command.encoding == Encoding::Binary && !empty_values && written != *frame_hex {
                report.add(&exchange, "the binary form has one way to be written, and this is another");
            }
            let encoding = match command.encoding {
                Encoding::Json => Encoding::Binary,
                Encoding::Binary => Encoding::Json,
            };
            let mut other = Command { encoding, ..command };
            if encoding == Encoding::Binary {
                // What this form cannot say: codes beyond 16 bits, empty values.
                other.code = i32::from(other.code as i16);
                other.fields = other.fields.iter().filter(|(_, value)| !value.is_empty()).collect();
                other.remark = other.remark.filter(|remark| !remark.is_empty());
            }
            if read(&frame::to_bytes(&other)) != other {
                report.add(&exchange, format!("changed by writing it as {encoding:?}"));
            }
        }
    }
    report.check();
}

#[test]
fn typed_headers_hold_all_ext_fields() {
    each_frame(|exchange, row, _, command| {
        let Some(row) = row else { return Ok(()) };
        let known = |name: &str| !EXTRA_FIELDS.contains(&name);
        let fields: Fields = command.fields.iter().filter(|(name, _)| known(name)).collect();
        let rewrite: Option<Rewrite> = if command.is_response() { row.response_header } else { row.request_header };
        // Errors come without header, and so do some requests whose fields are all optional.
        if fields.is_empty() {
            return Ok(());
        }
        let Some(rewrite) = rewrite else { return Err(format!("no header declared for {fields:?}")) };
        match rewrite(&fields) {
            // Recorded to see what a server says to it.
            Err(HeaderError::Missing("key")) if exchange.scenario.ends_with(":missingField") => Ok(()),
            Ok(written) if written == fields => Ok(()),
            Ok(written) => Err(format!("header {fields:?} is written as {written:?}")),
            Err(error) => Err(error.to_string()),
        }
    });
}

#[test]
fn bodies_survive_being_read_and_written() {
    each_frame(|exchange, row, request, command| {
        let body = &command.body;
        // Clients other than this version's leave members out, which we write with their defaults.
        let of_5_5 = ["java55:", "mqadmin550:"].iter().any(|start| exchange.scenario.starts_with(start));
        let compare = if command.is_response() || of_5_5 { json::same } else { json::holds };
        let Some(row) = row else { return Ok(()) };
        let kind = if command.is_response() { row.response_body } else { row.request_body };
        if body.is_empty() {
            return Ok(());
        }
        match kind {
            Kind::Later | Kind::Bytes => Ok(()),
            Kind::Absent => Err(format!("no body declared for {} bytes", body.len())),
            Kind::Text => std::str::from_utf8(body).map(drop).map_err(|error| error.to_string()),
            Kind::Json(recode) => {
                let [dialect, standard] = recode(body).map_err(|error| error.to_string())?;
                json::in_order(&standard)?;
                // Routes go to newer clients as standard JSON.
                let quoted = row.code == request::GET_ROUTEINFO_BY_TOPIC && wants_standard_json(request);
                compare(body, if quoted { &standard } else { &dialect })
            }
            Kind::Registration => registration(request, body),
            Kind::Messages => {
                let records: Result<Vec<_>, _> = record::iter(body).collect();
                let records = records.map_err(|error| error.to_string())?;
                let size: usize = records.iter().map(|record| record.size as usize).sum();
                match records.iter().find(|record| !record.body_is_intact()) {
                    Some(damaged) => Err(format!("the record at {} is damaged", damaged.physical_offset)),
                    None if size == body.len() => Ok(()),
                    None => Err(format!("{size} of {} bytes are records", body.len())),
                }
            }
            Kind::Batch => {
                let mut again = Vec::new();
                for message in batch::split(body.clone()) {
                    batch::push(&mut again, &message.map_err(|error| error.to_string())?);
                }
                if again == *body { Ok(()) } else { Err("the batch is written differently".to_owned()) }
            }
        }
    });
}

/// Clients since 4.9.4, and those that say so.
fn wants_standard_json(request: &Command) -> bool {
    request.version >= 401 || request.fields.get("acceptStandardJsonOnly") == Some("true")
}

fn registration(request: &Command, body: &Bytes) -> Result<(), String> {
    let header = RegisterBrokerRequestHeader::decode(&request.fields).map_err(|error| error.to_string())?;
    if header.compressed == Some(true) {
        let read = RegisterBrokerBody::decode_compressed(body).map_err(|error| error.to_string())?;
        let written = read.encode_compressed().map_err(|error| error.to_string())?;
        assert_eq!(RegisterBrokerBody::decode_compressed(&written), Ok(read));
        return Ok(());
    }
    let read = RegisterBrokerBody::decode(body).map_err(|error| error.to_string())?;
    json::same(body, &read.encode())
}

#[test]
fn error_codes_of_responses_are_in_the_table() {
    each_frame(|_, _, _, command| {
        let known = !command.is_response() || response::name(command.code).is_some();
        if known { Ok(()) } else { Err(format!("unknown response code {}", command.code)) }
    });
}
