//! Lists that brokers give in pages.

use std::collections::BTreeMap;

use apogee_wire::bodies::{Body, DataVersion};

use crate::Error;

/// Entries of one page, at most.
pub(super) const LENGTH: i32 = 2_000;
/// How often a list may change while it is read.
const MOST_CHANGES: u32 = 100;

/// A page of a list.
pub(super) struct Page<T> {
    /// Entries of the whole list. Old brokers don't say: they give all of them at once.
    pub total: Option<i32>,
    /// Of the list.
    pub version: Option<DataVersion>,
    /// By name.
    pub entries: BTreeMap<String, T>,
}

/// Gathers a list, page by page: `ask` gets the number of the first entry, and the version of the list. A list that
/// changes meanwhile comes from its beginning again.
pub(super) async fn all_pages<T>(
    ask: impl AsyncFn(i32, Option<&str>) -> Result<Page<T>, Error>,
) -> Result<BTreeMap<String, T>, Error> {
    let (mut entries, mut version, mut begun) = (BTreeMap::new(), None, 0);
    loop {
        let known = version.as_ref().map(DataVersion::encode);
        let known = known.as_deref().and_then(|text| std::str::from_utf8(text).ok());
        let mut page = ask(i32::try_from(entries.len()).unwrap_or(i32::MAX), known).await?;
        if page.version != version {
            entries.clear();
            version = page.version;
            begun += 1;
            if begun > MOST_CHANGES {
                return Err(Error::Argument(format!("the list changed {MOST_CHANGES} times while it was read")));
            }
        }
        let is_last = page.entries.is_empty();
        entries.append(&mut page.entries);
        let total = usize::try_from(page.total.unwrap_or(0)).unwrap_or(0);
        if is_last || entries.len() >= total {
            return Ok(entries);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[tokio::test]
    async fn a_list_that_changes_while_it_is_read_is_read_again() {
        let asked = Cell::new(0);
        let list = all_pages(async |first, version| {
            asked.set(asked.get() + 1);
            // It has changed before the second page is asked for.
            let now = DataVersion { counter: if asked.get() == 1 { 1 } else { 2 }, ..DataVersion::default() };
            let is_same = version.is_some_and(|version| version.as_bytes() == now.encode());
            let (first, length) = (if is_same { first } else { 0 }, if asked.get() == 1 { 3 } else { 5 });
            let entries = (first..length).take(2).map(|number| (format!("{}-{number}", now.counter), number));
            Ok(Page { total: Some(length), version: Some(now), entries: entries.collect() })
        });
        let list = list.await.expect("read");
        assert_eq!(list.keys().collect::<Vec<_>>(), ["2-0", "2-1", "2-2", "2-3", "2-4"]);
    }

    #[tokio::test]
    async fn a_broker_that_knows_no_pages_is_asked_once() {
        let entries = || BTreeMap::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
        let list = all_pages(async |first, _| {
            assert_eq!(first, 0);
            Ok(Page { total: None, version: Some(DataVersion::default()), entries: entries() })
        });
        assert_eq!(list.await.expect("read"), entries());
    }
}
