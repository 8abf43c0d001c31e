//! What was told of messages that are traced.

use std::time::{Duration, SystemTime};

use super::{Admin, Query, time};
use crate::{Error, Received};

/// Something that happened to a message, as who did it told.
///
/// ```no_run
/// use apogee_client::admin::{Query, TraceKind};
///
/// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
/// let id = "7F0000010001018B4AAC0000000000000000";
/// for event in admin.trace(&Query::key("RMQ_SYS_TRACE_TOPIC", id)).await? {
///     if event.kind == TraceKind::Consumed && !event.is_success {
///         println!("{} could not use it, after {:?}", event.group, event.took);
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEvent {
    /// What happened.
    pub kind: TraceKind,
    /// When, by the clock of who told; old clients do not tell when a message was consumed.
    pub at: Option<SystemTime>,
    /// The group of who did it; empty where old clients do not tell.
    pub group: String,
    /// Address of who did it, as `host:port`.
    pub client: String,
    /// How long it took.
    pub took: Duration,
    /// It succeeded.
    pub is_success: bool,
}

/// What happened to a message; see [`TraceEvent`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceKind {
    /// A broker took it.
    Published,
    /// A member of a group was about to consume it.
    Consuming,
    /// A member of a group has consumed it, or could not.
    Consumed,
    /// Its transaction was ended.
    TransactionEnded,
    /// It was recalled before its time.
    Recalled,
}

impl TraceKind {
    /// As records name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "Pub",
            Self::Consuming => "SubBefore",
            Self::Consumed => "SubAfter",
            Self::TransactionEnded => "EndTransaction",
            Self::Recalled => "Recall",
        }
    }
}

impl TraceEvent {
    /// Reads a record; `None` when it is of another message, or none.
    fn read(record: &str, message_id: &str, client: &str) -> Option<Self> {
        let fields: Vec<_> = record.split('\u{1}').collect();
        let field = |number: usize| fields.get(number).copied();
        let is = |number| field(number) == Some("true");
        let at = |number| field(number).and_then(|text| text.parse().ok()).and_then(time);
        let took = |number| Duration::from_millis(field(number).and_then(|text| text.parse().ok()).unwrap_or_default());
        let text = |number| field(number).unwrap_or_default().to_owned();
        let client = client.to_owned();
        let (id, event) = match *fields.first()? {
            "Pub" => {
                // Before 4.7 nothing said where it is.
                let is_success = if fields.len() == 13 { is(12) } else { is(13) };
                let kind = TraceKind::Published;
                (5, Self { kind, at: at(1), group: text(3), client, took: took(10), is_success })
            }
            "SubBefore" => {
                let (kind, took) = (TraceKind::Consuming, Duration::ZERO);
                (5, Self { kind, at: at(1), group: text(3), client, took, is_success: true })
            }
            "SubAfter" => {
                let kind = TraceKind::Consumed;
                (2, Self { kind, at: at(7), group: text(8), client, took: took(3), is_success: is(4) })
            }
            "EndTransaction" => {
                let (kind, took) = (TraceKind::TransactionEnded, Duration::ZERO);
                let is_success = field(11) == Some("COMMIT_MESSAGE");
                (5, Self { kind, at: at(1), group: text(3), client, took, is_success })
            }
            "Recall" => {
                let (kind, took) = (TraceKind::Recalled, Duration::ZERO);
                (5, Self { kind, at: at(1), group: text(3), client, took, is_success: is(6) })
            }
            _ => return None,
        };
        (field(id) == Some(message_id)).then_some(event)
    }
}

impl Admin {
    /// What happened to a message, in the order in which it was told. The query is for the message's id as a key of a topic
    /// of traces.
    ///
    /// # Errors
    /// As [`Admin::find`] has them.
    pub async fn trace(&self, query: &Query) -> Result<Vec<TraceEvent>, Error> {
        let of = |message: Received| {
            let (body, client) = (String::from_utf8_lossy(&message.body).into_owned(), message.born_host.to_string());
            let records = body.split('\u{2}').filter_map(|record| TraceEvent::read(record, query.wanted(), &client));
            records.collect::<Vec<_>>()
        };
        Ok(self.find(query).await?.into_iter().flat_map(of).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<TraceEvent> {
        TraceEvent::read(&text.replace(' ', "\u{1}"), "ID", "c:1")
    }

    #[test]
    fn records_of_old_and_new_clients_are_read() {
        let published = read("Pub 1700000000000 R P T ID null k b:1 5 7 0 OFFSET true").expect("one");
        let expected = TraceEvent {
            kind: TraceKind::Published,
            at: time(1_700_000_000_000),
            group: "P".to_owned(),
            client: "c:1".to_owned(),
            took: Duration::from_millis(7),
            is_success: true,
        };
        assert_eq!(published, expected);
        assert!(read("Pub 1700000000000 R P T ID null k b:1 5 7 0 true").expect("an old one").is_success);
        let consumed = read("SubAfter Q ID 4 false k 4 3 G").expect("one");
        assert_eq!((consumed.kind, consumed.is_success, &*consumed.group), (TraceKind::Consumed, false, "G"));
        assert_eq!(read("SubAfter Q ID 4 true k").expect("an old one").at, None);
        let ended = read("EndTransaction 3 R P T ID null k b:1 2 TX ROLLBACK_MESSAGE false").expect("one");
        assert_eq!((ended.kind, ended.is_success), (TraceKind::TransactionEnded, false));
        assert!(read("Recall 3 R P T ID true").expect("one").is_success);
    }

    #[test]
    fn what_is_of_another_message_or_no_record_is_passed_over() {
        for other in ["", "Pub", "Pub 1 R P T OTHER null k b:1 5 7 0 true", "Unknown 1 ID", "SubAfter Q"] {
            assert_eq!(read(other), None, "{other:?}");
        }
    }
}
