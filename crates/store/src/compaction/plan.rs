//! Which files of a queue are written anew, and which of them become one.

use std::ops::Range;

use super::layout::Sizes;

/// What a file holds, and what of it stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Holding {
    /// Messages.
    pub messages: i64,
    /// Messages that stay.
    pub kept: i64,
    /// Bytes of their records.
    pub kept_bytes: u64,
}

/// Files, by their places in the list, that become one new file, or none when nothing stays of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    pub files: Range<usize>,
    pub is_empty: bool,
}

/// Neighbours become one file as long as what stays of them fits into it. A file of which all stays is left alone
/// unless others can be added to it.
pub(super) fn plan(files: &[Holding], sizes: Sizes) -> Vec<Group> {
    let mut groups = Vec::new();
    let mut begin = 0;
    while begin < files.len() {
        let (mut kept, mut bytes) = (files[begin].kept, files[begin].kept_bytes);
        let mut end = begin + 1;
        while let Some(next) = files.get(end) {
            if !sizes.fit(kept + next.kept, bytes + next.kept_bytes) {
                break;
            }
            kept += next.kept;
            bytes += next.kept_bytes;
            end += 1;
        }
        if end > begin + 1 || files[begin].kept < files[begin].messages {
            groups.push(Group { files: begin..end, is_empty: kept == 0 });
        }
        begin = end;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZES: Sizes = Sizes { log: 1_008, units: 46 * 11 };

    fn holding(messages: i64, kept: i64) -> Holding {
        Holding { messages, kept, kept_bytes: kept as u64 * 100 }
    }

    fn planned(files: &[(i64, i64)]) -> Vec<(Range<usize>, bool)> {
        let files: Vec<_> = files.iter().map(|(messages, kept)| holding(*messages, *kept)).collect();
        plan(&files, SIZES).into_iter().map(|group| (group.files, group.is_empty)).collect()
    }

    #[test]
    fn what_is_full_and_stays_is_left_alone() {
        assert_eq!(planned(&[]), []);
        assert_eq!(planned(&[(10, 10), (10, 10)]), []);
        assert_eq!(planned(&[(10, 10), (10, 9), (10, 10)]), [(1..2, false)]);
    }

    #[test]
    fn neighbours_of_which_little_stays_become_one() {
        assert_eq!(planned(&[(10, 3), (10, 3), (10, 4), (10, 1)]), [(0..3, false), (3..4, false)]);
        assert_eq!(planned(&[(5, 5), (5, 5)]), [(0..2, false)]);
        assert_eq!(planned(&[(10, 0), (10, 0)]), [(0..2, true)]);
    }
}
