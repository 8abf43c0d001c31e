//! The binary by the name `mqadmin`, and what Apache's printed.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{PATIENCE, Server, binary};

/// Runs commands against a server by the name `mqadmin`.
pub struct MqAdmin {
    path: PathBuf,
    namesrv: String,
    folder: tempfile::TempDir,
}

impl MqAdmin {
    pub fn of(server: &Server) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mqadmin");
        symlink(binary(), &path).expect("linked");
        Self { path, namesrv: server.namesrv.to_string(), folder }
    }

    /// A folder for files of commands.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What runs it, for those that end by being killed.
    pub fn process(&self, arguments: &[&str]) -> Process {
        let mut process = Process::new(&self.path);
        process.args(arguments).env("NAMESRV_ADDR", &self.namesrv);
        process
    }

    /// How a command ends, and what it prints.
    pub fn run(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.process(arguments).output().expect("it runs");
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().expect("not killed"), String::from_utf8_lossy(&text).into_owned())
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {text}");
        text
    }

    /// What one that fails says.
    pub fn fails(&self, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        assert_ne!(code, 0, "{arguments:?}: {text}");
        text
    }

    /// What one that fails with that code says.
    pub fn fails_with(&self, expected: i32, arguments: &[&str]) -> String {
        let (code, text) = self.run(arguments);
        assert_eq!(code, expected, "{arguments:?}: {text}");
        text
    }

    /// What it says with `--json`.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// What it says with `--json` each time that it tells something.
    pub fn json_lines(&self, arguments: &[&str]) -> Vec<Value> {
        let text = self.ok(&[arguments, &["--json"]].concat());
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {line}"));
        text.lines().map(line).collect()
    }

    /// Runs it until what it prints is as it is to be.
    pub fn eventually(&self, arguments: &[&str], is_right: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, text) = self.run(arguments);
            if is_right(&text) {
                return text;
            }
            assert!(Instant::now() < deadline, "{arguments:?}: {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// What it prints under the headings that Apache's `mqadmin` printed, see `tests/golden/mqadmin`; in rows of cells
    /// without blanks.
    pub fn rows(&self, sample: &str, arguments: &[&str]) -> Vec<Vec<String>> {
        let text = self.ok(arguments);
        let sample = golden(sample);
        let wanted = headings(&sample);
        let mut lines = text.lines();
        let found = lines.find(|line| line.starts_with('#')).unwrap_or_else(|| panic!("no headings: {text}"));
        assert_eq!(headings(found), wanted, "{text}");
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        lines.map(cells).take_while(|row: &Vec<_>| !row.is_empty()).collect()
    }
}

/// What Apache's `mqadmin` printed, without the command, and with the end of its last line, which it left out at times.
pub fn golden(sample: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/mqadmin").join(sample);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (_, output) = text.split_once('\n').unwrap_or_default();
    format!("{}\n", output.trim_end())
}

/// The headings of the first line that has some.
fn headings(text: &str) -> Vec<String> {
    let line = text.lines().find(|line| line.starts_with('#')).unwrap_or_default();
    line.split('#').skip(1).map(|heading| heading.trim().to_owned()).collect()
}
