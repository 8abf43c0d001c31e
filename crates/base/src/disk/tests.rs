//! One suite for both disks.

use super::*;

fn suite(disk: &dyn Disk, root: &Path) {
    let folder = root.join("a/b");
    disk.create_folder(&folder).unwrap();
    assert_eq!(disk.list(&root.join("nothing")).unwrap(), Vec::<String>::new());
    let path = folder.join("f");
    assert!(disk.open(&path, false).is_err());
    let file = disk.open(&path, true).unwrap();
    file.set_len(100).unwrap();
    let mut pieces = [IoSlice::new(b"ab"), IoSlice::new(b""), IoSlice::new(b"cde")];
    file.write_at(&mut pieces, 10).unwrap();
    file.sync().unwrap();
    let mut buffer = [0; 7];
    assert_eq!(file.read_at(&mut buffer, 9).unwrap(), 7);
    assert_eq!(&buffer, b"\0abcde\0");
    assert_eq!(file.read_at(&mut buffer, 98).unwrap(), 2);
    assert_eq!(&file.slice(10, 5).unwrap()[..], b"abcde");
    assert!(file.slice(98, 5).is_err());
    assert_eq!(file.length().unwrap(), 100);

    let other = folder.join("g");
    replace(disk, &other, b"one").unwrap();
    replace(disk, &other, b"two").unwrap();
    assert_eq!(read_replaced(disk, &other).unwrap().unwrap(), b"two");
    assert_eq!(disk.list(&folder).unwrap(), ["f", "g", "g.bak"]);
    disk.remove(&other).unwrap();
    assert_eq!(read_replaced(disk, &other).unwrap().unwrap(), b"one");
    disk.rename(&path, &other).unwrap();
    assert!(disk.exists(&other) && !disk.exists(&path));

    let lock = disk.lock(&root.join("lock")).unwrap();
    assert_eq!(disk.lock(&root.join("lock")).err().unwrap().kind(), io::ErrorKind::WouldBlock);
    lock.sync_all().unwrap();
    drop(lock);
    disk.lock(&root.join("lock")).unwrap();
    disk.remove_folder(&root.join("a")).unwrap();
    assert!(!disk.exists(&other));
    disk.remove_folder(&root.join("a")).unwrap();
}

#[test]
fn the_real_disk_keeps_to_the_suite() {
    let root = tempfile::tempdir().unwrap();
    suite(&RealDisk, root.path());
}

#[test]
fn the_simulated_disk_keeps_to_the_suite() {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new("/r")).unwrap();
    suite(&disk, Path::new("/r"));
}

#[test]
fn a_crash_takes_what_was_not_synced_and_nothing_else() {
    let mut lost = 0;
    for seed in 0..50 {
        let disk = SimDisk::new(seed);
        let path = Path::new("/r/f");
        disk.create_folder(Path::new("/r")).unwrap();
        let file = disk.open(path, true).unwrap();
        file.write_at(&mut [IoSlice::new(b"durable")], 0).unwrap();
        file.sync().unwrap();
        disk.sync_folder(Path::new("/r")).unwrap();
        file.write_at(&mut [IoSlice::new(b"hope")], 7).unwrap();
        disk.crash();
        assert!(file.sync().is_err(), "a handle of before the crash");
        let content = read(&disk, path).unwrap();
        assert!(b"durablehope".starts_with(&content) && content.starts_with(b"durable"), "{content:?}");
        lost += usize::from(content.len() < 11);
    }
    assert!((10..50).contains(&lost), "{lost}");
}

#[test]
fn failures_are_had_on_demand() {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new("/r")).unwrap();
    let file = disk.open(Path::new("/r/f"), true).unwrap();
    disk.set_room(Some(4));
    file.write_at(&mut [IoSlice::new(b"four")], 0).unwrap();
    let full = file.write_at(&mut [IoSlice::new(b"5")], 4).unwrap_err();
    assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    // What has room already can be written again; what fits in part is written in part.
    file.write_at(&mut [IoSlice::new(b"FOUR")], 0).unwrap();
    disk.set_room(Some(1));
    assert!(file.write_at(&mut [IoSlice::new(b"r56")], 3).is_err());
    assert_eq!(read(&disk, Path::new("/r/f")).unwrap(), b"FOUr5");
    disk.fail_syncs(true);
    assert!(file.sync().is_err());
}

#[test]
fn a_failed_sync_of_everything_is_lost_even_if_the_next_succeeds() {
    let disk = SimDisk::new(1);
    disk.create_folder(Path::new("/r")).unwrap();
    let lock = disk.lock(Path::new("/r/lock")).unwrap();
    let file = disk.open(Path::new("/r/f"), true).unwrap();
    lock.sync_all().unwrap();
    file.write_at(&mut [IoSlice::new(b"gone")], 0).unwrap();
    disk.fail_syncs(true);
    assert!(lock.sync_all().is_err());
    disk.fail_syncs(false);
    lock.sync_all().unwrap();
    disk.crash();
    assert_eq!(read(&disk, Path::new("/r/f")).unwrap(), b"");
    assert!(lock.sync_all().is_err(), "a lock of before the crash");
}

/// Whether the kernel was told that a mapped file is read here and there.
#[cfg(target_os = "linux")]
fn is_random(path: &Path) -> bool {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let of_file = maps.split(path.to_str().unwrap()).nth(1).expect("the file is mapped");
    let flags = of_file.lines().find_map(|line| line.strip_prefix("VmFlags:")).unwrap();
    flags.split_whitespace().any(|flag| flag == "rr")
}

#[test]
#[cfg(target_os = "linux")]
fn the_system_is_told_whether_to_read_ahead() {
    let root = tempfile::tempdir().unwrap();
    for (name, before) in [("f", false), ("g", true)] {
        let path = root.path().join(name);
        let file = RealDisk.open(&path, true).unwrap();
        file.set_len(1 << 16).unwrap();
        file.set_read_ahead(before);
        let slice = file.slice(0, 1).unwrap();
        assert_eq!(is_random(&path), !before, "before it is mapped");
        for on in [true, false] {
            file.set_read_ahead(on);
            assert_eq!(is_random(&path), !on, "while it is mapped");
        }
        drop(slice);
    }
}
