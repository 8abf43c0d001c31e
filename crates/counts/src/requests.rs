//! A request's frame becomes a typed header.

use std::hint::black_box;

use apogee_wire::codes::request::{SEND_MESSAGE, SEND_MESSAGE_V2};
use apogee_wire::headers::{RpcFields, SendMessageRequestHeader};
use apogee_wire::{Command, Encoding, frame};
use bytes::BytesMut;

use crate::sample::{TIMES, TOPIC, body, properties};
use crate::{Failure, Piece, measured};

pub const PIECES: &[Piece] = &[
    Piece { name: "decode-send-json", run: || decode(SEND_MESSAGE, Encoding::Json) },
    Piece { name: "decode-send-v2-json", run: || decode(SEND_MESSAGE_V2, Encoding::Json) },
    Piece { name: "decode-send-v2-binary", run: || decode(SEND_MESSAGE_V2, Encoding::Binary) },
];

/// Cuts frames of sends from what came in one read, and reads their headers.
fn decode(code: i32, encoding: Encoding) -> Result<u64, Failure> {
    let mut read = frames(code, encoding);
    let (mut command, mut failure) = (Command::default(), None);
    let mut take = |times: u64| {
        for _ in 0..times {
            if let Err(error) = one(&mut read, &mut command) {
                failure = Some(error);
            }
        }
    };
    take(TIMES / 10);
    measured(&mut || take(TIMES));
    failure.map_or(Ok(TIMES), Err)
}

fn one(read: &mut BytesMut, command: &mut Command) -> Result<(), Failure> {
    if !frame::decode(read, command, frame::MAX_FRAME)? {
        return Err("there is no frame left".into());
    }
    let header = match command.code {
        SEND_MESSAGE => command.header::<SendMessageRequestHeader<'_>>()?,
        _ => SendMessageRequestHeader::decode_v2(&command.fields)?,
    };
    black_box(header);
    Ok(())
}

/// Enough frames for a warm-up and a measurement.
fn frames(code: i32, encoding: Encoding) -> BytesMut {
    let (mut out, body) = (BytesMut::new(), body());
    for number in 0..TIMES + TIMES / 10 {
        let properties = properties(number);
        let header = SendMessageRequestHeader {
            producer_group: "producers",
            topic: TOPIC,
            default_topic: "TBW102",
            default_topic_queue_nums: 4,
            queue_id: (number % 4) as i32,
            sys_flag: 0,
            born_timestamp: 1_763_000_000_000 + number as i64,
            flag: 0,
            properties: Some(&properties),
            reconsume_times: Some(0),
            unit_mode: Some(false),
            batch: Some(false),
            max_reconsume_times: None,
            broker_name: Some("broker-a"),
            rpc: RpcFields::default(),
        };
        let mut command = Command::request(code).with_body(body.clone());
        if code == SEND_MESSAGE {
            command = command.with_header(&header);
        } else {
            header.encode_v2(&mut command.fields);
        }
        (command.opaque, command.encoding) = (number as i32, encoding);
        frame::encode(&command, &mut out);
    }
    out
}
