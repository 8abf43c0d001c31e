//! Waiting for connections, and for moments.

use std::net::TcpStream;
use std::os::fd::OwnedFd;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime};

use super::SECOND;
use crate::error::BenchError;

/// Events that are taken at once.
const EVENTS: usize = 1024;
/// The event that is the timer's.
const TIMER: u64 = u64::MAX;

/// Waits for events of connections, which it knows by number.
pub(super) struct Waiter {
    epoll: OwnedFd,
    /// For moments: the waits of epoll are rounded to milliseconds on older systems, and late on all.
    timer: OwnedFd,
    armed: Option<u64>,
}

/// What a wait brought. It stays with its thread.
pub(super) struct Events(Vec<epoll::Event>);

impl Events {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(EVENTS))
    }

    /// The next connection that has something.
    pub(super) fn next(&mut self) -> Option<usize> {
        let events = std::iter::from_fn(|| self.0.pop());
        events.map(|event| event.data.u64()).find(|&number| number != TIMER).map(|number| number as usize)
    }
}

impl Waiter {
    pub(super) fn new() -> Result<Self, BenchError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC).map_err(failed)?;
        epoll::add(&epoll, &timer, epoll::EventData::new_u64(TIMER), epoll::EventFlags::IN).map_err(failed)?;
        Ok(Self { epoll, timer, armed: None })
    }

    /// Waits for what a connection brings from now on.
    pub(super) fn add(&self, stream: &TcpStream, number: usize) -> Result<(), BenchError> {
        epoll::add(&self.epoll, stream, epoll::EventData::new_u64(number as u64), epoll::EventFlags::IN).map_err(failed)
    }

    /// Whether it waits for a connection to take more, too.
    pub(super) fn watch_writes(&self, stream: &TcpStream, number: usize, writes: bool) -> Result<(), BenchError> {
        let flags = if writes { epoll::EventFlags::IN | epoll::EventFlags::OUT } else { epoll::EventFlags::IN };
        epoll::modify(&self.epoll, stream, epoll::EventData::new_u64(number as u64), flags).map_err(failed)
    }

    /// Waits until a connection has something, `until` at the latest; exactly `moment` ends it, too.
    pub(super) fn wait(
        &mut self,
        now: u64,
        until: u64,
        moment: Option<u64>,
        events: &mut Events,
    ) -> Result<(), BenchError> {
        let moment = moment.filter(|&moment| moment > now && moment < until);
        if moment != self.armed {
            let after = timespec(moment.map_or(0, |moment| moment - now));
            let value = Itimerspec { it_interval: timespec(0), it_value: after };
            timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &value).map_err(failed)?;
            self.armed = moment;
        }
        let timeout = timespec(until.saturating_sub(now));
        let room = rustix::buffer::spare_capacity(&mut events.0);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

fn failed(error: Errno) -> BenchError {
    BenchError::system("cannot wait for connections", error)
}

fn timespec(nanoseconds: u64) -> Timespec {
    Timespec { tv_sec: (nanoseconds / SECOND) as i64, tv_nsec: (nanoseconds % SECOND) as i64 }
}
