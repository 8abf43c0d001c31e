//! The process, under the names that Prometheus' clients have for it.

use apogee_telemetry::Family;

/// What the system tells of this process; nothing where it doesn't.
pub(super) fn families(started_ms: i64) -> Vec<Family> {
    let mut families = vec![
        Family::gauge("target_info", "", "What is measured").of(1.0),
        Family::gauge("process_start_time_seconds", "seconds", "When the process began, since 1970")
            .of(started_ms as f64 / 1e3),
    ];
    if let Some(seconds) = cpu_seconds() {
        families.push(Family::counter("process_cpu_seconds_total", "Processor time").of(seconds));
    }
    if let Some(kilobytes) = number_behind("/proc/self/status", "VmRSS:") {
        families.push(Family::gauge("process_resident_memory_bytes", "bytes", "Memory in use").of(kilobytes * 1024.0));
    }
    if let Ok(files) = std::fs::read_dir("/proc/self/fd") {
        families.push(Family::gauge("process_open_fds", "", "Open files").of(files.count() as f64));
    }
    if let Some(most) = number_behind("/proc/self/limits", "Max open files") {
        families.push(Family::gauge("process_max_fds", "", "Files that may be open").of(most));
    }
    families
}

/// The first number in a line of a file that begins with some words.
fn number_behind(file: &str, words: &str) -> Option<f64> {
    let text = std::fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(words))?.split_whitespace().next()?.parse().ok()
}

fn cpu_seconds() -> Option<f64> {
    /// Ticks of a second in this file, on every Linux.
    const TICKS: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the process, in parentheses, may hold blanks; user and system time are 12th and 13th behind it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let (user, system) = (fields.next()?.parse::<f64>().ok()?, fields.next()?.parse::<f64>().ok()?);
    Some((user + system) / TICKS)
}
