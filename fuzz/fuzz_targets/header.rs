//! Any ext fields are read as a typed header or refused with an error that can be shown.
#![no_main]

use apogee_wire::fields::Fields;
use apogee_wire::headers::{
    AlterSyncStateSetRequestHeader, ApplyBrokerIdRequestHeader, BrokerHeartbeatRequestHeader,
    CleanControllerBrokerDataRequestHeader, ConsumerSendMsgBackRequestHeader, DecodeHeader, ElectMasterRequestHeader,
    PullMessageRequestHeader, RegisterBrokerRequestHeader, RegisterBrokerToControllerRequestHeader,
    SendMessageRequestHeader,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|pairs: Vec<(String, String)>| {
    let fields: Fields = pairs.into_iter().collect();
    let _ = SendMessageRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = SendMessageRequestHeader::decode_v2(&fields).map_err(|error| error.to_string());
    let _ = PullMessageRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = ConsumerSendMsgBackRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = RegisterBrokerRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = AlterSyncStateSetRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = ElectMasterRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = RegisterBrokerToControllerRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = ApplyBrokerIdRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = CleanControllerBrokerDataRequestHeader::decode(&fields).map_err(|error| error.to_string());
    let _ = BrokerHeartbeatRequestHeader::decode(&fields).map_err(|error| error.to_string());
});
