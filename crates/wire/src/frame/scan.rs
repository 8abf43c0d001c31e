//! The JSON header as clients write it, in one pass.
//!
//! What official clients send is an object of plain texts and whole numbers. That is read here; anything
//! else, and anything that is wrong, is left to the exact parser, which also finds the words for what is
//! wrong. Where this reads a header, it reads what that one does.

use std::ops::Range;

use crate::command::{Command, Language};
use crate::fields::{Fields, MAX_FIELDS};

/// Fills an empty command from a header. `None` where that is the exact parser's task; the command is in
/// no known state then.
pub(super) fn scan(header: &[u8], command: &mut Command) -> Option<()> {
    let text = std::str::from_utf8(header).ok()?;
    let mut scanner = Scanner { bytes: header, at: 0 };
    // The fields are parts of it: one copy instead of two for each.
    command.fields.begin_with(text);
    scanner.object(|scanner, key| {
        match &header[key] {
            b"code" => command.code = scanner.number()?,
            b"flag" => command.flag = scanner.number()?,
            b"opaque" => command.opaque = scanner.number()?,
            b"version" => command.version = scanner.number()?,
            b"language" => command.language = Language::from_name(&text[scanner.plain()?]),
            b"extFields" => scanner.fields(text, &mut command.fields)?,
            b"serializeTypeCurrentRPC" => {
                scanner.plain()?;
            }
            b"remark" => {
                let mut remark = String::new();
                scanner.expect(b'"')?;
                scanner.resolve(text, &mut remark)?;
                command.remark = Some(remark);
            }
            _ => return None,
        }
        Some(())
    })?;
    scanner.peek().is_none().then_some(())
}

struct Scanner<'h> {
    bytes: &'h [u8],
    at: usize,
}

impl Scanner<'_> {
    /// Reads an object, each of its values by `value`, which gets the scanner at its beginning, and where its
    /// key is.
    #[inline]
    fn object(&mut self, mut value: impl FnMut(&mut Self, Range<usize>) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        if self.peek()? == b'}' {
            return self.expect(b'}');
        }
        loop {
            let key = self.plain()?;
            self.expect(b':')?;
            value(self, key)?;
            match self.peek()? {
                b',' => self.at += 1,
                b'}' => {
                    self.at += 1;
                    return Some(());
                }
                _ => return None,
            }
        }
    }

    fn fields(&mut self, text: &str, fields: &mut Fields) -> Option<()> {
        self.object(|scanner, name| {
            scanner.expect(b'"')?;
            let start = scanner.at;
            let end = start + plain_length(&scanner.bytes[start..]);
            if scanner.bytes.get(end) == Some(&b'"') {
                scanner.at = end + 1;
                fields.add_part(name, start..end);
            } else {
                fields.add_part_with(name, |value| scanner.resolve(text, value))?;
            }
            (fields.len() <= MAX_FIELDS).then_some(())
        })
    }

    /// The next byte that is no white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            match *self.bytes.get(self.at)? {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Option<()> {
        // White space is rare.
        if self.bytes.get(self.at) == Some(&byte) {
            self.at += 1;
            return Some(());
        }
        (self.peek()? == byte).then(|| self.at += 1)
    }

    /// A whole number.
    fn number(&mut self) -> Option<i32> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let (start, mut value) = (self.at, 0_i64);
        while let Some(digit) = self.bytes.get(self.at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            value = value.checked_mul(10)? + i64::from(digit);
            self.at += 1;
        }
        let digits = self.at - start;
        // Neither is a number of JSON, or none that is whole.
        if digits == 0 || (self.bytes[start] == b'0' && (digits > 1 || negative)) {
            return None;
        }
        // A fraction or an exponent that follows is found by whoever comes next.
        i32::try_from(if negative { -value } else { value }).ok()
    }

    /// Where a text without an escape is.
    #[inline]
    fn plain(&mut self) -> Option<Range<usize>> {
        self.expect(b'"')?;
        let start = self.at;
        // Most names are of one letter.
        if let Some([letter, b'"']) = self.bytes.get(start..start + 2)
            && letter.is_ascii_alphanumeric()
        {
            self.at = start + 2;
            return Some(start..start + 1);
        }
        let end = start + plain_length(&self.bytes[start..]);
        self.at = end + 1;
        (self.bytes.get(end) == Some(&b'"')).then_some(start..end)
    }

    /// Adds a text, from behind its first quote on, to `out`, its escapes resolved.
    fn resolve(&mut self, text: &str, out: &mut String) -> Option<()> {
        loop {
            let plain = self.at + plain_length(&self.bytes[self.at..]);
            out.push_str(&text[self.at..plain]);
            self.at = plain + 1;
            match self.bytes.get(plain)? {
                b'"' => return Some(()),
                b'\\' => {}
                // A control character.
                _ => return None,
            }
            // What separates properties: nearly all escapes there are.
            if let Some(&[b'u', b'0', b'0', b'0', digit @ b'1'..=b'9']) = self.bytes.get(self.at..self.at + 5) {
                out.push(char::from(digit - b'0'));
                self.at += 5;
                continue;
            }
            let escape = *self.bytes.get(self.at)?;
            self.at += 1;
            out.push(match escape {
                b'"' | b'\\' | b'/' => char::from(escape),
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => {
                    let digits = self.bytes.get(self.at..self.at + 4)?;
                    let unit =
                        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))?;
                    self.at += 4;
                    // Half of a pair is left to the exact parser.
                    char::from_u32(unit)?
                }
                _ => return None,
            });
        }
    }
}

/// How many bytes come before the first that does not stand for itself in a JSON text: quote, backslash,
/// control character.
#[inline]
pub(super) fn plain_length(text: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    let mut rest = text;
    loop {
        let (word, others) = match rest.split_first_chunk() {
            Some((eight, others)) => (u64::from_le_bytes(*eight), others),
            None => (short_word(rest), &[][..]),
        };
        // Each sets the uppermost bit of the bytes in question; of those above the first one maybe wrongly.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let found = (zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5c)) | control) & ONES << 7;
        if found != 0 {
            return text.len() - rest.len() + found.trailing_zeros() as usize / 8;
        }
        rest = others;
    }
}

/// Up to seven bytes, and zeros behind them, which are control characters.
#[inline]
fn short_word(bytes: &[u8]) -> u64 {
    let four = |at: usize| bytes[at..].first_chunk().map_or(0, |four| u64::from(u32::from_le_bytes(*four)));
    let length = bytes.len();
    match length {
        0 => 0,
        // Pieces that lie over each other agree.
        1..4 => [0, length / 2, length - 1].into_iter().fold(0, |word, at| word | u64::from(bytes[at]) << (8 * at)),
        _ => four(0) | four(length - 4) << (8 * (length - 4)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::json::decode_exactly;

    fn scanned(header: &str) -> Option<Command> {
        let mut command = Command::default();
        scan(header.as_bytes(), &mut command).map(|()| command)
    }

    #[test]
    fn the_plain_part_of_a_text_ends_at_the_first_byte_that_is_special() {
        for length in 0..40 {
            let text = vec![b'a'; length];
            assert_eq!(plain_length(&text), length);
            for (at, special) in (0..length).zip([b'"', b'\\', 0, 0x1f].into_iter().cycle()) {
                let mut text = text.clone();
                text[at] = special;
                assert_eq!(plain_length(&text), at, "{length}");
            }
        }
        assert_eq!(plain_length("é\u{7f}\u{80}ÿ ]!#[".as_bytes()), 12);
    }

    #[test]
    fn what_clients_send_is_read_here() {
        let header = r#"{"code":310,"extFields":{"a":"p","i":"UNIQ_KEY\u00017F\u0002KEYS\u0001\"k\"\u0002","中":"\\\/"},
            "flag":0,"language":"JAVA","opaque":-7,"serializeTypeCurrentRPC":"JSON","version":513, "remark" : "no" }"#;
        let command = scanned(header).expect("read");
        assert_eq!((command.code, command.opaque, command.version), (310, -7, 513));
        assert_eq!(command.fields.get("i"), Some("UNIQ_KEY\u{1}7F\u{2}KEYS\u{1}\"k\"\u{2}"));
        assert_eq!((command.fields.get("中"), command.fields.len()), (Some("\\/"), 3));
        assert_eq!(command.remark.as_deref(), Some("no"));
        assert!(scanned(r#"{"code":1,"extFields":{}}"#).is_some());
    }

    #[test]
    fn what_is_unusual_or_wrong_is_left_to_the_exact_parser() {
        for header in [
            r#"{"code":01}"#,
            r#"{"code":1.0}"#,
            r#"{"code":1e2}"#,
            r#"{"code":2147483648}"#,
            r#"{"code":null}"#,
            r#"{"code":1} x"#,
            r#"{"code":1,}"#,
            r#"{"code":1"#,
            r#"{"extFields":{"a":1}}"#,
            r#"{"extFields":{"a":"\ud83d\ude00"}}"#,
            r#"{"extFields":{"a":"\u12g4"}}"#,
            r#"{"extFields":{"a":"\u12"#,
            "{\"extFields\":{\"a\":\"\n\"}}",
            r#"{"remark":"\b"}"#,
            r#"{"new":1}"#,
            "{\"code\":1}\u{1}",
            "",
        ] {
            assert_eq!(scanned(header), None, "{header}");
        }
    }

    /// Pieces of headers: put together at random they make many that are almost right.
    const PIECES: [&str; 30] = [
        "{",
        "}",
        ",",
        ":",
        "\"",
        "\\",
        "\"code\":",
        "\"flag\":",
        "\"opaque\":",
        "\"extFields\":{",
        "\"remark\":",
        "\"language\":\"GO\"",
        "\"a\":\"b\"",
        "\"a\":",
        "\"longer name\":\"longer text \\u0001 than eight\"",
        "1",
        "-12",
        "0",
        "0.5",
        "null",
        "true",
        "\"x\"",
        "\\u0041",
        "\\n",
        " ",
        "\n",
        "é",
        "\u{1}",
        "[]",
        "\"version\":3",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn what_is_read_here_is_what_the_exact_parser_reads(
            pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..9),
            members in prop::collection::vec(prop::sample::select(vec![
                "\"code\":7", "\"flag\":-1", "\"remark\":\"r\\t\\u0002\"", "\"extFields\":{\"a\":\"1\",\"b\":\"\\u00e9\",\"a\":\"2\"}",
                "\"extFields\":{}", "\"language\":\"RUST\"", "\"serializeTypeCurrentRPC\":\"JSON\"", "\"opaque\": 5 ",
            ]), 0..5),
            at in 0..60_usize,
        ) {
            let mut header = format!("{{{}}}", members.join(","));
            let at = at.min(header.len());
            if header.is_char_boundary(at) {
                header.insert_str(at, &pieces.concat());
            }
            for header in [header, pieces.concat()] {
                if let Some(short) = scanned(&header) {
                    let mut exact = Command::default();
                    decode_exactly(header.as_bytes(), &mut exact).map_err(|error| TestCaseError::fail(error.to_string()))?;
                    prop_assert_eq!(short, exact, "{}", header);
                }
            }
        }
    }
}
