//! What an engine may hold in memory, by its own limits.

use sync_engine::{LANE_FRAME_BYTES_MAX, Lane, RUN_BYTES_MAX};

use crate::node::Node;

/// A run is sent while there is room, whatever it weighs: its bytes and what its entries count for.
const ONE_RUN_BYTES: usize = 2 * RUN_BYTES_MAX;

/// Whether an engine keeps its bounds.
///
/// # Errors
/// Which one it does not.
pub fn check(node: &Node) -> Result<(), String> {
    let Some(running) = &node.running else {
        return Ok(());
    };
    let (usage, limits) = (running.engine.usage(), &node.who.limits);
    let lanes = Lane::ALL.len();
    let held: usize = running.engine.held_bytes().iter().sum();
    let bounds = [
        ("connections", usage.connections, limits.connections_max),
        (
            "bytes of one lane of one peer that wait for the store",
            usage.inbox_bytes_max,
            limits.inbox_bytes_max,
        ),
        (
            "bytes that wait for the store",
            held,
            2 * limits.inbox_bytes_max * lanes * (limits.connections_max + 1),
        ),
        (
            "bytes that wait for an author",
            usage.waiting_bytes,
            limits.waiting_bytes_max,
        ),
        (
            "bytes of one lane that are not acknowledged",
            usage.unacked_bytes_max,
            limits.unacked_bytes_max + ONE_RUN_BYTES,
        ),
        (
            "bytes of one lane that are not sent",
            usage.unsent_bytes_max,
            limits.unsent_bytes_max + LANE_FRAME_BYTES_MAX,
        ),
        (
            "logs of peers",
            usage.peer_logs,
            limits.peer_logs_max * limits.connections_max,
        ),
    ];
    let broken = bounds.into_iter().find(|(_, is, may)| is > may);
    broken.map_or(Ok(()), |(what, is, may)| {
        Err(format!(
            "{} holds {is} {what}, at most {may} are allowed",
            node.who.grant.name
        ))
    })
}
