//! What requests have in common that wait for messages: until when they may, and how they are answered and counted.

use apogee_net::Conn;
use apogee_wire::Command;

use crate::broker::Broker;
use crate::life::Stage;
use crate::metrics::requests::{Begun, Outcome};

/// Longest time that a request is parked, whatever it asks for, in milliseconds.
const MOST_WAIT_MS: i64 = 300_000;

/// Until when a request may wait that asks to wait for so long, in milliseconds since 1970; by the broker's clock, since the
/// consumer's may be another. One that has waited has its deadline.
pub(super) fn deadline(broker: &Broker, wait_ms: i64, before: Option<i64>) -> i64 {
    before.unwrap_or_else(|| broker.now() + wait_ms.clamp(0, MOST_WAIT_MS))
}

/// Whether there is time left until then, and the broker does not stop.
pub(super) fn may_wait(broker: &Broker, deadline_ms: i64) -> bool {
    deadline_ms > broker.now() && !broker.life.is_at(Stage::Refusing)
}

/// Sends an answer and counts it.
pub(super) fn reply(broker: &Broker, conn: &Conn, answer: &Command, begun: Begun) {
    count(broker, conn, answer, begun);
    conn.reply(answer);
}

/// Counts an answer that is sent.
pub(super) fn count(broker: &Broker, conn: &Conn, answer: &Command, begun: Begun) {
    let outcome = if conn.is_open() { Outcome::Answered } else { Outcome::Gone };
    let _ = begun.ends(&broker.counters.requests, answer.code, outcome);
}
