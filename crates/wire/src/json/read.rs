//! From the dialect to standard JSON.

/// Levels of nesting; upstream's bodies have seven at most.
const MAX_DEPTH: usize = 64;

/// What is wrong with a text and where.
#[derive(Debug, thiserror::Error)]
#[error("{problem} at byte {at}")]
pub(super) struct Malformed {
    problem: &'static str,
    at: usize,
}

/// Rewrites the dialect as standard JSON: quotes raw keys, turns object keys into strings, drops
/// members that are `null`. Checks only what it needs to find its way; the parser that reads the
/// result checks the rest. The result is at most four times as long as the text.
pub(super) fn normalise(text: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut reader = Reader { text, at: 0, out: Vec::with_capacity(text.len() + text.len() / 8) };
    reader.value(0, false)?;
    match reader.peek() {
        None => Ok(reader.out),
        Some(_) => Err(reader.malformed("more text after the end of the value")),
    }
}

struct Reader<'t> {
    text: &'t [u8],
    at: usize,
    out: Vec<u8>,
}

impl Reader<'_> {
    /// The next byte that is no blank; not consumed.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.text.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn malformed(&self, problem: &'static str) -> Malformed {
        Malformed { problem, at: self.at }
    }

    /// Consumes a punctuation mark and copies it.
    fn mark(&mut self, mark: u8) {
        self.at += 1;
        self.out.push(mark);
    }

    /// Copies one value; true when it is `null`.
    fn value(&mut self, depth: usize, in_key: bool) -> Result<bool, Malformed> {
        if depth > MAX_DEPTH {
            return Err(self.malformed("more than 64 levels of nesting"));
        }
        match self.peek() {
            Some(b'{') => self.object(depth, in_key).map(|()| false),
            Some(b'[') => self.array(depth, in_key).map(|()| false),
            Some(b'"') => self.string().map(|()| false),
            Some(_) => {
                let token = self.token()?;
                self.out.extend_from_slice(&self.text[token.clone()]);
                Ok(&self.text[token] == b"null")
            }
            None => Err(self.malformed("the text ends where a value belongs")),
        }
    }

    fn object(&mut self, depth: usize, in_key: bool) -> Result<(), Malformed> {
        self.mark(b'{');
        let mut first = true;
        loop {
            match self.peek() {
                Some(b'}') => {
                    self.mark(b'}');
                    return Ok(());
                }
                Some(b',') if !first => self.at += 1,
                Some(_) if first => {}
                _ => return Err(self.malformed("expected `,` or `}`")),
            }
            let before = self.out.len();
            if !first && self.out.last() != Some(&b'{') {
                self.out.push(b',');
            }
            first = false;
            self.key(depth, in_key)?;
            if self.peek() != Some(b':') {
                return Err(self.malformed("expected `:`"));
            }
            self.mark(b':');
            if self.value(depth + 1, in_key)? {
                self.out.truncate(before);
            }
        }
    }

    fn key(&mut self, depth: usize, in_key: bool) -> Result<(), Malformed> {
        match self.peek() {
            Some(b'"') => self.string(),
            // Keys in keys would be escaped twice and more: growth without bound, and no peer has them.
            Some(b'{') if in_key => Err(self.malformed("an object as key within a key")),
            Some(b'{') => {
                let start = self.out.len();
                self.value(depth + 1, true)?;
                let object = self.out.split_off(start);
                self.out.push(b'"');
                for byte in object {
                    if matches!(byte, b'"' | b'\\') {
                        self.out.push(b'\\');
                    }
                    self.out.push(byte);
                }
                self.out.push(b'"');
                Ok(())
            }
            _ => {
                let token = self.token()?;
                self.out.push(b'"');
                self.out.extend_from_slice(&self.text[token]);
                self.out.push(b'"');
                Ok(())
            }
        }
    }

    fn array(&mut self, depth: usize, in_key: bool) -> Result<(), Malformed> {
        self.mark(b'[');
        if self.peek() == Some(b']') {
            self.mark(b']');
            return Ok(());
        }
        loop {
            self.value(depth + 1, in_key)?;
            match self.peek() {
                Some(b',') => self.mark(b','),
                Some(b']') => {
                    self.mark(b']');
                    return Ok(());
                }
                _ => return Err(self.malformed("expected `,` or `]`")),
            }
        }
    }

    /// Copies a quoted string as it is.
    fn string(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        let mut end = start + 1;
        loop {
            match self.text.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
                None => return Err(self.malformed("a string without an end")),
            }
        }
        self.at = end + 1;
        self.out.extend_from_slice(&self.text[start..self.at]);
        Ok(())
    }

    /// Consumes a number, `true`, `false`, `null`, or a bare key.
    fn token(&mut self) -> Result<std::ops::Range<usize>, Malformed> {
        let start = self.at;
        let rest = &self.text[start..];
        let length = rest
            .iter()
            .take_while(|byte| matches!(byte, b'+' | b'-' | b'.' | b'_' | b'$') || byte.is_ascii_alphanumeric())
            .count();
        if length == 0 {
            return Err(self.malformed("expected a value or a key"));
        }
        self.at += length;
        Ok(start..self.at)
    }
}
