//! What name servers keep. Each keeps it for itself: all of them are told.

use std::collections::BTreeMap;

use apogee_wire::Command;
use apogee_wire::bodies::KVTable;
use apogee_wire::codes::{request, response};
use apogee_wire::headers::{
    AddWritePermOfBrokerRequestHeader, AddWritePermOfBrokerResponseHeader, DeleteKVConfigRequestHeader,
    GetKVConfigRequestHeader, GetKVConfigResponseHeader, GetKVListByNamespaceRequestHeader, PutKVConfigRequestHeader,
    WipeWritePermOfBrokerRequestHeader, WipeWritePermOfBrokerResponseHeader,
};

use super::broker::{settings, text_of};
use super::{Admin, At, body};
use crate::Error;
use crate::peers::accepted;

impl Admin {
    /// The addresses of the name servers, as the client was given them.
    pub fn name_servers(&self) -> &[String] {
        self.shared.name_servers()
    }

    /// A value that name servers keep; `None` when they don't. The namespace `ORDER_TOPIC_CONFIG` has how many queues
    /// brokers have for messages in order, by topic.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.put_value("ORDER_TOPIC_CONFIG", "Orders", "broker-a:8").await?;
    /// assert_eq!(admin.value("ORDER_TOPIC_CONFIG", "Orders").await?.as_deref(), Some("broker-a:8"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn value(&self, namespace: &str, key: &str) -> Result<Option<String>, Error> {
        let header = GetKVConfigRequestHeader { namespace, key };
        let question = Command::request(request::GET_KV_CONFIG).with_header(&header);
        let (name_server, answer) = self.ask_names(question).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(None);
        }
        let answer = accepted(name_server, answer)?;
        let head: GetKVConfigResponseHeader<'_> =
            answer.header().map_err(|error| Error::header(name_server, &error))?;
        Ok(head.value.map(str::to_owned))
    }

    /// All values of a namespace, by key.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for (topic, queues) in admin.values("ORDER_TOPIC_CONFIG").await? {
    ///     println!("{topic}: {queues}");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When no name server answers.
    pub async fn values(&self, namespace: &str) -> Result<BTreeMap<String, String>, Error> {
        let header = GetKVListByNamespaceRequestHeader { namespace };
        let question = Command::request(request::GET_KVLIST_BY_NAMESPACE).with_header(&header);
        let (name_server, answer) = self.ask_names(question).await?;
        if answer.code == response::QUERY_NOT_FOUND {
            return Ok(BTreeMap::new());
        }
        Ok(body::<KVTable>(name_server, &accepted(name_server, answer)?)?.table)
    }

    /// Has all name servers keep a value.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn put_value(&self, namespace: &str, key: &str, value: &str) -> Result<(), Error> {
        let header = PutKVConfigRequestHeader { namespace, key, value };
        self.call_all_names(&Command::request(request::PUT_KV_CONFIG).with_header(&header)).await.map(drop)
    }

    /// Has all name servers forget a value.
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn delete_value(&self, namespace: &str, key: &str) -> Result<(), Error> {
        let header = DeleteKVConfigRequestHeader { namespace, key };
        self.call_all_names(&Command::request(request::DELETE_KV_CONFIG).with_header(&header)).await.map(drop)
    }

    /// The settings of each name server, by name.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// for name_server in admin.name_server_settings().await? {
    ///     println!("{}: {:?}", name_server.address, name_server.get("listenPort"));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn name_server_settings(&self) -> Result<Vec<At<BTreeMap<String, String>>>, Error> {
        let answers = self.call_all_names(&Command::request(request::GET_NAMESRV_CONFIG)).await?;
        Ok(answers.into_iter().map(|answer| At { value: settings(&answer.value), address: answer.address }).collect())
    }

    /// Changes settings of all name servers.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.set_name_server_settings(&[("orderMessageEnable", "true")]).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a name or value is none, or one refuses or doesn't answer.
    pub async fn set_name_server_settings(&self, settings: &[(&str, &str)]) -> Result<(), Error> {
        let question = Command::request(request::UPDATE_NAMESRV_CONFIG).with_body(text_of(settings)?);
        self.call_all_names(&question).await.map(drop)
    }

    /// Takes the permission to write from the topics of a broker, by its name: senders go to others, and what it has
    /// can be read. Returns how many topics each name server changed.
    ///
    /// ```no_run
    /// # async fn example(admin: apogee_client::Admin) -> Result<(), apogee_client::Error> {
    /// admin.wipe_write_permission("broker-a").await?;
    /// // ... and when it has been seen to:
    /// admin.add_write_permission("broker-a").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn wipe_write_permission(&self, broker: &str) -> Result<Vec<At<u32>>, Error> {
        let header = WipeWritePermOfBrokerRequestHeader { broker_name: broker };
        let question = Command::request(request::WIPE_WRITE_PERM_OF_BROKER).with_header(&header);
        let answers = self.call_all_names(&question).await?;
        let count = |answer: At<Command>| {
            let head = answer.value.header().map(|head: WipeWritePermOfBrokerResponseHeader| head.wipe_topic_count);
            counted(answer.address, head)
        };
        answers.into_iter().map(count).collect()
    }

    /// Gives the permission to write back; see [`Admin::wipe_write_permission`].
    ///
    /// # Errors
    /// When one refuses or doesn't answer.
    pub async fn add_write_permission(&self, broker: &str) -> Result<Vec<At<u32>>, Error> {
        let header = AddWritePermOfBrokerRequestHeader { broker_name: broker };
        let question = Command::request(request::ADD_WRITE_PERM_OF_BROKER).with_header(&header);
        let answers = self.call_all_names(&question).await?;
        let count = |answer: At<Command>| {
            let head = answer.value.header().map(|head: AddWritePermOfBrokerResponseHeader| head.add_topic_count);
            counted(answer.address, head)
        };
        answers.into_iter().map(count).collect()
    }
}

fn counted(address: String, topics: Result<i32, apogee_wire::headers::HeaderError>) -> Result<At<u32>, Error> {
    let topics = topics.map_err(|error| Error::header(&address, &error))?;
    Ok(At { address, value: topics.max(0) as u32 })
}
