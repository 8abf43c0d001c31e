//! The thread of replication.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;

use super::{Role, master, slave};
use crate::broker::Broker;
use crate::life::Stage;
use crate::role::BrokerRole;
use crate::settings::BrokerSettings;

/// Takes the port that slaves connect to. Of a broker that listens to clients at `clients`. `None` on a slave; and
/// where it cannot be had, and nobody said that there will be slaves. Fails with what to do.
pub(crate) fn listen(
    settings: &BrokerSettings,
    role: &Role,
    clients: SocketAddr,
) -> Result<Option<TcpListener>, String> {
    let is_slave = match role {
        Role::AsSet => settings.broker_role.is_slave(),
        Role::Master(_) => false,
        Role::Slave(_) => true,
    };
    if is_slave {
        return Ok(None);
    }
    let port = port(settings, clients.port());
    let bound = TcpListener::bind(SocketAddr::new(clients.ip(), port))
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    let is_wanted = settings.ha_listen_port != 0
        || settings.broker_role == BrokerRole::SyncMaster
        || matches!(role, Role::Master(_));
    match bound {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if is_wanted => Err(format!(
            "cannot listen to slaves on {}:{port}: {error}; set haListenPort to a port that is free",
            clients.ip()
        )),
        Err(error) => {
            tracing::warn!(port, %error, "cannot listen to slaves, so this broker can have none; set haListenPort to a port that is free if it shall");
            Ok(None)
        }
    }
}

/// The port that slaves are told: the one behind that of clients, as upstream has it; any that is free where that one
/// was.
fn port(settings: &BrokerSettings, clients: u16) -> u16 {
    match (settings.ha_listen_port, settings.listen_port) {
        (0, 0) => 0,
        (0, _) => clients.saturating_add(1),
        (port, _) => port,
    }
}

/// Begins to copy, one way or the other, until the broker's life ends.
pub(crate) fn start(broker: &Arc<Broker>, listener: Option<TcpListener>) -> io::Result<thread::JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listener = listener.map(|listener| {
        let _entered = runtime.enter();
        tokio::net::TcpListener::from_std(listener)
    });
    let (listener, broker) = (listener.transpose()?, Arc::clone(broker));
    thread::Builder::new().name("replication".to_owned()).spawn(move || {
        let copies = async {
            if broker.role.is_slave() {
                slave::follow(&broker).await;
            } else {
                master::lead(&broker, listener).await;
            }
        };
        runtime.block_on(async {
            tokio::select! {
                () = copies => {}
                () = broker.life.reached(Stage::Ended) => {}
            }
        });
        // Whatever is left of connections ends without being waited for.
        runtime.shutdown_background();
    })
}
