//! What messages in flight cost in memory. A million of them, as the documentation counts:
//! `APOGEE_POPS=1000000 cargo test --release -p apogee-server --test pop_memory -- --nocapture`.

#![cfg(target_os = "linux")]

mod common;

use std::time::{Duration, Instant};

use apogee_wire::Command;
use apogee_wire::codes::{request, response};
use common::http::{free_port, get};
use common::{PATIENCE, Peer, Server, send_request};

/// Requests under way at a time.
const AT_ONCE: usize = 500;
/// Bytes that a message may cost which was popped alone and is out.
const MOST_BYTES: u64 = 200;

/// Sends a request so many times.
fn all(peer: &mut Peer, count: usize, request: &Command) {
    for begin in (0..count).step_by(AT_ONCE) {
        let some = AT_ONCE.min(count - begin);
        for _ in 0..some {
            peer.request(request.clone());
        }
        for _ in 0..some {
            let answer = peer.read();
            assert_eq!(answer.code, response::SUCCESS, "{answer:?}");
        }
    }
}

/// Bytes that are in no file.
fn memory(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a line RssAnon");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") * 1024
}

fn in_memory(port: u16) -> usize {
    let (_, text) = get(port, "/metrics");
    let line = text.lines().find(|line| line.starts_with("apogee_popped_messages{")).expect("the metric");
    line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number") as usize
}

#[test]
fn messages_in_flight_take_little_memory() {
    let count = std::env::var("APOGEE_POPS").map_or(100_000, |count| count.parse().expect("a number"));
    let port = free_port();
    let port_setting = format!("metricsPromExporterPort={port}");
    // As much in memory as by default, of a million.
    let buffer = format!("popCkMaxBufferSize={}", count / 5);
    let server = Server::start(&[&port_setting, &buffer, "flushDiskType=ASYNC_FLUSH", "popCkStayBufferTime=600000"]);
    let mut peer = server.connect();
    all(&mut peer, count, &send_request("T", 0, b"x", ""));
    let mut pop = Command::request(request::POP_MESSAGE);
    for (name, value) in [
        ("consumerGroup", "G"),
        ("topic", "T"),
        ("queueId", "0"),
        ("maxMsgNums", "1"),
        ("invisibleTime", "3600000"),
        ("pollTime", "0"),
        ("bornTime", "0"),
        ("initMode", "0"),
    ] {
        pop.fields.set_str(name, value);
    }
    let before = memory(&server);
    for _ in 0..10 {
        all(&mut peer, count / 10, &pop);
        // The thread that notes them may be slower than this: at twice the buffer pops are refused.
        let began = Instant::now();
        while in_memory(port) > count / 5 {
            assert!(began.elapsed() < 2 * PATIENCE, "never noted");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let bytes = memory(&server).saturating_sub(before);
    println!("{count} messages in flight, each popped alone: {} MB, {} bytes each", bytes >> 20, bytes / count as u64);
    assert!(bytes < MOST_BYTES * count as u64, "{bytes} bytes");
}
