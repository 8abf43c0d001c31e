//! Upstream's command lines, as this one reads them.

use std::ffi::OsString;

/// Upstream's names of one dash and two letters, which are short for these, and the commands that have them.
const TWO_LETTERS: [(&str, &str, &[&str]); 5] = [
    ("-qn", "--totalQueueNum", &["updateStaticTopic"]),
    ("-mf", "--mapFile", &["updateStaticTopic", "remappingStaticTopic"]),
    ("-fr", "--forceReplace", &["updateStaticTopic", "remappingStaticTopic"]),
    ("-bn", "--brokerName", &["electMaster", "cleanBrokerMetadata"]),
    ("-cf", "--checkFrom", &["checkRocksdbCqWriteProgress"]),
];

/// The words of a command line with long names for those that have one dash and several letters.
pub fn plain(words: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let words: Vec<OsString> = words.into_iter().collect();
    let is_there = |commands: &[&str]| commands.iter().any(|command| words.iter().any(|word| word == command));
    let long = |word: &OsString| {
        let known = TWO_LETTERS.iter().find(|(short, _, commands)| word == short && is_there(commands));
        known.map_or_else(|| word.clone(), |(_, long, _)| OsString::from(long))
    };
    words.iter().map(long).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_letters_after_one_dash_are_one_name_where_upstream_has_it() {
        let read = |line: &str| -> Vec<OsString> { plain(line.split(' ').map(OsString::from)) };
        let words = read("mqadmin updateStaticTopic -t T -qn 4 -c C");
        assert_eq!(words, ["mqadmin", "updateStaticTopic", "-t", "T", "--totalQueueNum", "4", "-c", "C"]);
        assert_eq!(read("mqadmin topicList -bn b")[2], "-bn");
    }
}
