//! One client's connection from its socket to its end: greeting, conversation, farewell.
//!
//! Invariant: whatever ends it, a client of MQTT 5 is told why, its will is said or not as the standard has it, and its
//! session is given back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::conversation::Conversation;
use super::greet::{self, Guest};
use super::packets::Goodbye;
use super::protocol::Protocol;
use super::reason;
use super::refusal::Refusal;
use super::wire::{Broken, Wire};
use crate::app::mqtt::Ended;

/// A refusal is worth a second's wait so that the client reads why.
const CLOSE_MAX: Duration = Duration::from_secs(1);

/// How a conversation ended.
#[derive(Debug)]
pub(super) enum End {
    /// DISCONNECT came.
    Goodbye(Goodbye),
    /// The socket is closed or broken.
    Gone,
    KeepAlive,
    /// Another connection took the client identifier.
    TakenOver,
    /// The node stops.
    Shutdown,
    /// The store is closed, so that nothing can be acknowledged any more.
    StoreClosed,
    /// The client does not take what we send.
    WriteStuck,
    ConnectTimeout,
    Refused(Refusal),
}

impl From<Broken> for End {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Gone => End::Gone,
            Broken::WriteStuck => End::WriteStuck,
        }
    }
}

impl From<Ended> for End {
    fn from(ended: Ended) -> Self {
        End::Refused(match ended {
            Ended::TooSlow => Refusal::TooSlow,
            Ended::AccountGone => Refusal::AccountGone,
        })
    }
}

/// Serves one socket until it ends.
pub(super) async fn run<S>(stream: S, peer: SocketAddr, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut wire = Wire::new(stream, shared.bounds.write_timeout);
    let mut protocol = Protocol::new(shared.bounds.packet_bytes_max);
    let stop = shared.stop.child_token();
    let deadline = Instant::now() + shared.bounds.connect_timeout;
    let heard = tokio::select! {
        () = stop.cancelled() => Err(End::Shutdown),
        heard = timeout_at(deadline, greet::hear(&mut wire, &mut protocol)) => {
            heard.unwrap_or(Err(End::ConnectTimeout))
        }
    };
    let admitted = match heard {
        Ok(request) => Box::pin(greet::admit(request, peer, shared, &stop, &mut wire.out))
            .await
            .map_err(End::Refused),
        Err(end) => Err(end),
    };
    let end = match admitted {
        Ok(guest) => {
            protocol.accept();
            tracing::debug!(
                %peer,
                client_id = guest.client_id,
                keep_alive_s = guest.keep_alive_s,
                "MQTT client connected"
            );
            Box::pin(serve(&mut wire, &mut protocol, guest, peer, shared, stop)).await
        }
        Err(end) => {
            report(&end, peer, "");
            end
        }
    };
    if say_why(&end, &mut protocol, &mut wire.out) {
        wire.close(CLOSE_MAX).await;
    }
}

async fn serve<S>(
    wire: &mut Wire<S>,
    protocol: &mut Protocol,
    mut guest: Guest,
    peer: SocketAddr,
    shared: &Shared,
    stop: CancellationToken,
) -> End
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let silence_max = match guest.keep_alive_s {
        0 => shared.bounds.silence_max,
        // [MQTT-3.1.2-24]: one and a half times the keep-alive.
        seconds => Duration::from_millis(u64::from(seconds) * 1500),
    };
    let presence = guest
        .device
        .as_deref()
        .map(|device| shared.mqtt.device_connected(device));
    let client_id = guest.client_id.clone();
    let session = Arc::clone(&guest.opened.session);
    let will = guest.will.take();
    let registration = guest.registration.take();
    let mut conversation = Conversation::new(protocol, guest, shared);
    let mut end = conversation.drive(wire, shared, silence_max, &stop).await;
    if let (End::TakenOver, Some(ended)) = (&end, session.ended()) {
        end = ended.into();
    }
    report(&end, peer, &client_id);
    // Why it ends is said at once; what is still on its way to the disk may take a while.
    if say_why(&end, conversation.protocol(), &mut wire.out) {
        wire.close(CLOSE_MAX).await;
    }
    let (rights, exactly_once) = conversation
        .finish(&end, registration.as_ref(), shared)
        .await;
    let (expiry_s, clean) = match &end {
        End::Goodbye(goodbye) => (goodbye.session_expiry_s, !goodbye.with_will),
        _ => (None, false),
    };
    // A node that stops has lost none of its clients.
    let lost = !clean && !matches!(end, End::Shutdown | End::StoreClosed);
    // Nor one that comes back at once: the connection that takes its place shows it.
    if let Some(presence) = presence
        && lost
        && !matches!(end, End::TakenOver)
    {
        presence.lost();
    }
    shared.mqtt.close(&session, expiry_s, exactly_once);
    // Nor does an account that counts no longer have a last word.
    let is_barred = matches!(end, End::Refused(Refusal::AccountGone));
    if let Some(will) = will
        && lost
        && !is_barred
    {
        let session_expiry_s = session.expiry_s();
        shared.mqtt.lost(&client_id, will, rights, session_expiry_s);
    }
    drop(registration);
    end
}

/// Puts the reason on the wire, where the version has one; answers whether the socket is worth closing in order.
fn say_why(end: &End, protocol: &mut Protocol, out: &mut Vec<u8>) -> bool {
    match end {
        End::Refused(refusal) => protocol.refuse(refusal, out),
        End::TakenOver => protocol.say_goodbye(reason::SESSION_TAKEN_OVER, None, out),
        End::Shutdown => protocol.say_goodbye(reason::SERVER_SHUTTING_DOWN, None, out),
        End::KeepAlive => protocol.say_goodbye(reason::KEEP_ALIVE_TIMEOUT, None, out),
        End::StoreClosed => protocol.say_goodbye(reason::UNSPECIFIED_ERROR, None, out),
        End::Goodbye(_) | End::Gone | End::WriteStuck | End::ConnectTimeout => return false,
    }
    true
}

/// One line for whoever wonders why a sensor is gone, and a count by reason.
fn report(end: &End, peer: SocketAddr, client_id: &str) {
    let reason = match end {
        End::Goodbye(_) => "goodbye",
        End::Gone => "gone",
        End::KeepAlive => "keep-alive",
        End::TakenOver => "taken-over",
        End::Shutdown => "shutdown",
        End::StoreClosed => "store-closed",
        End::WriteStuck => "write-stuck",
        End::ConnectTimeout => "connect-timeout",
        End::Refused(Refusal::TooSlow) => "too-slow",
        End::Refused(_) => "refused",
    };
    metrics::counter!("muster_mqtt_disconnects_total", "reason" => reason).increment(1);
    match end {
        End::Refused(refusal) => {
            tracing::warn!(%peer, client_id, "MQTT connection closed: {refusal}")
        }
        End::KeepAlive => {
            tracing::info!(%peer, client_id, "MQTT client silent for 1.5 × its keep-alive")
        }
        End::TakenOver => tracing::info!(%peer, client_id, "MQTT client connected anew elsewhere"),
        End::WriteStuck => {
            tracing::warn!(%peer, client_id, "MQTT client does not read its acknowledgements")
        }
        End::StoreClosed => tracing::error!(%peer, client_id, "readings cannot be stored any more"),
        End::ConnectTimeout => tracing::info!(%peer, "no CONNECT in time"),
        End::Goodbye(_) | End::Gone | End::Shutdown => {
            tracing::debug!(%peer, client_id, reason, "MQTT client left")
        }
    }
}
