//! Numbers in texts and their order, as Java has them.

use std::cmp::Ordering;

/// A number of the narrowest type that a literal has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Int(i32),
    Long(i64),
    Double(f64),
}

impl Number {
    /// A whole number without a sign; `None` past the 64 bits.
    pub fn from_digits(digits: &str) -> Option<Self> {
        let long = digits.parse().ok()?;
        Some(i32::try_from(long).map_or(Self::Long(long), Self::Int))
    }

    /// A text as a number of the same type as this one.
    pub fn read_alike(self, text: &str) -> Option<Self> {
        match self {
            Self::Int(_) => text.parse().ok().map(Self::Int),
            Self::Long(_) => text.parse().ok().map(Self::Long),
            Self::Double(_) => read_double(text).map(Self::Double),
        }
    }

    pub fn negative(self) -> Self {
        match self {
            Self::Int(value) => Self::Int(value.wrapping_neg()),
            Self::Long(value) => Self::Long(value.wrapping_neg()),
            Self::Double(value) => Self::Double(-value),
        }
    }

    pub fn order(self, other: Self) -> Ordering {
        match (self.whole(), other.whole()) {
            (Some(one), Some(other)) => one.cmp(&other),
            _ => order_doubles(self.double(), other.double()),
        }
    }

    fn whole(self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(value.into()),
            Self::Long(value) => Some(value),
            Self::Double(_) => None,
        }
    }

    fn double(self) -> f64 {
        match self {
            Self::Int(value) => value.into(),
            Self::Long(value) => value as f64,
            Self::Double(value) => value,
        }
    }
}

/// A text as a double: blanks around it and a suffix `d` or `f` are allowed. Hexadecimal is not
/// read, which Java does.
pub(crate) fn read_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(sign * f64::INFINITY),
        // Rust has further names for what is no number.
        _ if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') => None,
        _ => unsigned
            .strip_suffix(['d', 'D', 'f', 'F'])
            .unwrap_or(unsigned)
            .parse::<f64>()
            .ok()
            .map(|value| sign * value),
    }
}

/// Total: 0 is greater than -0, and NaN equals itself and is greater than all others.
pub(crate) fn order_doubles(one: f64, other: f64) -> Ordering {
    let canonical = |value: f64| if value.is_nan() { f64::NAN.abs() } else { value };
    canonical(one).total_cmp(&canonical(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_read_as_java_reads_them() {
        for (text, value) in [
            (" 4\n", 4.0),
            ("+4", 4.0),
            ("-.5", -0.5),
            ("1.", 1.0),
            ("1.e2", 100.0),
            ("4d", 4.0),
            ("4e0F", 4.0),
            ("1e400", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            assert_eq!(read_double(text), Some(value), "{text}");
        }
        assert!(read_double("NaN").is_some_and(f64::is_nan));
        for text in
            ["", " ", "+", ".", "d", "x", "4L", "4dd", "1e", "inf", "nan", "infinity", "Infinityd", "--1", "1 2"]
        {
            assert_eq!(read_double(text), None, "{text}");
        }
    }

    #[test]
    fn doubles_have_a_total_order() {
        let ascending = [f64::NEG_INFINITY, -1.0, -0.0, 0.0, 1.0, f64::INFINITY, f64::NAN];
        for (at, one) in ascending.iter().enumerate() {
            for (other_at, other) in ascending.iter().enumerate() {
                assert_eq!(order_doubles(*one, *other), at.cmp(&other_at), "{one} {other}");
            }
        }
        assert_eq!(order_doubles(-f64::NAN, f64::NAN), Ordering::Equal);
    }

    #[test]
    fn whole_numbers_are_compared_exactly_with_each_other_only() {
        let (long, double) = (Number::Long(9_007_199_254_740_993), Number::Double(9_007_199_254_740_992.0));
        assert_eq!(long.order(double), Ordering::Equal);
        assert_eq!(long.order(Number::Long(9_007_199_254_740_992)), Ordering::Greater);
    }
}
