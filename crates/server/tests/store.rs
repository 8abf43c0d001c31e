//! `apogee store` on the command line.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

use std::path::Path;
use std::process::{Command, Output};

fn apogee(arguments: &[&str], folder: &Path) -> Output {
    let root = folder.join("store");
    let sizes = ["--index-slots", "50", "--index-entries", "100"];
    Command::new(env!("CARGO_BIN_EXE_apogee"))
        .arg("store")
        .arg(arguments[0])
        .arg(root)
        .args(&arguments[1..])
        .args(sizes)
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn a_store_is_checked_and_shown() {
    let archive = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/store/tiny-ext-crc.tar.gz");
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new("tar").arg("xzf").arg(archive).arg("-C").arg(folder.path()).status().unwrap().success());

    let whole = apogee(&["check"], folder.path());
    assert_eq!(whole.status.code(), Some(0), "{whole:?}");
    assert!(text(&whole).ends_with("no damage found\n"), "{}", text(&whole));
    let log = text(&apogee(&["dump", "--log", "--json"], folder.path()));
    assert!(log.lines().count() > 100 && log.lines().all(|line| line.starts_with("{\"physicalOffset\":")));
    let queue = text(&apogee(&["dump", "--queue", "T_a", "0"], folder.path()));
    assert!(queue.starts_with("topic=T_a queueId=0 offset=0 physicalOffset=0 size=1216 "), "{queue}");
    assert!(text(&apogee(&["dump", "--checkpoint"], folder.path())).contains("logicsPhysicalOffset="));

    let path = folder.path().join("store/commitlog/00000000000000000000");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[500] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let damaged = apogee(&["check", "--json"], folder.path());
    assert_eq!(damaged.status.code(), Some(2));
    assert!(text(&damaged).contains("\"problemCount\":1,"), "{}", text(&damaged));
    assert!(text(&apogee(&["dump", "--log"], folder.path())).starts_with("damaged=0 length=1216 reason="));

    let missing = apogee(&["check"], &folder.path().join("nowhere"));
    assert_eq!(missing.status.code(), Some(1));
}
