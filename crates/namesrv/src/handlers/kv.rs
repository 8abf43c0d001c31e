//! The key-value configuration.

use apogee_wire::Command;
use apogee_wire::bodies::{Body, KVTable};
use apogee_wire::headers::{
    DeleteKVConfigRequestHeader, GetKVConfigRequestHeader, GetKVConfigResponseHeader,
    GetKVListByNamespaceRequestHeader, PutKVConfigRequestHeader,
};

use super::{Answer, success};
use crate::error::NamesrvError;
use crate::kv::KvConfig;
use crate::server::Shared;

pub(super) fn put(kv: &mut KvConfig, request: &Command) -> Answer {
    let header: PutKVConfigRequestHeader<'_> = request.header()?;
    kv.put(header.namespace, header.key, header.value)?;
    Ok(success(request))
}

pub(super) fn delete(kv: &mut KvConfig, request: &Command) -> Answer {
    let header: DeleteKVConfigRequestHeader<'_> = request.header()?;
    kv.delete(header.namespace, header.key)?;
    Ok(success(request))
}

pub(super) fn get(shared: &Shared, request: &Command) -> Answer {
    let header: GetKVConfigRequestHeader<'_> = request.header()?;
    let (namespace, key) = (header.namespace, header.key);
    let no_value = || NamesrvError::NoValue { namespace: namespace.to_owned(), key: key.to_owned() };
    let value = shared.kv.get(namespace, key).ok_or_else(no_value)?;
    Ok(success(request).with_header(&GetKVConfigResponseHeader { value: Some(&value) }))
}

pub(super) fn namespace(shared: &Shared, request: &Command) -> Answer {
    let header: GetKVListByNamespaceRequestHeader<'_> = request.header()?;
    let table =
        shared.kv.namespace(header.namespace).ok_or_else(|| NamesrvError::NoNamespace(header.namespace.to_owned()))?;
    Ok(success(request).with_body(KVTable { table }.encode()))
}
