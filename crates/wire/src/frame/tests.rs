use bytes::BufMut;

use super::*;
use crate::command::Language;
use crate::fields::Fields;

fn sample(encoding: Encoding) -> Command {
    let mut command = Command::request(310).with_remark("ré \"q\" \\ \u{1}").with_body(Bytes::from_static(b"body"));
    command.opaque = 77;
    command.language = Language::from_name("GO");
    command.encoding = encoding;
    command.fields.set_str("i", "KEYS\u{1}k\u{2}");
    command.fields.set("e", -3);
    command
}

#[test]
fn frames_survive_both_encodings() {
    for encoding in [Encoding::Json, Encoding::Binary] {
        let command = sample(encoding);
        let mut buffer = BytesMut::new();
        encode(&command, &mut buffer);
        encode(&command, &mut buffer);
        let mut read = Command::default();
        assert_eq!(decode(&mut buffer, &mut read, MAX_FRAME), Ok(true));
        assert_eq!(read, command);
        assert_eq!(decode(&mut buffer, &mut read, MAX_FRAME), Ok(true));
        assert_eq!(read, command);
        assert_eq!(decode(&mut buffer, &mut read, MAX_FRAME), Ok(false));
    }
}

#[test]
fn fields_given_one_by_one_are_written_as_those_of_a_map() {
    for encoding in [Encoding::Json, Encoding::Binary] {
        let (mut with_map, mut one_by_one) = (BytesMut::new(), BytesMut::new());
        let command = sample(encoding);
        encode_head(&command, 4, &mut with_map);
        let head = Command { fields: Fields::default(), ..command };
        encode_head_with(&head, 4, &mut one_by_one, |fields| {
            fields.text("i", "KEYS\u{1}k\u{2}");
            fields.number("e", -3);
        });
        assert_eq!(with_map, one_by_one);
    }
}

#[test]
fn a_frame_is_taken_only_as_a_whole() {
    let whole = to_bytes(&sample(Encoding::Json));
    for cut in 0..whole.len() {
        let mut buffer = BytesMut::from(&whole[..cut]);
        assert_eq!(decode(&mut buffer, &mut Command::default(), MAX_FRAME), Ok(false), "cut at {cut}");
        assert_eq!(buffer.len(), cut);
    }
}

#[test]
fn what_is_no_frame_is_refused() {
    let refuse = |bytes: &[u8]| {
        decode(&mut BytesMut::from(bytes), &mut Command::default(), 1024).expect_err("must be refused").to_string()
    };
    assert_eq!(refuse(b"GET / HTTP/1.1\r\n"), "a frame of 1195725856 bytes is over the limit of 1024");
    assert_eq!(refuse(&[0, 0, 0, 3]), "a frame of 3 bytes cannot hold the header of 0 bytes that it announces");
    assert_eq!(
        refuse(&[0, 0, 0, 8, 0, 0, 0, 5, b'{', b'}', 0, 0]),
        "a frame of 8 bytes cannot hold the header of 5 bytes that it announces"
    );
    assert_eq!(refuse(&[0, 0, 0, 6, 9, 0, 0, 2, b'{', b'}']), "unknown header encoding 9; 0 is JSON, 1 is ROCKETMQ");
    assert!(refuse(&[0, 0, 0, 6, 0, 0, 0, 2, b'{', b'x']).starts_with("malformed header"));
    assert!(refuse(&[0, 0, 0, 6, 1, 0, 0, 2, 0, 0]).contains("past the header's end"));
}

#[test]
fn json_is_read_as_leniently_as_upstream_reads_it() {
    let header = br#"{"code":34,"language":9,"opaque":null,"extFields":{"n":5,"b":true,"x":null,"s":"t"},"new":[{}]}"#;
    let mut frame = BytesMut::new();
    frame.put_u32(4 + header.len() as u32);
    frame.put_u32(header.len() as u32);
    frame.extend_from_slice(header);
    let mut command = Command::default();
    assert_eq!(decode(&mut frame, &mut command, MAX_FRAME), Ok(true));
    assert_eq!((command.code, command.language.name(), command.opaque), (34, "GO", 0));
    assert_eq!(command.fields, [("n", "5"), ("b", "true"), ("s", "t")].into_iter().collect());
}

#[test]
fn a_header_of_countless_fields_is_refused() {
    for encoding in [Encoding::Json, Encoding::Binary] {
        let frame = |count: usize| {
            let mut command = Command { encoding, ..Command::request(1) };
            (0..count).for_each(|n| command.fields.set(&format!("f{n}"), "v"));
            decode(&mut BytesMut::from(&to_bytes(&command)[..]), &mut Command::default(), MAX_FRAME)
        };
        assert_eq!(frame(crate::fields::MAX_FIELDS), Ok(true));
        let error = frame(crate::fields::MAX_FIELDS + 1).expect_err("must be refused").to_string();
        assert!(error.contains("more than 256 ext fields"), "{error}");
    }
}
