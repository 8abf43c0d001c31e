//! How long requests took, by kind: what upstream tells in coarse buckets, and the finer ones of ours.

use apogee_telemetry::{Family, Histogram, KeyedHistograms, LATENCY_NS, SECONDS_PER_NS, Snapshot, Text, moment};
use apogee_wire::codes::{request, response};

/// Upstream's bounds, in milliseconds; each is one of [`LATENCY_NS`].
const COARSE_MS: [f64; 9] = [1.0, 3.0, 5.0, 7.0, 10.0, 100.0, 1_000.0, 2_000.0, 3_000.0];
const MS_PER_NS: f64 = 1e-6;

const SENDS: [i32; 3] = [request::SEND_MESSAGE, request::SEND_MESSAGE_V2, request::SEND_BATCH_MESSAGE];
const PULLS: [i32; 2] = [request::PULL_MESSAGE, request::LITE_PULL_MESSAGE];

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Its answer is on its way.
    Answered,
    /// Nobody wanted an answer.
    Oneway,
    /// Who asked is gone.
    Gone,
}

/// Times of all requests since the start, from when they were read to when their answers are handed to the
/// connection.
pub(crate) struct Requests(KeyedHistograms);

impl Default for Requests {
    fn default() -> Self {
        Self(KeyedHistograms::new(LATENCY_NS))
    }
}

/// A kind of request, in the bits of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    code: i32,
    answer: i32,
    waited: bool,
    outcome: Outcome,
}

/// A code that is in no table: peers may send any number.
const UNKNOWN: i32 = 0xff_ffff;

impl Kind {
    fn to_key(self) -> u64 {
        let bits = |code: i32| if (0..UNKNOWN).contains(&code) { code as u64 } else { UNKNOWN as u64 };
        bits(self.code) << 32 | bits(self.answer) << 8 | u64::from(self.waited) << 4 | self.outcome as u64
    }

    fn of_key(key: u64) -> Self {
        let outcome = match key & 0xf {
            0 => Outcome::Answered,
            1 => Outcome::Oneway,
            _ => Outcome::Gone,
        };
        let code = |bits: u64| (bits & UNKNOWN as u64) as i32;
        Self { code: code(key >> 32), answer: code(key >> 8), waited: key & 0x10 != 0, outcome }
    }
}

impl Requests {
    /// A request that began at some moment was answered at another. `waited`: it was parked until a message came.
    pub fn answered(&self, code: i32, answer: i32, waited: bool, outcome: Outcome, began: u64, now: u64) {
        let code = if request::name(code).is_some() { code } else { UNKNOWN };
        self.of(Kind { code, answer, waited, outcome }).record(now.saturating_sub(began));
    }

    fn of(&self, kind: Kind) -> &Histogram {
        self.0.of(kind.to_key())
    }

    /// Times of all requests of some kinds.
    fn merged(&self, scale: f64, wanted: impl Fn(Kind) -> bool) -> Snapshot {
        let mut merged = Histogram::new(LATENCY_NS).snapshot(scale);
        let wanted = self.0.iter().filter(|(key, _)| *key != KeyedHistograms::OTHER && wanted(Kind::of_key(*key)));
        wanted.for_each(|(_, histogram)| merged.merge(&histogram.snapshot(scale)));
        merged
    }

    /// Times of sends that were stored, in milliseconds.
    pub fn sends_ms(&self) -> Snapshot {
        self.merged(MS_PER_NS, is_stored_send)
    }

    /// Times of pulls that were answered with messages at once, in milliseconds.
    pub fn pulls_ms(&self) -> Snapshot {
        let found = |kind: Kind| PULLS.contains(&kind.code) && !kind.waited && kind.answer == response::SUCCESS;
        self.merged(MS_PER_NS, found)
    }

    /// Sends that were refused.
    pub fn refused_sends(&self) -> u64 {
        self.merged(MS_PER_NS, |kind| SENDS.contains(&kind.code) && kind.answer != response::SUCCESS).count()
    }

    /// Upstream's family.
    pub fn latency(&self) -> Family {
        let mut family = Family::histogram("rocketmq_rpc_latency", "milliseconds", "Rpc latency");
        for (key, histogram) in self.0.iter() {
            let kind = Kind::of_key(key);
            let lower = |name: Option<&'static str>, code: i32| -> Text {
                match name {
                    Some(name) => name.to_lowercase().into(),
                    None if code == UNKNOWN => "unknown".into(),
                    None => code.to_string().into(),
                }
            };
            let result = match kind.outcome {
                Outcome::Answered => "success",
                Outcome::Oneway => "oneway",
                Outcome::Gone => "write_channel_failed",
            };
            let labels = vec![
                ("protocol_type", "remoting".into()),
                ("request_code", lower(request::name(kind.code), kind.code)),
                ("response_code", lower(response::name(kind.answer), kind.answer)),
                ("is_long_polling", if kind.waited { "true" } else { "false" }.into()),
                ("result", result.into()),
            ];
            family.add_histogram(labels, histogram.snapshot(MS_PER_NS).coarser(&COARSE_MS));
        }
        family
    }

    /// Ours: sends, and pulls that waited for a message.
    pub fn own(&self) -> [Family; 2] {
        let help = "From reading a send to its answer, of those that were stored";
        let sends = self.merged(SECONDS_PER_NS, is_stored_send);
        let pulls = self.merged(SECONDS_PER_NS, |kind| PULLS.contains(&kind.code) && kind.waited);
        [
            Family::histogram("apogee_send_seconds", "seconds", help).of_histogram(sends),
            Family::histogram("apogee_long_poll_wait_seconds", "seconds", "How long pulls were parked")
                .of_histogram(pulls),
        ]
    }
}

fn is_stored_send(kind: Kind) -> bool {
    SENDS.contains(&kind.code) && kind.answer == response::SUCCESS
}

/// A request that is answered later: what is counted then.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Begun {
    code: i32,
    moment: u64,
    waited: bool,
}

impl Begun {
    /// A request that is being handed over by its connection.
    pub fn now(code: i32) -> Self {
        Self { code, moment: moment::recent(), waited: false }
    }

    /// The same one, parked until a message comes.
    pub fn parked(self) -> Self {
        Self { waited: true, ..self }
    }

    /// It is worked on by this thread from now on.
    pub fn carry(self) {
        moment::carry(self.moment);
    }

    /// Its answer was made at the time that this thread's clock said last.
    pub fn ended(self, requests: &Requests, answer: i32, outcome: Outcome) {
        requests.answered(self.code, answer, self.waited, outcome, self.moment, moment::recent());
    }

    /// Its answer is made now. Returns how many nanoseconds it took.
    pub fn ends(self, requests: &Requests, answer: i32, outcome: Outcome) -> u64 {
        let now = moment::now();
        requests.answered(self.code, answer, self.waited, outcome, self.moment, now);
        now.saturating_sub(self.moment)
    }
}

#[cfg(test)]
mod tests {
    use apogee_telemetry::Value;

    use super::*;

    #[test]
    fn upstreams_bounds_are_among_ours() {
        let ours = Histogram::new(LATENCY_NS).snapshot(MS_PER_NS).bounds;
        assert!(COARSE_MS.iter().all(|bound| ours.contains(bound)), "{ours:?}");
    }

    #[test]
    fn a_key_tells_its_kind() {
        for code in [request::SEND_MESSAGE_V2, request::PULL_MESSAGE, 200_079] {
            for (answer, waited, outcome) in [(0, true, Outcome::Gone), (24, false, Outcome::Oneway)] {
                let kind = Kind { code, answer, waited, outcome };
                assert_eq!(Kind::of_key(kind.to_key()), kind);
            }
        }
    }

    #[test]
    fn strangers_codes_share_one_series() {
        let requests = Requests::default();
        for code in 1_000_000..1_005_000 {
            requests.answered(code, response::REQUEST_CODE_NOT_SUPPORTED, false, Outcome::Answered, 0, 2_500_000);
        }
        let [point] = &requests.latency().points[..] else { panic!() };
        assert!(point.labels.contains(&("request_code", "unknown".into())), "{:?}", point.labels);
        assert!(point.labels.contains(&("response_code", "request_code_not_supported".into())));
        let Value::Histogram(snapshot) = &point.value else { panic!() };
        assert_eq!((snapshot.counts[1], snapshot.sum), (5_000, 12_500.0));
    }
}
