//! The text of the dialect: where things begin and end, scalars and escapes.

use std::borrow::Cow;

use serde::de;

/// How deep objects and arrays may nest: the deepest body has seven levels, and hostile input
/// must not exhaust the stack.
const MAX_DEPTH: usize = 64;

/// What is wrong with a text, and where.
#[derive(Debug, thiserror::Error)]
#[error("{problem} at byte {at}", at = .at.unwrap_or_default())]
pub(super) struct Malformed {
    problem: String,
    /// Known as soon as the error passes the reader.
    at: Option<usize>,
}

impl Malformed {
    pub(super) fn new(problem: impl Into<String>, at: usize) -> Self {
        Self { problem: problem.into(), at: Some(at) }
    }

    /// The same, found elsewhere.
    pub(super) fn placed(self, at: usize) -> Self {
        Self { at: Some(at), ..self }
    }
}

impl de::Error for Malformed {
    fn custom<T: std::fmt::Display>(problem: T) -> Self {
        Self { problem: problem.to_string(), at: None }
    }
}

/// A place in a text. Strings are handed out for the moment only and never borrowed by values,
/// so that a key which is itself a quoted object can be read by a reader of its own.
pub(super) struct Reader<'t> {
    pub(super) text: &'t str,
    pub(super) at: usize,
    pub(super) depth: usize,
    /// While a key is read: any bare word is a text.
    pub(super) key: bool,
}

/// A value that is neither object nor array.
pub(super) enum Scalar<'t> {
    Quoted(Cow<'t, str>),
    Bare(&'t str),
}

impl<'t> Scalar<'t> {
    pub(super) fn into_text(self) -> Cow<'t, str> {
        match self {
            Self::Quoted(text) => text,
            Self::Bare(text) => Cow::Borrowed(text),
        }
    }
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str, depth: usize) -> Self {
        Self { text, at: 0, depth, key: false }
    }

    pub(super) fn error(&self, message: impl Into<String>) -> Malformed {
        Malformed::new(message, self.at)
    }

    /// Adds the position to an error that a type's own code has raised.
    pub(super) fn place(&self, error: Malformed) -> Malformed {
        Malformed { at: error.at.or(Some(self.at)), ..error }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The next byte that isn't white space.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while matches!(self.byte(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.at += 1;
        }
        self.byte()
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), Malformed> {
        match self.peek() {
            Some(found) if found == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.error(format!("expected `{}`", char::from(wanted)))),
            None => Err(self.error(format!("the text ends where `{}` is due", char::from(wanted)))),
        }
    }

    /// Enters an object or an array.
    pub(super) fn enter(&mut self, opening: u8) -> Result<(), Malformed> {
        self.expect(opening)?;
        self.key = false;
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(())
    }

    /// Goes to the next element: `false` when the closing byte came instead.
    pub(super) fn next_element(&mut self, first: &mut bool, closing: u8) -> Result<bool, Malformed> {
        if self.peek() == Some(closing) {
            self.at += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if !std::mem::take(first) {
            self.expect(b',')?;
        }
        Ok(true)
    }

    /// Whether the value ahead is the bare word `null`; if so, passes it.
    pub(super) fn null(&mut self) -> bool {
        self.peek();
        let rest = &self.text.as_bytes()[self.at..];
        let null = rest.starts_with(b"null") && !rest.get(4).is_some_and(|byte| is_word(*byte));
        if null {
            self.at += 4;
        }
        null
    }

    pub(super) fn scalar(&mut self) -> Result<Scalar<'t>, Malformed> {
        match self.peek() {
            Some(quote @ (b'"' | b'\'')) => self.quoted(quote).map(Scalar::Quoted),
            Some(byte) if is_word(byte) => {
                let start = self.at;
                while self.byte().is_some_and(is_word) {
                    self.at += 1;
                }
                let word = &self.text[start..self.at];
                if self.key || matches!(word, "true" | "false" | "null") || word.parse::<f64>().is_ok() {
                    return Ok(Scalar::Bare(word));
                }
                self.at = start;
                Err(self.error("a bare word that is no number, boolean or null"))
            }
            Some(_) => Err(self.error("expected a value")),
            None => Err(self.error("the text ends where a value is due")),
        }
    }

    fn quoted(&mut self, quote: u8) -> Result<Cow<'t, str>, Malformed> {
        let opening = self.at;
        self.at += 1;
        let mut start = self.at;
        let mut unescaped = String::new();
        loop {
            match self.byte() {
                None => return Err(Malformed::new("a text without its closing quote", opening)),
                Some(byte) if byte == quote => break,
                Some(b'\\') => {
                    unescaped.push_str(&self.text[start..self.at]);
                    self.at += 1;
                    self.escape(&mut unescaped)?;
                    start = self.at;
                }
                Some(_) => self.at += 1,
            }
        }
        let rest = &self.text[start..self.at];
        self.at += 1;
        if unescaped.is_empty() {
            return Ok(Cow::Borrowed(rest));
        }
        unescaped.push_str(rest);
        Ok(Cow::Owned(unescaped))
    }

    /// Reads what follows a backslash.
    fn escape(&mut self, out: &mut String) -> Result<(), Malformed> {
        let Some(byte) = self.byte() else { return Err(self.error("the text ends in an escape")) };
        self.at += 1;
        out.push(match byte {
            b'"' | b'\'' | b'\\' | b'/' => char::from(byte),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'v' => '\u{b}',
            b'u' => {
                let unit = self.hex()?;
                self.utf16(unit)?
            }
            _ => {
                self.at -= 1;
                return Err(self.error("an unknown escape"));
            }
        });
        Ok(())
    }

    /// The character of a UTF-16 unit and, where it is half of one, of the escape after it. A
    /// half alone has no counterpart here and becomes the replacement character.
    fn utf16(&mut self, unit: u16) -> Result<char, Malformed> {
        if !(0xd800..0xdc00).contains(&unit) || !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
            return Ok(char::from_u32(u32::from(unit)).unwrap_or(char::REPLACEMENT_CHARACTER));
        }
        let before = self.at;
        self.at += 2;
        let low = self.hex()?;
        if !(0xdc00..0xe000).contains(&low) {
            self.at = before;
            return Ok(char::REPLACEMENT_CHARACTER);
        }
        let code = 0x10000 + ((u32::from(unit) - 0xd800) << 10) + (u32::from(low) - 0xdc00);
        Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn hex(&mut self) -> Result<u16, Malformed> {
        let digits = self.text.get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let unit = digits.and_then(|digits| u16::from_str_radix(digits, 16).ok());
        let unit = unit.ok_or_else(|| self.error("`\\u` without four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }

    /// Passes a value that nobody wants.
    pub(super) fn skip(&mut self) -> Result<(), Malformed> {
        let mut first = true;
        match self.peek() {
            Some(b'{') => {
                self.enter(b'{')?;
                while self.next_element(&mut first, b'}')? {
                    self.key = true;
                    self.skip()?;
                    self.key = false;
                    self.expect(b':')?;
                    self.skip()?;
                }
                Ok(())
            }
            Some(b'[') => {
                self.enter(b'[')?;
                while self.next_element(&mut first, b']')? {
                    self.skip()?;
                }
                Ok(())
            }
            _ => self.scalar().map(drop),
        }
    }

    /// Reads a scalar as a number or boolean, quoted or not.
    pub(super) fn parse<T>(&mut self, what: &str, parse: impl Fn(&str) -> Option<T>) -> Result<T, Malformed> {
        self.peek();
        let start = self.at;
        let text = self.scalar()?.into_text();
        parse(text.trim()).ok_or_else(|| {
            let shown: String = text.chars().take(40).collect();
            Malformed::new(format!("`{shown}` is not {what}"), start)
        })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'-' | b'+' | b'.' | b'%' | b'@') || byte >= 0x80
}
