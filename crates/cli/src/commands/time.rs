//! Times on a command line.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Reads a time: milliseconds since 1970, `now`, upstream's `yyyy-MM-dd#HH:mm:ss:SSS` or `yyyy-MM-ddTHH:mm:ssZ`, in UTC.
pub fn parse(text: &str) -> Result<SystemTime, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is no time: give milliseconds since 1970, now, or 2026-11-22#13:45:00:000 (UTC)");
    if text == "now" {
        return Ok(SystemTime::now());
    }
    if let Ok(milliseconds) = text.parse::<u64>() {
        return UNIX_EPOCH.checked_add(Duration::from_millis(milliseconds)).ok_or_else(wrong);
    }
    let plain = match text.split_once('#') {
        Some((day, clock)) => match clock.splitn(4, ':').collect::<Vec<_>>()[..] {
            [hour, minute, second, milliseconds] => format!("{day} {hour}:{minute}:{second}.{milliseconds:0>3}"),
            _ => format!("{day} {clock}"),
        },
        None => text.to_owned(),
    };
    humantime::parse_rfc3339_weak(&plain).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_all_forms() {
        let expected = UNIX_EPOCH + Duration::from_millis(1_700_000_000_123);
        for text in
            ["1700000000123", "2023-11-14#22:13:20:123", "2023-11-14T22:13:20.123Z", " 2023-11-14#22:13:20:123 "]
        {
            assert_eq!(parse(text), Ok(expected), "{text}");
        }
        assert_eq!(parse("2023-11-14#22:13:20"), Ok(UNIX_EPOCH + Duration::from_secs(1_700_000_000)));
        assert!(parse("now").is_ok_and(|now| now > expected));
        for wrong in ["", "-1", "yesterday", "2023-11-14", "2023-13-14#22:13:20:123", "99999999999999999999"] {
            assert!(parse(wrong).is_err_and(|error| error.contains("is no time")), "{wrong}");
        }
    }
}
