//! Compacted topics on a disk that breaks, over many seeds; and a folder that Apache's broker left.
//!
//! A failing seed is printed; `STORE_SEED=<n>` runs it alone, `STORE_SEEDS=<n>` sets how many run.

#![allow(clippy::unwrap_used)] // A panic is how a test fails, in its helpers, too.

mod fragile;
mod golden;
mod world;

use world::World;

/// The seeds asked for, else so many.
fn seeds(usual: u64) -> std::ops::Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse().ok());
    match number("STORE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STORE_SEEDS").unwrap_or(usual),
    }
}

/// Anything in any order, and the power goes at any step of it.
fn run(seed: u64) {
    let mut world = World::new(seed);
    for _ in 0..250 {
        if world.random.chance(4) {
            let steps = world.random.below(60) as i64;
            world.disk.set(steps);
        }
        match world.random.below(100) {
            0..60 => (0..1 + world.random.below(6)).for_each(|_| world.send()),
            60..72 => world.copy(),
            72..82 => world.compact(),
            82..86 => world.remove_old_files(),
            86..89 => drop(world.store().checkpoint_step()),
            89..91 => drop(world.store().queues_step()),
            91..93 => drop(world.store().flush_step()),
            93..95 => {
                let ms = world.random.below(8_000) as i64;
                world.clock.advance(ms);
            }
            95..96 if seed % 4 == 3 => world.delete_topic(),
            96..98 => world.restart(),
            98..100 => world.power_cut(),
            _ => world.check_unless_gone(),
        }
        if world.disk.is_gone() {
            world.power_cut();
            world.check();
        }
    }
    world.restart();
    world.check();
    world.compact_all();
    world.check();
}

impl World {
    fn check_unless_gone(&mut self) {
        if !self.disk.is_gone() {
            self.check();
        }
    }
}

#[test]
fn of_each_key_the_newest_message_stays_whatever_happens() {
    for seed in seeds(12) {
        run(seed);
    }
}

#[test]
fn the_power_may_go_at_each_step_of_a_copy_and_a_compaction() {
    for seed in seeds(1) {
        for steps in 0.. {
            let mut world = World::new(seed);
            (0..60).for_each(|_| world.send());
            world.compact_all();
            (0..60).for_each(|_| world.send());
            world.store().flush_step().unwrap();
            world.disk.set(steps);
            world.copy();
            world.compact();
            world.remove_old_files();
            if !world.disk.is_gone() {
                assert!(steps > 40, "only {steps} steps: nothing was compacted");
                break;
            }
            world.power_cut();
            world.check();
            world.compact_all();
            world.check();
            world.restart();
            world.check();
        }
    }
}

#[test]
fn compaction_leaves_little_and_deletions_go_in_time() {
    let mut world = World::new(4);
    (0..600).for_each(|_| world.send());
    world.compact_all();
    let count = |world: &World| (0..2).map(|queue| world.read(queue).len()).sum::<usize>();
    let before = count(&world);
    // Six keys and the messages of the last file in each of two queues.
    assert!(before <= 2 * (6 + 14), "{before} of 600");
    world.check();
    world.deletions_ms = -1;
    (0..100).for_each(|_| world.send());
    world.compact_all();
    world.check();
    // All but the last file's are gone once nobody needs to see them.
    assert!(count(&world) <= 2 * (6 + 14));
}
