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
    assert!(problem(&"[".repeat(100_000)).contains("more than 64 levels"));
    assert!(problem(&"{".repeat(100_000)).contains("key within a key"));
    assert!(problem(r#"{"a":"x"#).contains("without an end"));
    assert!(problem("{\"a\":\"x\\").contains("without an end"));
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
    assert!(error.starts_with("the body is not a Sample: invalid type: string \"x\", expected i32"), "{error}");
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
