//! Dates of times, UTC.

/// A time taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Date {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub millisecond: i64,
}

impl Date {
    /// The date of a time in milliseconds since 1970.
    pub fn of(ms: i64) -> Self {
        let (days, in_day) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000));
        // Civil date from days, by eras of 400 years that begin in March.
        let shifted = days + 719_468;
        let (era, in_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * in_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: in_year - (153 * month_from_march + 2) / 5 + 1,
            hour: in_day / 3_600_000,
            minute: in_day / 60_000 % 60,
            second: in_day / 1000 % 60,
            millisecond: in_day % 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        let text = |ms| {
            let date = Date::of(ms);
            format!(
                "{:04}-{:02}-{:02} {:02}:{:02}:{:02},{:03}",
                date.year, date.month, date.day, date.hour, date.minute, date.second, date.millisecond
            )
        };
        assert_eq!(text(0), "1970-01-01 00:00:00,000");
        assert_eq!(text(1_700_000_000_123), "2023-11-14 22:13:20,123");
        assert_eq!(text(951_782_400_000), "2000-02-29 00:00:00,000");
        assert_eq!(text(4_102_444_799_999), "2099-12-31 23:59:59,999");
        assert_eq!(text(-1), "1969-12-31 23:59:59,999");
    }
}
