//! What producers see of a disk that does not keep up.

mod common;

use std::process::Command as Process;
use std::time::{Duration, Instant};

use apogee_wire::codes::response;
use common::{Server, send_request};

/// Builds the library that slows the disk down; any machine that links Rust programs has a C compiler.
fn shim(folder: &std::path::Path) -> String {
    let library = folder.join("slow_sync.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/common/slow_sync.c");
    let status = Process::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).arg("-ldl").status();
    assert!(status.expect("a C compiler `cc`").success());
    library.display().to_string()
}

#[test]
fn sends_are_refused_at_once_while_a_flush_takes_too_long() {
    let folder = tempfile::tempdir().expect("a folder");
    let slow = folder.path().join("slow");
    let environment = [
        ("LD_PRELOAD", shim(folder.path())),
        ("SLOW_SYNC_MS", "4000".to_owned()),
        ("SLOW_SYNC_WHILE", slow.display().to_string()),
    ];
    let server = Server::start_with(&folder.path().join("data"), &["syncFlushTimeout=500"], &environment);
    let (mut first, mut second) = (server.connect(), server.connect());
    first.send_ok("T", 0, b"before", "");

    std::fs::write(&slow, b"").expect("written");
    first.request(send_request("T", 0, b"waits", ""));
    std::thread::sleep(Duration::from_millis(1_000));
    let asked = Instant::now();
    let refused = second.send("T", 0, b"refused", "");
    assert!(asked.elapsed() < Duration::from_millis(1_000), "refused late: {:?}", asked.elapsed());
    // Official clients try another broker after this code.
    assert_eq!(refused.code, response::SYSTEM_BUSY, "{refused:?}");
    assert!(refused.remark.is_some_and(|remark| remark.contains("over the limit of 500 ms (syncFlushTimeout)")));

    std::fs::remove_file(&slow).expect("removed");
    assert_eq!(first.read().code, response::SUCCESS, "who waited is answered when the disk is done");
    assert_eq!(second.send_ok("T", 0, b"after", ""), 2, "the one that was refused is not stored");
}
