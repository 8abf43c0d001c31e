//! What name servers keep: values by namespace, and their own settings.

use apogee_base::settings::properties;
use apogee_wire::Command;
use apogee_wire::codes::request;
use apogee_wire::headers::{DeleteKVConfigRequestHeader, PutKVConfigRequestHeader};
use clap::Args;

use crate::admin::{Admin, AdminError};

/// Flags of `updateKvConfig`.
#[derive(Args, Debug)]
pub struct Put {
    /// Namespace
    #[arg(short = 's', long = "namespace")]
    namespace: String,
    /// Name
    #[arg(short = 'k', long = "key")]
    key: String,
    /// Value
    #[arg(short = 'v', long = "value", allow_hyphen_values = true)]
    value: String,
}

/// Sets a value in every name server.
pub async fn put(admin: &Admin, command: Put) -> Result<String, AdminError> {
    let Put { namespace, key, value } = &command;
    let header = PutKVConfigRequestHeader { namespace, key, value };
    admin.ask_all_namesrv(&Command::request(request::PUT_KV_CONFIG).with_header(&header)).await?;
    Ok("create or update kv config to namespace success.\n".to_owned())
}

/// Flags of `deleteKvConfig`.
#[derive(Args, Debug)]
pub struct Delete {
    /// Namespace
    #[arg(short = 's', long = "namespace")]
    namespace: String,
    /// Name
    #[arg(short = 'k', long = "key")]
    key: String,
}

/// Removes a value from every name server.
pub async fn delete(admin: &Admin, command: Delete) -> Result<String, AdminError> {
    let Delete { namespace, key } = &command;
    let header = DeleteKVConfigRequestHeader { namespace, key };
    admin.ask_all_namesrv(&Command::request(request::DELETE_KV_CONFIG).with_header(&header)).await?;
    Ok("delete kv config from namespace success.\n".to_owned())
}

/// Settings of every name server.
pub async fn namesrv_config(admin: &Admin) -> Result<String, AdminError> {
    let mut text = String::new();
    for namesrv in admin.namesrvs() {
        let answer = admin.ask(namesrv, Command::request(request::GET_NAMESRV_CONFIG)).await?;
        text.push_str(&format!("============{namesrv}============\n"));
        for entry in properties::parse(&String::from_utf8_lossy(&answer.body)) {
            text.push_str(&format!("{:<50}=  {}\n", entry.key, entry.value));
        }
    }
    Ok(text)
}
