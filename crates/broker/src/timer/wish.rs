//! When a message is to be delivered, as its producer has it.

use apogee_message::names::property;
use apogee_wire::codes::response;

use crate::error::BrokerError;
use crate::settings::BrokerSettings;

/// The properties that say when, as far as a message has them.
#[derive(Default, Clone, Copy)]
pub(crate) struct Wish<'t> {
    delay_sec: Option<&'t str>,
    delay_ms: Option<&'t str>,
    deliver_ms: Option<&'t str>,
    /// It has been with the timer.
    is_over: bool,
    /// It deletes another one.
    is_delete: bool,
}

impl<'t> Wish<'t> {
    /// The properties that it is made of.
    pub const NAMES: [&'static str; 5] = [
        property::TIMER_DELAY_SEC,
        property::TIMER_DELAY_MS,
        property::TIMER_DELIVER_MS,
        property::TIMER_OUT_MS,
        property::TIMER_DEL_UNIQKEY,
    ];

    /// Of the values of [`Wish::NAMES`].
    pub fn of([delay_sec, delay_ms, deliver_ms, out_ms, del_key]: [Option<&'t str>; 5]) -> Self {
        Self { delay_sec, delay_ms, deliver_ms, is_over: out_ms.is_some(), is_delete: del_key.is_some() }
    }

    /// Whether there is one. What comes back from a consumer had its time.
    pub fn is_there(&self) -> bool {
        !self.is_over && [self.delay_sec, self.delay_ms, self.deliver_ms].iter().any(Option::is_some)
    }

    /// When to deliver, in milliseconds since 1970; `None` when that is past.
    pub fn time(&self, now_ms: i64, settings: &BrokerSettings) -> Result<Option<i64>, BrokerError> {
        if !settings.timer_wheel_enable {
            let remark = "this broker delivers no messages at times of their own (timerWheelEnable=false)";
            return Err(BrokerError::new(response::SYSTEM_ERROR, remark));
        }
        // The first that there is counts.
        let given = [
            (property::TIMER_DELAY_SEC, self.delay_sec, 1000, now_ms),
            (property::TIMER_DELAY_MS, self.delay_ms, 1, now_ms),
            (property::TIMER_DELIVER_MS, self.deliver_ms, 1, 0),
        ];
        let given = given.into_iter().find_map(|(name, value, unit, from)| Some((name, value?, unit, from)));
        let Some((name, value, unit, from)) = given else { return Ok(None) };
        let number = value.parse::<i64>();
        let number = number.map_err(|_| illegal(format!("timer message illegal: {name}={value} is not a number")))?;
        let time = number.saturating_mul(unit).saturating_add(from);
        let delay = time.saturating_sub(now_ms);
        let most = settings.timer_max_delay_ms();
        if delay > most {
            let remark = format!(
                "timer message illegal: {name}={value} is {delay} ms away, over the limit of {most} ms (timerMaxDelaySec)"
            );
            return Err(illegal(remark));
        }
        if delay <= 0 && self.is_delete {
            let remark = format!("timer message illegal: {name}={value} is past, so there is no message to delete");
            return Err(illegal(remark));
        }
        Ok((delay > 0).then_some(time))
    }
}

fn illegal(remark: String) -> BrokerError {
    BrokerError::new(response::MESSAGE_ILLEGAL, remark)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000_000;

    fn time(properties: &[(&str, &'static str)]) -> Result<Option<i64>, BrokerError> {
        let value = |name| properties.iter().rfind(|(given, _)| *given == name).map(|(_, value)| *value);
        let wish = Wish::of(Wish::NAMES.map(value));
        if !wish.is_there() {
            return Ok(None);
        }
        let settings = BrokerSettings { timer_max_delay_sec: 1000, ..BrokerSettings::default() };
        wish.time(NOW, &settings)
    }

    #[test]
    fn the_first_property_in_upstreams_order_counts() {
        let (sec, ms, at) = (property::TIMER_DELAY_SEC, property::TIMER_DELAY_MS, property::TIMER_DELIVER_MS);
        assert_eq!(time(&[(at, "1700000000001")]).unwrap(), Some(NOW + 1));
        assert_eq!(time(&[(at, "1700000000001"), (ms, "7")]).unwrap(), Some(NOW + 7));
        assert_eq!(time(&[(ms, "7"), (sec, "2"), (at, "x")]).unwrap(), Some(NOW + 2000));
        assert_eq!(time(&[(at, "1700000000000")]).unwrap(), None);
        assert_eq!(time(&[(sec, "-9223372036854775808")]).unwrap(), None);
        assert_eq!(time(&[(sec, "2"), (property::TIMER_OUT_MS, "5")]).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_is_refused_with_a_reason() {
        for (properties, reason) in [
            ([(property::TIMER_DELAY_SEC, "two"), ("", "")], "TIMER_DELAY_SEC=two is not a number"),
            ([(property::TIMER_DELAY_MS, "1000001"), ("", "")], "over the limit of 1000000 ms (timerMaxDelaySec)"),
            ([(property::TIMER_DELIVER_MS, "9223372036854775807"), ("", "")], "over the limit"),
            ([(property::TIMER_DELAY_SEC, "0"), (property::TIMER_DEL_UNIQKEY, "k")], "no message to delete"),
        ] {
            let error = time(&properties).expect_err(reason);
            assert!(error.code == response::MESSAGE_ILLEGAL && error.remark.contains(reason), "{error}");
        }
        let off = BrokerSettings { timer_wheel_enable: false, ..BrokerSettings::default() };
        let error = Wish { delay_ms: Some("1"), ..Wish::default() }.time(NOW, &off).unwrap_err();
        assert_eq!(error.code, response::SYSTEM_ERROR);
    }
}
