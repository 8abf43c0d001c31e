//! `apogee produce` and `apogee consume`, as in a shell's pipes.

mod common;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use common::{Server, binary};
use serde_json::Value;

/// Runs a command beside a server, with a text to read.
fn pipe(server: &Server, input: &str, arguments: &[&str]) -> Output {
    let mut process = Command::new(binary());
    process.args(arguments).env("NAMESRV_ADDR", server.namesrv.to_string());
    process.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process.spawn().expect("the binary runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // One that refuses its arguments reads nothing.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    child.wait_with_output().expect("it ends")
}

fn succeed(server: &Server, input: &str, arguments: &[&str]) -> String {
    let output = pipe(server, input, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn lines(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn lines_become_messages_and_messages_lines() {
    let server = Server::start(&[]);
    let long = "x".repeat(100_000);
    let sent = ["one", "two", "", "ünï", &long];
    succeed(&server, &sent.join("\n"), &["produce", "Lines", "--tag", "a", "--key", "k", "--property", "p=v"]);
    let expected = lines(&sent.join("\n")).into_iter().map(str::to_owned).collect::<Vec<_>>();
    let read = succeed(&server, "", &["consume", "Lines", "--from", "first", "--count", "5"]);
    assert_eq!(lines(&read), expected);
    let formatted = succeed(
        &server,
        "",
        &["consume", "Lines", "--from", "first", "--count", "5", "--format", "%t %g %k %P{p} %%\\n"],
    );
    assert_eq!(formatted, "Lines a k v %\n".repeat(5));
    let objects = succeed(&server, "", &["consume", "Lines", "--from", "1h", "--count", "5", "--json"]);
    let objects: Vec<Value> = objects.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert!(objects.iter().any(|object| object["body"] == *long && object["properties"]["p"] == "v"), "compressed");
}

#[test]
fn batches_and_sharded_messages_keep_their_order() {
    let server = Server::start(&[]);
    let numbers: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    let text = numbers.join("\n");
    succeed(&server, &text, &["produce", "Sharded", "--sharding-key", "order-7"]);
    let read = succeed(&server, "", &["consume", "Sharded", "--from", "first", "--count", "500"]);
    assert_eq!(read.lines().collect::<Vec<_>>(), numbers);
    let told = succeed(&server, &text, &["produce", "Batched", "--batch", "50", "--in-flight", "1", "--json"]);
    let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(told.iter().filter_map(|line| line["messages"].as_u64()).sum::<u64>(), 500);
    let read = succeed(&server, "", &["consume", "Batched", "--from", "first", "--count", "500"]);
    assert_eq!(lines(&read), lines(&text));
}

#[test]
fn filters_choose_messages() {
    let server = Server::start(&["enablePropertyFilter=true"]);
    succeed(&server, "cheap", &["produce", "Chosen", "--tag", "a", "--property", "price=1"]);
    succeed(&server, "dear", &["produce", "Chosen", "--tag", "b", "--property", "price=100"]);
    for choice in [["--tag", "b || c"], ["--sql", "price > 10"]] {
        let read =
            succeed(&server, "", &[&["consume", "Chosen", "--from", "first", "--count", "1"], &choice[..]].concat());
        assert_eq!(read, "dear\n", "{choice:?}");
    }
}

#[test]
fn what_goes_wrong_is_told() {
    let server = Server::start(&["autoCreateTopicEnable=false"]);
    let refused = |arguments: &[&str]| {
        let output = pipe(&server, "line\n", arguments);
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = refused(&["produce", "Absent"]);
    assert!(error.contains("topic Absent does not exist"), "{error}");
    let error = refused(&["consume", "Absent", "--from", "first", "--count", "1"]);
    assert!(error.contains("topic Absent does not exist"), "{error}");
    let error = refused(&["produce", "A/B"]);
    assert!(error.contains("contains '/'"), "{error}");
    let error = refused(&["produce", "T", "-n", "127.0.0.1:1"]);
    assert!(error.contains("127.0.0.1:1") && error.contains("refused"), "{error}");
    let error = refused(&["produce", "T", "/no/such/file"]);
    assert!(error.contains("/no/such/file"), "{error}");
}
