//! Everything at once, in random order.

use std::io::IoSlice;

use apogee_base::disk::Disk;
use apogee_store::{Removal, StoreOptions, new_beginning};

use crate::world::{OF_BATCHES, World};

/// One run: the seed decides on how messages are flushed, what happens and when.
pub fn run(seed: u64) {
    let mut world = World::new(seed, !seed.is_multiple_of(3));
    // Some runs leave something out, so that the rest happens more often.
    let (may_fail, may_fill, may_delete) = (seed % 4 != 1, seed % 5 != 2, seed.is_multiple_of(2));
    for _ in 0..200 {
        match world.random.below(120) {
            0..80 => world.step(),
            80..90 => world.remove_old_files(),
            90..94 if may_fill => world.change_room(),
            94..96 if may_fail => world.fail_for_a_while(),
            96..98 if may_delete && !world.is_limited => world.delete_topic(),
            98..102 => world.move_the_clock(),
            102..106 => world.search_by_time(),
            106..112 => world.search_by_key(),
            112..114 => world.lose_files_and_restart(),
            114..116 => world.damage_kept_units_and_restart(),
            _ => world.append(),
        }
        world.note_answers();
        if world.random.one_in(3) {
            world.consume();
        }
    }
    world.consume();
    world.power_cut();
    world.consume();
    world.disk.set_room(None);
    world.is_limited = false;
    // It is as good as new.
    world.append();
    world.store().flush_step().unwrap();
    world.note_answers();
    world.consume();
    world.search_by_key();
    world.restart();
    world.consume();
    world.search_by_key();
}

/// The folder of a topic's queues.
fn folder_of(topic: &str) -> &'static str {
    if topic == OF_BATCHES { "batchconsumequeue" } else { "consumequeue" }
}

impl World {
    /// What retention does, or a part of it.
    fn remove_old_files(&mut self) {
        let segments = self.store().log_segments();
        let before = self.now() - self.random.below(300_000) as i64;
        let removal = if self.random.one_in(3) { Removal::Any } else { Removal::StoredBefore(before) };
        if segments.is_empty() {
            return;
        }
        let wanted = segments[self.random.below(segments.len() as u64) as usize].end;
        let Ok(to) = self.store().removable_to(wanted) else {
            assert!(self.store().failure().is_some(), "seed {}", self.seed);
            return;
        };
        assert!(to <= self.store().flushed_offset(), "seed {}", self.seed);
        let most = 1 + self.random.below(4) as usize;
        let Some(end) = new_beginning(&segments, removal, to, most) else { return };
        if removal == Removal::StoredBefore(before) && !self.clock_went_back {
            let messages = self.promised.values().chain(self.seen.values()).flat_map(|messages| messages.values());
            let young = messages.filter(|message| message.physical < end).find(|message| message.time >= before);
            assert_eq!(young, None, "seed {}: not before {before}", self.seed);
        }
        self.cut = self.cut.max(end);
        self.is_trimmed = false;
        while let Some(begin) = self.store().remove_oldest(end).unwrap() {
            assert_eq!(begin, self.store().log_min_offset(), "seed {}", self.seed);
            if self.random.one_in(8) {
                // The process may end here.
                return;
            }
        }
        assert_eq!(self.store().log_min_offset(), end, "seed {}", self.seed);
        if !self.random.one_in(4) {
            self.store().trim().unwrap();
            self.is_trimmed = true;
        }
    }

    /// The disk has little room, or room again.
    fn change_room(&mut self) {
        self.is_limited = !self.is_limited;
        let room = self.is_limited.then(|| self.random.below(3_000));
        self.disk.set_room(room);
    }

    /// Writes or syncs fail, until somebody looks after the disk and starts the store again.
    fn fail_for_a_while(&mut self) {
        let writes = self.random.one_in(2);
        if writes {
            self.disk.fail_writes(true);
        } else {
            self.disk.fail_syncs(true);
        }
        for _ in 0..1 + self.random.below(8) {
            match self.random.below(6) {
                0..3 => self.append(),
                3 => drop(self.store().flush_step()),
                4 => drop(self.store().queues_step()),
                _ => drop(self.store().checkpoint_step()),
            }
            self.note_answers();
        }
        self.consume();
        self.disk.fail_writes(false);
        self.disk.fail_syncs(false);
        // The disk is well again, and nobody knows what it lost.
        self.append();
        let _ = self.store().flush_step();
        let _ = self.store().checkpoint_step();
        if self.random.one_in(2) {
            self.kill();
        } else {
            self.power_cut();
        }
    }

    fn move_the_clock(&mut self) {
        let ms = self.random.below(200_000) as i64;
        if self.random.one_in(4) {
            self.clock_went_back = true;
            self.clock.advance(-ms / 2);
        } else {
            self.clock.advance(ms);
        }
    }

    /// The process ends, and the file of kept units that is read first or last is damaged or gone.
    fn damage_kept_units_and_restart(&mut self) {
        self.note_answers();
        self.disk.kill_process();
        self.close_the_door();
        let mut files = self.disk.list(&self.path("units")).unwrap();
        if self.random.one_in(2) {
            files.reverse();
        }
        if let Some(name) = files.first() {
            let path = self.path("units").join(name);
            if self.random.one_in(3) {
                self.disk.remove(&path).unwrap();
            } else {
                let file = self.disk.open(&path, false).unwrap();
                let at = self.random.below(file.length().unwrap().max(1));
                let mut byte = [0];
                file.read_at(&mut byte, at).unwrap();
                // Not on a full disk.
                let _ = file.write_at(&mut [IoSlice::new(&[byte[0] ^ 4])], at);
            }
        }
        self.open();
    }

    /// The store is left somehow, and somebody removes files before it is opened again.
    fn lose_files_and_restart(&mut self) {
        self.note_answers();
        self.disk.kill_process();
        self.close_the_door();
        if self.random.one_in(2) {
            self.lose_files_of_queues();
            return self.open();
        }
        let checkpoint = self.path("checkpoint");
        if self.disk.exists(&checkpoint) {
            self.disk.remove(&checkpoint).unwrap();
        }
        if self.random.one_in(2) {
            self.disk.remove_folder(&self.path("index")).unwrap();
        }
        if self.random.one_in(2) {
            let topic = format!("T{}", self.random.below(3));
            self.disk.remove_folder(&self.path(folder_of(&topic)).join(&topic)).unwrap();
            // Where its queues went on is known from what is left in the log.
            let cut = self.cut;
            for messages in self.promised.iter_mut().chain(self.seen.iter_mut()).filter(|(place, _)| place.0 == topic) {
                messages.1.retain(|_, message| message.physical >= cut);
            }
        }
        self.disk.sync_folder(&self.path("")).unwrap();
        self.open();
    }

    /// Some files of a queue are removed or cut short, and the checkpoint knows nothing of it.
    fn lose_files_of_queues(&mut self) {
        let topic = format!("T{}", self.random.below(3));
        let folder = self.path(folder_of(&topic)).join(&topic).join(self.random.below(2).to_string());
        let StoreOptions { queue_file_size, batch_queue_file_size, .. } = self.options;
        let size = if topic == OF_BATCHES { batch_queue_file_size } else { queue_file_size };
        for name in self.disk.list(&folder).unwrap() {
            let path = folder.join(name);
            match self.random.below(4) {
                0 => self.disk.remove(&path).unwrap(),
                1 => {
                    let length = self.random.below(size);
                    self.disk.open(&path, false).unwrap().set_len(length).unwrap();
                }
                _ => {}
            }
        }
        // Where a queue of which nothing is left went on is known from what is left in the log.
        let cut = self.cut;
        for messages in self.promised.values_mut().chain(self.seen.values_mut()) {
            messages.retain(|_, message| message.physical >= cut);
        }
        self.disk.sync_folder(&folder).unwrap();
    }
}
