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
    // There are no empty messages.
    let expected = lines(&sent.join("\n")).into_iter().filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n");
    let expected = lines(&expected);
    let read = succeed(&server, "", &["consume", "Lines", "--from", "first", "--count", "4"]);
    assert_eq!(lines(&read), expected);
    let formatted = succeed(
        &server,
        "",
        &["consume", "Lines", "--from", "first", "--count", "4", "--format", "%t %g %k %P{p} %%\\n"],
    );
    assert_eq!(formatted, "Lines a k v %\n".repeat(4));
    let objects = succeed(&server, "", &["consume", "Lines", "--from", "1h", "--count", "4", "--json"]);
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

#[test]
fn a_group_goes_on_behind_what_was_printed() {
    let server = Server::start(&[]);
    let numbers: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    succeed(&server, &numbers.join("\n"), &["produce", "Shared", "--tag", "n"]);
    let mut seen = Vec::new();
    for (count, more) in [("40", &["--tag", "n || m"][..]), ("60", &["--tag", "n || m"])] {
        let arguments = [&["consume", "Shared", "--group", "G", "--from", "first", "--count", count], more].concat();
        let read = succeed(&server, "", &arguments);
        assert_eq!(read.lines().count().to_string(), count);
        seen.extend(read.lines().map(str::to_owned));
    }
    seen.sort_unstable_by_key(|number| number.parse::<u32>().expect("a number"));
    assert_eq!(seen, numbers);
}

#[test]
fn a_member_that_is_asked_to_end_commits_what_it_printed() {
    let server = Server::start(&[]);
    succeed(&server, "one\ntwo\nthree", &["produce", "Shared"]);
    let mut process = Command::new(binary());
    process.args(["consume", "Shared", "--group", "G", "--from", "first"]).stdout(Stdio::piped());
    let mut child = process.env("NAMESRV_ADDR", server.namesrv.to_string()).spawn().expect("the binary runs");
    let output = std::io::BufReader::new(child.stdout.take().expect("a pipe"));
    let mut read: Vec<_> = std::io::BufRead::lines(output).take(3).map(|line| line.expect("text")).collect();
    read.sort_unstable();
    assert_eq!(read, ["one", "three", "two"]);
    let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill runs");
    assert!(asked.success() && common::wait(&mut child).success());
    succeed(&server, "four", &["produce", "Shared"]);
    assert_eq!(succeed(&server, "", &["consume", "Shared", "--group", "G", "--count", "1"]), "four\n");
}

#[test]
fn options_of_tls_are_used_and_what_is_wrong_with_them_is_told() {
    let server = Server::start(&[]);
    let fail = |arguments: &[&str]| {
        let output = pipe(&server, "", &[&["consume", "T"], arguments].concat());
        assert!(!output.status.success(), "{arguments:?}");
        String::from_utf8(output.stderr).expect("text")
    };
    let stranger = common::stranger().to_string();
    let error = fail(&["-n", &stranger, "--tls", "--tls-unverified"]);
    assert!(error.contains("TLS failed"), "{error}");
    let error = fail(&["--tls", "--tls-roots", "/nowhere/ca.pem"]);
    assert!(error.starts_with("apogee: cannot read certificates from /nowhere/ca.pem"), "{error}");
    let error = fail(&["--tls", "--tls-cert", "/nowhere/me.pem"]);
    assert!(error.contains("--tls-key"), "{error}");
    assert!(fail(&["--tls-unverified"]).contains("--tls"), "nothing is secured by it alone");
}
