//! Any body is read or refused; one that is read is the same after it was written.
#![no_main]

use apogee_wire::bodies::{
    Body, ConsumeStats, ElectMasterResponseBody, HeartbeatData, LockBatchRequestBody, RegisterBrokerBody, SyncStateSet,
    TopicRouteData,
};
use libfuzzer_sys::fuzz_target;

fn check<B: Body + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(body) = B::decode(bytes) {
        assert_eq!(B::decode(&body.encode()).as_ref(), Ok(&body));
    }
}

fuzz_target!(|bytes: &[u8]| {
    check::<HeartbeatData>(bytes);
    check::<LockBatchRequestBody>(bytes);
    check::<TopicRouteData>(bytes);
    check::<RegisterBrokerBody>(bytes);
    check::<SyncStateSet>(bytes);
    check::<ElectMasterResponseBody>(bytes);
    check::<Vec<String>>(bytes);
    let _ = RegisterBrokerBody::decode_compressed(bytes);
    // Holds rates: a number that is not one is never equal to itself.
    let _ = ConsumeStats::decode(bytes).map(|body| body.encode());
});
