//! A few rounds of each fault against a server that was built for the tests.

use std::path::PathBuf;
use std::process::Command;
use std::sync::{Mutex, OnceLock, PoisonError};

/// One after the other: each is a load of its own.
static TURN: Mutex<()> = Mutex::new(());

/// The server's binary: tests of another crate are not told its path.
fn server() -> &'static PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        let built = Command::new(env!("CARGO")).args(["build", "--quiet", "--locked", "-p", "apogee-server"]).status();
        assert!(built.expect("cargo runs").success(), "the server builds");
        // Beside the harness: target/debug.
        PathBuf::from(env!("CARGO_BIN_EXE_apogee-faults")).with_file_name("apogee")
    })
}

/// Runs a command; what needs root or loop devices is skipped by the command itself, which says so.
fn holds(arguments: &[&str]) {
    let server = server();
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let output = Command::new(env!("CARGO_BIN_EXE_apogee-faults"))
        .args(arguments)
        .args(["--seed", "7", "--binary"])
        .arg(server)
        .output()
        .expect("the harness runs");
    let (said, noted) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{arguments:?}: {}\n{said}{noted}", output.status);
}

#[test]
fn a_kill_loses_nothing() {
    holds(&["kill", "--rounds", "3"]);
}

#[test]
fn a_power_cut_loses_nothing() {
    holds(&["power", "--rounds", "2"]);
}

#[test]
fn a_power_cut_with_asynchronous_flush_loses_the_last_moment_at_most() {
    holds(&["power", "--asynchronous", "--rounds", "1"]);
}

#[test]
fn a_failing_sync_is_never_acknowledged() {
    holds(&["sync-error", "--rounds", "2"]);
}

#[test]
fn a_full_disk_refuses_and_resumes() {
    holds(&["full", "--rounds", "1"]);
}

#[test]
fn a_flipped_bit_takes_one_message_at_most() {
    holds(&["flip", "--rounds", "3", "--only", "commitlog"]);
}
