//! "Did you mean": the known name nearest to a mistyped one.

/// Names longer than this are not compared: the cost grows with the square.
const LONGEST: usize = 128;

/// The candidate with the fewest edits to `name`, if it takes at most `most` of them (insertions,
/// deletions, replacements, swaps of neighbours; case does not count).
pub fn nearest<'n>(name: &str, candidates: impl IntoIterator<Item = &'n str>, most: usize) -> Option<&'n str> {
    let name: Vec<char> = name.chars().flat_map(char::to_lowercase).collect();
    if name.is_empty() || name.len() > LONGEST {
        return None;
    }
    let mut best = None;
    let mut fewest = most + 1;
    for candidate in candidates {
        // Cheap first: lengths that differ by more cannot be near.
        if candidate.len() > LONGEST || candidate.len().abs_diff(name.len()) >= fewest + name.len() / 2 {
            continue;
        }
        let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
        if other.len().abs_diff(name.len()) < fewest {
            let edits = edits(&name, &other);
            if edits < fewest {
                (fewest, best) = (edits, Some(candidate));
            }
        }
    }
    best
}

/// Edit distance with swaps (optimal string alignment), by three rows of the usual table.
fn edits(one: &[char], other: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (i, &a) in one.iter().enumerate() {
        let mut row = Vec::with_capacity(other.len() + 1);
        row.push(i + 1);
        for (j, &b) in other.iter().enumerate() {
            let mut least = (above[j] + usize::from(a != b)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == other[j - 1] && one[i - 1] == b {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_meant() {
        let known = ["brokerName", "brokerId", "listenPort"];
        assert_eq!(nearest("brokerNmae", known, 2), Some("brokerName"));
        assert_eq!(nearest("BROKERID", known, 2), Some("brokerId"));
        assert_eq!(nearest("listenPorts", known, 2), Some("listenPort"));
        assert_eq!(nearest("somethingElse", known, 2), None);
        assert_eq!(nearest("", known, 2), None);
    }

    #[test]
    fn counts_edits() {
        let count = |a: &str, b: &str| edits(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", "acb"), 1);
        assert_eq!(count("kitten", "sitting"), 3);
    }
}
