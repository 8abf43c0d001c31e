//! Any file of epochs is read or refused; what was read is the same after it was written.
#![no_main]

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use apogee_base::disk::{Disk, SimDisk};
use apogee_replication::EpochFile;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    assert!(disk.create_folder(Path::new("store")).is_ok());
    let opened = disk.open(Path::new("store/epochFileCheckpoint"), true);
    assert!(opened.is_ok_and(|file| file.write_at(&mut [IoSlice::new(bytes)], 0).is_ok()));
    let file = EpochFile::of(disk, Path::new("store"));
    if let Ok(epochs) = file.read() {
        let entries = epochs.entries();
        assert!(entries.windows(2).all(|pair| pair[0].number < pair[1].number && pair[0].start <= pair[1].start));
        assert!(file.write(&epochs).is_ok());
        assert!(matches!(file.read(), Ok(read) if read == epochs));
    }
});
