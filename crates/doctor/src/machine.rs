//! The machine under this process, as Linux tells of it.

use std::fs;

use crate::Machine;

/// What the kernel says of this process and its machine, for the broker of that name. What it does not say is `None`.
pub fn this_machine(broker: &str) -> Machine {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open = fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64);
    let mapped = fs::read_to_string("/proc/self/maps").ok().map(|maps| maps.lines().count() as u64);
    Machine {
        broker: broker.to_owned(),
        files: soft_limit(&limits, "Max open files").zip(open),
        maps: setting("max_map_count").zip(mapped),
        swapped: kilobytes(&status, "VmSwap:"),
        swap: kilobytes(&memory, "SwapTotal:"),
        swappiness: setting("swappiness"),
        // 0 when `vm.dirty_bytes` is set instead.
        dirty_ratio: setting("dirty_ratio").filter(|ratio| *ratio > 0),
    }
}

fn setting(name: &str) -> Option<u64> {
    fs::read_to_string(format!("/proc/sys/vm/{name}")).ok()?.trim().parse().ok()
}

/// Bytes of a line such as `VmSwap:   12 kB`.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes << 10)
}

/// The first number of a line such as `Max open files   1024   524288   files`.
fn soft_limit(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    match line.split_ascii_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_proc_are_read() {
        assert_eq!(kilobytes("VmRSS:\t 8 kB\nVmSwap:\t    12 kB\n", "VmSwap:"), Some(12 << 10));
        let limits = "Limit  Soft  Hard\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit(limits, "Max open files"), Some(1024));
        assert_eq!(soft_limit("Max open files unlimited unlimited files", "Max open files"), Some(u64::MAX));
        assert_eq!((kilobytes("", "VmSwap:"), soft_limit("", "Max open files")), (None, None));
    }
}
