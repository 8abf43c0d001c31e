//! What the binary says about its own commands.

mod common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Output};

use common::binary;

fn run(arguments: &[&str]) -> Output {
    Process::new(binary()).args(arguments).env_remove("NAMESRV_ADDR").output().expect("the binary runs")
}

/// Names and contents of a folder's files.
fn files(folder: &Path) -> BTreeMap<String, String> {
    let file = |path: PathBuf| {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        (name, std::fs::read_to_string(&path).expect("a page"))
    };
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| file(entry.expect("an entry").path())).collect()
}

#[test]
fn the_pages_of_commands_say_what_help_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let written = run(&["pages", folder.path().to_str().expect("a name")]);
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/commands");
    let (now, kept) = (files(folder.path()), files(&kept));
    let differ: Vec<&String> = now.keys().chain(kept.keys()).filter(|name| now.get(*name) != kept.get(*name)).collect();
    assert!(differ.is_empty(), "write them anew (rm -r docs/commands; cargo run -- pages docs/commands): {differ:?}");
}

#[test]
fn shells_complete_commands_of_administrators() {
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&["completion", shell]);
        assert!(script.status.success());
        let script = String::from_utf8_lossy(&script.stdout);
        assert!(script.contains("consumerProgress") && script.contains("namesrvAddr"), "{shell}");
    }
}

#[test]
fn a_mistyped_command_is_answered_with_what_was_meant_and_exit_code_2() {
    let output = run(&["admin", "consumerProgres"]);
    assert_eq!(output.status.code(), Some(2));
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("'consumerProgress'"), "{text}");
}
