//! An answer becomes a frame.

use std::hint::black_box;

use apogee_wire::codes::response::SUCCESS;
use apogee_wire::fields::PutField;
use apogee_wire::headers::PullMessageResponseHeader;
use apogee_wire::{Command, frame};
use bytes::BytesMut;

use crate::sample::{TIMES, answered};
use crate::{Failure, Piece, measured};

pub const PIECES: &[Piece] =
    &[Piece { name: "encode-send-answer", run: send }, Piece { name: "encode-pull-answer", run: pull }];

fn send() -> Result<u64, Failure> {
    let request = answered();
    Ok(each(|number, out| {
        let head = Command::response_to(&request, SUCCESS);
        frame::encode_head_with(&head, 0, out, |fields| {
            fields.text("msgId", "7F00000100002A9F0000000000ABCDEF");
            fields.number("queueId", 3);
            fields.number("queueOffset", 1_000_000 + number as i64);
            fields.text("transactionId", "7F00000100002A139F1C00000000ABCD");
            fields.text("MSG_REGION", "DefaultRegion");
            fields.text("TRACE_ON", "true");
        });
    }))
}

fn pull() -> Result<u64, Failure> {
    let request = answered();
    Ok(each(|number, out| {
        let header = PullMessageResponseHeader {
            suggest_which_broker_id: 0,
            next_begin_offset: 1_000_000 + number as i64,
            min_offset: 0,
            max_offset: 2_000_000,
            offset_delta: Some(0),
            topic_sys_flag: Some(0),
            group_sys_flag: Some(0),
            forbidden_type: Some(0),
        };
        let answer = Command::response_to(&request, SUCCESS).with_remark("FOUND").with_header(&header);
        frame::encode_head(&answer, 32 << 10, out);
    }))
}

/// Makes answers into a warm buffer; returns how many were measured.
fn each(mut make: impl FnMut(u64, &mut BytesMut)) -> u64 {
    let mut out = BytesMut::new();
    let mut all = |times: u64| {
        for number in 0..times {
            out.clear();
            make(number, &mut out);
            black_box(&out);
        }
    };
    all(TIMES / 10);
    measured(&mut || all(TIMES));
    TIMES
}
