//! A message that waits to be settled.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use tracing::Span;

use super::Group;
use super::held::Held;
use crate::Received;
use crate::interceptor::{ConsumeOutcome, Consuming};

/// A message that waits to be settled: by [`Delivery::ack`], or by [`Delivery::retry`], which is also what
/// dropping it means.
///
/// What a retry is depends on the consumer. A usual one sends the message to the broker, which delivers it again after
/// a while that grows from time to time, and after the last time puts it among the group's dead letters. An
/// [orderly](crate::ConsumerBuilder::orderly) one keeps it: its queue rests, and then goes on with the same message.
/// A [broadcasting](crate::ConsumerBuilder::broadcasting) one writes to the log that it failed, and drops it.
///
/// ```no_run
/// # async fn example(mut consumer: apogee_client::Consumer) {
/// use std::time::Duration;
///
/// while let Some(delivery) = consumer.next().await {
///     match delivery.tag() {
///         Some("book") => delivery.ack(),
///         _ => delivery.retry_after(Duration::from_secs(30)),
///     }
/// }
/// # }
/// ```
pub struct Delivery {
    message: Received,
    held: Arc<Held>,
    group: Arc<Group>,
    is_settled: bool,
    /// Interceptors wait for its end.
    consuming: Option<Box<Consuming>>,
    /// As it was before interceptors, where it may come again without the broker.
    untouched: Option<Box<Received>>,
}

/// A message that is to be delivered again.
pub(super) struct GivenBack {
    pub message: Received,
    pub held: Arc<Held>,
    pub when: When,
}

/// When a message is to be delivered again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// As the group has it.
    Policy,
    /// After the time of a delay level.
    Level(i32),
    After(Duration),
    /// Never: it goes to the dead letters.
    Never,
}

/// Times of the delay levels, in seconds, as brokers have them unless they are told otherwise; the first is level 1.
const LEVELS: [u64; 18] = [1, 5, 10, 30, 60, 120, 180, 240, 300, 360, 420, 480, 540, 600, 1200, 1800, 3600, 7200];

impl When {
    /// As a broker is told: the first level that takes as long.
    pub fn level(self) -> i32 {
        match self {
            Self::Policy => 0,
            Self::Level(level) => level,
            Self::After(time) => {
                let shorter = LEVELS.iter().take_while(|seconds| Duration::from_secs(**seconds) < time).count();
                (shorter + 1).min(LEVELS.len()) as i32
            }
            Self::Never => -1,
        }
    }

    /// How long a queue rests before it.
    pub fn rest(self, policy: Duration) -> Duration {
        match self {
            Self::Policy | Self::Never => policy,
            Self::Level(level) => {
                let level = usize::try_from(level).unwrap_or_default().clamp(1, LEVELS.len());
                Duration::from_secs(LEVELS[level - 1])
            }
            Self::After(time) => time,
        }
    }
}

impl Delivery {
    /// It is about to be given to whoever consumes it. One that is refused comes again.
    pub(super) fn begin(message: Received, held: &Arc<Held>, group: &Arc<Group>) -> Option<Self> {
        let hooks = &group.hooks;
        let untouched =
            (hooks.may_change(&message) && group.settings.kind.is_orderly()).then(|| Box::new(message.clone()));
        let (held, group) = (Arc::clone(held), Arc::clone(group));
        let mut delivery = Self { message, held, group, is_settled: false, consuming: None, untouched };
        match delivery.group.hooks.before_consume(&mut delivery.message) {
            Ok(consuming) => {
                delivery.consuming = consuming;
                Some(delivery)
            }
            Err(error) => {
                let (group, queue, offset) = (&*delivery.group.name, &delivery.queue, delivery.offset);
                tracing::error!(group, %queue, offset, %error, "a message is not consumed: it goes back");
                delivery.retry();
                None
            }
        }
    }

    /// Tells the interceptors what became of it.
    fn end(&mut self, outcome: ConsumeOutcome<'_>) {
        if let Some(consuming) = self.consuming.take() {
            consuming.after(&self.message, outcome);
        }
    }

    /// The span of its handling, for what is traced beside [`crate::Consumer::run`], which enters it.
    pub fn span(&self) -> Span {
        self.consuming.as_ref().map_or_else(Span::none, |consuming| consuming.span().clone())
    }

    /// The message was consumed.
    pub fn ack(mut self) {
        self.end(ConsumeOutcome::Acknowledged);
        self.is_settled = true;
        self.held.told(true);
        let worked = self.held.settle(self.message.offset);
        self.group.figures.consumed(&self.held.queue.topic, worked);
    }

    /// The message was not consumed: it comes again, when the group's policy has it.
    pub fn retry(self) {
        self.retry_when(When::Policy);
    }

    /// The same after the time of a delay level, see [`crate::Message::delay_level`]; 0: as the group's policy has it.
    pub fn retry_at_level(self, delay_level: u32) {
        self.retry_when(match delay_level {
            0 => When::Policy,
            level => When::Level(level.try_into().unwrap_or(i32::MAX)),
        });
    }

    /// The same after a time, at least. A broker knows only the times of its delay levels, 1 s to 2 h by default: it
    /// is the next of them.
    pub fn retry_after(self, time: Duration) {
        self.retry_when(When::After(time));
    }

    fn retry_when(mut self, when: When) {
        self.give_back(when);
    }

    fn give_back(&mut self, when: When) {
        if !self.is_settled {
            self.end(ConsumeOutcome::Retried);
            self.is_settled = true;
            self.group.figures.failed(&self.held.queue.topic);
            let message = self.untouched.take().map_or_else(|| self.message.clone(), |untouched| *untouched);
            let held = Arc::clone(&self.held);
            self.group.give_back(GivenBack { message, held, when });
        }
    }

    /// The message alone.
    pub(super) fn message(&self) -> &Received {
        &self.message
    }
}

impl Deref for Delivery {
    type Target = Received;

    fn deref(&self) -> &Received {
        &self.message
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.give_back(When::Policy);
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Delivery").field(&self.message).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_the_next_level_and_a_level_is_its_time() {
        let levels = [0, 1, 2, 5, 30, 7_200, 90_000].map(|seconds| When::After(Duration::from_secs(seconds)).level());
        assert_eq!(levels, [1, 1, 2, 2, 4, 18, 18]);
        let policy = Duration::from_millis(7);
        let rests = [When::Policy, When::Level(3), When::Level(99), When::After(Duration::ZERO)];
        assert_eq!(rests.map(|when| when.rest(policy).as_millis()), [7, 10_000, 7_200_000, 0]);
    }
}
