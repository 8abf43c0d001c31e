//! Hash codes of tags and keys: Java's, since files and clients hold them.

/// Java's `String.hashCode`: over UTF-16 units, wrapping.
pub fn java_hash(text: &str) -> i32 {
    java_hash_on(0, text)
}

/// The hash of a text that begins with one whose hash is `begun`, and goes on with `text`.
pub fn java_hash_on(begun: i32, text: &str) -> i32 {
    let add = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if !text.is_ascii() {
        return text.encode_utf16().fold(begun, add);
    }
    // Eight at a time: one by one, each waits for the one before.
    let (eights, rest) = text.as_bytes().as_chunks::<8>();
    let hash = eights.iter().fold(begun, |hash, eight| {
        let sum = eight.iter().zip(&POWERS[1..]).map(|(byte, power)| i32::from(*byte).wrapping_mul(*power));
        sum.fold(hash.wrapping_mul(POWERS[0]), i32::wrapping_add)
    });
    rest.iter().fold(hash, |hash, byte| add(hash, u16::from(*byte)))
}

/// Powers of 31, from the eighth down.
const POWERS: [i32; 9] = {
    let mut powers = [1_i32; 9];
    let mut at = 8;
    while at > 0 {
        powers[at - 1] = powers[at].wrapping_mul(31);
        at -= 1;
    }
    powers
};

/// The tag code of a consume queue unit: the tag's hash, 0 without a tag.
pub fn tag_code(tag: Option<&str>) -> i64 {
    tag.map_or(0, |tag| i64::from(java_hash(tag)))
}

/// The hash of an index key that begins with a text whose hash is `begun`, and goes on with `rest`: never
/// negative.
pub fn index_hash(begun: i32, rest: &str) -> i32 {
    // The one number without a positive counterpart counts as 0, as upstream has it.
    java_hash_on(begun, rest).checked_abs().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_java() {
        // Computed by the classes of Apache RocketMQ 5.5.0.
        let cases = [
            ("", 0, 0),
            ("TagA", 2_598_919, 2_598_919),
            ("a||b", 3_012_833, 3_012_833),
            ("中文", 646_394, 646_394),
            ("😀x", 54_959_989, 54_959_989),
            ("polygenelubricants", -2_147_483_648, 0),
        ];
        for (text, hash, index) in cases {
            let cut = text.char_indices().nth(1).map_or(0, |(at, _)| at);
            assert_eq!(index_hash(java_hash(&text[..cut]), &text[cut..]), index, "{text}");
            assert_eq!((java_hash(text), index_hash(0, text)), (hash, index), "{text}");
        }
        assert_eq!(tag_code(Some("polygenelubricants")), -2_147_483_648);
        assert_eq!(tag_code(None), 0);
    }
}
