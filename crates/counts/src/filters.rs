//! A pull with a filter.

use std::hint::black_box;
use std::sync::Arc;

use apogee_broker::clients::Subscription;
use apogee_message::record::{Draft, Record};
use apogee_store::{Filter, Verdict};
use bytes::BytesMut;

use crate::sample::{TIMES, TOPIC, body, message};
use crate::store::Scratch;
use crate::{Failure, Piece, measured};

pub const PIECES: &[Piece] = &[
    Piece { name: "filter-tag", run: tag },
    Piece { name: "filter-sql", run: sql },
    Piece { name: "pull-1-in-100-by-tag", run: pull_by_tag },
    Piece { name: "pull-1-in-100-by-sql", run: pull_by_sql },
];

fn tag() -> Result<u64, Failure> {
    let subscription = Subscription::to_tags(TOPIC, "rare || odd || unusual", 0);
    let code = apogee_message::tag::tag_code(Some("common"));
    let mut wanted = 0;
    measured(&mut || {
        let mut picker = subscription.picker();
        for number in 0..TIMES {
            wanted += u64::from(picker.by_unit(black_box(code + number as i64)));
        }
    });
    black_box(wanted);
    Ok(TIMES)
}

fn sql() -> Result<u64, Failure> {
    let subscription = Subscription::by("SQL92", TOPIC, "region IN ('r1', 'r2') AND price BETWEEN 100 AND 199", 0);
    let (topic, body, mut arena) = (Arc::from(TOPIC), body(), BytesMut::new());
    let mut record = |number| Ok(Draft::new(&message(number, &topic, &body), &mut arena)?.to_vec());
    let records = (0..TIMES).map(&mut record).collect::<Result<Vec<_>, Failure>>()?;
    let mut wanted = 0;
    measured(&mut || {
        let mut picker = subscription.picker();
        let mut wants = |bytes| Record::read(bytes).is_ok_and(|record| picker.by_record(&record) == Verdict::Take);
        wanted = records.iter().filter(|bytes| wants(bytes)).count();
    });
    // 100 of 1,000 by price, 2 of 7 by region.
    if wanted != 29 {
        return Err(format!("{wanted} of {TIMES} records matched").into());
    }
    Ok(TIMES)
}

/// A read looks at 800 units and takes the eight messages that are wanted.
fn pull_by_tag() -> Result<u64, Failure> {
    pull(&Subscription::to_tags(TOPIC, "rare", 0))
}

/// The same by an expression that the tag code says nothing of, so that 800 records are looked at.
fn pull_by_sql() -> Result<u64, Failure> {
    pull(&Subscription::by("SQL92", TOPIC, "TAGS STARTSWITH 'rar'", 0))
}

fn pull(subscription: &Subscription) -> Result<u64, Failure> {
    let scratch = Scratch::with_messages(16_000)?;
    let times = TIMES / 50;
    let mut outcome = Ok(());
    measured(&mut || outcome = scratch.pull(times, 8, &mut subscription.picker()));
    outcome.map(|()| times)
}
