use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::*;

fn standard(dialect: &str) -> String {
    from_slice::<Value>(dialect.as_bytes()).expect("readable").to_string()
}

fn problem(dialect: &str) -> String {
    from_slice::<Value>(dialect.as_bytes()).expect_err("unreadable").to_string()
}

#[test]
fn raw_keys_become_strings() {
    assert_eq!(standard(r#"{0:"a",-1 : {2:[{3:4}]}}"#), r#"{"0":"a","-1":{"2":[{"3":4}]}}"#);
    assert_eq!(standard(r#"{{"t":"a\"b","q":1}:[1, 2]}"#), r#"{"{\"t\":\"a\\\"b\",\"q\":1}":[1,2]}"#);
    assert_eq!(standard(r#" [ true , "x{0:1}" ] "#), r#"[true,"x{0:1}"]"#);
}

#[test]
fn null_members_are_absent_and_null_elements_stay() {
    assert_eq!(standard(r#"{"a":null,"b":1,"c":null}"#), r#"{"b":1}"#);
    assert_eq!(standard(r#"{"a":null,"b":[null,"null"]}"#), r#"{"b":[null,"null"]}"#);
}

#[test]
fn hostile_texts_are_refused() {
    for deep in ["[", "{", "{\"a\":", "{{\"a\":1}:"] {
        assert!(problem(&deep.repeat(100_000)).contains("nested deeper than 64 levels"), "{deep}");
    }
    assert!(problem(r#"{"a":"x"#).contains("without its closing quote"));
    assert!(problem("{\"a\":\"x\\").contains("ends in an escape"));
    for text in ["", "{", "{1", "{1:", "{1:2", "{1:2,", "[1", "[1 2]", "{,}", "{\"a\" 1}", "{1:2}3", "\u{7}"] {
        problem(text);
    }
}

#[test]
fn an_error_names_the_class_and_the_place() {
    #[derive(Debug, Deserialize)]
    struct Sample {
        #[allow(dead_code)]
        perm: i32,
    }
    let error = from_slice::<Sample>(br#"{"perm":"x"}"#).expect_err("x is no number").to_string();
    assert!(error.starts_with("the body is not a Sample: `x` is not a 32-bit integer at byte 8"), "{error}");
}

#[derive(Serialize, PartialEq, Eq, PartialOrd, Ord)]
struct Queue {
    topic: &'static str,
}

#[derive(Serialize)]
struct Sample {
    absent: Option<i32>,
    numbers: BTreeMap<i32, f64>,
    objects: BTreeMap<Queue, Option<bool>>,
    text: &'static str,
    list: Vec<&'static str>,
    empty: Vec<i32>,
}

fn sample() -> Sample {
    Sample {
        absent: None,
        numbers: BTreeMap::from([(0, 1.0), (10, 0.5)]),
        objects: BTreeMap::from([(Queue { topic: "é\"" }, Some(true)), (Queue { topic: "gone" }, None)]),
        text: "\u{1}\n😀",
        list: vec!["a"],
        empty: vec![],
    }
}

#[test]
fn the_dialect_has_raw_keys_and_no_nulls() {
    let text = String::from_utf8(to_vec(&sample())).unwrap();
    assert_eq!(
        text,
        r#"{"numbers":{0:1.0,10:0.5},"objects":{{"topic":"é\""}:true},"text":"\u0001\n😀","list":["a"],"empty":[]}"#
    );
}

#[test]
fn standard_json_is_ascii_with_quoted_keys() {
    let text = to_vec_standard(&sample());
    assert!(text.is_ascii());
    let value: Value = serde_json::from_slice(&text).expect("strict JSON");
    assert_eq!(value["numbers"]["10"], 0.5);
    assert_eq!(value["text"], "\u{1}\n😀");
    let (key, _) = value["objects"].as_object().unwrap().iter().next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(key).expect("strict JSON in the key")["topic"], "é\"");
}

#[test]
fn pretty_is_what_config_files_look_like() {
    let text = String::from_utf8(to_vec_pretty(&BTreeMap::from([
        ("a", serde_json::json!({"bits": [1, 2], "lines": [{"x": 1}, {}], "none": {}})),
        ("b", serde_json::json!("s")),
    ])))
    .unwrap();
    let lines = [
        "{",
        "\t\"a\":{",
        "\t\t\"bits\":[1,2],",
        "\t\t\"lines\":[",
        "\t\t\t{",
        "\t\t\t\t\"x\":1",
        "\t\t\t},",
        "\t\t\t{}",
        "\t\t],",
        "\t\t\"none\":{}",
        "\t},",
        "\t\"b\":\"s\"",
        "}",
    ];
    assert_eq!(text, lines.join("\n"));
}

#[test]
fn reading_is_as_lenient_as_java() {
    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Loose {
        flag: bool,
        list: Vec<i32>,
        map: BTreeMap<i64, String>,
        nested: BTreeMap<Place, f64>,
        number: Option<i64>,
        text: String,
        words: Vec<String>,
    }
    #[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
    struct Place {
        queue: i32,
        topic: String,
    }
    let loose = r#" { 'flag' : "true" , "list":["1", 2.0], "map":{"0":"a", 1:"b"}, "number":null,
        nested: {"{\"queue\":\"3\",\"topic\":\"t\"}": "0.5", {"topic":"u","queue":4}:1}, "text": 12,
        "unknown": {{"a":[{}]}:[1,{2:3}]}, "words":["\u00e9\ud83d\ude00\ud83d\/'"] } "#;
    let expected = Loose {
        flag: true,
        list: vec![1, 2],
        map: [(0, "a".to_owned()), (1, "b".to_owned())].into(),
        nested: [(Place { queue: 3, topic: "t".to_owned() }, 0.5), (Place { queue: 4, topic: "u".to_owned() }, 1.0)]
            .into(),
        number: None,
        text: "12".to_owned(),
        words: vec!["\u{e9}\u{1f600}\u{fffd}/'".to_owned()],
    };
    assert_eq!(from_slice(loose.as_bytes()), Ok(expected));
}

#[test]
fn errors_say_what_and_where() {
    #[derive(Debug, Default, Deserialize)]
    #[serde(default)]
    #[allow(dead_code)]
    struct Strict {
        flag: bool,
        list: Vec<i32>,
        number: i32,
        text: String,
        nested: BTreeMap<i32, Inner>,
    }
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Inner {
        needed: i32,
    }
    let cases = [
        ("", "the text ends where `{` is due at byte 0"),
        ("[]", "expected `{` at byte 0"),
        ("{\"number\":1", "the text ends where `,` is due at byte 11"),
        ("{\"number\" 1}", "expected `:` at byte 10"),
        ("{\"number\":3000000000}", "`3000000000` is not a 32-bit integer at byte 10"),
        ("{\"number\":1.5}", "`1.5` is not a 32-bit integer at byte 10"),
        ("{\"flag\":yes}", "a bare word that is no number, boolean or null at byte 8"),
        ("{\"text\":\"x}", "a text without its closing quote at byte 8"),
        ("{\"text\":\"\\q\"}", "an unknown escape at byte 10"),
        ("{\"text\":\"\\u12\"}", "`\\u` without four hexadecimal digits at byte 11"),
        ("{\"list\":[1 2]}", "expected `,` at byte 11"),
        ("{} x", "more text after the value at byte 3"),
        ("{\"nested\":{1:{}}}", "missing field `needed` at byte 15"),
    ];
    for (json, problem) in cases {
        let error = from_slice::<Strict>(json.as_bytes()).expect_err(json).to_string();
        assert_eq!(error, format!("the body is not a Strict: {problem}"), "{json}");
    }
    let error = from_slice::<Strict>(b"{\"text\":\"\xff\"}").expect_err("0xff is not UTF-8").to_string();
    assert!(error.contains("not UTF-8 at byte 9"), "{error}");
}

#[test]
fn a_table_is_written_piece_by_piece_and_its_text_is_the_same() {
    struct Pieces(Vec<u8>, usize, Option<usize>);
    impl io::Write for Pieces {
        fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
            if self.2.is_some_and(|room| self.0.len() + piece.len() > room) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.1 = self.1.max(piece.len());
            self.0.extend_from_slice(piece);
            Ok(piece.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    type Member = BTreeMap<String, (Option<i32>, Vec<BTreeMap<i32, i32>>)>;
    let inner = |number: i32| vec![BTreeMap::from([(number, 1)]), BTreeMap::from([(7, number)])];
    let table: Member = (0..20_000).map(|number| (format!("t{number}"), (None, inner(number)))).collect();
    let nested = BTreeMap::from([("a", Some(&table)), ("b", None), ("c", Some(&table))]);
    let arrays = [vec![nested.clone()], vec![nested.clone()]];
    let mut pieces = Pieces(Vec::new(), 0, None);
    write_pretty(&nested, &mut pieces).unwrap();
    assert!(pieces.0 == to_vec_pretty(&nested));
    assert!(pieces.1 < 70_000, "a piece of {} bytes of {}", pieces.1, pieces.0.len());
    let mut pieces = Pieces(Vec::new(), 0, None);
    write_pretty(&arrays, &mut pieces).unwrap();
    assert!(pieces.0 == to_vec_pretty(&arrays));
    let mut full = Pieces(Vec::new(), 0, Some(200_000));
    assert_eq!(write_pretty(&nested, &mut full).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert!(to_vec_pretty(&nested).starts_with(&full.0), "nothing comes after what was refused");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in r#"[\[\]{}:,"'\\a0-9.\-eu \u{e9}]{0,60}"#) {
        // Refusing is fine, panicking is not.
        let _ = from_slice::<Value>(text.as_bytes());
        let _ = from_slice::<crate::bodies::ConsumerRunningInfo>(text.as_bytes());
    }

    #[test]
    fn what_is_written_in_any_style_is_read_back(
        texts: BTreeMap<String, String>,
        numbers: BTreeMap<i64, f64>,
        queues: BTreeMap<(String, i32), Option<bool>>,
    ) {
        use crate::bodies::MessageQueue;
        let queues: BTreeMap<_, _> = queues
            .into_iter()
            .filter_map(|((topic, id), flag)| Some((MessageQueue::new(topic, "b", id), flag?)))
            .collect();
        for write in [to_vec, to_vec_standard, to_vec_pretty] {
            proptest::prop_assert_eq!(from_slice(&write(&texts)), Ok(texts.clone()));
        }
        for write in [to_vec, to_vec_standard, to_vec_pretty] {
            proptest::prop_assert_eq!(from_slice(&write(&numbers)), Ok(numbers.clone()));
        }
        for write in [to_vec, to_vec_standard, to_vec_pretty] {
            proptest::prop_assert_eq!(from_slice(&write(&queues)), Ok(queues.clone()));
        }
    }
}
