//! Commands about how far groups are, and that move them.

use std::time::SystemTime;

use crate::cell::Cell;

pub mod allocate;
pub mod lag;
pub mod progress;
pub mod reset;

/// A time as upstream writes it here: to the second.
fn to_second(time: Option<SystemTime>) -> Cell {
    let cell = Cell::time(time);
    let text = cell.to_string();
    Cell::both(text.split(',').next().unwrap_or_default(), cell.to_json())
}
