//! Apache's server in place of ours, so that tests of clients show that both do the same: for test files that need
//! nothing but the protocol, `APOGEE_TEST_SERVER=apache`.

use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command as Process};

/// Whether Apache's server is to be tested.
pub fn is_wanted() -> bool {
    match std::env::var("APOGEE_TEST_SERVER").as_deref() {
        Ok("apache") => true,
        Err(_) | Ok("apogee") => false,
        Ok(other) => panic!("APOGEE_TEST_SERVER is {other:?}: apogee or apache is expected"),
    }
}

/// What starts it, in a group of processes of its own.
pub fn process([namesrv, broker]: [u16; 2], data: &Path, settings: &[&str]) -> Process {
    let [namesrv, broker] = if broker == 0 { free_ports() } else { [namesrv, broker] };
    let mut process = Process::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/oracle/apache"));
    process.args(["server", "--host", "127.0.0.1", "--data"]).arg(data);
    process.args(["--namesrv-port", &namesrv.to_string(), "--broker-port", &broker.to_string()]);
    process.args(settings);
    // Small files: there is one server for each test.
    process.args(["mappedFileSizeCommitLog=67108864", "timerWheelEnable=true"]);
    process.env("HEAP", "512m").process_group(0);
    process
}

/// Ends the group of processes.
pub fn kill(child: &mut Child) {
    // There is none when it has ended already.
    let _ = Process::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).status();
    let _ = child.wait();
}

/// Two ports, where those that the broker takes beside its own are free, too.
fn free_ports() -> [u16; 2] {
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    for _ in 0..100 {
        let probe = TcpListener::bind("127.0.0.1:0").expect("a port");
        let first = probe.local_addr().expect("an address").port();
        drop(probe);
        if first < u16::MAX - 5 && (first..first + 5).all(is_free) {
            return [first, first + 3];
        }
    }
    panic!("no five free ports in a row on 127.0.0.1");
}
