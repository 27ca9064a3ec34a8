//! The listening side: handshakes, bounded, and what to do with who comes.

use std::sync::Arc;

use sync_engine::{NodeId, ReasonCode};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::connection::{Arrival, run};
use crate::host::Host;
use crate::identity::{self, ALPN_JOIN, ALPN_SYNC};
use crate::join;
use crate::shared::Shared;
use crate::wire;

/// Accepts connections until the node shuts down.
pub(crate) fn spawn<H: Host>(shared: Arc<Shared>, host: Arc<H>) {
    let tasks = shared.tasks.clone();
    tasks.spawn(async move {
        let handshakes = Arc::new(Semaphore::new(shared.limits.handshakes_max));
        let joins = Arc::new(Semaphore::new(shared.limits.joins_max));
        loop {
            let incoming = tokio::select! {
                () = shared.cancel.cancelled() => return,
                incoming = shared.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { return };
            let Ok(slot) = handshakes.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            // Under load a sender must first show that it receives at the address it writes in its packets.
            let loaded = handshakes.available_permits() < shared.limits.handshakes_max / 2;
            if loaded && incoming.may_retry() {
                let _ = incoming.retry();
                continue;
            }
            let (shared, host, joins) = (shared.clone(), host.clone(), joins.clone());
            shared.tasks.clone().spawn(async move {
                let cancel = shared.cancel.clone();
                tokio::select! {
                    () = cancel.cancelled() => {}
                    () = accept(shared, host, incoming, slot, joins) => {}
                }
            });
        }
    });
}

async fn accept<H: Host>(
    shared: Arc<Shared>,
    host: Arc<H>,
    incoming: quinn::Incoming,
    slot: tokio::sync::OwnedSemaphorePermit,
    joins: Arc<Semaphore>,
) {
    let remote = incoming.remote_address();
    let (place, config) = shared.windows.for_incoming();
    let connecting = match incoming.accept_with(config) {
        Ok(connecting) => connecting,
        Err(error) => return tracing::debug!(%remote, %error, "incoming handshake failed"),
    };
    let connection = match timeout(shared.limits.handshake, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "incoming handshake failed"),
        Err(_) => return tracing::debug!(%remote, "incoming handshake took too long"),
    };
    let Some(peer) = identity::node_of_connection(&connection) else {
        return wire::close(
            &connection,
            ReasonCode::Protocol.code(),
            "no node key shown",
        );
    };
    let protocol = connection
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
        .and_then(|data| data.protocol);
    match protocol.as_deref() {
        Some(ALPN_JOIN) => {
            drop(slot);
            // The one exchange of a join; sync connections get no streams with answers.
            connection.set_max_concurrent_bi_streams(quinn::VarInt::from_u32(1));
            serve_join(&shared, &host, &connection, peer, &joins).await;
        }
        Some(ALPN_SYNC) => {
            let arrival = Arrival {
                connection,
                peer,
                dialled: false,
                place,
                handshake: Some(slot),
            };
            run(shared, arrival, None).await;
        }
        _ => wire::close(
            &connection,
            ReasonCode::Protocol.code(),
            "unknown application protocol",
        ),
    }
}

async fn serve_join<H: Host>(
    shared: &Shared,
    host: &Arc<H>,
    connection: &quinn::Connection,
    joiner: NodeId,
    joins: &Semaphore,
) {
    let slot = joins.try_acquire();
    let busy = slot.is_err();
    let judge = |request| async move {
        if busy {
            Err(join::JoinRefusal::Busy)
        } else {
            host.join(joiner, request).await
        }
    };
    // The host commits in there; the joiner's link may be slow. Longer than any of both should take.
    let limit = shared.limits.handshake * 6;
    match timeout(limit, join::serve(connection, joiner, shared.node, judge)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::info!(%joiner, %error, "join failed"),
        Err(_) => tracing::info!(%joiner, "join took too long"),
    }
    wire::close(connection, wire::CLOSE_DONE, "join is over");
}
