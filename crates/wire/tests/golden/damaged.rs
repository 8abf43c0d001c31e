//! Damaged frames: whatever the damage, they are read as something else or refused, and never
//! bring the reader down.

use apogee_wire::command::Command;
use apogee_wire::frame;
use bytes::BytesMut;
use proptest::prelude::*;

use super::exchanges;
use super::table::{Kind, ROWS};

/// Reads frame, header and body, and forgets all of it.
fn read(code: i32, frame: &[u8]) {
    let mut command = Command::default();
    let mut buffer = BytesMut::from(frame);
    let Ok(true) = frame::decode(&mut buffer, &mut command, frame::MAX_FRAME) else { return };
    let Some(row) = ROWS.iter().find(|row| row.code == code) else { return };
    for header in [row.request_header, row.response_header].into_iter().flatten() {
        let _ = header(&command.fields);
    }
    for body in [row.request_body, row.response_body] {
        match body {
            Kind::Json(recode) => drop(recode(&command.body)),
            Kind::Messages => apogee_message::record::iter(&command.body).for_each(drop),
            Kind::Batch => apogee_message::batch::split(command.body.clone()).for_each(drop),
            Kind::Registration => {
                let _ = apogee_wire::bodies::RegisterBrokerBody::decode_compressed(&command.body);
            }
            Kind::Absent | Kind::Text | Kind::Bytes | Kind::Later => {}
        }
    }
}

#[test]
fn damaged_frames_are_no_danger() {
    let frames: Vec<_> = exchanges()
        .into_iter()
        .flat_map(|exchange| {
            exchange.request.into_iter().chain(exchange.response).map(move |frame| (exchange.code, frame))
        })
        .collect();
    let damage =
        (any::<prop::sample::Index>(), prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4));
    proptest!(ProptestConfig::with_cases(2_000), |((frame, changes) in damage)| {
        let (code, frame) = frame.get(&frames);
        let mut bytes = frame.frame_hex.to_vec();
        for (at, byte) in changes {
            // The length and the encoding stay, so that the damage reaches what is behind them.
            let at = 8 + at.index(bytes.len() - 8);
            bytes[at] = byte;
        }
        read(*code, &bytes);
    });
}

/// Text that JSON and binary headers are made of, and anything else.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        r#"[{}\[\]:,"'\\a0-9.eu -]{0,80}"#.prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn noise_is_refused(encoding in 0u8..3, header in noise(), body in noise()) {
        let mut bytes = ((4 + header.len() + body.len()) as u32).to_be_bytes().to_vec();
        bytes.extend([encoding, 0, 0, header.len() as u8]);
        bytes.extend(header);
        bytes.extend(body);
        for row in ROWS {
            read(row.code, &bytes);
        }
    }

    #[test]
    fn noise_without_a_frame_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let (mut command, mut buffer) = (Command::default(), BytesMut::from(&bytes[..]));
        while let Ok(true) = frame::decode(&mut buffer, &mut command, frame::MAX_FRAME) {}
    }

    #[test]
    fn a_command_survives_both_encodings(
        code in -32_768i32..32_768,
        version in 0i32..32_768,
        opaque: i32,
        flag: i32,
        remark in prop::option::of(".+"),
        fields in prop::collection::btree_map("[a-zA-Z]{1,12}", ".+", 0..8),
        body: Vec<u8>,
    ) {
        for encoding in [apogee_wire::Encoding::Json, apogee_wire::Encoding::Binary] {
            let command = Command {
                code,
                version,
                opaque,
                flag,
                remark: remark.clone(),
                fields: fields.iter().collect(),
                body: body.clone().into(),
                encoding,
                ..Command::default()
            };
            let mut buffer = BytesMut::from(&frame::to_bytes(&command)[..]);
            let mut again = Command::default();
            prop_assert_eq!(frame::decode(&mut buffer, &mut again, frame::MAX_FRAME), Ok(true));
            prop_assert_eq!(again, command);
            prop_assert!(buffer.is_empty());
        }
    }
}
