//! Properties: `name \x01 value \x02`, repeated (upstream `MessageDecoder.string2messageProperties`).
//!
//! They stay the text they came as; looking one up is a scan, and an edit writes a new text into
//! the caller's buffer.

use bytes::BufMut;
use memchr::{memchr, memchr2, memrchr};

use crate::names::property::CRC32;

/// Between a name and its value.
const NAME_END: u8 = 1;
/// After a value; may be absent after the last one.
pub(crate) const VALUE_END: u8 = 2;

/// Longest text that a record can hold, in bytes.
pub const MAX_LENGTH: usize = i16::MAX as usize;

/// Names and values in order. A pair without a separator, without a name or without a value is
/// passed over, as upstream does.
pub fn iter(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = text;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr(VALUE_END, rest).unwrap_or(rest.len());
            let pair = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            // Names are short: a plain loop finds their end sooner.
            if let Some(at @ 1..) = pair.iter().position(|&byte| byte == NAME_END)
                && at + 1 < end
            {
                return Some((&pair[..at], &pair[at + 1..]));
            }
        }
        None
    })
}

/// The value of a property, if there is one and it is UTF-8. Of several the last counts.
pub fn get<'t>(text: &'t [u8], name: &str) -> Option<&'t str> {
    let name = name.as_bytes();
    // No name is empty or has a separator in it.
    if name.is_empty() || memchr(NAME_END, name).is_some() {
        return None;
    }
    let mut rest = text;
    // From the end: what is found first counts, and nothing before it is looked at.
    while !rest.is_empty() {
        let start = memrchr(VALUE_END, rest).map_or(0, |end| end + 1);
        if let Some([NAME_END, value @ ..]) = rest[start..].strip_prefix(name)
            && !value.is_empty()
        {
            return std::str::from_utf8(value).ok();
        }
        rest = &rest[..start.saturating_sub(1)];
    }
    None
}

/// The values of some properties, as [`get`] has them, in one scan.
#[inline(always)] // With names that are known, as all are: comparing them costs a few instructions instead of a call.
pub fn pick<'t, const N: usize>(text: &'t [u8], names: [&str; N]) -> [Option<&'t str>; N] {
    let mut values = [None; N];
    for (found, value) in iter(text) {
        for (name, place) in names.iter().zip(&mut values) {
            if name.as_bytes() == found {
                *place = std::str::from_utf8(value).ok();
            }
        }
    }
    values
}

/// Appends one property. A separator within it would become another text when it is read: such
/// bytes are left out.
pub fn push(out: &mut impl BufMut, name: &str, value: &str) {
    put_clean(out, name);
    out.put_u8(NAME_END);
    put_clean(out, value);
    out.put_u8(VALUE_END);
}

fn put_clean(out: &mut impl BufMut, text: &str) {
    // Without an early end the processor looks at many bytes at a time.
    if text.bytes().fold(true, |clean, byte| clean & (byte != NAME_END && byte != VALUE_END)) {
        return out.put_slice(text.as_bytes());
    }
    let mut rest = text.as_bytes();
    while let Some(at) = memchr2(NAME_END, VALUE_END, rest) {
        out.put_slice(&rest[..at]);
        rest = &rest[at + 1..];
    }
    out.put_slice(rest);
}

/// Appends all properties but those whose names are in `without`, and the check sum of the record that
/// they are from: it is not that of another one.
pub fn copy_without(out: &mut impl BufMut, text: &[u8], without: &[&str]) {
    for (name, value) in iter(text) {
        if name != CRC32.as_bytes() && !without.iter().any(|excluded| excluded.as_bytes() == name) {
            out.put_slice(name);
            out.put_u8(NAME_END);
            out.put_slice(value);
            out.put_u8(VALUE_END);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &[u8]) -> Vec<(&str, &str)> {
        iter(text)
            .map(|(name, value)| (std::str::from_utf8(name).unwrap(), std::str::from_utf8(value).unwrap()))
            .collect()
    }

    #[test]
    fn reads_as_upstream_reads() {
        // Computed by the classes of Apache RocketMQ 5.5.0.
        assert_eq!(pairs(b"a\x01b"), [("a", "b")]);
        assert_eq!(pairs(b"a\x01b\x02c\x01\x02d\x01e\x01f\x02\x02g"), [("a", "b"), ("d", "e\u{1}f")]);
        assert_eq!(get("KEYS\u{1}k1 k2\u{2}u\u{1}中\u{2}".as_bytes(), "u"), Some("中"));
        assert_eq!(get(b"a\x01b\x02", "c"), None);
        assert_eq!(pick(b"a\x011\x02b\x012\x02a\x013\x02b\x01\xff", ["b", "c", "a"]), [None, None, Some("3")]);
    }

    #[test]
    fn an_edit_leaves_the_others_as_they_are() {
        let mut out = Vec::new();
        copy_without(&mut out, b"a\x01b\x02POP_CK\x01x\x02c\x01d", &["POP_CK"]);
        push(&mut out, "CLUSTER", "C\u{2}1");
        assert_eq!(out, b"a\x01b\x02c\x01d\x02CLUSTER\x01C1\x02");
    }

    proptest! {
        #[test]
        fn what_is_pushed_is_read(pairs in prop::collection::vec(("[a-z]{1,5}", "[ -~]{1,9}"), 0..9)) {
            let mut text = Vec::new();
            for (name, value) in &pairs {
                push(&mut text, name, value);
            }
            let read: Vec<_> = super::tests::pairs(&text).into_iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
            prop_assert_eq!(read, pairs);
        }

        #[test]
        fn one_looked_up_is_the_last_of_all(text in "[a\x01\x02é]{0,24}", name in "[a\x01\x02]{0,3}") {
            let last = iter(text.as_bytes()).filter(|(found, _)| *found == name.as_bytes()).last();
            prop_assert_eq!(get(text.as_bytes(), &name).map(str::as_bytes), last.map(|(_, value)| value));
        }

        #[test]
        fn anything_can_be_read(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = iter(&text).count();
            let mut out = Vec::new();
            copy_without(&mut out, &text, &[]);
            let kept = iter(&text).filter(|(name, _)| *name != CRC32.as_bytes());
            prop_assert_eq!(kept.collect::<Vec<_>>(), iter(&out).collect::<Vec<_>>());
        }
    }
}
