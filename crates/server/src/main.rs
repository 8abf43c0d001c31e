//! The one binary: wiring and command line.

fn main() {}
