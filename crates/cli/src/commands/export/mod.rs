//! What a cluster has and does, in files.

pub mod configs;
pub mod metadata;
pub mod metrics;

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;

use crate::error::CliError;
use crate::report::Report;

/// Where files are written.
#[derive(Args, Debug)]
pub struct Folder {
    /// Folder for the file, made where it is not there
    #[arg(short = 'f', long = "filePath", value_name = "FOLDER", default_value = "/tmp/rocketmq/export")]
    folder: PathBuf,
}

impl Folder {
    /// Writes a file, which is there as a whole or not at all.
    fn write(&self, name: &str, value: &Value) -> Result<Report, CliError> {
        let path = self.folder.join(name);
        write(&self.folder, &path, &format!("{value:#}\n"))
            .map_err(|source| CliError::file(format!("cannot write {}", path.display()), source))?;
        let path = path.display().to_string();
        Ok(Report::new().line(format!("export {path} success")).data("file", path))
    }
}

fn write(folder: &Path, path: &Path, text: &str) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let unfinished = path.with_extension(format!("{}.tmp", std::process::id()));
    let written = std::fs::write(&unfinished, text).and_then(|()| std::fs::rename(&unfinished, path));
    if written.is_err() {
        // It is of no use to anybody; it may not be there.
        let _ = std::fs::remove_file(&unfinished);
    }
    written
}
