//! A text cut into tokens, one at a time: what lies behind the end of an expression is not looked at.

use crate::SyntaxError;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Token<'t> {
    /// `NOT`, `AND` and so on, whatever their case.
    Keyword(Keyword),
    Name(&'t str),
    /// Between the quotes, as written: a quote in it is doubled.
    Text(&'t str),
    /// Digits of a whole number, without a suffix.
    Whole(&'t str),
    /// With a point or an exponent.
    Fraction(&'t str),
    /// `=`, `<>`, `(` and so on.
    Symbol(&'static str),
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keyword {
    And,
    Between,
    Contains,
    EndsWith,
    False,
    In,
    Is,
    Not,
    Null,
    Or,
    StartsWith,
    True,
}

const KEYWORDS: [(&str, Keyword); 12] = [
    ("AND", Keyword::And),
    ("BETWEEN", Keyword::Between),
    ("CONTAINS", Keyword::Contains),
    ("ENDSWITH", Keyword::EndsWith),
    ("FALSE", Keyword::False),
    ("IN", Keyword::In),
    ("IS", Keyword::Is),
    ("NOT", Keyword::Not),
    ("NULL", Keyword::Null),
    ("OR", Keyword::Or),
    ("STARTSWITH", Keyword::StartsWith),
    ("TRUE", Keyword::True),
];

/// The longer ones first.
const SYMBOLS: [&str; 11] = ["<>", ">=", "<=", "=", ">", "<", "(", ",", ")", "+", "-"];

pub(crate) struct Lexer<'t> {
    text: &'t str,
    /// Where the next token begins, in bytes.
    at: usize,
    /// Where no line ends any more, as far as it is known: two dashes begin a comment only where
    /// the line has an end.
    last_line_from: Option<usize>,
}

impl<'t> Lexer<'t> {
    pub fn new(text: &'t str) -> Self {
        Self { text, at: 0, last_line_from: None }
    }

    /// The next token and where it begins, in bytes.
    pub fn next(&mut self) -> Result<(Token<'t>, usize), SyntaxError> {
        self.skip_blanks()?;
        let start = self.at;
        let rest = &self.text[start..];
        let (token, length) = match rest.bytes().next() {
            None => (Token::End, 0),
            Some(b'\'') => quoted(rest).ok_or_else(|| self.error(start, "a string without its closing quote"))?,
            Some(first) if first.is_ascii_alphabetic() || matches!(first, b'_' | b'$') => word(rest),
            _ => number(rest).or_else(|| symbol(rest)).ok_or_else(|| {
                self.error(start, format!("unexpected {:?}", rest.chars().next().unwrap_or_default()))
            })?,
        };
        self.at += length;
        Ok((token, start))
    }

    /// An error at a byte of the text.
    pub fn error(&self, byte: usize, message: impl Into<String>) -> SyntaxError {
        SyntaxError { position: self.position(byte), message: message.into() }
    }

    /// Which character a byte belongs to, counted from 1.
    pub fn position(&self, byte: usize) -> usize {
        1 + self.text[..byte].chars().count()
    }

    fn skip_blanks(&mut self) -> Result<(), SyntaxError> {
        loop {
            let rest = self.text[self.at..].trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
            self.at = self.text.len() - rest.len();
            if let Some(comment) = rest.strip_prefix("/*") {
                let end = comment.find("*/").ok_or_else(|| self.error(self.at, "a comment without its end '*/'"))?;
                self.at += 2 + end + 2;
            } else if rest.starts_with("--") && self.last_line_from.is_none_or(|from| self.at < from) {
                match rest.find(['\n', '\r']) {
                    Some(end) => self.at += end,
                    None => self.last_line_from = Some(self.at),
                }
            } else {
                return Ok(());
            }
        }
    }
}

fn quoted(rest: &str) -> Option<(Token<'_>, usize)> {
    let bytes = rest.as_bytes();
    let (mut at, mut end) = (1, None);
    while let Some(next) = bytes[at..].iter().position(|&byte| byte == b'\'') {
        end = Some(at + next);
        at += next + 2;
        if bytes.get(at - 1) != Some(&b'\'') {
            break;
        }
    }
    // Where no closing quote follows a doubled one, that was the closing one and another string begins.
    end.map(|end| (Token::Text(&rest[1..end]), end + 1))
}

fn word(rest: &str) -> (Token<'_>, usize) {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$');
    let text = &rest[..rest.bytes().take_while(|&byte| is_part(byte)).count()];
    let keyword = KEYWORDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    (keyword.map_or(Token::Name(text), |(_, keyword)| Token::Keyword(*keyword)), text.len())
}

fn number(rest: &str) -> Option<(Token<'_>, usize)> {
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut length = whole;
    if bytes.get(whole) == Some(&b'.') && whole + digits(whole + 1) > 0 {
        length += 1 + digits(whole + 1);
    }
    if length == 0 {
        return None;
    }
    if matches!(bytes.get(length), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(length + 1), Some(b'+' | b'-')));
        let exponent = digits((length + 1 + sign).min(bytes.len()));
        if exponent > 0 {
            length += 1 + sign + exponent;
        }
    }
    if length > whole {
        return Some((Token::Fraction(&rest[..length]), length));
    }
    // A whole number begins with 0 only where that is all of it, without a suffix.
    if bytes[0] == b'0' {
        return Some((Token::Whole(&rest[..1]), 1));
    }
    let suffix = usize::from(matches!(bytes.get(whole), Some(b'l' | b'L')));
    Some((Token::Whole(&rest[..whole]), whole + suffix))
}

fn symbol(rest: &str) -> Option<(Token<'_>, usize)> {
    let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol))?;
    Some((Token::Symbol(symbol), symbol.len()))
}
