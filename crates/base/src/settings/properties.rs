//! Java's property files, as far as configuration uses them.

/// One `key=value` of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    /// Line it begins at, counted from 1.
    pub line: usize,
    /// As written, unescaped.
    pub key: String,
    /// As written, unescaped, without white space around it.
    pub value: String,
}

/// Reads `key=value`, `key: value` and `key value` lines; `#` and `!` begin comments, a backslash
/// at the end of a line continues it, `\uXXXX` and the usual escapes are understood.
pub fn parse(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = line.to_owned();
        while ends_with_odd_backslashes(&logical) {
            logical.pop();
            match lines.next() {
                Some((_, next)) => logical.push_str(next.trim_start()),
                None => break,
            }
        }
        let (key, value) = split(&logical);
        entries.push(Entry { line: index + 1, key: unescape(key), value: unescape(value).trim().to_owned() });
    }
    entries
}

/// Writes a value such that [`parse`] reads it back.
pub fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for character in value.chars() {
        match character {
            '\\' => escaped.push_str("\\\\"),
            '\n' => escaped.push_str("\\n"),
            '\r' => escaped.push_str("\\r"),
            '\t' => escaped.push_str("\\t"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn ends_with_odd_backslashes(line: &str) -> bool {
    line.bytes().rev().take_while(|&byte| byte == b'\\').count() % 2 == 1
}

/// The key ends at the first unescaped `=`, `:` or white space.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    for (at, character) in line.char_indices() {
        if !escaped && (matches!(character, '=' | ':') || character.is_whitespace()) {
            let rest = line[at..].trim_start();
            let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            return (&line[..at], rest.trim_start());
        }
        escaped = character == '\\' && !escaped;
    }
    (line, "")
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            plain.push(character);
            continue;
        }
        match characters.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some('f') => plain.push('\u{c}'),
            Some('u') => {
                let digits: String = characters.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                plain.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    plain
}

/// A file with some keys changed: they go to its end, its other lines stay as they are.
pub fn merge<K, V>(before: &str, changed: &std::collections::BTreeMap<K, V>) -> String
where
    K: std::borrow::Borrow<str> + Ord + std::fmt::Display,
    V: AsRef<str>,
{
    let mut text = String::new();
    let mut continued = false;
    for line in before.lines() {
        let continues = line.ends_with('\\');
        let replaced = !continued && !continues && {
            let entry = parse(line).pop();
            entry.is_some_and(|entry| changed.contains_key(entry.key.as_str()))
        };
        continued = continues;
        if !replaced {
            text.push_str(line);
            text.push('\n');
        }
    }
    for (key, value) in changed {
        text.push_str(&format!("{key}={}\n", escape(value.as_ref())));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_java_reads() {
        let text = "# comment\n! too\n\nbrokerName = a\nnamesrvAddr=1.2.3.4:9876;\\\n   5.6.7.8:9876\nk:v\nbare\nu=\\u00e9\\\\x\n sp ace \n";
        let entries: Vec<_> = parse(text).into_iter().map(|entry| (entry.line, entry.key, entry.value)).collect();
        let expected = [
            (4, "brokerName", "a"),
            (5, "namesrvAddr", "1.2.3.4:9876;5.6.7.8:9876"),
            (7, "k", "v"),
            (8, "bare", ""),
            (9, "u", "é\\x"),
            (10, "sp", "ace"),
        ];
        assert_eq!(entries, expected.map(|(line, key, value)| (line, key.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_escaped_is_read_back() {
        let value = "C:\\x\ty\nz";
        assert_eq!(parse(&format!("k={}", escape(value)))[0].value, value);
    }
}
