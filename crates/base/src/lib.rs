//! Units, limits, settings files, and the seams for time and disk.

pub mod clock;
pub mod date;
pub mod disk;
pub mod hash;
pub mod nearest;
pub mod rng;
pub mod settings;
