//! Which file the offsets are in: it depends on whether there are light queues.

use apogee_message::light;
use apogee_wire::bodies::ConsumerOffsetSerializeWrapper;

use super::OffsetTable;
use super::queues::AT;
use crate::persist::PersistError;
use crate::table_file::TableFile;

/// File of a broker without light queues, and of one with them.
const FILES: [&str; 2] = ["consumerOffset.json", "lmqConsumerOffset.json"];

/// Reads the offsets. When the setting was changed since, what the other file has is taken over.
pub(crate) fn open(
    file: &impl Fn(&str) -> TableFile,
    has_light: bool,
    now_ms: i64,
) -> Result<OffsetTable, PersistError> {
    let [own, other] = [usize::from(has_light), usize::from(!has_light)].map(|at| FILES[at]);
    let (offsets, is_there) = OffsetTable::load(file(own), has_light, now_ms)?;
    let (others, other_is_there) = OffsetTable::load(file(other), !has_light, now_ms)?;
    if other_is_there && (!is_there || offsets.version().timestamp < others.version().timestamp) {
        tracing::info!(from = other, to = own, "the offsets of groups are taken over, as enableLmq was changed");
        offsets.take_from(others.snapshot());
    }
    Ok(offsets)
}

impl OffsetTable {
    /// Takes over what another file has. One without a part for groups of light queues tells nothing of them.
    fn take_from(&self, mut theirs: ConsumerOffsetSerializeWrapper) {
        if self.has_light {
            let own = self.snapshot();
            theirs.lmq_offset_table = own.lmq_offset_table;
            let of_light = |name: &str| name.split_once(AT).is_some_and(|(_, group)| light::is_light(group));
            theirs.offset_table.extend(own.offset_table.into_iter().filter(|(name, _)| of_light(name)));
        }
        self.take_over(theirs, "");
    }
}
