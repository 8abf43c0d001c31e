//! Wakes a thread that sleeps.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Default)]
pub(crate) struct Bell {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Bell {
    /// Sleeps until it is rung, or for `timeout`; not at all when it was rung since the last sleep.
    pub fn sleep(&self, timeout: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(rung, timeout, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }

    /// Sleeps like [`Bell::sleep`], but does not hear it for the first `deaf`: what rings it meanwhile is for one
    /// step to deal with. Without a time to sleep there is no step to wait for.
    pub fn sleep_at_least(&self, deaf: Duration, timeout: Duration) {
        if timeout > Duration::ZERO {
            std::thread::sleep(deaf);
            self.sleep(timeout.saturating_sub(deaf));
        }
    }

    /// Ends a sleep.
    pub fn ring(&self) {
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        // Who was told before and has not come yet need not be told again: that would be a system call each time.
        if !std::mem::replace(&mut *rung, true) {
            drop(rung);
            self.heard.notify_all();
        }
    }
}
