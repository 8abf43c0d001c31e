//! The whole store on a simulated disk, over many seeds: appends, background steps, crashes and
//! failures in random order, against a model that knows what was promised.
//!
//! A failing seed is printed; `STORE_SEED=<n>` runs it alone, `STORE_SEEDS=<n>` sets how many run. Many
//! are quicker with `--release`.
//!
//! | | file |
//! |---|---|
//! | the store, its disk and clock, and what was sent and answered | `world.rs` |
//! | what must be true at any moment | `check.rs` |
//! | everything at once, in random order | `chaos.rs` |

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

mod chaos;
mod check;
mod window;
mod world;

use apogee_message::record::Record;
use apogee_store::AppendError;
use world::World;

/// The seeds asked for, else so many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("STORE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_SEEDS").unwrap_or(usual),
    }
}

#[test]
fn everything_at_once() {
    // All of them, so that one run tells how many fail.
    let failed: Vec<u64> = seeds(150).filter(|seed| std::panic::catch_unwind(|| chaos::run(*seed)).is_err()).collect();
    assert!(failed.is_empty(), "{} seeds failed: {failed:?}", failed.len());
}

#[test]
fn what_was_promised_survives_power_cuts() {
    for seed in seeds(25) {
        let mut world = World::new(seed, true);
        for _ in 0..150 {
            world.step();
            world.note_answers();
            world.consume();
        }
        world.power_cut();
        world.consume();
    }
}

#[test]
fn what_was_written_survives_the_process() {
    for seed in seeds(25) {
        let mut world = World::new(seed, false);
        for _ in 0..150 {
            if world.random.below(40) == 0 {
                world.kill();
            } else if world.random.below(40) == 0 {
                world.restart();
            } else {
                match world.random.below(100) {
                    0..60 => world.append(),
                    60..75 => drop(world.store().flush_step()),
                    75..85 => drop(world.store().queues_step()),
                    85..90 => drop(world.store().index_step()),
                    _ => drop(world.store().checkpoint_step()),
                }
            }
            world.note_answers();
            world.consume();
        }
    }
}

#[test]
fn every_promised_message_is_found_by_its_key() {
    for seed in seeds(25) {
        let mut world = World::new(seed, true);
        for _ in 0..100 {
            world.step();
            world.note_answers();
        }
        world.power_cut();
        for ((topic, _), offsets) in &world.promised {
            for message in offsets.values() {
                let number = message.number;
                let found = world.store().query(topic, &format!("k{number}"), None, 8, 0, i64::MAX).unwrap();
                assert_eq!(found.records.len(), 1, "seed {seed}: message {number} in {topic}");
                let record = Record::read(&found.records[0]).unwrap();
                assert_eq!(record.body[..8], number.to_be_bytes());
            }
        }
    }
}

#[test]
fn after_a_failed_flush_nothing_is_promised() {
    for seed in seeds(25) {
        let mut world = World::new(seed, true);
        for _ in 0..20 {
            world.append();
        }
        world.store().flush_step().unwrap();
        world.note_answers();
        world.append();
        world.disk.fail_syncs(true);
        assert!(matches!(world.store().flush_step(), Err(AppendError::Failed(_))));
        world.disk.fail_syncs(false);
        // The disk is well again, but nobody knows what it lost: nothing more is promised.
        world.append();
        assert!(world.store().flush_step().is_err());
        let answers = std::mem::take(&mut *world.answers.0.lock().unwrap());
        assert!(!answers.is_empty() && answers.iter().all(|(_, answer)| answer.is_err()), "seed {seed}");
        assert!(world.store().failure().unwrap().contains("cannot flush the commit log"));
        world.consume();
        world.power_cut();
        world.consume();
    }
}

#[test]
fn what_is_seen_after_a_failed_flush_and_a_start_stays() {
    for seed in seeds(25) {
        let mut world = World::new(seed, true);
        for _ in 0..world.random.below(20) {
            world.step();
            world.note_answers();
        }
        world.append();
        world.disk.fail_syncs(true);
        assert!(matches!(world.store().flush_step(), Err(AppendError::Failed(_))));
        world.disk.fail_syncs(false);
        // The system still shows what it could not write, and no sync alone would write it.
        world.kill();
        world.consume();
        assert!(!world.seen.values().all(|messages| messages.is_empty()), "seed {seed}");
        world.append();
        world.store().flush_step().unwrap();
        world.note_answers();
        world.power_cut();
        world.consume();
    }
}

#[test]
fn a_failed_checkpoint_is_not_followed_by_one_that_hides_it() {
    for seed in seeds(25) {
        let mut world = World::new(seed, true);
        // The index would fail before the queues do.
        world.options.index = false;
        world.restart();
        for _ in 0..20 {
            world.append();
        }
        world.store().flush_step().unwrap();
        world.note_answers();
        if world.random.below(2) == 0 {
            world.store().queues_step().unwrap();
        }
        world.disk.fail_syncs(true);
        assert!(world.store().checkpoint_step().is_err(), "seed {seed}");
        world.disk.fail_syncs(false);
        assert!(world.store().failure().is_some(), "seed {seed}");
        let _ = world.store().checkpoint_step();
        let _ = world.store().close();
        world.power_cut();
        world.consume();
    }
}

#[test]
fn a_topic_that_is_deleted_and_made_again_begins_anew_whatever_happens() {
    for seed in seeds(25) {
        let mut world = World::new(seed, true);
        for _ in 0..150 {
            if world.random.below(15) == 0 {
                world.delete_topic();
            } else {
                world.step();
            }
            world.note_answers();
            world.consume();
        }
        world.power_cut();
        world.consume();
    }
}

#[test]
fn a_full_disk_refuses_and_recovers_by_itself() {
    for seed in seeds(25) {
        let mut world = World::new(seed, true);
        world.append();
        world.store().flush_step().unwrap();
        world.note_answers();
        let room = world.random.below(3000);
        world.disk.set_room(Some(room));
        for _ in 0..20 {
            world.append();
        }
        let _ = world.store().flush_step();
        world.note_answers();
        assert!(!world.refused.is_empty(), "seed {seed}");
        assert_eq!(world.store().failure(), None, "seed {seed}");
        world.consume();
        world.disk.set_room(None);
        for _ in 0..world.random.below(3) {
            world.append();
        }
        if world.random.below(3) > 0 {
            world.store().flush_step().unwrap();
            world.note_answers();
            world.consume();
        }
        world.power_cut();
        world.consume();
        world.append();
        world.store().flush_step().unwrap();
        world.note_answers();
        world.consume();
    }
}
