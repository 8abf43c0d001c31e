//! The hot pieces one by one: `bench/count-pieces` runs each under callgrind and counts the instructions
//! within [`measured`].
//!
//! Without an argument it prints the names; with one it runs that piece and prints how many operations were
//! within [`measured`].

#![allow(clippy::print_stdout, clippy::print_stderr)] // Its result.

use std::hint::black_box;
use std::process::ExitCode;

mod answers;
mod filters;
mod requests;
mod sample;
mod store;

/// What a piece may fail with; its text is shown.
type Failure = Box<dyn std::error::Error>;

/// A piece of the way of a message.
struct Piece {
    /// As in `bench/counts.txt`.
    name: &'static str,
    /// Prepares, warms up, and calls [`measured`] once. Returns the number of operations within.
    run: fn() -> Result<u64, Failure>,
}

fn main() -> ExitCode {
    let pieces = || [requests::PIECES, answers::PIECES, store::PIECES, filters::PIECES].into_iter().flatten();
    let Some(name) = std::env::args().nth(1) else {
        pieces().for_each(|piece| println!("{}", piece.name));
        return ExitCode::SUCCESS;
    };
    let Some(piece) = pieces().find(|piece| piece.name == name) else {
        eprintln!("there is no piece {name}; without an argument all names are printed");
        return ExitCode::FAILURE;
    };
    match (piece.run)() {
        Ok(operations) => {
            println!("{operations}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Does the work once, and is what callgrind counts in: so it must stay a function of its own.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    black_box(work)();
}
