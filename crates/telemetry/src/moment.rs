//! Time for measuring: nanoseconds since this process began to measure. Asking the clock costs more than counting;
//! so who begins a batch asks it once, and who handles what is in it takes what the clock said then.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::Instant;

thread_local! {
    /// What this thread's clock said last; 0 before the first time.
    static RECENT: Cell<u64> = const { Cell::new(0) };
}

/// Asks the clock. Later calls of [`recent`] on this thread answer the same.
pub fn now() -> u64 {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    let elapsed = ORIGIN.get_or_init(Instant::now).elapsed();
    // Five hundred years fit; 0 means that nobody has asked.
    let now = (elapsed.as_secs().wrapping_mul(1_000_000_000) + u64::from(elapsed.subsec_nanos())).max(1);
    RECENT.set(now);
    now
}

/// What [`now`] said last on this thread, at the beginning of the batch that it is at work on.
pub fn recent() -> u64 {
    match RECENT.get() {
        0 => now(),
        recent => recent,
    }
}

/// Work that began at some moment goes on, on this thread.
pub fn carry(began: u64) {
    RECENT.set(began);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_one_time_on_its_thread() {
        let began = now();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert_eq!(recent(), began);
        let elsewhere = std::thread::spawn(move || {
            carry(began);
            recent()
        });
        assert_eq!(elsewhere.join().unwrap(), began);
        assert!(now() >= began + 1_000_000 && recent() > began);
    }
}
