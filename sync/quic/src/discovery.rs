//! Finding nodes of the same operation on the same LAN by multicast DNS (RFC 6762, 6763).
//!
//! The announcement names the node's key and a short hash of the operation, which tells members apart from other
//! operations and tells outsiders nothing. What is found is only a hint whom to dial: the key is proven in TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use mdns_sd::{ResolvedService, ServiceDaemon, ServiceEvent, ServiceInfo};
use sync_engine::{NodeId, OperationId};

use crate::dial;
use crate::shared::Shared;

const SERVICE: &str = "_muster._udp.local.";
/// Both ends see each other at the same moment; the larger id gives the smaller this long to dial first.
const SECOND: Duration = Duration::from_secs(2);

/// Announces this node and dials what it finds, until the node shuts down. A machine without multicast only loses this.
pub(crate) fn spawn(shared: Arc<Shared>) {
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        if let Err(error) = run(&shared).await {
            tracing::warn!(%error, "no discovery by mdns");
        }
    });
}

async fn run(shared: &Arc<Shared>) -> Result<(), mdns_sd::Error> {
    if shared.local_addr.ip().is_loopback() {
        // Nobody else can reach it.
        return Ok(());
    }
    let operation = operation_hint(shared.trust.load().operation());
    let daemon = ServiceDaemon::new()?;
    let node = shared.node.to_string();
    // Labels are at most 63 bytes; an id has 52 characters.
    let host = format!("{}.local.", &node[..16]);
    let properties = [("node", node.as_str()), ("op", operation.as_str())];
    let announced = ServiceInfo::new(
        SERVICE,
        &node,
        &host,
        "",
        shared.local_addr.port(),
        &properties[..],
    )?;
    let announced = match shared.local_addr.ip() {
        ip if ip.is_unspecified() => announced.enable_addr_auto(),
        ip => ServiceInfo::new(
            SERVICE,
            &node,
            &host,
            ip,
            shared.local_addr.port(),
            &properties[..],
        )?,
    };
    let name = announced.get_fullname().to_owned();
    daemon.register(announced)?;
    let found = daemon.browse(SERVICE)?;
    loop {
        let event = tokio::select! {
            () = shared.cancel.cancelled() => break,
            event = found.recv_async() => event,
        };
        match event {
            Ok(ServiceEvent::ServiceResolved(service)) => {
                if let Some((node, addresses)) = candidate(&service, &operation) {
                    dial_found(shared, node, addresses);
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    // Says goodbye to the others; the daemon's thread ends with the shutdown.
    if let Ok(gone) = daemon.unregister(&name) {
        let _ = tokio::time::timeout(Duration::from_millis(500), gone.recv_async()).await;
    }
    daemon.shutdown().map(drop)
}

fn dial_found(shared: &Arc<Shared>, node: NodeId, addresses: Vec<SocketAddr>) {
    if shared.node < node {
        return dial::learn(shared, node, &addresses);
    }
    let shared = shared.clone();
    shared.tasks.clone().spawn(async move {
        tokio::select! {
            () = shared.cancel.cancelled() => {}
            () = tokio::time::sleep(SECOND) => dial::learn(&shared, node, &addresses),
        }
    });
}

/// Whom to dial where, if the service is a node of this operation.
fn candidate(service: &ResolvedService, operation: &str) -> Option<(NodeId, Vec<SocketAddr>)> {
    if service.get_property_val_str("op") != Some(operation) {
        return None;
    }
    let node = service.get_property_val_str("node")?.parse().ok()?;
    let port = service.get_port();
    let mut addresses: Vec<SocketAddr> = service
        .get_addresses()
        .iter()
        .map(|address| SocketAddr::new(address.to_ip_addr(), port))
        .filter(|address| is_dialable(address.ip()))
        .collect();
    // IPv4 first: link-local IPv6 would want an interface with it.
    addresses.sort();
    Some((node, addresses))
}

fn is_dialable(ip: IpAddr) -> bool {
    let scoped = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    !scoped && !ip.is_loopback() && !ip.is_unspecified() && !ip.is_multicast()
}

fn operation_hint(operation: OperationId) -> String {
    HEXLOWER.encode(&blake3::derive_key("muster 2026-11 mdns operation", &operation.0)[..8])
}
